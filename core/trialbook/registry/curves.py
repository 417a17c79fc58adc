"""Values over steps, from the lines of a run's files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def read_curves(lines: Iterable[Mapping[str, Any]]) -> dict[str, tuple[list[int], list[float]]]:
    """Name to steps and values, of the lines of ``metrics.jsonl`` or ``timing.jsonl``.

    Of a step that was recorded twice the later value is taken; null is NaN.
    """
    found: dict[str, dict[int, float]] = {}
    for line in lines:
        for name, value in line["values"].items():
            found.setdefault(name, {})[line["step"]] = float("nan") if value is None else value
    return {name: (list(points), list(points.values())) for name, points in found.items()}
