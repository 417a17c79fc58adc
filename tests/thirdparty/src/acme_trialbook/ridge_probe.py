"""Task ``ridge-probe``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from trialbook import TrialbookError
from trialbook.contracts import Builder
from trialbook.contracts.plots import Profile, declare_plots
from trialbook.contracts.records import Facts, Record


class RidgeProbe:
    """Ridge regressions from stored features to a number of each group, in closed form; nothing is trained.

    The rows of a modality are pooled over their tokens. Metrics are R² on the test split, one measurement for each
    modality and strength: all strengths share one eigendecomposition of the features' covariance.

    Args:
        label: annotation of the data set that is predicted.
        ridge: strengths of the penalty, relative to the mean variance of a feature.

    Raises:
        TrialbookError: a strength is not above 0.

    Source: Hoerl and Kennard 1970, "Ridge Regression", equation 2.3, with an intercept.
    """

    takes = {"dataset": "one", "encoder": "modality"}
    provides = ()
    produces = ("{modality}/r2@{ridge}",)

    def __init__(self, builder: Builder, /, *, label: str = "target", ridge: list[float] = [0.01, 1.0, 100.0]) -> None:  # noqa: B006 - copied below
        self.strengths = list(ridge)
        if not self.strengths or min(self.strengths) <= 0:
            raise TrialbookError(f"ridge ({ridge}) must hold numbers above 0")
        self.builder, self.label, self.done = builder, label, 0

    def setup(self) -> None:
        """Make data set and encoders."""
        self.dataset = self.builder.make("dataset")
        names = self.builder.names("encoder")
        self.encoders = {n: self.builder.make("encoder", n, modality=self.dataset.describe(n)) for n in names}

    def measured(self, done: int) -> None:
        """Start after ``done`` metrics."""
        self.done = done

    def measurements(self) -> Iterator[Record | Facts]:
        """R² for each modality and strength, to be drawn over the strengths."""
        yield declare_plots([
            Profile(
                name="strengths", title="R² by strength of the penalty", axis="strength",
                places=[f"{strength:g}" for strength in self.strengths],
                metrics={name: f"{name}/r2@{{place}}" for name in self.encoders},
            )
        ])  # fmt: skip
        pairs = [(name, strength) for name in self.encoders for strength in self.strengths]
        solved: dict[str, _Ridge] = {}
        for name, strength in pairs[self.done :]:
            if name not in solved:
                solved[name] = _Ridge(*self._read(name, "train"))
            predicted = solved[name].predict(self._read(name, "test")[0], strength)
            target = self._read(name, "test")[1]
            r2 = 1 - ((target - predicted) ** 2).sum() / ((target - target.mean()) ** 2).sum()
            yield Record(0, {f"{name}/r2@{strength:g}": float(r2)})

    def _read(self, name: str, split: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Pooled features [R, D] and the target of each row [R]."""
        table = self.builder.features(name, self.encoders[name], self.dataset, split, name)
        tokens, mask = table.rows(slice(None)).numpy(), table.mask()
        weight = np.ones(tokens.shape[:2]) if mask is None else mask.double().numpy()
        pooled = np.einsum("rnd,rn->rd", tokens, weight) / weight.sum(axis=1, keepdims=True)
        part = self.dataset.splits()[split]
        return pooled, np.asarray(part.labels(self.label), dtype=np.float64)[part.groups(name)]


class _Ridge:
    """Ridge regression for many strengths from one eigendecomposition."""

    def __init__(self, features: NDArray[np.float64], target: NDArray[np.float64]) -> None:
        self.centre, self.mean = features.mean(axis=0), target.mean()
        x = features - self.centre
        self.values, self.vectors = np.linalg.eigh(x.T @ x)
        self.projected = self.vectors.T @ (x.T @ (target - self.mean))

    def predict(self, features: NDArray[np.float64], strength: float) -> NDArray[np.float64]:
        """[R, D] -> [R]."""
        penalty = strength * self.values.mean()
        weight = self.vectors @ (self.projected / (self.values + penalty))
        return self.mean + (features - self.centre) @ weight
