"""Metric ``redetection``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch

from trialbook import TrialbookError
from trialbook.contracts import CPU, Probed
from trialbook_plugins.metrics._rows import full_precision
from trialbook_plugins.probes.average_precision import average_precision
from trialbook_plugins.probes.boxes import classed, match_boxes, scored_boxes
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
        boxes, classes = self._truths(labels)
        kinds = (found.classes, classes) if self.per_class else (None, None)
        scores = match_boxes(scored_boxes(found.boxes, found.scores), boxes, *kinds)
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
            boxes, classes = self._truths(train["labels"])
            count = 1 + max(int(kind) for one in classes for kind in one)
            mlp = MLPSettings(hidden=self.hidden) if self.hidden else None
            probe = TokenBoxProbe(count, self.objects, mlp, device=self._device)
            probe.fit(self._pixels(train["targets"]), boxes, classes if self.per_class else None)
            self._learned = train, probe
        return self._learned[1]

    def _truths(self, labels: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
        """Boxes of each picture and their classes; all alike without ``per_class``, else those that have a class."""
        boxes = list(labels["boxes"])
        if not self.per_class:
            return boxes, [np.zeros(len(one), dtype=np.int64) for one in boxes]
        known = classed(Probed(None, {"boxes": boxes, "classes": list(labels["classes"])}, None)).labels
        return list(known["boxes"]), list(known["classes"])

    def _pixels(self, pictures: Rows) -> MadeRows:
        """The pixels under each cell, of the frame in the middle."""
        n, frames, *shape = pictures.shape

        def middle(i: int) -> torch.Tensor:
            return read_part(pictures, slice(i, i + 1))[0, frames // 2]

        return pixel_features(MadeRows((n, *shape), middle), self.cells, self.cells)
