"""Metric ``direction``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from trialbook import TrialbookError
from trialbook_plugins.metrics._pictures import floats, with_interval
from trialbook_plugins.probes.pictures import direction_accuracy, directions
from trialbook_plugins.probes.rows import Rows, chunks

_CHUNK = 8  # clips that are read at once


class Direction:
    """Share of clips whose foreground moves where it should: right, left, down or up, by the larger part of its way.

    Nothing that moves is wrong. The truth is the annotation ``direction`` of the data, indices in this order.

    Args:
        threshold: distance of a channel from the background, in shares of its range, that makes a pixel foreground.

    Raises:
        TrialbookError: the threshold is out of its range, or there are no clips.

    Source: sign of the displacement along the dominant axis; no paper fixes it.
    """

    needs: ClassVar[tuple[str, ...]] = ("pictures", "labels")
    produces: ClassVar[tuple[str, ...]] = ("accuracy", "accuracy/low", "accuracy/high")

    def __init__(self, *, threshold: float = 0.2) -> None:
        if not 0 < threshold < 1:
            raise TrialbookError(f"threshold ({threshold}) must be above 0 and below 1")
        self.threshold = threshold

    def compute(self, *, pictures: Rows, labels: Mapping[str, Any]) -> dict[str, float]:
        """Accuracy of clips uint8 [n, T, 3, H, W]."""
        if pictures.shape[1] < 2:
            raise TrialbookError("metric 'direction' needs clips, not images")
        found = [directions(floats(pictures, part), self.threshold) for part in chunks(len(pictures), _CHUNK)]
        true = np.asarray([int(one) for one in labels["direction"]])
        return with_interval("accuracy", direction_accuracy(np.concatenate(found), true), share=True)
