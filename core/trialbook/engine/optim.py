"""The choice of which parameters learn, how fast, and when."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from trialbook.config.options import TrainOptions
from trialbook.errors import TrialbookError


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Return whether a parameter belongs to a part or fits a pattern: ``llm``, ``projector.*``, ``encoder.image.blocks.1*``."""
    return any(name == p or name.startswith(f"{p}.") or fnmatchcase(name, p) for p in patterns)


def trainable_names(module: nn.Module, patterns: Sequence[str] | None) -> list[str]:
    """Names of the parameters that a stage trains: those that are not frozen, and of these what fits ``patterns``.

    Raises:
        TrialbookError: a pattern fits no parameter or frozen ones only, or nothing is left to train.
    """
    learning = {name: parameter.requires_grad for name, parameter in module.named_parameters()}
    for pattern in patterns or ():
        fitting = [name for name in learning if matches(name, [pattern])]
        if not any(learning[name] for name in fitting):
            what = f"only what is frozen ('{fitting[0]}')" if fitting else "no parameter of this run"
            raise TrialbookError(f"train pattern '{pattern}' fits {what}")
    chosen = [name for name, learns in learning.items() if learns and (patterns is None or matches(name, patterns))]
    if not chosen:
        raise TrialbookError("nothing is left to train: every part is frozen or has no parameters")
    return chosen


def set_trainable(module: nn.Module, names: Iterable[str]) -> None:
    """Let exactly these parameters learn; a submodule none of whose parameters learn is put in evaluation mode."""
    chosen = set(names)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in chosen)
    for child in module.modules():
        parameters = list(child.parameters())
        child.training = not parameters or any(parameter.requires_grad for parameter in parameters)
    for child in module.modules():  # parameter-free children (dropout) follow the part that they stand in
        if list(child.parameters()) and not child.training:
            child.eval()


def make_optimizer(module: nn.Module, names: Sequence[str], options: TrainOptions) -> AdamW:
    """Fused AdamW; biases, norms and scalars without weight decay; a group for every factor of ``lr_multipliers``.

    Source: Loshchilov & Hutter 2019 (decoupled weight decay).
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    named = dict(module.named_parameters())
    for name in names:
        scale = 1.0
        for pattern, factor in (options.lr_multipliers or {}).items():
            scale = factor if matches(name, [pattern]) else scale
        decay = options.weight_decay if named[name].ndim >= 2 else 0.0
        groups.setdefault((scale, decay), []).append(named[name])
    return AdamW(
        [{"params": p, "lr": options.lr * s, "scale": s, "weight_decay": d} for (s, d), p in groups.items()],
        lr=options.lr, betas=options.betas, eps=options.eps, fused=True,
    )  # fmt: skip


def learning_rate(options: TrainOptions, step: int, steps: int) -> float:
    """The learning rate of optimiser step ``step`` (from 0) out of ``steps``: linear warm-up, then the schedule."""
    warmup = int(options.warmup if options.warmup >= 1 else round(options.warmup * steps))
    if step < warmup:
        return options.lr * (step + 1) / warmup
    share = (step - warmup) / max(1, steps - warmup)
    if options.schedule == "constant":
        return options.lr
    fall = 1 - share if options.schedule == "linear" else (1 + math.cos(math.pi * share)) / 2
    return options.lr * (options.min_lr + (1 - options.min_lr) * fall)


def set_learning_rate(optimizer: AdamW, rate: float) -> None:
    """Give every group its share of ``rate``."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def clip_gradients(optimizer: Optimizer, largest: float) -> Tensor:
    """Norm of the whole gradient before it is clipped to ``largest``; 0 leaves the gradient as it is."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if largest:
        return nn.utils.clip_grad_norm_(parameters, largest)
    return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
