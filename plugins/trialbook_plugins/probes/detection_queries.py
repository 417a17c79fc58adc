"""Probe ``detection``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from trialbook.contracts import Probed
from trialbook.errors import TrialbookError
from trialbook_plugins.probes._box_figures import BOX_FIGURES, box_figures
from trialbook_plugins.probes.average_precision import average_precision
from trialbook_plugins.probes.detection import DetectionProbe
from trialbook_plugins.probes.references import oracle_features
from trialbook_plugins.probes.spatial import FoundBoxes


class Detection:
    """Objects with their classes, by learned queries that look at the tokens and are matched to the objects while they learn.

    ``map@0.5`` and ``map`` (mean over IoU 0.5 to 0.95) are COCO's average precision. IoU, recall and precision are those of the
    queries that are sure of an object. It is trained, so that its ceiling (``oracle``) lies below 1 where steps are few.

    Args:
        queries: most objects that can be found.
        width: inner width.
        depth: layers.
        steps: optimiser steps.
        lr: learning rate of AdamW.
        sure: probability from which a query counts as an object, for IoU, recall and precision.

    Raises:
        TrialbookError: an option is out of its range.

    Source: Carion et al. 2020 (DETR): decoder, heads and loss, without its encoder.
    """

    labels: ClassVar[tuple[str, ...]] = ("boxes", "classes")
    produces: ClassVar[tuple[str, ...]] = ("map", *BOX_FIGURES)
    main: ClassVar[str] = "map@0.5"
    spatial: ClassVar[bool] = True

    def __init__(
        self,
        *,
        queries: int = 10,
        width: int = 64,
        depth: int = 2,
        steps: int = 600,
        lr: float = 1e-3,
        sure: float = 0.5,
    ) -> None:
        for name, value in (("queries", queries), ("width", width), ("depth", depth), ("steps", steps)):
            if value < 1:
                raise TrialbookError(f"{name} ({value}) must be at least 1")
        if not 0 < sure < 1 or lr <= 0:
            raise TrialbookError(f"sure ({sure}) must be between 0 and 1, lr ({lr}) above 0")
        self.options: dict[str, Any] = {"queries": queries, "width": width, "depth": depth, "steps": steps, "lr": lr}
        self.sure = sure

    def measure(self, train: Probed, others: Mapping[str, Probed], seed: int) -> dict[str, dict[str, float]]:
        """Average precision, and IoU, recall and precision, of each of ``others``."""
        count = 1 + max(
            int(kind) for one in (train, *others.values()) for kinds in one.labels["classes"] for kind in kinds
        )
        probe = DetectionProbe(count, **self.options, seed=seed)
        with torch.enable_grad():
            probe.fit(train.features, train.labels["boxes"], train.labels["classes"])
        return {name: self._figures(probe.predict(one.features), one, seed) for name, one in others.items()}

    def _figures(self, found: FoundBoxes, data: Probed, seed: int) -> dict[str, float]:
        boxes, classes = data.labels["boxes"], data.labels["classes"]
        precision = average_precision(found.boxes, found.scores, found.classes, boxes, classes)
        kept = [scores >= self.sure for scores in found.scores]
        sure = FoundBoxes(
            *(
                [one[keep] for one, keep in zip(values, kept, strict=True)]
                for values in (found.boxes, found.scores, found.classes)
            )
        )
        return {**box_figures(sure, boxes, classes, seed), "map@0.5": precision.at(0.5), "map": precision.mean}

    def oracle(self, data: Probed, seed: int) -> Any:
        """Occupancy of every cell by the true boxes of each class, and the boxes themselves, rotated into the width."""
        classes = data.labels["classes"]
        count = 1 + max(int(kind) for kinds in classes for kind in kinds)
        _, rows, columns, width = data.features.shape
        return oracle_features(
            data.labels["boxes"],
            rows,
            columns,
            width,
            classes=classes,
            class_count=count,
            slots=self.options["queries"],
            seed=seed,
        )
