"""The comparison of a recorded run with its repetitions: whether it is as near to them as they are to one another.

On a GPU sums may be taken in another order each time, so a run and its repetition differ in the last bits of some step, and
by more with every step after it. What two repetitions differ by is that noise, measured; a recorded run is *within* it if
nowhere is it further from what the repetitions gave than ``FACTOR`` times the noise there:

- Differences are shares of the larger of two values. That of the run is to the nearest repetition, and none between them.
- The noise of a record is the largest difference between repetitions in any of its values, in records of its kind so far
  (noise grows along the steps) and in records of training up to the next one (so that no record is without noise by chance).
- The noise of a tensor is its largest difference between repetitions; at least that of the median tensor.
- The learning rate has no noise, and a difference up to the tolerance is none.

Noise is not always small and smooth: one sample more on the other side of a threshold, and metrics jump in one repetition of
four. So two repetitions leave a run outside that is like them in one case of four, and four in one of ten; a run that is
outside is therefore repeated up to ``MOST`` times. ``tests/core/test_noise.py`` simulates how often that errs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, zip_longest
from pathlib import Path
from statistics import median
from typing import Any

from trialbook.replay.record_diff import Gap, read_whole_lines, relative

#: How many times the noise a run may be away.
FACTOR = 8.0
#: From so many times what is allowed on, more repetitions would hardly change anything.
_SETTLED = 100.0
#: Repetitions at most where noise is to be expected.
MOST = 4
#: Values that no noise reaches.
_EXACT = ("lr",)

Values = Mapping[str, float]


@dataclass(frozen=True)
class Excess:
    """A value, or a tensor, of the run that is further from the repetitions than their noise allows.

    Args:
        name: metric or tensor.
        step: optimiser step.
        difference: to the nearest repetition.
        noise: of the repetitions there.
        times: the difference in units of what is allowed.
        recorded: the run's value; None for a tensor, and where there is none.
        repeated: what the repetitions have.
    """

    name: str
    step: int
    difference: float
    noise: float
    times: float
    recorded: float | None = None
    repeated: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Noise:
    """The noise between the repetitions of a run, and whether the run differs by more.

    Args:
        repetitions: how many there are.
        parted: the first value in which two repetitions are not the same in every bit, as that of the first and of the other.
        growth: the step and noise of the first, the middle and the last record.
        beyond: the first value of the run that is beyond the noise, else its farthest tensor.
        tensors: how many were compared too.
        settled: more repetitions would change nothing: the run is far beyond the noise, or there is none.
    """

    repetitions: int
    parted: Gap | None
    growth: tuple[tuple[int, float], ...]
    beyond: Excess | None
    tensors: int = 0
    settled: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        return {
            "repetitions": self.repetitions, "factor": FACTOR, "parted": self.parted.as_dict() if self.parted else None,
            "growth": [list(one) for one in self.growth], "beyond": asdict(self.beyond) if self.beyond else None,
        }  # fmt: skip


@dataclass(frozen=True)
class TensorGaps:
    """The distances between the weights of one step, by tensor.

    Args:
        step: of the checkpoints.
        recorded: one mapping a repetition: the run's difference to it.
        repeated: one mapping a pair of repetitions.
    """

    step: int
    recorded: Sequence[Values]
    repeated: Sequence[Values]


def measure_noise(
    recorded: Path, repeated: Sequence[Path], *, tolerance: float, whole: bool, tensors: TensorGaps | None = None
) -> Noise:
    """Hold a run's records and weights against its repetitions'.

    Args:
        recorded: ``metrics.jsonl`` of the run.
        repeated: those of its repetitions, at least two.
        tolerance: largest difference that counts as none.
        whole: the run reached its end; otherwise its records are compared as far as they go.
        tensors: differences of the last weights, where there are any.
    """
    spreads, parted = _spreads(recorded, repeated, whole)
    levels = _levels(spreads)
    found: list[Excess] = []
    for (own, others), (step, _, _), level in zip(_rows(recorded, repeated, whole), spreads, levels, strict=True):
        found += _excesses(own, others, step, level, tolerance)
    found += _tensor_excesses(tensors, tolerance) if tensors else []
    steps = [(step, level) for (step, _, _), level in zip(spreads, levels, strict=True)]
    growth = tuple(steps[i] for i in sorted({0, len(steps) // 2, len(steps) - 1})) if steps else ()
    settled = parted is None or any(one.times >= _SETTLED for one in found)
    compared = len(tensors.recorded[0]) if tensors else 0
    return Noise(len(repeated), parted, growth, found[0] if found else None, compared, settled)


def _rows(recorded: Path, repeated: Sequence[Path], whole: bool) -> Iterator[tuple[Any, list[Any]]]:
    """Records side by side; None where one has none any more."""
    for line, *others in zip_longest(*(read_whole_lines(file) for file in (recorded, *repeated))):
        if line is None and not whole:
            return
        yield None if line is None else json.loads(line), [None if one is None else json.loads(one) for one in others]


def _spreads(
    recorded: Path, repeated: Sequence[Path], whole: bool
) -> tuple[list[tuple[int, frozenset[str], float]], Gap | None]:
    """Step, names and largest difference between repetitions of every record; the first value in which they part."""
    found, parted = [], None
    for own, others in _rows(recorded, repeated, whole):
        known = next(one for one in (*others, own) if one is not None)
        names, largest = frozenset(known["values"]), 0.0
        for name in known["values"]:
            values = [_value(one, known["step"], name) for one in others]
            largest = max(largest, *(_apart(*pair) for pair in combinations(values, 2)))
            other = next((value for value in values if repr(value) != repr(values[0])), values[0])
            if parted is None and repr(other) != repr(values[0]):
                parted = Gap(name, known["step"], values[0], other)
        found.append((known["step"], names, largest))
    return found, parted


def _levels(spreads: Sequence[tuple[int, frozenset[str], float]]) -> list[float]:
    """The noise of every record: the largest of its kind so far, and of training up to the next record of it."""
    training = [spread for _, names, spread in spreads if "lr" in names]
    of_kind: dict[frozenset[str], float] = {}
    levels, passed = [], 0
    for _, names, spread in spreads:
        of_kind[names] = max(of_kind.get(names, 0.0), spread)
        passed += "lr" in names
        levels.append(max([of_kind[names], *training[: passed + 1]]))
    return levels


def _excesses(own: Any, others: Sequence[Any], step: int, level: float, tolerance: float) -> Iterator[Excess]:
    """The values of a record that are further away than its noise allows."""
    names = dict.fromkeys(name for one in (own, *others) if one is not None for name in one["values"])
    for name in names:
        value, repeated = _value(own, step, name), [_value(one, step, name) for one in others]
        difference, noise = _distance(value, repeated), 0.0 if name in _EXACT else level
        if (allowed := max(tolerance, FACTOR * noise)) < difference:
            times = difference / allowed if allowed else math.inf
            yield Excess(name, step, difference, noise, times, value, tuple(repeated))


def _tensor_excesses(tensors: TensorGaps, tolerance: float) -> list[Excess]:
    """The tensors that are further away than their noise allows, the farthest first."""
    names = dict.fromkeys(name for pair in (*tensors.recorded, *tensors.repeated) for name in pair)
    noise = {name: max(pair.get(name, 0.0) for pair in tensors.repeated) for name in names}
    usual = median(noise.values())
    found = []
    for name, own in noise.items():
        difference, level = min(one.get(name, 0.0) for one in tensors.recorded), max(own, usual)
        if (allowed := max(tolerance, FACTOR * level)) < difference:
            found.append(Excess(name, tensors.step, difference, level, difference / allowed if allowed else math.inf))
    return sorted(found, key=lambda one: -one.times)


def _distance(value: float | None, repeated: Sequence[float | None]) -> float:
    """From a value to the nearest repetition; none where it lies between two."""
    finite = [one for one in repeated if one is not None and math.isfinite(one)]
    if value is not None and finite and min(finite) <= value <= max(finite):
        return 0.0
    return min(_apart(value, one) for one in repeated)


def _apart(one: float | None, other: float | None) -> float:
    """Their difference; none where neither is there."""
    return 0.0 if one is None and other is None else relative(one, other)


def _value(record: Any, step: int, name: str) -> float | None:
    """A value of a record, if it has it and is of this step."""
    found: float | None = record["values"].get(name) if record is not None and record["step"] == step else None
    return found
