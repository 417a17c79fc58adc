"""Metric ``grounding``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from trialbook.errors import TrialbookError
from trialbook.predictions import Prediction
from trialbook_plugins.metrics._pictures import with_interval
from trialbook_plugins.probes.boxes import iou
from trialbook_plugins.vlms.box_text import FAMILIES, Family


class Grounding:
    """How well boxes that a language model wrote cover the true ones: mean IoU, share of at least a threshold, and what
    was no box.

    The first box of an answer counts, read as its family writes boxes; an answer without one has IoU 0. The truth is the accepted
    answer, in the same words, so that it is no finer than these can say.

    Args:
        family: whose way of writing boxes it is; that of the dataset.
        threshold: IoU from which a box is right.
        sources: sets whose questions count, by name; all if left out.

    Raises:
        TrialbookError: an option is out of its range, no question counts, or an accepted answer is no box.

    Source: accuracy at IoU 0.5 as for referring expressions (Yu et al. 2016, RefCOCO).
    """

    needs: ClassVar[tuple[str, ...]] = ("predictions",)
    produces: ClassVar[tuple[str, ...]] = ("iou", "iou/low", "iou/high", "accuracy@{threshold}", "unparsable")
    lower_is_better: ClassVar[tuple[str, ...]] = ("unparsable",)

    def __init__(self, *, family: Family, threshold: float = 0.5, sources: list[str] | None = None) -> None:
        if not 0 < threshold <= 1:
            raise TrialbookError(f"threshold ({threshold}) must be above 0 and at most 1")
        self.family, self.threshold, self.sources = family, threshold, sources

    def compute(self, *, predictions: Sequence[Prediction]) -> dict[str, float]:
        """Figures of a split."""
        counted = [
            one for one in predictions if one.answerable and (self.sources is None or one.source in self.sources)
        ]
        if not counted:
            raise TrialbookError("metric 'grounding' finds no question that it could score")
        read = FAMILIES[self.family].read
        overlaps = np.zeros(len(counted))
        unparsable = 0
        for place, one in enumerate(counted):
            truth = read(one.answers[0]) if one.answers else None
            if truth is None:
                raise TrialbookError(
                    f"the accepted answer of '{one.id}' is no box as '{self.family}' writes it: set 'family' as the data"
                )
            found = read(one.prediction)
            unparsable += found is None
            if found is not None:
                overlaps[place] = iou(*(torch.tensor(box, dtype=torch.float64) for box in (found, truth))).item()
        right = float((overlaps >= self.threshold).mean())
        return {
            **with_interval("iou", overlaps), f"accuracy@{self.threshold:g}": right, "unparsable": unparsable / len(counted),
        }  # fmt: skip
