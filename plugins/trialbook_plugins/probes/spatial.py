"""Box probes: where things are, read from each token by itself, or from all tokens of a picture as one vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from trialbook import TrialbookError
from trialbook.contracts import CPU
from trialbook_plugins.probes.boxes import BoxLists, occupancy, to_corners
from trialbook_plugins.probes.occupancy import boxes_from_maps, boxes_from_moments
from trialbook_plugins.probes.recipes import Plan, Setting, grid
from trialbook_plugins.probes.references import check_grid, sorted_boxes
from trialbook_plugins.probes.ridge import LinearMap, Ridge, RidgeSums
from trialbook_plugins.probes.rows import Rows, chunks, read_part, roomy_device
from trialbook_plugins.probes.training import fit_probes

Pool = Literal["mean", "flatten"]
Reading = Literal["rectangle", "moments"]
_CHUNK = 64  # pictures that are read at once


@dataclass(frozen=True)
class FoundBoxes:
    """Boxes that a probe found in each picture [k, 4] (corners, shares of the picture), scores [k], classes int64 [k]."""

    boxes: list[Tensor]
    scores: list[Tensor]
    classes: list[Tensor]


@dataclass(frozen=True)
class MLPSettings:
    """The training settings of the MLP variants: hidden units, optimiser steps and what is chosen among.

    Args:
        hidden: units of the hidden layer.
        steps: optimiser steps.
        batch: tokens (or pictures, pooled) of a step.
        settings: learning rates, decays and seeds; the best on a held-out fifth of the pictures is kept.
        samples: most tokens that are trained on.
    """

    hidden: int = 64
    steps: int = 300
    batch: int = 512
    settings: tuple[Setting, ...] = tuple(grid([1e-3, 3e-3]))
    samples: int = 50_000


class TokenBoxProbe:
    """Occupancy of each token's cell by a map of that token alone, the same for all tokens; rectangles are put together from it.

    A linear map is fitted in closed form in one pass over the features, which may be larger than memory; its penalty is chosen
    by generalised cross-validation. As it looks at one token at a time, it measures what tokens say of their own place.

    Args:
        class_count: number of classes, each with a map of its own; 1 for boxes whatever their class.
        count: boxes that are looked for in each map.
        mlp: train an MLP in place of the linear map.
        reading: how boxes come out of maps; ``moments`` takes mean and variance of the whole map, for one object.
        device: where it learns and reads; features are brought there some pictures at a time.
    """

    def __init__(
        self, class_count: int = 1, count: int = 1, mlp: MLPSettings | None = None, reading: Reading = "rectangle",
        device: torch.device = CPU,
    ) -> None:  # fmt: skip
        self.class_count, self.count, self.mlp, self.reading = class_count, count, mlp, reading
        self.device = device
        self._map: LinearMap | Any = None

    def fit(self, features: Rows, boxes: BoxLists, classes: Sequence[Any] | None = None) -> TokenBoxProbe:
        """Learn from pictures: features [n, H, W, D], their boxes, and the class of each box where there are classes."""
        n, rows, columns, width = _check(features, boxes)
        if self.mlp is not None:
            self._map = self._fit_mlp(features, boxes, classes, self.mlp)
            return self
        sums = RidgeSums(width, self.class_count, self.device)
        for part in chunks(n, _CHUNK):
            tokens = read_part(features, part)
            sums.add(tokens.reshape(-1, width), self._targets(boxes, classes, part, rows, columns))
        self._map, _ = sums.fit()
        return self

    def maps(self, features: Rows) -> Tensor:
        """Occupancy [n, C, H, W], float32 on the CPU."""
        n, rows, columns, width = check_grid(features)
        found = []
        for part in chunks(n, _CHUNK):
            read = self._map(read_part(features, part).reshape(-1, width))
            found.append(read.float().cpu().reshape(-1, rows, columns, self.class_count).permute(0, 3, 1, 2))
        return torch.cat(found)

    def predict(self, features: Rows) -> FoundBoxes:
        """``count`` boxes for each picture and class, best first."""
        maps = self.maps(features)
        if self.reading == "moments":
            flat = boxes_from_moments(maps.flatten(0, 1))[:, None]
            boxes, scores = flat, maps.flatten(0, 1).amax((1, 2)).double()[:, None]
        else:
            boxes, scores = boxes_from_maps(maps.flatten(0, 1), self.count)
        boxes, scores = boxes.reshape(len(maps), -1, 4), scores.reshape(len(maps), -1)
        kinds = torch.arange(self.class_count).repeat_interleave(boxes.shape[1] // self.class_count)
        order = scores.argsort(dim=1, descending=True, stable=True)
        return FoundBoxes(
            [one[place] for one, place in zip(boxes, order, strict=True)],
            [one[place] for one, place in zip(scores, order, strict=True)],
            [kinds[place] for place in order],
        )

    def _targets(self, boxes: BoxLists, classes: Any, part: slice, rows: int, columns: int) -> Tensor:
        maps = [
            occupancy(boxes[i], rows, columns, None if self.class_count == 1 else classes[i], self.class_count)
            for i in range(part.start, part.stop)
        ]
        return torch.stack(maps).permute(0, 2, 3, 1).reshape(-1, self.class_count)

    def _fit_mlp(self, features: Rows, boxes: BoxLists, classes: Any, mlp: MLPSettings) -> Any:
        n, rows, columns, width = features.shape
        each = max(1, min(rows * columns, mlp.samples // n))
        rng = np.random.default_rng(0)
        tokens, targets = [], []
        for part in chunks(n, _CHUNK):
            wanted = self._targets(boxes, classes, part, rows, columns).reshape(-1, rows * columns, self.class_count)
            some = read_part(features, part).reshape(-1, rows * columns, width)
            chosen = torch.from_numpy(rng.random((len(some), rows * columns)).argsort(1)[:, :each])
            tokens.append(some.gather(1, chosen[..., None].expand(-1, -1, width)).float())
            targets.append(wanted.gather(1, chosen[..., None].expand(-1, -1, self.class_count)).float())
        return _best_mlp(torch.cat(tokens), torch.cat(targets), mlp, self.device)


class PooledBoxProbe:
    """Boxes of a picture from one vector: all tokens side by side (``flatten``), or their mean, which hides where things are.

    Boxes are told in slots from left to right, each with its presence; scores match them in any order. Linear: ridge with
    the penalty of the smallest exact leave-one-out error.

    Args:
        slots: most boxes of a picture.
        pool: ``flatten`` or ``mean``.
        mlp: train an MLP in place of the linear map.
        device: where it learns, if there is room.
    """

    def __init__(
        self, slots: int = 1, pool: Pool = "flatten", mlp: MLPSettings | None = None, device: torch.device = CPU
    ) -> None:
        self.slots, self.pool, self.mlp, self.device = slots, pool, mlp, device
        self._map: Any = None

    def fit(self, features: Rows, boxes: BoxLists) -> PooledBoxProbe:
        """Learn from pictures: features [n, H, W, D] and their boxes."""
        _check(features, boxes)
        vectors = self._vectors(features)
        targets = torch.stack([sorted_boxes(one, self.slots).flatten() for one in boxes])
        if self.mlp is not None:
            self._map = _best_mlp(vectors[:, None], targets.float()[:, None], self.mlp, self.device)
        else:
            home = roomy_device(vectors.numel(), self.device)
            ridge = Ridge(vectors.to(home), targets.to(home))
            self._map = ridge.fit(ridge.best(ridge.penalties()))
        return self

    def predict(self, features: Rows) -> FoundBoxes:
        """Boxes of each picture whose presence is at least a half, or the likeliest one; scores are presences."""
        told = self._map(self._vectors(features)).cpu().double().reshape(len(features), self.slots, 5)
        scores, boxes = told[..., 0], to_corners(told[..., 1:])
        kept = (scores >= 0.5) | (scores == scores.amax(1, keepdim=True))
        boxes = [one[keep] for one, keep in zip(boxes, kept, strict=True)]
        return FoundBoxes(
            boxes,
            [one[keep].clamp(0, 1) for one, keep in zip(scores, kept, strict=True)],
            [torch.zeros(len(one), dtype=torch.int64) for one in boxes],
        )

    def _vectors(self, features: Rows) -> Tensor:
        n, *_ = check_grid(features)
        read = [read_part(features, part).float() for part in chunks(n, _CHUNK)]
        return torch.cat([one.mean((1, 2)) if self.pool == "mean" else one.flatten(1) for one in read])


def _best_mlp(features: Tensor, targets: Tensor, mlp: MLPSettings, device: torch.device) -> Any:
    """The best of the settings on a fifth of the pictures: features [n, tokens, D], targets [n, tokens, q]."""
    n, outputs, home = len(features), targets.shape[-1], roomy_device(features.numel(), device)
    order = torch.from_numpy(np.random.default_rng(1).permutation(n))
    held, kept = order[: max(1, n // 5)], order[max(1, n // 5) :]
    x, y = (values[kept].flatten(0, 1).to(home) for values in (features, targets))
    plan = Plan(steps=mlp.steps, batch=min(mlp.batch, len(x)), hidden=mlp.hidden, schedule="cosine")
    probes = fit_probes(x, y, mlp.settings, plan)
    best = probes.best(features[held].flatten(0, 1), targets[held].reshape(-1, outputs).to(home))
    return lambda tokens: probes.predict(tokens, best)


def _check(features: Rows, boxes: BoxLists) -> tuple[int, int, int, int]:
    n, rows, columns, width = check_grid(features)
    if len(boxes) != n:
        raise TrialbookError(f"there are features of {n} pictures and boxes of {len(boxes)}")
    return n, rows, columns, width
