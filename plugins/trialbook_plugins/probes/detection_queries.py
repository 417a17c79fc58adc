"""Probe ``detection``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch

from trialbook import TrialbookError
from trialbook.contracts import CPU, PredictedBoxes, Probed
from trialbook_plugins.probes._box_figures import BOX_FIGURES, box_figures
from trialbook_plugins.probes.boxes import classed
from trialbook_plugins.probes.detection import DetectionProbe
from trialbook_plugins.probes.references import oracle_features
from trialbook_plugins.probes.spatial import FoundBoxes


class Detection:
    """Objects with their classes, by learned queries that look at the tokens and are matched to the objects while they learn.

    ``map@0.5`` and ``map`` (mean over IoU 0.5 to 0.95) are COCO's average precision. IoU, recall and precision are those of the
    queries that are sure of an object. It is trained, so that its ceiling (``oracle``) lies below 1 where steps are few.

    Args:
        device: where it is trained.
        queries: most objects that can be found.
        per_class: tell classes too, and let boxes match those of their class alone; else objects are found whatever they are.
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
    produces: ClassVar[tuple[str, ...]] = ("map", "map/low", "map/high", *BOX_FIGURES)
    main: ClassVar[str] = "map@0.5"
    spatial: ClassVar[bool] = True

    def __init__(
        self,
        device: torch.device = CPU,
        /,
        *,
        queries: int = 10,
        per_class: bool = True,
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
        self.per_class, self.sure, self._device = per_class, sure, device

    def measure(self, train: Probed, others: Mapping[str, Probed], seed: int) -> dict[str, dict[str, float]]:
        """Average precision, and IoU, recall and precision, of each of ``others``."""
        train, others = self._counted(train), {name: self._counted(one) for name, one in others.items()}
        found = self._found(train, others, seed)
        return {
            name: box_figures(
                found[name], one.labels["boxes"], self._classes(one), seed, sure=self._sure(found[name]), strict=True
            )
            for name, one in others.items()
        }

    def find(self, train: Probed, others: Mapping[str, Probed], seed: int) -> dict[str, PredictedBoxes]:
        """The boxes of each of ``others`` that it is sure of."""
        sure = {name: self._sure(one) for name, one in self._found(self._counted(train), others, seed).items()}
        return {
            name: PredictedBoxes(one.boxes, one.scores, one.classes if self.per_class else None)
            for name, one in sure.items()
        }

    def _found(self, train: Probed, others: Mapping[str, Probed], seed: int) -> dict[str, FoundBoxes]:
        count = self._count(train, *others.values())
        probe = DetectionProbe(count, **self.options, seed=seed, device=self._device)
        with torch.enable_grad():
            probe.fit(train.features, train.labels["boxes"], self._classes(train))
        return {name: probe.predict(one.features) for name, one in others.items()}

    def _sure(self, found: FoundBoxes) -> FoundBoxes:
        """The boxes that it counts as objects."""
        kept = [scores >= self.sure for scores in found.scores]
        return FoundBoxes(
            *(
                [one[keep] for one, keep in zip(values, kept, strict=True)]
                for values in (found.boxes, found.scores, found.classes)
            )
        )

    def limits(self, data: Probed) -> str:
        """It has to learn to read what is written plainly."""
        beyond = sum(max(0, len(boxes) - self.options["queries"]) for boxes in data.labels["boxes"])
        more = f", and {beyond} boxes are more than its {self.options['queries']} queries" if beyond else ""
        return f"it learns to read them, in {self.options['steps']} steps{more}"

    def oracle(self, data: Probed, seed: int) -> Any:
        """Occupancy of every cell by the true boxes of each class, and the boxes themselves, rotated into the width."""
        data = self._counted(data)
        _, rows, columns, width = data.features.shape
        return oracle_features(
            data.labels["boxes"],
            rows,
            columns,
            width,
            classes=self._classes(data),
            class_count=self._count(data),
            slots=self.options["queries"],
            seed=seed,
        )

    def _counted(self, data: Probed) -> Probed:
        """The boxes that count: with ``per_class`` those that have a class."""
        return classed(data) if self.per_class else data

    def _classes(self, data: Probed) -> Sequence[Any] | None:
        """Class of every box; None where they do not count."""
        return data.labels["classes"] if self.per_class else None

    def _count(self, *data: Probed) -> int:
        if not self.per_class:
            return 1
        return 1 + max(int(kind) for one in data for kinds in one.labels["classes"] for kind in kinds)
