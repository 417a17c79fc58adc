"""Metric ``redetection``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch

from trialbook import TrialbookError
from trialbook.contracts import CPU
from trialbook_plugins.metrics._rows import full_precision
from trialbook_plugins.probes.average_precision import average_precision
from trialbook_plugins.probes.boxes import match_boxes
from trialbook_plugins.probes.references import pixel_features
from trialbook_plugins.probes.resampling import share_interval
from trialbook_plugins.probes.rows import MadeRows, Rows, read_part
from trialbook_plugins.probes.spatial import MLPSettings, TokenBoxProbe


class Redetection:
    """The objects that a detector trained on true pictures finds in those that were made: mAP@0.5, and mean IoU.

    The detector reads the pixels under each cell of a grid. What it finds in true pictures of the same split is its
    ceiling: look at it
    before the metric. In a clip the frame in the middle counts.

    Args:
        device: where the detector learns and looks.
        objects: boxes that are looked for in each picture (of each class, with ``per_class``).
        cells: rows and columns of the grid.
        per_class: find each class by itself.
        hidden: units of the detector's hidden layer; 0 for a linear one.

    Raises:
        TrialbookError: an option is out of its range, or the data have no boxes.

    Source: average precision as COCO takes it (Lin et al. 2014); the detector is the probe ``token-boxes``.
    """

    needs: ClassVar[tuple[str, ...]] = ("pictures", "labels", "train")
    produces: ClassVar[tuple[str, ...]] = ("map@0.5", "map@0.5/low", "map@0.5/high", "iou", "iou/low", "iou/high")

    def __init__(
        self,
        device: torch.device = CPU,
        /,
        *,
        objects: int = 1,
        cells: int = 16,
        per_class: bool = False,
        hidden: int = 32,
    ) -> None:
        if objects < 1 or cells < 2 or hidden < 0:
            raise TrialbookError(
                f"objects ({objects}) must be at least 1, cells ({cells}) at least 2, hidden ({hidden}) not below 0"
            )
        self.objects, self.cells, self.per_class, self.hidden = objects, cells, per_class, hidden
        self._device = device
        self._learned: tuple[Any, TokenBoxProbe] | None = None

    def compute(self, *, pictures: Rows, labels: Mapping[str, Any], train: Mapping[str, Any]) -> dict[str, float]:
        """Metrics of pictures uint8 [n, T, 3, H, W]; ``train`` has ``targets`` and ``labels`` of the train split."""
        with full_precision(self._device):
            found = self._detector(train).predict(self._pixels(pictures))
        boxes, classes = list(labels["boxes"]), self._classes(labels)
        kinds = (found.classes, classes) if self.per_class else (None, None)
        scores = match_boxes(found.boxes, boxes, *kinds)
        ours = found.classes if self.per_class else [np.zeros(len(one), int) for one in found.boxes]
        precision = average_precision(
            found.boxes, found.scores, ours, boxes, classes, thresholds=(0.5,), replicates=1000
        )
        figures = {"map@0.5": precision.interval(), "iou": share_interval(scores.iou, scores.picture)}
        return {
            f"{name}{end}": value
            for name, one in figures.items()
            for end, value in (("", one.value), ("/low", one.low), ("/high", one.high))
        }

    def _detector(self, train: Mapping[str, Any]) -> TokenBoxProbe:
        """The detector, learned once for the same training pictures."""
        if self._learned is None or self._learned[0] is not train:
            classes = self._classes(train["labels"])
            count = 1 + max(int(kind) for one in classes for kind in one)
            mlp = MLPSettings(hidden=self.hidden) if self.hidden else None
            probe = TokenBoxProbe(count, self.objects, mlp, device=self._device)
            probe.fit(
                self._pixels(train["targets"]), list(train["labels"]["boxes"]), classes if self.per_class else None
            )
            self._learned = train, probe
        return self._learned[1]

    def _classes(self, labels: Mapping[str, Any]) -> list[Any]:
        """Classes of each picture's boxes; all alike without ``per_class``."""
        if self.per_class:
            return list(labels["classes"])
        return [np.zeros(len(one), dtype=np.int64) for one in labels["boxes"]]

    def _pixels(self, pictures: Rows) -> MadeRows:
        """The pixels under each cell, of the frame in the middle."""
        n, frames, *shape = pictures.shape

        def middle(i: int) -> torch.Tensor:
            return read_part(pictures, slice(i, i + 1))[0, frames // 2]

        return pixel_features(MadeRows((n, *shape), middle), self.cells, self.cells)
