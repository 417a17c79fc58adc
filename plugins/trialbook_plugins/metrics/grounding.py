"""Metric ``grounding``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from trialbook import TrialbookError
from trialbook.contracts.predictions import Prediction
from trialbook_plugins.probes.boxes import iou
from trialbook_plugins.probes.resampling import share_interval
from trialbook_plugins.vlms.box_text import FAMILIES, Box, Family


class Grounding:
    """The overlap of boxes that a language model wrote with the true ones: mean IoU, share of at least a threshold, and what
    was no box.

    The first box of an answer counts, read as its family writes boxes; an answer without one has IoU 0. The truth is the accepted
    answer, in the same words, so that it is no finer than these can say. Beside it stands what needs no look at the pictures: the
    mean of the true boxes as the answer to every question (``mean-box/…``). ``mistaken`` are answers that are right for another
    question about the same picture: a model that finds objects but does not heed what is asked for has as many of these as right
    ones there. Intervals are over pictures.

    Args:
        family: whose way of writing boxes it is; that of the dataset.
        threshold: IoU from which a box is right.
        sources: sets whose questions count, by name; all if left out.

    Raises:
        TrialbookError: an option is out of its range, no question counts, or an accepted answer is no box.

    Source: accuracy at IoU 0.5 as for referring expressions (Yu et al. 2016, RefCOCO).
    """

    needs: ClassVar[tuple[str, ...]] = ("predictions",)
    produces: ClassVar[tuple[str, ...]] = (
        *(f"{name}{end}" for name in ("iou", "accuracy@{threshold}", "mistaken", "unparsable") for end in ("", "/low", "/high")),
        "mean-box/iou", "mean-box/accuracy@{threshold}",
    )  # fmt: skip
    lower_is_better: ClassVar[tuple[str, ...]] = ("mistaken", "unparsable")

    def __init__(self, *, family: Family, threshold: float = 0.5, sources: list[str] | None = None) -> None:
        if not 0 < threshold <= 1:
            raise TrialbookError(f"threshold ({threshold}) must be above 0 and at most 1")
        self.family, self.threshold, self.sources = family, threshold, sources

    def compute(self, *, predictions: Sequence[Prediction]) -> dict[str, float]:
        """Metrics of a split."""
        counted = [
            one for one in predictions if one.answerable and (self.sources is None or one.source in self.sources)
        ]
        if not counted:
            raise TrialbookError("metric 'grounding' finds no question that it could score")
        truths = [self._truth(one) for one in counted]
        found = [FAMILIES[self.family].read(one.prediction) for one in counted]
        overlaps, guesses = _overlaps(found, truths), _overlaps([_mean(truths)] * len(truths), truths)
        pictures = [" ".join(one.images) or str(place) for place, one in enumerate(counted)]
        elsewhere = self._elsewhere(found, truths, pictures)
        right = f"accuracy@{self.threshold:g}"
        each = {
            "iou": overlaps,
            right: (overlaps >= self.threshold).astype(float),
            "mistaken": ((elsewhere >= self.threshold) & (overlaps < self.threshold)).astype(float),
            "unparsable": np.array([float(box is None) for box in found]),
        }
        figures = {
            "mean-box/iou": float(guesses.mean()),
            f"mean-box/{right}": float((guesses >= self.threshold).mean()),
        }
        for name, values in each.items():
            interval = share_interval(values, pictures)
            figures |= {name: interval.value, f"{name}/low": interval.low, f"{name}/high": interval.high}
        return figures

    @staticmethod
    def _elsewhere(found: Sequence[Box | None], truths: Sequence[Box], pictures: Sequence[str]) -> NDArray[np.float64]:
        """The largest IoU of every answer with a true box of another question about its picture."""
        asked: dict[str, list[int]] = {}
        for place, picture in enumerate(pictures):
            asked.setdefault(picture, []).append(place)
        largest = np.zeros(len(found))
        for places in asked.values():
            for place in places:
                others = [truths[one] for one in places if truths[one] != truths[place]]
                largest[place] = max(_overlaps([found[place]] * len(others), others), default=0.0)
        return largest

    def _truth(self, asked: Prediction) -> Box:
        truth = FAMILIES[self.family].read(asked.answers[0]) if asked.answers else None
        if truth is None:
            raise TrialbookError(
                f"the accepted answer of '{asked.id}' is no box as '{self.family}' writes it: set 'family' as the data"
            )
        return truth


def _overlaps(found: Sequence[Box | None], truths: Sequence[Box]) -> NDArray[np.float64]:
    """IoU of every answer with the truth; 0 where it is no box."""
    nothing = (0.0, 0.0, 0.0, 0.0)
    guesses = torch.tensor([box or nothing for box in found], dtype=torch.float64).reshape(-1, 4)
    return np.asarray(iou(guesses, torch.tensor(truths, dtype=torch.float64).reshape(-1, 4)).numpy(), dtype=np.float64)


def _mean(boxes: Sequence[Box]) -> Box:
    x0, y0, x1, y1 = np.mean(boxes, axis=0).tolist()
    return x0, y0, x1, y1
