"""From a name of a point to a module: aliases for what moves between releases, depth, and near names in errors."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence

from torch import nn

from trialbook import TrialbookError, suggest

_DEPTH = re.compile(r"\{(\d+)(?:/(\d+))?\}")
#: Path pieces that stand for one another; releases move or drop them.
ALIASES = (
    ("vision_tower", "vision_tower.vision_model"),
    ("vision_model.encoder", "encoder"),
    ("vision_model.embeddings", "embeddings"),
    ("encoder.layers", "encoder.layer"),
    ("encoder.layers", "layers"),
    ("encoder.layer", "layers"),
    ("model.language_model", "language_model.model"),
    ("model.text_model", "text_model.model"),
    ("model.vision_tower", "vision_tower"),
    ("model.vision_model", "vision_model"),
    ("model.multi_modal_projector", "multi_modal_projector"),
    ("model.connector", "connector"),
    ("model.visual", "visual"),
    ("text_model.model", "text_model"),
    ("vision_model.model", "vision_model"),
)
_HOPS = 3


class Paths:
    """The modules of a model by path.

    Args:
        model: the model.
        aliases: pairs of path pieces that stand for one another, before those that are known anyway.
    """

    def __init__(self, model: nn.Module, aliases: Sequence[tuple[str, str]] = ()) -> None:
        self.modules = dict(model.named_modules())
        self.aliases = (*aliases, *ALIASES)
        self.owner = type(model).__name__

    def find(self, path: str) -> str:
        """The path of a module of the model that ``path`` means.

        Raises:
            TrialbookError: there is none, under no alias either; it names near ones.
        """
        found = self.look_up(path)
        if found is None:
            raise TrialbookError(f"{self.owner} has no module '{path}'{self._near(path)}")
        return found

    def look_up(self, path: str) -> str | None:
        """As :meth:`find`, but None where there is none."""
        waiting, seen = [path], {path}
        for _ in range(_HOPS + 1):
            for candidate in waiting:
                if candidate in self.modules:
                    return candidate
            waiting = [new for old in waiting for new in self._rewritten(old) if new not in seen]
            seen.update(waiting)
        return None

    def at_depth(self, path: str) -> str:
        """``path`` with a number for ``{1/4}``, which means a share of the depth: the block that ends it."""
        while placed := _DEPTH.search(path):
            holder = self.find(path[: placed.start()].rstrip("."))
            blocks = self.modules[holder]
            if not isinstance(blocks, nn.ModuleList):
                raise TrialbookError(f"'{holder}' of {self.owner} is no list of blocks, so it has no depth")
            share = int(placed[1]) / int(placed[2] or 1)
            number = max(math.ceil(len(blocks) * share - 1e-9), 1)
            path = f"{holder}.{number - 1}{path[placed.end() :]}"
        return self.find(path)

    def matching(self, pattern: str) -> list[str]:
        """Paths that fit ``pattern``, ``*`` for every number, in order of the model."""
        head, star, tail = pattern.partition(".*")
        if not star:
            found = self.look_up(head)
            return [found] if found else []
        holder = self.look_up(head)
        if holder is None or not isinstance(self.modules[holder], nn.ModuleList):
            return []
        inner = (f"{holder}.{number}{tail}" for number in range(len(self.modules[holder])))  # type: ignore[arg-type]
        return [path for one in inner for path in (self.matching(one) if "*" in one else [one] * (one in self.modules))]

    def _rewritten(self, path: str) -> Iterator[str]:
        for one, other in self.aliases:
            for old, new in ((one, other), (other, one)):
                yield from _replaced(path, old, new)

    def _near(self, path: str) -> str:
        """A hint: the longest part of the path that exists and what is below it, or the closest path."""
        parts = path.split(".")
        for length in range(len(parts) - 1, 0, -1):
            if (found := self.look_up(".".join(parts[:length]))) is not None:
                children = [name for name, _ in self.modules[found].named_children()]
                return f"; '{found}' has {_listed(children)}" if children else f"; nothing is below '{found}'"
        near = suggest(path, list(self.modules))
        top = [name for name in self.modules if name and "." not in name]
        return f"; did you mean '{near}'?" if near else f"; it has {_listed(top)}"


def _replaced(path: str, old: str, new: str) -> Iterator[str]:
    for at in _starts(path):
        end = at + len(old)
        if path.startswith(old, at) and path[end : end + 1] in ("", "."):
            yield path[:at] + new + path[end:]


def _starts(path: str) -> list[int]:
    return [0, *(match.end() for match in re.finditer(r"\.", path))]


def _listed(names: Iterable[str], most: int = 6) -> str:
    all_names = [f"'{name}'" for name in names]
    return ", ".join(all_names[:most]) + (f" … ({len(all_names)})" if len(all_names) > most else "")
