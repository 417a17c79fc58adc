"""Parameters and attention by part, as they were seen over a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from trialbook.contracts.evidence import RunEvidence, component_of

#: From this share of a part's numbers (or of its tensors) on, what is wrong with them is wrong with the part. Below it are
#: heads and poolers of checkpoints that a task leaves unused: a BERT pooler holds 0.5%, the last of 12 layers 8%.
MANY, MANY_TENSORS = 0.1, 1 / 3
#: Looks that are judged; a long run has thousands, and what is wrong at some forty of them is wrong.
MOST_LOOKS = 40
#: Among fewer keys, entropy says little.
FEWEST_KEYS = 4


@dataclass(frozen=True)
class Tensor:
    """A parameter that an optimiser was given.

    Args:
        name: its name in the trained module.
        part: the part that it stands in.
        size: how many numbers it has.
        seen: (step, facts) of every look; facts are ``weight``, ``grad``, ``update`` and ``lr``.
    """

    name: str
    part: str
    size: int
    seen: Sequence[tuple[int, Mapping[str, Any]]]

    @property
    def module(self) -> str:
        """The module that holds it."""
        return self.name.rpartition(".")[0]

    @property
    def is_bias(self) -> bool:
        """True if it is a bias by its name: those of keys in attention get no gradient by nature."""
        return self.name.rpartition(".")[2].endswith("bias")

    def rms(self, facts: Mapping[str, Any], key: str) -> float:
        """Root mean square of its weights, gradient or update; 0 where there is none."""
        return float(facts[key] or 0.0) / math.sqrt(self.size)


def tensors(chart: RunEvidence, until: float = math.inf) -> list[Tensor]:
    """All parameters that were looked at before step ``until``; of many looks some, evenly, the first and the last included."""
    parts = part_names(chart)
    looks = [one for one in chart.of("parameters", "") if one.step < until]
    if len(looks) > MOST_LOOKS:
        looks = [looks[round(place * (len(looks) - 1) / (MOST_LOOKS - 1))] for place in range(MOST_LOOKS)]
    seen: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for one in looks:
        for name, facts in one.values.items():
            seen.setdefault(name, []).append((one.step, facts))
    return [Tensor(name, component_of(name, parts), int(found[-1][1]["size"]), found) for name, found in seen.items()]


def part_names(chart: RunEvidence) -> tuple[str, ...]:
    """Parts of the run that have parameters."""
    return tuple(dict.fromkeys(name for one in chart.of("wiring") for name in one.values))


def by_part(found: Iterable[Tensor]) -> dict[str, list[Tensor]]:
    """Part to its parameters."""
    parts: dict[str, list[Tensor]] = {}
    for tensor in found:
        parts.setdefault(tensor.part, []).append(tensor)
    return parts


def how_much(some: Sequence[Tensor], whole: Sequence[Tensor]) -> Literal["all", "many", "few"]:
    """Return whether these are all parameters of a part, many or few of them."""
    if len(some) == len(whole):
        return "all"
    share = sum(tensor.size for tensor in some) / sum(tensor.size for tensor in whole)
    return "many" if share >= MANY or len(some) / len(whole) >= MANY_TENSORS else "few"


def named(names: Iterable[str], most: int = 3) -> str:
    """``a, b, c and 4 more``."""
    unique = list(dict.fromkeys(names))
    shown = unique if len(unique) <= most + 1 else unique[:most]
    more = f" and {len(unique) - len(shown)} more" if len(shown) < len(unique) else ""
    return ", ".join(shown) + more


def counted(some: Sequence[Tensor]) -> dict[str, int]:
    """Evidence: how many tensors with how many numbers."""
    return {"tensors": len(some), "parameters": sum(tensor.size for tensor in some)}


def without_shadows(some: Sequence[Tensor], whole: Sequence[Tensor]) -> list[Tensor]:
    """``some`` without biases whose module is otherwise not among them."""
    names = {tensor.name for tensor in some}
    living = {tensor.module for tensor in whole if tensor.name not in names}
    return [tensor for tensor in some if not (tensor.is_bias and tensor.module in living)]


def attention(chart: RunEvidence) -> Iterator[tuple[str, int, dict[str, Mapping[str, Any]]]]:
    """Part, step of the newest look, and what its attending modules did then."""
    newest, parts = chart.newest("attention", ""), part_names(chart)
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for name, facts in newest.values.items() if newest else ():
        if facts["keys"] >= FEWEST_KEYS:
            found.setdefault(component_of(name, parts), {})[name] = facts
    for part, modules in found.items():
        assert newest is not None
        yield part, newest.step, modules
