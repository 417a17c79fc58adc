"""Many linear or MLP probes of one set of features, trained together: each becomes what it would become alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trialbook import TrialbookError
from trialbook.contracts import as_float64, to_device
from trialbook_plugins.probes.recipes import Loss, Plan, Setting, first_weights, loss_of, sample_order

_BETAS, _EPS = (0.9, 0.999), 1e-8
_BLOCK = 1 << 16  # parameters that are trained at once: they stay in a core's cache from step to step
_MIN_BLOCK = 16  # probes: below it the matrix products are too narrow to be quick


@dataclass(frozen=True)
class Probes:
    """Trained probes, P of them: ``weights`` hold the probe along their first axis.

    Args:
        settings: of every probe.
        weights: linear: weight [P, D, C] and bias [P, C]; MLP: weight [P, D, H], bias [P, H], weight [P, H, C], bias [P, C].
        mean: of the features [D].
        scale: deviation of the features [D].
        loss: what they were trained on.
    """

    settings: tuple[Setting, ...]
    weights: tuple[Tensor, ...]
    mean: Tensor
    scale: Tensor
    loss: Loss

    def predict(self, features: Tensor, probe: int | None = None) -> Tensor:
        """[n, D] -> [P, n, C], or [n, C] of one probe. Outputs of ``cross-entropy`` and ``bce`` are logits."""
        x = (features.to(self.mean) - self.mean) / self.scale
        weights = self.weights if probe is None else tuple(weight[probe : probe + 1] for weight in self.weights)
        outputs = torch.baddbmm(weights[1][:, None], x.expand(len(weights[0]), *x.shape), weights[0])
        if len(weights) == 4:
            outputs = torch.baddbmm(weights[3][:, None], nn.functional.gelu(outputs), weights[2])
        return outputs if probe is None else outputs[0]

    def losses(self, features: Tensor, targets: Tensor) -> Tensor:
        """Loss of every probe on these samples: [P]. One probe is looked at at a time."""
        found = [loss_of(self.predict(features, i)[:, None], targets, self.loss) for i in range(len(self.settings))]
        return torch.cat(found)

    def best(self, features: Tensor, targets: Tensor) -> int:
        """The probe of the smallest loss on these samples, which should be none of those that it was trained on."""
        return int(self.losses(features, targets).nan_to_num(nan=math.inf).argmin())


def fit_probes(features: Tensor, targets: Tensor, settings: Sequence[Setting], plan: Plan | None = None) -> Probes:
    """Train a probe for each setting with AdamW, all on the same features [n, D], in wide matrix products.

    Each probe is, up to rounding, what it would be if it were trained alone by ``torch.optim.AdamW``. Where linear probes are
    trained on the squared error of all samples, the features are looked at only once: their second moments tell the gradient.

    Args:
        features: [n, D]; probes are trained on their device.
        targets: as ``plan.loss`` takes them.
        settings: one for each probe.
        plan: what all probes have in common.
    Raises:
        TrialbookError: an option is out of its range, or the targets do not fit the features.
    """
    plan = plan or Plan()
    _check(features, targets, settings, plan)
    mean, scale = _moments(features, plan.standardize)
    x = (features - mean) / scale
    outputs = int(targets.max()) + 1 if plan.loss == "cross-entropy" else targets.shape[1]
    size = sum(weight.numel() for weight in first_weights(0, x.shape[1], outputs, plan.hidden))
    block = max(_MIN_BLOCK, _BLOCK // size)
    moments = _Moments.of(x, targets) if plan.loss == "mse" and not plan.batch and not plan.hidden else None
    found: dict[int, list[Tensor]] = {}
    for members in _blocks(settings, block, by_seed=plan.batch > 0):
        chosen = [settings[i] for i in members]
        weights = [torch.stack(parts).to(x) for parts in zip(
            *(first_weights(s.seed, x.shape[1], outputs, plan.hidden, x.dtype) for s in chosen), strict=True)]  # fmt: skip
        trained = _Block(chosen, weights, plan).train(x, targets, moments)
        for place, i in enumerate(members):
            found[i] = [weight[place] for weight in trained]
    weights = tuple(torch.stack(parts) for parts in zip(*(found[i] for i in range(len(settings))), strict=True))
    return Probes(tuple(settings), weights, mean, scale, plan.loss)


@dataclass(frozen=True)
class _Moments:
    """Second moments of features and targets: the gradient of the squared error of all samples is affine in the weights."""

    scatter: Tensor  # XᵀX [D, D], all times 2 / (n C)
    sums: Tensor  # Σ x [D]
    cross: Tensor  # XᵀY [D, C]
    means: Tensor  # Σ y [C]
    count: float  # n

    @classmethod
    def of(cls, x: Tensor, targets: Tensor) -> _Moments:
        """Sums in float64, kept in the precision of ``x``."""
        scale = 2 / targets.numel()
        wide, y = as_float64(x), as_float64(targets)
        parts = (wide.T @ wide, wide.sum(0), wide.T @ y, y.sum(0))
        return cls(*((part * scale).to(x) for part in parts), len(x) * scale)

    def gradients(self, weight: Tensor, bias: Tensor) -> list[Tensor]:
        """Of weights [D, P·C] and biases [P·C]."""
        probes = len(bias) // len(self.means)
        gradient = torch.addmm(self.cross.repeat(1, probes), self.scatter, weight, beta=-1)
        return [
            gradient.add_(torch.outer(self.sums, bias)),
            self.sums @ weight + self.count * bias - self.means.repeat(probes),
        ]


class _Block:
    """Some probes that are trained together; weights are laid out [D, P·C], so that one product serves all of them."""

    def __init__(self, settings: Sequence[Setting], weights: Sequence[Tensor], plan: Plan) -> None:
        self.plan, self.seed = plan, settings[0].seed
        count = len(settings)
        first, bias, *rest = weights
        self.shape = (first.shape[1], count, first.shape[2])
        self.parameters = [first.permute(1, 0, 2).reshape(self.shape[0], -1).contiguous(), bias.reshape(-1).clone(),
                           *(weight.clone() for weight in rest)]  # fmt: skip
        lr = torch.tensor([s.lr for s in settings], dtype=torch.float64).to(first)
        decay = torch.tensor([s.lr * s.weight_decay for s in settings], dtype=torch.float64).to(first)
        each = [lr.repeat_interleave(self.shape[2]), decay.repeat_interleave(self.shape[2])]
        self.lr = [each[0], each[0], lr[:, None, None], lr[:, None]]
        self.decay = [each[1], each[1], decay[:, None, None], decay[:, None]]
        self.states = [(torch.zeros_like(p), torch.zeros_like(p)) for p in self.parameters]

    def train(self, x: Tensor, targets: Tensor, moments: _Moments | None) -> list[Tensor]:
        """The trained weights, with the probe along the first axis."""
        if moments is not None:
            for step in range(self.plan.steps):
                self._update(moments.gradients(*self.parameters), step)
        elif self.plan.batch:
            for step, rows in enumerate(sample_order(self.seed, len(x), self.plan)):
                rows = to_device(rows, x.device)
                self._update(self._gradients(x[rows], targets[rows]), step)
        else:
            for step in range(self.plan.steps):
                self._update(self._gradients(x, targets), step)
        first, bias, *rest = self.parameters
        return [first.reshape(self.shape).permute(1, 0, 2), bias.reshape(self.shape[1], -1), *rest]

    def _gradients(self, x: Tensor, targets: Tensor) -> Sequence[Tensor]:
        leaves = [p.detach().requires_grad_() for p in self.parameters]
        with torch.enable_grad():  # also where a task measures without gradients
            outputs = torch.addmm(leaves[1], x, leaves[0]).view(len(x), *self.shape[1:])
            if len(leaves) == 4:
                inner = nn.functional.gelu(outputs).transpose(0, 1)
                outputs = torch.baddbmm(leaves[3][:, None], inner, leaves[2]).transpose(0, 1)
            return torch.autograd.grad(loss_of(outputs, targets, self.plan.loss).sum(), leaves)

    def _update(self, gradients: Sequence[Tensor], step: int) -> None:
        """AdamW of Loshchilov and Hutter 2019, with a learning rate and a decay for every probe."""
        rate = self.plan.rate(step)
        first, second = (1 - beta ** (step + 1) for beta in _BETAS)
        for place, (parameter, gradient) in enumerate(zip(self.parameters, gradients, strict=True)):
            mean, square = self.states[place]
            mean.lerp_(gradient, 1 - _BETAS[0])
            square.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
            change = mean / square.sqrt().div_(math.sqrt(second)).add_(_EPS)
            parameter.mul_(1 - self.decay[place] * rate)
            parameter.sub_(change.mul_(self.lr[place] * (rate / first)))


def _blocks(settings: Sequence[Setting], size: int, by_seed: bool) -> Iterator[list[int]]:
    """Places of probes that are trained together: those of one seed where it decides the order of samples."""
    groups: dict[int, list[int]] = {}
    for i, setting in enumerate(settings):
        groups.setdefault(setting.seed if by_seed else 0, []).append(i)
    for members in groups.values():
        for start in range(0, len(members), size):
            yield members[start : start + size]


def _moments(features: Tensor, standardize: bool) -> tuple[Tensor, Tensor]:
    if not standardize:
        return torch.zeros_like(features[0]), torch.ones_like(features[0])
    deviation, mean = torch.std_mean(as_float64(features), dim=0, correction=0)
    return mean.to(features), torch.where(deviation > 1e-12, deviation, 1.0).to(features)


def _check(features: Tensor, targets: Tensor, settings: Sequence[Setting], plan: Plan) -> None:
    if features.ndim != 2 or len(features) != len(targets) or not len(features):
        raise TrialbookError(
            f"features {tuple(features.shape)} must be [n, D] with one target each, not {tuple(targets.shape)}"
        )
    if targets.ndim != (1 if plan.loss == "cross-entropy" else 2):
        raise TrialbookError(f"targets {tuple(targets.shape)} do not fit the loss {plan.loss}")
    if not settings or plan.steps < 1 or not 0 <= plan.batch <= len(features) or plan.hidden < 0:
        raise TrialbookError(
            f"probes need at least one setting and step, and a batch of at most {len(features)} samples"
        )
