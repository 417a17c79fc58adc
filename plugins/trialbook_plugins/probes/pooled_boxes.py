"""Probe ``pooled-boxes``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from trialbook import TrialbookError
from trialbook.contracts import CPU, PredictedBoxes, Probed
from trialbook_plugins.probes._box_figures import BOX_FIGURES, box_figures
from trialbook_plugins.probes.references import oracle_features
from trialbook_plugins.probes.spatial import FoundBoxes, MLPSettings, Pool, PooledBoxProbe


class PooledBoxes:
    """The places of objects from one vector of the picture: its tokens side by side, or their mean, which hides where things are.

    Boxes are told in slots from left to right, by a ridge regression whose penalty has the smallest exact leave-one-out error.
    Published spatial baselines that read mean-pooled tokens can be repeated with ``pool = "mean"``; the run says that this says
    nothing of where things are, and no gate may stand on it.

    Args:
        device: where it is fitted, if there is room.
        objects: most boxes of a picture.
        pool: ``flatten`` or ``mean``.
        hidden: units of a hidden layer; 0 for the linear map.

    Raises:
        TrialbookError: an option is out of its range.
    """

    labels: ClassVar[tuple[str, ...]] = ("boxes",)
    produces: ClassVar[tuple[str, ...]] = BOX_FIGURES
    main: ClassVar[str] = "iou"
    spatial: ClassVar[bool] = True
    doubtful_when: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "pool": {"mean": "pool = 'mean' averages over places and says nothing of them; gate on pool = 'flatten'"},
    }

    def __init__(
        self, device: torch.device = CPU, /, *, objects: int = 1, pool: Pool = "flatten", hidden: int = 0
    ) -> None:
        if objects < 1 or hidden < 0:
            raise TrialbookError(f"objects ({objects}) must be at least 1, hidden ({hidden}) not below 0")
        self.objects, self.pool, self.hidden, self._device = objects, pool, hidden, device

    @property
    def blind(self) -> bool:
        """True if it looks at features from which where things are has been averaged away."""
        return self.pool == "mean"

    def measure(self, train: Probed, others: Mapping[str, Probed], seed: int) -> dict[str, dict[str, float]]:
        """IoU, recall and precision of the boxes found in each of ``others``."""
        found = self._found(train, others)
        return {name: box_figures(found[name], one.labels["boxes"], None, seed) for name, one in others.items()}

    def find(self, train: Probed, others: Mapping[str, Probed], seed: int) -> dict[str, PredictedBoxes]:
        """The boxes of each of ``others``; it knows no classes."""
        return {name: PredictedBoxes(one.boxes, one.scores) for name, one in self._found(train, others).items()}

    def _found(self, train: Probed, others: Mapping[str, Probed]) -> dict[str, FoundBoxes]:
        mlp = MLPSettings(hidden=self.hidden) if self.hidden else None
        probe = PooledBoxProbe(self.objects, self.pool, mlp, self._device)
        probe.fit(train.features, train.labels["boxes"])
        return {name: probe.predict(one.features) for name, one in others.items()}

    def limits(self, data: Probed) -> str:
        """Say how many boxes do not fit in its slots."""
        beyond = sum(max(0, len(boxes) - self.objects) for boxes in data.labels["boxes"])
        return f"{beyond} boxes are more than the {self.objects} that it can tell of a picture" if beyond else ""

    def oracle(self, data: Probed, seed: int) -> Any:
        """Occupancy of every cell by the true boxes, and the boxes themselves, rotated into the width."""
        _, rows, columns, width = data.features.shape
        return oracle_features(data.labels["boxes"], rows, columns, width, slots=self.objects, seed=seed)
