"""Measuring inside the parts of a training run, now and then, for the doctor. Nothing that is trained changes by it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trialbook.contracts import SupportsEvidence
from trialbook.contracts.records import Arrays, ModuleStats, Predictions
from trialbook.engine.activation_hooks import ActivationHooks
from trialbook.engine.embedding_stats import describe_embeddings, keep_embeddings

#: Numbers of a tensor that a checksum covers, and that an update is measured on; larger ones are sampled evenly.
_SUMMED, _MEASURED = 1 << 18, 1 << 15


@dataclass(frozen=True)
class PartView:
    """A part of a run as it was made: its name (``encoder.image``), its module, whether the file freezes it."""

    name: str
    module: Any
    frozen: bool


class Monitor:
    """Looks inside a run's parts at some steps; what the stats mean stands in ``trialbook.doctor.evidence``.

    Args:
        module: what is trained.
        parts: all parts that were made, those outside of ``module`` included.
        every: steps between looks; 0 never looks.
    """

    def __init__(self, module: nn.Module, parts: Sequence[PartView] = (), every: int = 0) -> None:
        self.module, self.every = module, every
        self.parts = [part for part in parts if isinstance(part.module, nn.Module)]
        self._watch: ActivationHooks | None = None
        self._before: list[Tensor] = []
        self._gradients: list[Tensor | None] = []

    def due(self, local: int, steps: int) -> bool:
        """Return whether step ``local`` (from 0) of a stage of so many steps is looked at."""
        return bool(self.every) and (local == 0 or local + 1 == steps or (local + 1) % self.every == 0)

    def wiring(self, step: int, stage: str, optimizer: Optimizer) -> Iterator[ModuleStats]:
        """At the start of a stage: what of each part is in the trained module and in the optimiser."""
        if not self.every:
            return
        within = {id(parameter) for parameter in self.module.parameters()}
        optimized = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        values = {}
        for part in self.parts:
            own = list(part.module.parameters())
            if own:
                values[part.name] = {
                    "stage": stage, "frozen": part.frozen, "parameters": sum(p.numel() for p in own),
                    "in_module": sum(p.numel() for p in own if id(p) in within),
                    "optimized": sum(p.numel() for p in own if id(p) in optimized),
                }  # fmt: skip
        yield ModuleStats(step, "wiring", values)

    def frozen(self, step: int, trained: Sequence[str]) -> Iterator[ModuleStats]:
        """At both ends of a run: checksums of what must not move."""
        if not self.every:
            return
        learning = set(trained)
        still: dict[str, list[tuple[str, Tensor]]] = {}
        for part in self.parts:
            if part.frozen:
                still[part.name] = [*part.module.named_parameters(), *part.module.named_buffers()]
        for name, parameter in self.module.named_parameters():
            part_name = ".".join(name.split(".")[:2])
            if name not in learning and part_name not in {part.name for part in self.parts if part.frozen}:
                still.setdefault(part_name, []).append((name, parameter))
        if values := {name: {"sum": _checksum(tensors)} for name, tensors in still.items() if tensors}:
            yield ModuleStats(step, "frozen", values)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Around the forward pass of the last micro-batch of a step that is looked at."""
        self._watch = ActivationHooks(self.module)
        with self._watch.during():
            yield

    def before_update(self, optimizer: Optimizer) -> None:
        """After the backward pass: keep the norms of the gradients and a sample of the weights."""
        parameters = _parameters(optimizer)
        with torch.no_grad():
            present = [p.grad for p in parameters if p.grad is not None]
            norms = iter(torch._foreach_norm(present) if present else [])
            self._gradients = [next(norms) if p.grad is not None else None for p in parameters]
            self._before = [_sample(p).clone() for p in parameters]

    def after_update(self, step: int, optimizer: Optimizer) -> Iterator[ModuleStats]:
        """After the optimiser's step: what happened to each parameter, and what was seen of modules."""
        parameters = _parameters(optimizer)
        rates = [group["lr"] for group in optimizer.param_groups for _ in group["params"]]
        names = {id(parameter): name for name, parameter in self.module.named_parameters()}
        with torch.no_grad():
            columns = [*torch._foreach_norm([p.detach() for p in parameters])]
            columns += torch._foreach_norm(torch._foreach_sub([_sample(p) for p in parameters], self._before))
            columns += [norm for norm in self._gradients if norm is not None]
            numbers = iter(torch.stack([column.float() for column in columns]).tolist())
        weights, updates = ([next(numbers) for _ in parameters] for _ in range(2))
        values = {}
        for place, parameter in enumerate(parameters):
            grad, share = self._gradients[place], self._before[place].numel() / max(1, parameter.numel())
            values[names.get(id(parameter), f"parameter {place}")] = {
                "size": parameter.numel(), "weight": weights[place], "grad": None if grad is None else next(numbers),
                "update": updates[place] / max(share, 1e-12) ** 0.5, "lr": rates[place],
            }  # fmt: skip
        self._before, self._gradients = [], []
        yield ModuleStats(step, "parameters", values)
        if self._watch is not None:
            for kind, seen in (("modules", self._watch.modules()), ("attention", self._watch.attention())):
                if seen:
                    yield ModuleStats(step, kind, seen)
            self._watch = None
        yield from self.own(step)

    def own(self, step: int, split: str = "") -> Iterator[ModuleStats]:
        """Yield the stats that modules give of their last forward pass."""
        values = {
            name: {key: float(value) for key, value in module.stats().items()}
            for name, module in self.module.named_modules()
            if callable(getattr(module, "stats", None))
        }
        if values and self.every:
            yield ModuleStats(step, "own", values, split)

    def evaluated(
        self, step: int, split: str, task: object, *, keep: bool
    ) -> Iterator[ModuleStats | Arrays | Predictions]:
        """After an evaluation: what modules say and what embeddings look like; with ``keep`` also what was evaluated, itself."""
        yield from self.own(step, split)
        shown: Mapping[str, Any] = task.shown(split) if isinstance(task, SupportsEvidence) else {}
        if self.every and shown.get("embeddings"):
            yield ModuleStats(step, "embeddings", describe_embeddings(shown), split)
        if keep and (arrays := keep_embeddings(shown)):
            yield Arrays(step, split, arrays)
        if keep and shown.get("predictions"):
            yield Predictions(step, split, tuple(shown["predictions"]))
        if keep and shown.get("per_sample"):
            yield Arrays(step, f"{split}-per-sample", shown["per_sample"])


def _parameters(optimizer: Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _sample(parameter: nn.Parameter) -> Tensor:
    """All numbers of a parameter, or an even sample: a copy of all of them would double what a large model needs."""
    flat = parameter.detach().reshape(-1)
    return flat[:: max(1, flat.numel() // _MEASURED)]


def _checksum(tensors: Sequence[tuple[str, Tensor]]) -> str:
    """SHA-256 over names and, of each tensor, all numbers or an even sample of them."""
    digest = hashlib.sha256()
    for name, tensor in tensors:
        flat = tensor.detach().reshape(-1)
        sample = flat[:: max(1, flat.numel() // _SUMMED)].cpu().contiguous()
        digest.update(name.encode())
        digest.update(sample.view(torch.uint8).numpy().data if sample.numel() else b"")
    return digest.hexdigest()
