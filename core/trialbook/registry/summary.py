"""The summary of a metric's whole course: where it began and ended, its extremes, and how many values there were."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(slots=True)
class Summary:
    """One metric of one run. Values that are not finite count, and can be first or last, but are no extremes.

    Args:
        first, last: values at ``first_step`` and ``last_step``; None stands for NaN.
        min, max: extremes of the finite values, first reached at ``min_step`` and ``max_step``; None without any.
        count: values, ``not_finite`` of them NaN or infinite.
    """

    first: float | None
    last: float | None
    min: float | None
    max: float | None
    min_step: int | None
    max_step: int | None
    first_step: int
    last_step: int
    count: int
    not_finite: int

    @classmethod
    def empty(cls, step: int, value: float) -> Summary:
        """A summary that begins with ``value`` and has seen nothing yet; ``add`` it next."""
        return cls(None if value != value else value, None, None, None, None, None, step, step, 0, 0)

    def add(self, step: int, value: float) -> None:
        """Take in the next value."""
        self.count += 1
        self.last_step = step
        if not math.isfinite(value):
            self.last = None if value != value else value
            self.not_finite += 1
            return
        self.last = value
        if self.min is None or value < self.min:
            self.min, self.min_step = value, step
        if self.max is None or value > self.max:
            self.max, self.max_step = value, step

    def row(self) -> tuple[Any, ...]:
        """The values in the order of the registry's columns."""
        return (
            self.first, self.last, self.min, self.max, self.min_step, self.max_step,
            self.first_step, self.last_step, self.count, self.not_finite,
        )  # fmt: skip

    def as_dict(self) -> dict[str, float | int | None]:
        """The values by name."""
        return asdict(self)


def add_all(summaries: dict[str, Summary], step: int, values: Mapping[str, float]) -> None:
    """Take in the values of one record."""
    for name, value in values.items():
        summary = summaries.get(name)
        if summary is None:
            summary = summaries[name] = Summary.empty(step, value)
        summary.add(step, value)


def summarise(lines: Iterable[Mapping[str, Any]]) -> dict[str, Summary]:
    """Summaries by metric of the lines of ``metrics.jsonl`` or ``timing.jsonl``, in order of appearance."""
    summaries: dict[str, Summary] = {}
    for line in lines:
        add_all(summaries, line["step"], line["values"])
    return summaries
