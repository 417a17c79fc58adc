"""Probe ``token-boxes``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from trialbook import TrialbookError
from trialbook.contracts import CPU, PredictedBoxes, Probed
from trialbook_plugins.probes._box_figures import BOX_FIGURES, box_figures, box_limits
from trialbook_plugins.probes.boxes import classed
from trialbook_plugins.probes.references import oracle_features
from trialbook_plugins.probes.spatial import FoundBoxes, MLPSettings, TokenBoxProbe


class TokenBoxes:
    """The places of objects from what each token says of its own cell: a linear map of every token, and the boxes that it shows.

    It is fitted in closed form in one pass over features that may be larger than memory. Averaged tokens have no cells, so that
    it finds nothing in them.

    Args:
        device: where it is fitted and read.
        objects: boxes that are looked for in each picture (of each class, with ``per_class``).
        per_class: a map for each class; boxes then match those of their class alone.
        hidden: units of a hidden layer; 0 for the linear map.

    Raises:
        TrialbookError: an option is out of its range, or the data have no boxes.

    Source: IoU after Hungarian matching (Carion et al. 2020, DETR, section 3.1, for the matching alone).
    """

    labels: ClassVar[tuple[str, ...]] = ("boxes", "classes")
    produces: ClassVar[tuple[str, ...]] = BOX_FIGURES
    main: ClassVar[str] = "iou"
    spatial: ClassVar[bool] = True

    def __init__(
        self, device: torch.device = CPU, /, *, objects: int = 1, per_class: bool = False, hidden: int = 0
    ) -> None:
        if objects < 1 or hidden < 0:
            raise TrialbookError(f"objects ({objects}) must be at least 1, hidden ({hidden}) not below 0")
        self.objects, self.per_class, self.hidden, self._device = objects, per_class, hidden, device

    def measure(self, train: Probed, others: Mapping[str, Probed], seed: int) -> dict[str, dict[str, float]]:
        """IoU, recall and precision of the boxes found in each of ``others``."""
        train, others = self._counted(train), {name: self._counted(one) for name, one in others.items()}
        found = self._found(train, others)
        return {
            name: box_figures(found[name], one.labels["boxes"], one.labels["classes"] if self.per_class else None, seed)
            for name, one in others.items()
        }

    def find(self, train: Probed, others: Mapping[str, Probed], seed: int) -> dict[str, PredictedBoxes]:
        """The boxes of each of ``others``, with classes where there is a map for each."""
        return {
            name: PredictedBoxes(one.boxes, one.scores, one.classes if self.per_class else None)
            for name, one in self._found(self._counted(train), others).items()
        }

    def _found(self, train: Probed, others: Mapping[str, Probed]) -> dict[str, FoundBoxes]:
        count = self._count(train, *others.values())
        mlp = MLPSettings(hidden=self.hidden) if self.hidden else None
        probe = TokenBoxProbe(count, self.objects, mlp, device=self._device)
        probe.fit(train.features, train.labels["boxes"], train.labels["classes"] if self.per_class else None)
        return {name: probe.predict(one.features) for name, one in others.items()}

    def limits(self, data: Probed) -> str:
        """Return what is in the way of reading boxes from maps of the grid."""
        data = self._counted(data)
        _, rows, columns, _ = data.features.shape
        classes = data.labels["classes"] if self.per_class else None
        return box_limits(data.labels["boxes"], rows, columns, self.objects, classes)

    def oracle(self, data: Probed, seed: int) -> Any:
        """Occupancy of every cell by the true boxes, and the boxes themselves, rotated into the width."""
        data = self._counted(data)
        classes = data.labels["classes"] if self.per_class else None
        _, rows, columns, width = data.features.shape
        slots = self.objects if not self.per_class else None
        return oracle_features(
            data.labels["boxes"],
            rows,
            columns,
            width,
            classes=classes,
            class_count=self._count(data),
            seed=seed,
            slots=slots,
        )

    def _counted(self, data: Probed) -> Probed:
        """The boxes that count: with ``per_class`` those that have a class."""
        return classed(data) if self.per_class else data

    def _count(self, *data: Probed) -> int:
        if not self.per_class:
            return 1
        return 1 + max(int(kind) for one in data for kinds in one.labels["classes"] for kind in kinds)
