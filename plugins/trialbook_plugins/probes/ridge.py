"""Ridge regression in closed form: all penalties from one eigendecomposition, with exact leave-one-out errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from trialbook import TrialbookError
from trialbook.contracts import CPU, as_float64
from trialbook_plugins.probes.rows import roomy_device

#: Penalties as shares of the mean eigenvalue of the centred scatter matrix XᵀX, from hardly any to all but constant.
SHARES = tuple(10.0**power for power in range(-8, 4))


@dataclass(frozen=True)
class LinearMap:
    """An affine map: weight [D, q] and bias [q]."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., q], in the map's dtype and on its device."""
        return x.to(self.weight.device).to(self.weight.dtype) @ self.weight + self.bias


class Ridge:
    """Ridge regressions of y on x for many penalties, with an intercept that is not penalised.

    The eigendecomposition is of XᵀX [D, D] or of XXᵀ [n, n], whichever is smaller; after it each penalty costs two matrix
    products. Computed in float64, on the device of the features where that has such numbers.

    Args:
        x: features [n, D].
        y: targets [n, q], on the same device.

    Source: Hoerl and Kennard 1970; leave-one-out errors e_i / (1 - h_i) of Allen 1974.
    """

    def __init__(self, x: Tensor, y: Tensor) -> None:
        if len(x) != len(y) or len(x) < 2:
            raise TrialbookError(
                f"ridge regression needs at least 2 samples of both: {len(x)} features, {len(y)} targets"
            )
        x, y = as_float64(x), as_float64(y)
        self.x_mean, self.y_mean = x.mean(0), y.mean(0)
        self._x, self._y = x - self.x_mean, y - self.y_mean
        self._wide = x.shape[1] > len(x)
        gram = self._x @ self._x.T if self._wide else self._x.T @ self._x
        values, self._vectors = torch.linalg.eigh(gram)
        self._values = values.clamp(min=0)
        self.mean_eigenvalue = float(self._values.sum()) / x.shape[1]

    def penalties(self, shares: Sequence[float] = SHARES) -> list[float]:
        """Penalties that are these shares of the mean eigenvalue of XᵀX, so that the scale of x does not matter."""
        scale = self.mean_eigenvalue or 1.0
        return [share * scale for share in shares]

    def fit(self, alpha: float) -> LinearMap:
        """The map that minimises ‖y - xW - b‖² + α‖W‖²."""
        scaled = self._targets / (self._values + alpha)[:, None]
        weight = self._vectors @ scaled
        weight = self._x.T @ weight if self._wide else weight
        return LinearMap(weight, self.y_mean - self.x_mean @ weight)

    def left_out(self, alpha: float) -> Tensor:
        """Predict each sample by the regression on all others: [n, q], exact."""
        n = len(self._x)
        shrink = 1 / (self._values + alpha)
        if self._wide:
            fitted = self._basis @ ((self._values * shrink)[:, None] * self._targets)
            leverage = self._basis.square() @ (self._values * shrink)
        else:
            fitted = self._basis @ (shrink[:, None] * self._targets)
            leverage = self._basis.square() @ shrink
        left = (self._y - fitted) / (1 - leverage - 1 / n).clamp(min=1e-12)[:, None]
        return self._y + self.y_mean - left

    def errors(self, alphas: Sequence[float]) -> Tensor:
        """Mean squared leave-one-out error of every penalty and output: [A, q]."""
        truth = self._y + self.y_mean
        return torch.stack([(self.left_out(alpha) - truth).square().mean(0) for alpha in alphas])

    def best(self, alphas: Sequence[float]) -> float:
        """The penalty of the smallest leave-one-out error over all outputs."""
        return alphas[int(self.errors(alphas).mean(1).argmin())]

    @cached_property
    def _basis(self) -> Tensor:
        return self._vectors if self._wide else self._x @ self._vectors

    @cached_property
    def _targets(self) -> Tensor:
        return self._vectors.T @ (self._y if self._wide else self._x.T @ self._y)


class RidgeSums:
    """Ridge regression of more samples than fit in memory: sums of one pass, O(D² + Dq) memory, float64.

    Args:
        width: width D of the features.
        outputs: number of targets q.
        device: where the sums are kept, and the map that comes of them, if there is room.
    """

    def __init__(self, width: int, outputs: int, device: torch.device = CPU) -> None:
        home = roomy_device(width**2, device)

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float64, device=home)

        self.n = 0
        self._scatter, self._cross = zeros(width, width), zeros(width, outputs)
        self._x, self._y, self._yy = zeros(width), zeros(outputs), zeros(outputs)

    def add(self, x: Tensor, y: Tensor) -> None:
        """The next samples: [b, D] and [b, q]."""
        x, y = x.to(self._x.device).double(), y.to(self._x.device).double()
        self.n += len(x)
        self._scatter.addmm_(x.T, x)
        self._cross.addmm_(x.T, y)
        self._x += x.sum(0)
        self._y += y.sum(0)
        self._yy += y.square().sum(0)

    def fit(self, shares: Sequence[float] = SHARES) -> tuple[LinearMap, float]:
        """The map and its penalty, chosen among shares of the mean eigenvalue by generalised cross-validation.

        Raises:
            TrialbookError: there are fewer than 2 samples.

        Source: Golub, Heath and Wahba 1979.
        """
        if self.n < 2:
            raise TrialbookError(f"{self.n} samples are too few for a regression")
        scatter = self._scatter - torch.outer(self._x, self._x) / self.n
        cross = self._cross - torch.outer(self._x, self._y) / self.n
        spread = (self._yy - self._y.square() / self.n).clamp(min=0)
        values, vectors = torch.linalg.eigh(scatter)
        values = values.clamp(min=0)
        targets = vectors.T @ cross
        scale = float(values.mean()) or 1.0
        scores = []
        for share in shares:
            shrunk = 1 / (values + share * scale)
            fitted = (targets.square() * (2 * shrunk - values * shrunk.square())[:, None]).sum(0)
            freedom = 1 + float((values * shrunk).sum())
            scores.append(float((spread - fitted).clamp(min=0).sum()) / max(1 - freedom / self.n, 1e-6) ** 2)
        alpha = shares[min(range(len(shares)), key=scores.__getitem__)] * scale
        weight = vectors @ (targets / (values + alpha)[:, None])
        return LinearMap(weight, (self._y - self._x @ weight) / self.n), alpha


def one_hot(classes: Tensor, count: int | None = None) -> Tensor:
    """Targets for classification by regression: 1 for the class and -1 for all others, [n, C] float64."""
    count = int(classes.max()) + 1 if count is None else count
    return 2 * torch.nn.functional.one_hot(classes.long(), count).double() - 1
