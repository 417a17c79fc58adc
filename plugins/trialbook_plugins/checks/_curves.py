"""Reading a curve: its end, its beginning, whether it still falls."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median

Points = Sequence[tuple[int, float]]

#: Share of a curve's points that make its end, and how many at least (but never more than half of them).
END_SHARE = 0.2
END_POINTS = 3


def finite(points: Iterable[tuple[int, float | None]]) -> list[tuple[int, float]]:
    """The points that are numbers."""
    return [(step, value) for step, value in points if value is not None and math.isfinite(value)]


def end_of(points: Points) -> float:
    """Median of the last fifth of a curve's values.

    Raises:
        ValueError: it has no points.
    """
    return _median(points[-_window(points) :])


def before_end(points: Points) -> float | None:
    """Median of as many values before these; None where there are too few."""
    size = _window(points)
    return _median(points[-2 * size : -size]) if len(points) >= 2 * size + 1 else None


def still_falls(points: Points, by: float) -> bool:
    """Return whether the last fifth lies lower than the fifth before it by more than ``by``."""
    earlier = before_end(points)
    return earlier is not None and earlier - end_of(points) > by


def lowest_window(points: Points) -> float:
    """Lowest median of as many neighbouring values as make the end."""
    size = _window(points)
    return min(_median(points[at : at + size]) for at in range(len(points) - size + 1))


def _window(points: Points) -> int:
    if not points:
        raise ValueError("a curve without points has no end")
    return max(1, min(max(END_POINTS, math.ceil(END_SHARE * len(points))), len(points) // 2))


def _median(points: Points) -> float:
    return median(value for _, value in points)
