"""Average precision of detections, as COCO takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: IoU thresholds of COCO's AP: 0.5 to 0.95.
THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())
_RECALLS = np.linspace(0.0, 1.0, 101)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class AveragePrecision:
    """AP over thresholds and classes.

    Args:
        precision: AP of every threshold and class [T, K]; NaN for a class without true boxes.
        thresholds: IoU thresholds [T].
    """

    precision: Floats
    thresholds: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over all thresholds and classes: COCO's AP where these are its thresholds; NaN without any true box."""
        return _mean(self.precision)

    def at(self, threshold: float) -> float:
        """Over classes at one threshold, e.g. mAP@0.5."""
        return _mean(self.precision[int(np.argmin(np.abs(np.array(self.thresholds) - threshold)))])


@dataclass(frozen=True)
class _Matches:
    """Detections of one class in one picture, best first: scores [d], matched and ignored [T, d]; and how many truths count."""

    scores: Floats
    matched: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    truths: int


def average_precision(
    boxes: Sequence[Any],
    scores: Sequence[Any],
    classes: Sequence[Any],
    true_boxes: Sequence[Any],
    true_classes: Sequence[Any],
    crowd: Sequence[Any] | None = None,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    most: int = 100,
) -> AveragePrecision:
    """AP of the detections in every picture: greedy by score, precision envelope, 101 recall points.

    Args:
        boxes: detected boxes of each picture [d, 4], corners.
        scores: their scores [d].
        classes: their classes [d].
        true_boxes: true boxes of each picture [m, 4].
        true_classes: their classes [m].
        crowd: whether a true box is a crowd [m]: detections in it count neither as right nor as wrong.
        thresholds: least IoUs of a match.
        most: detections of a picture and class that count, the best ones.

    Source: Lin et al. 2014, with the conventions of their evaluation code: a detection takes the free truth of the largest IoU,
    the last one where several are equal; sorting is stable.
    """
    kinds = sorted({int(kind) for of_picture in true_classes for kind in np.asarray(of_picture).tolist()})
    found = np.full((len(thresholds), len(kinds)), np.nan)
    for column, kind in enumerate(kinds):
        matches = []
        for i in range(len(boxes)):
            detected, truth = np.asarray(classes[i]) == kind, np.asarray(true_classes[i]) == kind
            if not detected.any() and not truth.any():
                continue
            crowded = np.zeros(len(truth), dtype=bool) if crowd is None else np.asarray(crowd[i], dtype=bool)
            matches.append(_match(
                _corners(boxes[i])[detected], np.asarray(scores[i], dtype=np.float64)[detected],
                _corners(true_boxes[i])[truth], crowded[truth], thresholds, most,
            ))  # fmt: skip
        found[:, column] = _precision(matches, len(thresholds))
    return AveragePrecision(found, tuple(thresholds))


def _match(
    boxes: Floats, scores: Floats, truths: Floats, crowd: NDArray[np.bool_], thresholds: Sequence[float], most: int
) -> _Matches:
    order = np.argsort(-scores, kind="stable")[:most]
    boxes, scores = boxes[order], scores[order]
    last = np.argsort(crowd, kind="stable")  # crowds come last
    truths, crowd = truths[last], crowd[last]
    overlap = _overlaps(boxes, truths, crowd)
    matched = np.zeros((len(thresholds), len(boxes)), dtype=bool)
    ignored = np.zeros_like(matched)
    for row, threshold in enumerate(thresholds):
        taken = np.zeros(len(truths), dtype=bool)
        for place in range(len(boxes)):
            best = _best(overlap[place], taken, crowd, min(threshold, 1 - 1e-10))
            if best is not None:
                matched[row, place], ignored[row, place] = True, crowd[best]
                taken[best] = True
    return _Matches(scores, matched, ignored, int((~crowd).sum()))


def _best(overlap: Floats, taken: NDArray[np.bool_], crowd: NDArray[np.bool_], least: float) -> int | None:
    """The truth that a detection takes: the best free one that counts, else the best crowd, which is never used up."""
    for allowed in (~crowd & ~taken, crowd):
        open_to = allowed & (overlap >= least)
        if open_to.any():
            largest = overlap[open_to].max()
            return int(np.flatnonzero(open_to & (overlap == largest))[-1])
    return None


def _overlaps(boxes: Floats, truths: Floats, crowd: NDArray[np.bool_]) -> Floats:
    """IoU [d, m]; over a crowd the share of the detection that lies in it."""
    low = np.maximum(boxes[:, None, :2], truths[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], truths[None, :, 2:])
    inner = np.clip(high - low, 0, None).prod(-1)
    own, of_truth = (np.clip(b[:, 2:] - b[:, :2], 0, None).prod(-1) for b in (boxes, truths))
    union = np.where(crowd[None, :], own[:, None], own[:, None] + of_truth[None] - inner)
    return np.divide(inner, union, out=np.zeros_like(inner), where=union > 0)


def _precision(matches: Sequence[_Matches], thresholds: int) -> Floats:
    """AP of one class at each threshold [T]; NaN without a truth that counts."""
    truths = sum(one.truths for one in matches)
    if not truths:
        return np.full(thresholds, np.nan)
    scores = np.concatenate([one.scores for one in matches])
    order = np.argsort(-scores, kind="stable")
    matched = np.concatenate([one.matched for one in matches], axis=1)[:, order]
    counted = ~np.concatenate([one.ignored for one in matches], axis=1)[:, order]
    right = np.cumsum(matched & counted, axis=1, dtype=np.float64)
    wrong = np.cumsum(~matched & counted, axis=1, dtype=np.float64)
    found = np.zeros(thresholds)
    for row in range(thresholds):
        recall = right[row] / truths
        precision = right[row] / (right[row] + wrong[row] + np.spacing(1))
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        places = np.searchsorted(recall, _RECALLS, side="left")
        inside = places < len(envelope)
        found[row] = envelope[places[inside]].sum() / len(_RECALLS)
    return found


def _corners(boxes: Any) -> Floats:
    return np.asarray(boxes, dtype=np.float64).reshape(-1, 4)


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
