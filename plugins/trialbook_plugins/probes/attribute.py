"""Probe ``attribute``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from trialbook import TrialbookError
from trialbook.contracts import CPU, Probed, has_label
from trialbook_plugins.probes.resampling import bootstrap_interval, share_interval
from trialbook_plugins.probes.ridge import Ridge, one_hot
from trialbook_plugins.probes.rows import MadeRows, chunks, read_part, roomy_device

#: Samples that are read at once.
_CHUNK = 64


class Attribute:
    """An annotation of the samples from one vector of each: a class, or numbers, by ridge regression in closed form.

    The penalty has the smallest exact leave-one-out error. A class is told by the largest of one regression for each class;
    samples without one (-1, None, an empty text) do not count.

    Args:
        device: where the regression is computed, if there is room.
        label: name of the annotation: one class, or one number or several, for each sample.
        pool: ``mean`` of the tokens, or ``flatten`` for all of them side by side.
        kind: ``class`` or ``number``.
        cells: of ``flatten``: rows and columns of cells to which tokens are averaged first, where there are too many of them. Of
            clips the frames lie below one another: give as many rows as frames, or a multiple.

    Raises:
        TrialbookError: the data have no such annotation, or it is not of that kind, or cells are no rows and columns.

    Source: classification by regression: Hastie, Tibshirani and Friedman 2009, section 4.2.
    """

    labels: ClassVar[tuple[str, ...]] = ()
    produces: ClassVar[tuple[str, ...]] = ("score", "score/low", "score/high", "majority", "chance")
    main: ClassVar[str] = "score"
    spatial: ClassVar[bool] = False

    def __init__(
        self, device: torch.device = CPU, /, *, label: str, pool: Literal["mean", "flatten"] = "mean",
        kind: Literal["class", "number"] = "class", cells: list[int] | None = None,
    ) -> None:  # fmt: skip
        if cells is not None and (pool == "mean" or len(cells) != 2 or min(cells) < 1):
            raise TrialbookError(f"cells ({cells}) are the rows and columns of pool = 'flatten'")
        self.labels = (label,)  # type: ignore[misc]  # this one's own
        self.label, self.pool, self.kind, self.cells = label, pool, kind, cells
        self._device = device

    def measure(self, train: Probed, others: Mapping[str, Probed], seed: int) -> dict[str, dict[str, float]]:
        """``score``: accuracy with the majority's beside it, or R² (variance-weighted), of each of ``others``."""
        train, others = self._labelled(train), {name: self._labelled(one) for name, one in others.items()}
        (y, names), x = self._targets(train), self._vectors(train.features)
        home = roomy_device(x.numel(), self._device)
        ridge = Ridge(x.to(home), y.to(home))
        fitted = ridge.fit(ridge.best(ridge.penalties()))
        found = {}
        for name, one in others.items():
            told, truth = fitted(self._vectors(one.features)).cpu(), self._truth(one)
            found[name] = self._figures(told, truth, names, y, seed)
        return found

    def oracle(self, data: Probed, seed: int) -> Any:
        """The annotation itself in every token, rotated into the width."""
        y, _ = self._targets(data)
        _, rows, columns, width = data.features.shape
        generator = torch.Generator().manual_seed(seed)
        turn = torch.linalg.qr(
            torch.randn(max(width, y.shape[1]), y.shape[1], generator=generator, dtype=torch.float64)
        ).Q.T
        made = (y @ turn).float()
        return MadeRows((len(y), rows, columns, made.shape[1]), lambda i: made[i].expand(rows, columns, -1))

    def _labelled(self, data: Probed) -> Probed:
        """The samples that have a class."""
        if self.kind == "number" or (known := has_label(self._truth(data))).all():
            return data
        places = np.flatnonzero(known)
        if not len(places):
            raise TrialbookError(f"label '{self.label}' names no class of any sample")
        shape = (len(places), *data.features.shape[1:])
        features = MadeRows(shape, lambda i: read_part(data.features, places[i : i + 1])[0])
        return data._replace(features=features, labels={self.label: [data.labels[self.label][i] for i in places]})

    def _targets(self, data: Probed) -> tuple[Tensor, list[Any]]:
        truth = self._truth(data)
        if self.kind == "number":
            return torch.from_numpy(truth), []
        names, places = np.unique(truth, return_inverse=True)
        return one_hot(torch.from_numpy(places), len(names)), names.tolist()

    def _truth(self, data: Probed) -> Any:
        """Classes [n], or numbers [n, q]."""
        values = [np.asarray(value).reshape(-1) for value in data.labels[self.label]]
        if len({len(value) for value in values}) != 1 or (self.kind == "class" and len(values[0]) != 1):
            raise TrialbookError(f"label '{self.label}' has not one value of kind '{self.kind}' for each sample")
        stacked = np.stack(values)
        return stacked[:, 0] if self.kind == "class" else stacked.astype(np.float64)

    def _figures(self, told: Tensor, truth: Any, names: list[Any], y: Tensor, seed: int) -> dict[str, float]:
        if self.kind == "class":
            right = np.array(names)[told.argmax(dim=1).numpy()] == truth
            interval = share_interval(right.astype(float), seed=seed)
            majority = names[int((y > 0).sum(0).argmax())]
            more = {"majority": float((truth == majority).mean()), "chance": 1 / len(names)}
            return {"score": interval.value, "score/low": interval.low, "score/high": interval.high, **more}
        wrong = (told - torch.from_numpy(truth)).square().sum(1).numpy()
        spread = float((torch.from_numpy(truth) - y.mean(0)).square().sum(1).mean())
        interval = bootstrap_interval(1 - wrong / spread, seed=seed)
        return {"score": interval.value, "score/low": interval.low, "score/high": interval.high}

    def _vectors(self, features: Any) -> Tensor:
        read = (read_part(features, part).float() for part in chunks(len(features), _CHUNK))
        return torch.cat([self._pooled(tokens) for tokens in read])

    def _pooled(self, tokens: Tensor) -> Tensor:
        """Tokens [B, H, W, D] as vectors."""
        if self.pool == "mean":
            return tokens.mean((1, 2))
        if self.cells is not None:
            tokens = adaptive_avg_pool2d(tokens.permute(0, 3, 1, 2), (self.cells[0], self.cells[1]))
        return tokens.flatten(1)
