"""Average precision of detections, as COCO takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trialbook_plugins.probes.precision_recall import Floats, Matches, precision_of
from trialbook_plugins.probes.resampling import Interval, centred_interval, drawn_counts, within_shares

#: IoU thresholds of COCO's AP: 0.5 to 0.95.
THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())


@dataclass(frozen=True)
class AveragePrecision:
    """AP over thresholds and classes.

    Args:
        precision: AP of every threshold and class [T, K]; NaN for a class without true boxes.
        thresholds: IoU thresholds [T].
        drawn: the same of sets of pictures drawn with replacement [R, T, K]; none where none were asked for.
        pictures: how many there are.
    """

    precision: Floats
    thresholds: tuple[float, ...]
    drawn: Floats
    pictures: int

    @property
    def mean(self) -> float:
        """Over all thresholds and classes: COCO's AP where these are its thresholds; NaN without any true box."""
        return float(_mean(self.precision))

    def at(self, threshold: float) -> float:
        """Over classes at one threshold, e.g. mAP@0.5."""
        return float(_mean(self.precision[self._row(threshold)]))

    def interval(self, threshold: float | None = None, level: float = 0.95) -> Interval:
        """``mean``, or ``at`` a threshold, with its interval over pictures: what other sets of as many pictures would give.

        AP of few pictures is higher than that of many, and so is that of sets drawn from them: how they spread about their mean
        is put around the metric, within 0 and 1. Where all pictures are right, or none is, nothing spreads: what was never seen
        in n pictures is then taken to happen in up to 3 of n + 3 (the rule of three).
        """
        rows = slice(None) if threshold is None else self._row(threshold)
        found = centred_interval(float(_mean(self.precision[rows])), _mean(self.drawn[:, rows]), level)
        return within_shares(found, self.pictures)

    def _row(self, threshold: float) -> slice:
        row = int(np.argmin(np.abs(np.array(self.thresholds) - threshold)))
        return slice(row, row + 1)


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
    replicates: int = 0,
    seed: int = 0,
) -> AveragePrecision:
    """AP of the detections in every picture: greedy by score, precision envelope, 101 recall points.

    Args:
        boxes: detected boxes of each picture [d, 4], corners.
        scores: their scores [d]; a detection whose score is NaN is wrong.
        classes: their classes [d].
        true_boxes: true boxes of each picture [m, 4].
        true_classes: their classes [m].
        crowd: whether a true box is a crowd [m]: detections in it count neither as right nor as wrong.
        thresholds: least IoUs of a match.
        most: detections of a picture and class that count, the best ones.
        replicates: sets of pictures that are drawn with replacement, for an interval.
        seed: of the draws.

    Source: Lin et al. 2014, with the conventions of their evaluation code: a detection takes the free truth of the largest IoU,
    the last one where several are equal; sorting is stable.
    """
    kinds = sorted({int(kind) for of_picture in true_classes for kind in np.asarray(of_picture).tolist()})
    pictures = len(true_boxes)
    counts = np.ones((1, pictures))
    if replicates:
        counts = np.concatenate([counts, drawn_counts(pictures, replicates, seed)])
    matches: dict[int, dict[int, Matches]] = {kind: {} for kind in kinds}
    for i in range(pictures):
        guessed, true = np.asarray(classes[i]), np.asarray(true_classes[i])
        score, crowded = np.asarray(scores[i], dtype=np.float64), np.zeros(len(true), dtype=bool)
        if crowd is not None:
            crowded = np.asarray(crowd[i], dtype=bool)
        ours, theirs = _corners(boxes[i]), _corners(true_boxes[i])
        ours = np.where(np.isnan(score)[:, None], np.nan, ours)  # what cannot be ranked matches nothing
        for kind in matches.keys() & {*guessed.tolist(), *true.tolist()}:
            d, m = guessed == kind, true == kind
            matches[kind][i] = _match(ours[d], score[d], theirs[m], crowded[m], thresholds, most)
    found = np.full((len(counts), len(thresholds), len(kinds)), np.nan)
    for column, kind in enumerate(kinds):
        found[:, :, column] = precision_of(matches[kind], counts)
    return AveragePrecision(found[0], tuple(thresholds), found[1:], pictures)


def _match(
    boxes: Floats, scores: Floats, truths: Floats, crowd: NDArray[np.bool_], thresholds: Sequence[float], most: int
) -> Matches:
    order = np.argsort(-scores, kind="stable")[:most]
    boxes, scores = boxes[order], scores[order]
    matched = np.zeros((len(thresholds), len(boxes)), dtype=bool)
    ignored = np.zeros_like(matched)
    if not len(truths) or not len(boxes):
        return Matches(scores, matched, ignored, int((~crowd).sum()))
    last = np.argsort(crowd, kind="stable")  # crowds come last
    truths, crowd = truths[last], crowd[last]
    overlap = _overlaps(boxes, truths, crowd)
    for row, threshold in enumerate(thresholds):
        taken = np.zeros(len(truths), dtype=bool)
        for place in np.flatnonzero((overlap >= min(threshold, 1 - 1e-10)).any(1)):
            best = _best(overlap[place], taken, crowd, min(threshold, 1 - 1e-10))
            if best is not None:
                matched[row, place], ignored[row, place] = True, crowd[best]
                taken[best] = True
    return Matches(scores, matched, ignored, int((~crowd).sum()))


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


def _corners(boxes: Any) -> Floats:
    return np.asarray(boxes, dtype=np.float64).reshape(-1, 4)


def _mean(values: Floats) -> Any:
    """Mean over thresholds and classes [..., T, K], without the classes that have no true box; NaN where none has."""
    known = ~np.isnan(values)
    count = known.sum((-2, -1))
    return np.divide(np.where(known, values, 0).sum((-2, -1)), count, out=np.full(count.shape, np.nan), where=count > 0)
