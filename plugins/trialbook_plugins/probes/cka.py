"""Linear CKA and Procrustes distance in one pass over the samples, without a Gram matrix, for many pairs of sets at once."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from trialbook import TrialbookError
from trialbook.contracts import CPU, float64_device
from trialbook_plugins.probes.rows import Rows, read_rows, roomy_device

Pair = tuple[str, str]


class PairSums:
    """Sums over samples from which HSIC of two sets follows: O(pq) memory, float64.

    Args:
        p: width of the first set.
        q: width of the second set.
        device: where the sums are kept; the CPU where it has no float64.

    Source: Song et al. 2012 (HSIC₁), expanded so that no n × n matrix is needed.
    """

    def __init__(self, p: int, q: int, device: torch.device = CPU) -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float64, device=float64_device(device))

        self.n = 0
        self.cross = zeros(p, q)  # Σ x yᵀ
        self.x, self.y = zeros(p), zeros(q)  # Σ x, Σ y
        self.x_of_y, self.y_of_x = zeros(p), zeros(q)  # Σ x ‖y‖², Σ y ‖x‖²
        self.xx, self.yy, self.both = zeros(()), zeros(()), zeros(())  # Σ ‖x‖², Σ ‖y‖², Σ ‖x‖² ‖y‖²

    def add(self, x: Tensor, y: Tensor) -> None:
        """Samples [b, p] and [b, q], float64, already shifted by one constant row each."""
        x_norms, y_norms = x.square().sum(1), y.square().sum(1)
        self.n += len(x)
        self.cross.addmm_(x.T, y)
        self.x += x.sum(0)
        self.y += y.sum(0)
        self.x_of_y += y_norms @ x
        self.y_of_x += x_norms @ y
        self.xx += x_norms.sum()
        self.yy += y_norms.sum()
        self.both += x_norms @ y_norms

    def hsic(self) -> float:
        """The unbiased estimate HSIC₁.

        Raises:
            TrialbookError: there are fewer than 4 samples.
        """
        n = self.n
        if n < 4:
            raise TrialbookError(f"{n} samples are too few: unbiased HSIC needs at least 4")
        trace = self.cross.square().sum() - self.both
        sums = (self.x @ self.x - self.xx) * (self.y @ self.y - self.yy) / ((n - 1) * (n - 2))
        rows = self.x @ self.cross @ self.y - self.x @ self.x_of_y - self.y @ self.y_of_x + self.both
        return float((trace + sums - 2 * rows / (n - 2)) / (n * (n - 3)))

    def biased_hsic(self) -> float:
        """The biased estimate HSIC₀: ‖XᵀY‖² of centred sets over (n - 1)²."""
        return float(self.centred().square().sum() / (self.n - 1) ** 2)

    def centred(self) -> Tensor:
        """XᵀY [p, q] of the sets with their means taken away."""
        return self.cross - torch.outer(self.x, self.y) / self.n


class LinearSimilarity:
    """Every set of the left against every set of the right, in one pass: CKA, Procrustes distance, effective rank.

    Layers stand on one side and, for example, layers of another model or channels of a latent on the other. What a set
    has to do with itself is summed once, not once for each partner. Memory is 8 (Σp + Σq)² bytes at most, whatever the
    number of samples: chunks of any size can be added, also from memory-mapped arrays.

    Args:
        left: name of each set to its width p.
        right: name of each set to its width q.
        device: where the sums are kept and computed, if there is room.
    """

    def __init__(self, left: Mapping[str, int], right: Mapping[str, int], device: torch.device = CPU) -> None:
        device = roomy_device((sum(left.values()) + sum(right.values())) ** 2, device)
        self.device = device
        self.n = 0
        self._own = [{name: PairSums(d, d, device) for name, d in side.items()} for side in (left, right)]
        self._pairs = {(a, b): PairSums(p, q, device) for a, p in left.items() for b, q in right.items()}
        self._shift: list[dict[str, Tensor]] = []

    def add(self, left: Mapping[str, Rows], right: Mapping[str, Rows]) -> None:
        """The next samples of every set: [b, …], with sample i of all sets from the same input.

        Raises:
            TrialbookError: the sets have different numbers of samples.
        """
        sides = [{name: read_rows(side[name], slice(None), device=self.device) for name in own}
                 for side, own in zip((left, right), self._own, strict=True)]  # fmt: skip
        if len(counts := {len(rows) for side in sides for rows in side.values()}) > 1:
            raise TrialbookError(f"a chunk's sets have different numbers of samples: {sorted(counts)}")
        if not self._shift:
            self._shift = [{name: rows.mean(0) for name, rows in side.items()} for side in sides]
        sides = [{name: rows - shift[name] for name, rows in side.items()}
                 for side, shift in zip(sides, self._shift, strict=True)]  # fmt: skip
        for side, own in zip(sides, self._own, strict=True):
            for name, sums in own.items():
                sums.add(side[name], side[name])
        for (a, b), sums in self._pairs.items():
            sums.add(sides[0][a], sides[1][b])
        self.n += counts.pop()

    def cka(self) -> dict[Pair, float]:
        """Unbiased linear CKA of every pair; NaN where a set does not vary. May lie a little below 0."""
        own = [{name: sums.hsic() for name, sums in side.items()} for side in self._own]
        return {(a, b): _ratio(sums.hsic(), own[0][a], own[1][b]) for (a, b), sums in self._pairs.items()}

    def biased_cka(self) -> dict[Pair, float]:
        """Biased linear CKA of every pair: near 1 between independent noise that is wider than there are samples."""
        own = [{name: sums.biased_hsic() for name, sums in side.items()} for side in self._own]
        return {(a, b): _ratio(sums.biased_hsic(), own[0][a], own[1][b]) for (a, b), sums in self._pairs.items()}

    def procrustes(self) -> dict[Pair, float]:
        """1 - ‖XᵀY‖∗² of every pair, centred and of Frobenius norm 1: 0 where a rotation maps one on the other."""
        size = [{name: float(sums.centred().trace()) for name, sums in side.items()} for side in self._own]
        found = {}
        for (a, b), sums in self._pairs.items():
            nuclear = float(torch.linalg.svdvals(sums.centred()).sum())
            scale = size[0][a] * size[1][b]
            found[a, b] = 1 - nuclear**2 / scale if scale > 0 else math.nan
        return found

    def effective_rank(self) -> tuple[dict[str, float], dict[str, float]]:
        """Roy and Vetterli's effective rank of every centred set: of the left, and of the right."""
        left, right = ({name: _effective_rank(sums.centred()) for name, sums in side.items()} for side in self._own)
        return left, right


def gram_hsic(k: Tensor, l: Tensor) -> float:  # noqa: E741 - K and L are the field's names
    """HSIC₁ of two Gram matrices [n, n] whose diagonals are 0."""
    n = len(k)
    k_rows, l_rows = k.sum(1), l.sum(1)
    value = (k * l).sum() + k_rows.sum() * l_rows.sum() / ((n - 1) * (n - 2)) - 2 * (k_rows @ l_rows) / (n - 2)
    return float(value / (n * (n - 3)))


def hollow_gram(rows: Tensor) -> Tensor:
    """Gram matrix [n, n] of centred rows, its diagonal 0."""
    rows = rows - rows.mean(0)
    return (rows @ rows.T).fill_diagonal_(0)


def _ratio(xy: float, xx: float, yy: float) -> float:
    return xy / math.sqrt(xx * yy) if xx > 0 and yy > 0 else math.nan


def _effective_rank(scatter: Tensor) -> float:
    values = torch.linalg.eigvalsh(scatter).clamp(min=0)
    values = values[values > values.max() * len(values) * torch.finfo(values.dtype).eps]  # the rest is rounding
    singular = values.sqrt()
    shares = singular / singular.sum()
    return float(torch.exp(-(shares * shares.log()).sum())) if len(singular) else 1.0
