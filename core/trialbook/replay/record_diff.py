"""Two runs' records side by side: where they part, and how far."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from trialbook.registry.run_directory import RunDirectory

#: From the best down.
VERDICTS = ("equal", "within tolerance", "within noise", "not equal")


@dataclass(frozen=True)
class Gap:
    """Two values that should be one.

    Args:
        name: metric, or parameter; ``step`` where the two records are not of one step.
        step: optimiser step of the recorded value.
        recorded, repeated: the values; None where one has none.
    """

    name: str
    step: int
    recorded: float | None
    repeated: float | None

    @property
    def difference(self) -> float:
        """Their distance as a share of the larger of the two; infinite where one is missing or not finite."""
        return relative(self.recorded, self.repeated)

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        return {**vars(self), "difference": self.difference}


@dataclass
class RecordMatch:
    """The outcome of a comparison of records.

    Args:
        recorded, repeated: how many records there are of either.
        compared: how many of them stand side by side.
        last_step: of the last of these.
        parted: the first value that is not the same in every bit.
        beyond: the first whose difference is above the tolerance.
        largest: the one with the largest difference.
    """

    recorded: int = 0
    repeated: int = 0
    compared: int = 0
    last_step: int = 0
    parted: Gap | None = None
    beyond: Gap | None = None
    largest: Gap | None = None

    @property
    def verdict(self) -> str:
        """``equal``, ``within tolerance`` or ``not equal``."""
        return "equal" if self.parted is None else "within tolerance" if self.beyond is None else "not equal"

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        gaps = {name: gap.as_dict() if gap else None for name, gap in self._gaps().items()}
        counts = {name: getattr(self, name) for name in ("recorded", "repeated", "compared", "last_step")}
        return {"verdict": self.verdict, **counts, **gaps}

    def _gaps(self) -> dict[str, Gap | None]:
        return {"parted": self.parted, "beyond": self.beyond, "largest": self.largest}

    def take(self, gap: Gap, tolerance: float) -> None:
        """Note a pair of values that are not the same."""
        self.parted = self.parted or gap
        if gap.difference > tolerance:
            self.beyond = self.beyond or gap
        if self.largest is None or gap.difference > self.largest.difference:
            self.largest = gap


def match_records(recorded: Path, repeated: Path, *, tolerance: float, whole: bool) -> RecordMatch:
    """Compare two ``metrics.jsonl``.

    Args:
        recorded: of the run.
        repeated: of its repetition.
        tolerance: largest difference of two values that counts as none, as a share of the larger of the two.
        whole: the run reached its end, so that a record more or less is a difference too; otherwise the run's records
            are compared as far as they go.
    """
    found = RecordMatch()
    aligned = True
    for first, second in zip_longest(read_whole_lines(recorded), read_whole_lines(repeated)):
        found.recorded += first is not None
        found.repeated += second is not None
        if not aligned or (first is None and not whole):
            continue
        if first is None or second is None:
            lone = json.loads(first or second or b"")
            found.take(_lone(lone, first is None), tolerance)
            aligned = False
            continue
        found.compared += 1
        aligned = first == second or _match(json.loads(first), json.loads(second), found, tolerance)
        found.last_step = _step(first)
    return found


def relative(first: float | None, second: float | None) -> float:
    """Distance of two numbers as a share of the larger; 0 for two that are both NaN, infinite where one alone is."""
    if first is None or second is None:
        return math.inf
    if first == second or (math.isnan(first) and math.isnan(second)):
        return 0.0
    if not (math.isfinite(first) and math.isfinite(second)):
        return math.inf
    return abs(first - second) / max(abs(first), abs(second))


def _match(first: Mapping[str, Any], second: Mapping[str, Any], found: RecordMatch, tolerance: float) -> bool:
    """Compare two records; whether those behind them still stand side by side."""
    step = first["step"]
    if step != second["step"]:
        found.take(Gap("step", step, step, None), tolerance)
        return False
    for name in {**first["values"], **second["values"]}:
        one, other = first["values"].get(name), second["values"].get(name)
        if repr(one) != repr(other):  # tells -0.0 from 0.0, and NaN is NaN
            found.take(Gap(name, step, one, other), tolerance)
    return True


def _lone(record: Mapping[str, Any], repeated: bool) -> Gap:
    """A record that only one of the two has."""
    name = next(iter(record["values"]), "step")
    value = record["values"].get(name)
    return Gap(name, record["step"], None if repeated else value, value if repeated else None)


def read_whole_lines(file: Path) -> Iterator[bytes]:
    """Whole lines of a run's file of records, under the names of now."""
    mapping = RunDirectory(file.parent).mapping()
    with file.open("rb") as stream:
        for line in stream:
            if line.endswith(b"\n"):
                yield line if mapping is None else json.dumps(mapping.line(json.loads(line))).encode()


def _step(line: bytes) -> int:
    return int(json.loads(line)["step"])
