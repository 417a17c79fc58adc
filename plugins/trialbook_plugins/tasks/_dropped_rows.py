"""Saying what a dataset had to leave out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trialbook.contracts.records import Event

#: What is left out that a message shows at most.
_SHOWN = 5


def dropped_row_events(dataset: Any) -> Iterator[Event]:
    """An event with the number of what ``dataset.left_out`` lists and the first of it; none where nothing is left out."""
    if left_out := list(getattr(dataset, "left_out", ())):
        shown = "; ".join(f"{one.where}: {one.why}" for one in left_out[:_SHOWN])
        counts = {"count": len(left_out), "examples": [list(one) for one in left_out[:_SHOWN]]}
        yield Event(0, "left-out", f"the data set left out: {shown}" + "; …" * (len(left_out) > _SHOWN), counts)
