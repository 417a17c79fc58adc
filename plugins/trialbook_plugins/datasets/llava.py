"""Conversations about pictures in the JSON of LLaVA, as most sets for vision-language models are published."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from trialbook import TrialbookError
from trialbook.contracts.conversations import Conversation, from_published, is_published
from trialbook_plugins.datasets._paths import read_jsonl
from trialbook_plugins.datasets._published import find_rows
from trialbook_plugins.datasets._questions import Asked, Questions


class Llava(Questions):
    """A JSON file of conversations (``conversation``) in the form of LLaVA, and a folder of the pictures (``image``).

    A row has ``conversations``, a list of ``from`` (human or gpt) and ``value``, and an ``image``: a path, a list of paths, or
    none. ``messages`` with ``role`` and ``content`` are read, too. ``<image>`` says where a picture stands; those that no turn
    places stand before the first. Rows that show the same pictures are a group, and rows that share a picture go to the same
    split. Annotations of a split: ``source``, and ``file``, the names of the pictures' files.

    Args:
        data_root: folder that a relative ``root`` starts from.
        root: folder of the set.
        file: the ``.json`` or ``.jsonl`` file, in ``root``; rows of other splits go into ``val_file`` and ``test_file``.
        val_file: such a file for val alone.
        test_file: such a file for test alone.
        images: folder that the paths of the pictures start from, in ``root``.
        val: share of the pictures that go to val, where it has no file.
        test: share of the pictures that go to test, where it has no file.
        seed: another seed deals the pictures differently.
        size: side of the pictures: the longer side is resized to it and white fills the square; 0 keeps them as they are.
        skip_bad: leave out rows that are broken, and list them in ``left_out``, instead of stopping.
        allow_overlap: accept splits that share pictures.
    Raises:
        TrialbookError: an option is out of its range; on first reading: a file is missing or broken, a row is bad, or splits
            share pictures.
    Source: "Visual Instruction Tuning" (Liu et al., 2023); files as liuhaotian/LLaVA-Instruct-150K has them.
    """

    source = "llava"

    def __init__(
        self,
        data_root: Path | None = None,
        /,
        *,
        root: str,
        file: str,
        val_file: str | None = None,
        test_file: str | None = None,
        images: str = ".",
        val: float = 0.1,
        test: float = 0.1,
        seed: int = 0,
        size: int = 0,
        skip_bad: bool = False,
        allow_overlap: bool = False,
    ) -> None:
        shares = (0 if val_file else val, 0 if test_file else test)
        super().__init__(data_root, root, size, *shares, seed, skip_bad, allow_overlap)
        self.files = {"train": file, "val": val_file, "test": test_file}
        if wrong := [
            name for name in self.files.values() if name and Path(name).suffix.lower() not in (".json", ".jsonl")
        ]:
            raise TrialbookError(f"file ({wrong[0]}) must end in .json or .jsonl")
        self.images = images

    def read(self, folder: Path) -> Iterable[tuple[str | None, Asked]]:
        """Every good row with its split."""
        for split, name in self.files.items():
            if name is None:
                continue
            seen: set[str] = set()
            for number, (where, row) in enumerate(_rows(folder / name)):
                identity = f"{split}-{row.get('id', number)}" if isinstance(row, dict) else ""
                identity = f"{identity}-{number}" if identity in seen else identity
                seen.add(identity)
                if (said := self._conversation(row, identity, where)) is not None:
                    yield split, self._asked(said, folder, where)

    def _conversation(self, row: Any, identity: str, where: str) -> Conversation | None:
        """The conversation of a row; None (and noted) where the row is bad."""
        if not is_published(row):
            self.bad(where, "it needs 'conversations', a list of turns with 'from' and 'value'")
            return None
        try:
            return from_published(row, identity)
        except TrialbookError as error:
            self.bad(where, str(error))
            return None

    def _asked(self, said: Conversation, folder: Path, where: str) -> Asked:
        files = [folder / self.images / image for image in said.images]
        first, more = (files[0], tuple(files[1:])) if files else (None, ())
        return Asked(said.id, first, said.question, said.answers, where, more=more, turns=said.turns)


def _rows(file: Path) -> Iterator[tuple[str, Any]]:
    """Yield the place of each row, and the row."""
    if file.suffix.lower() == ".jsonl":
        yield from ((f"{file}:{line}", row) for line, row in read_jsonl(file))
    else:
        yield from ((f"{file}: row {number}", row) for number, row in enumerate(find_rows(file, None)))
