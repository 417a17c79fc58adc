"""Figures of boxes that were found, with intervals over pictures."""

from __future__ import annotations

from trialbook_plugins.probes.average_precision import average_precision
from trialbook_plugins.probes.boxes import BoxLists, match_boxes
from trialbook_plugins.probes.resampling import bootstrap_interval
from trialbook_plugins.probes.spatial import FoundBoxes

#: Names of the figures that box probes give.
BOX_FIGURES = ("iou", "iou/low", "iou/high", "recall@0.5", "precision@0.5", "map@0.5")


def box_figures(found: FoundBoxes, true: BoxLists, true_classes: object = None, seed: int = 0) -> dict[str, float]:
    """Mean IoU of the true boxes, each with the box that is matched to it (0 where none is), with its 95% interval over pictures;
    the share of true boxes found with an IoU of at least a half, the share of boxes found that are such, and COCO's average
    precision at that IoU, by the boxes' scores.

    Args:
        found: by the probe.
        true: boxes of every picture.
        true_classes: class of every true box, where only boxes of one class may match.
        seed: of the interval's draws.
    """
    kinds = (None, None) if true_classes is None else (found.classes, true_classes)
    scores = match_boxes(found.boxes, true, *kinds)  # type: ignore[arg-type]
    one = [[0] * len(boxes) for boxes in found.boxes], [[0] * len(boxes) for boxes in true]
    guessed, truths = one if true_classes is None else (found.classes, true_classes)
    precision = average_precision(found.boxes, found.scores, guessed, true, truths, thresholds=[0.5])  # type: ignore[arg-type]
    interval = bootstrap_interval(scores.iou, scores.picture, seed=seed)
    return {
        "iou": interval.value, "iou/low": interval.low, "iou/high": interval.high,
        "recall@0.5": scores.recall(), "precision@0.5": scores.precision(), "map@0.5": precision.mean,
    }  # fmt: skip
