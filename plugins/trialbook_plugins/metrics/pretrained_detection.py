"""Metric ``pretrained-detection``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from trialbook import TrialbookError
from trialbook.contracts import CPU
from trialbook_plugins.hub import find_checkpoint, import_transformers, quiet, reading
from trialbook_plugins.metrics._rows import full_precision
from trialbook_plugins.probes.average_precision import average_precision
from trialbook_plugins.probes.rows import Rows, chunks, read_part

#: Sets of pictures that are drawn for an interval.
_REPLICATES = 1000


class PretrainedDetection:
    """The objects that a detector from a checkpoint finds in the pictures that were made: mAP@0.5, whatever their class.

    For photos, where a detector that learns from a few thousand pictures gets nowhere (``redetection``). What it finds in true
    pictures of the same split is its ceiling: look at it before the metric. In a clip the frame in the middle counts.

    Args:
        data_root: folder in which a relative ``model`` is looked for, too.
        device: where the detector looks.
        model: a folder, or a name of the hub, of a model for object detection (YOLOS, RT-DETR …); weights are read from
            safetensors only.
        revision: branch, tag or commit of a name of the hub.
        rows: pictures that it looks at at once.

    Raises:
        TrialbookError: the checkpoint cannot be found or read or is of no detector, or the data have no boxes.

    Source: average precision as COCO takes it (Lin et al. 2014), all classes taken for one.
    """

    needs: ClassVar[tuple[str, ...]] = ("pictures", "labels")
    produces: ClassVar[tuple[str, ...]] = ("map@0.5", "map@0.5/low", "map@0.5/high")

    def __init__(
        self, data_root: Path | None = None, device: torch.device = CPU, /, *, model: str, revision: str | None = None,
        rows: int = 8,
    ) -> None:  # fmt: skip
        if rows < 1:
            raise TrialbookError(f"rows ({rows}) must be at least 1")
        self.rows, self._device = rows, device
        transformers = import_transformers()
        folder = find_checkpoint(model, revision, data_root)
        with reading("detector", model), quiet():
            self._processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
            self._model = transformers.AutoModelForObjectDetection.from_pretrained(
                folder, use_safetensors=True, local_files_only=True
            )
        self._model.eval().requires_grad_(False).to(device)

    def compute(self, *, pictures: Rows, labels: Mapping[str, Any]) -> dict[str, float]:
        """Metrics of pictures uint8 [n, T, 3, H, W]."""
        middle = pictures.shape[1] // 2
        found = [
            one
            for part in chunks(len(pictures), self.rows)
            for one in self._found(read_part(pictures, part)[:, middle])
        ]
        true = list(labels["boxes"])
        boxes, scores = ([one[name].cpu().double().numpy() for one in found] for name in ("boxes", "scores"))
        alike = [np.zeros(len(one), np.int64) for one in boxes], [np.zeros(len(one), np.int64) for one in true]
        precision = average_precision(
            boxes, scores, alike[0], true, alike[1], thresholds=(0.5,), replicates=_REPLICATES
        )
        one = precision.interval(0.5)
        return {"map@0.5": one.value, "map@0.5/low": one.low, "map@0.5/high": one.high}

    @torch.no_grad()
    def _found(self, pictures: Tensor) -> list[dict[str, Tensor]]:
        """Boxes in shares of each picture uint8 [b, 3, H, W], and their scores."""
        images = [one.permute(1, 2, 0).cpu().numpy() for one in pictures]
        prepared = self._processor(images=images, return_tensors="pt").to(self._device)
        sizes = [(1, 1)] * len(images)
        with full_precision(self._device):
            output = self._model(**prepared)
        found: list[dict[str, Tensor]] = self._processor.post_process_object_detection(
            output, threshold=0.0, target_sizes=sizes
        )
        return found
