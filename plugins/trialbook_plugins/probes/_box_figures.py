"""Metrics of boxes that were found, with intervals over pictures, and why a probe cannot find them all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trialbook_plugins.probes.average_precision import THRESHOLDS, average_precision
from trialbook_plugins.probes.boxes import BoxLists, as_boxes, match_boxes, scored_boxes
from trialbook_plugins.probes.resampling import Interval, share_interval
from trialbook_plugins.probes.spatial import FoundBoxes

#: Names of the metrics that box probes give.
BOX_FIGURES = ("iou", "iou/low", "iou/high", "recall@0.5", "precision@0.5", "map@0.5", "map@0.5/low", "map@0.5/high")
#: Sets of pictures that are drawn for the interval of average precision.
_REPLICATES = 1000
_CELLS = 2  # least cells across an object for its box to be read exactly


def box_figures(
    found: FoundBoxes,
    true: BoxLists,
    true_classes: Sequence[Any] | None = None,
    seed: int = 0,
    *,
    sure: FoundBoxes | None = None,
    strict: bool = False,
) -> dict[str, float]:
    """Mean IoU of the true boxes, each with the box that is matched to it (0 where none is);
    the share of true boxes found with an IoU of at least a half, the share of boxes found that are such, and COCO's average
    precision at that IoU, by the boxes' scores. IoU and precision have their 95% interval over pictures.

    Args:
        found: by the probe.
        true: boxes of every picture.
        true_classes: class of every true box, where only boxes of one class may match.
        seed: of the intervals' draws.
        sure: those of ``found`` that count for IoU, recall and precision; all if left out.
        strict: give ``map`` too: average precision over IoUs from 0.5 to 0.95.
    """
    told = found if sure is None else sure
    scores = match_boxes(
        scored_boxes(told.boxes, told.scores),
        true,
        *((None, None) if true_classes is None else (told.classes, true_classes)),
    )
    alike = [[0] * len(boxes) for boxes in found.boxes], [[0] * len(boxes) for boxes in true]
    guessed, truths = alike if true_classes is None else (found.classes, true_classes)
    precision = average_precision(
        found.boxes, found.scores, guessed, true, truths,
        thresholds=THRESHOLDS if strict else THRESHOLDS[:1], replicates=_REPLICATES, seed=seed,
    )  # fmt: skip
    return {
        **_named("iou", share_interval(scores.iou, scores.picture, seed=seed)),
        "recall@0.5": scores.recall(), "precision@0.5": scores.precision(),
        **_named("map@0.5", precision.interval(0.5)),
        **(_named("map", precision.interval()) if strict else {}),
    }  # fmt: skip


def box_limits(
    true: BoxLists, rows: int, columns: int, most: int | None = None, true_classes: Sequence[Any] | None = None
) -> str:
    """Explain why boxes cannot all be read from maps of a grid, in words; empty where nothing is in the way.

    Args:
        true: boxes of every picture.
        rows: rows of the grid.
        columns: columns of the grid.
        most: boxes that are looked for in a map.
        true_classes: class of every true box, where each class has a map of its own.
    """
    narrow = joined = beyond = 0
    for i, boxes in enumerate(true):
        corners = as_boxes(boxes).numpy()
        cells = corners * (columns, rows, columns, rows)
        narrow += int(((cells[:, 2:] - cells[:, :2]).min(1, initial=_CELLS) < _CELLS).sum())
        kinds = np.zeros(len(cells)) if true_classes is None else np.asarray(true_classes[i])
        together = (kinds[:, None] == kinds) & ~np.eye(len(cells), dtype=bool)
        apart = np.maximum(cells[:, None, :2] - cells[:, 2:], cells[:, :2] - cells[:, None, 2:]).max(
            -1, initial=-np.inf
        )
        joined += int((together & (apart < 1)).any(1).sum())
        if most is not None:
            beyond += sum(max(0, int(count) - most) for count in np.unique(kinds, return_counts=True)[1])
    total = sum(len(boxes) for boxes in true)
    reasons = {
        f"are less than {_CELLS} cells wide or high": narrow,
        "are less than a cell apart from another in their map": joined,
        f"are more than the {most} that are looked for": beyond,
    }
    told = [f"{count / total:.0%} {what}" for what, count in reasons.items() if count]
    return f"of {total} boxes " + ", ".join(told) if told else ""


def _named(name: str, one: Interval) -> dict[str, float]:
    return {name: one.value, f"{name}/low": one.low, f"{name}/high": one.high}
