"""The state of training that a checkpoint holds, and how training resumes from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from trialbook.contracts.records import Event
from trialbook.engine.checkpoint import Checkpoint
from trialbook.errors import TrialbookError
from trialbook.registry.ranks import refusal


def model_tensors(module: nn.Module, trained: Sequence[str]) -> dict[str, Tensor]:
    """Every parameter that any stage trains, and every buffer: all that is needed beside the frozen parts.

    A parameter that stands under two names is held under its first. What a quantised weight keeps beside its numbers
    (``….weight.absmax``) is no buffer, and as frozen as it is.
    """
    chosen = set(trained)
    parameters = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    return {
        name: tensor
        for name, tensor in module.state_dict().items()
        if name in chosen or not (name in parameters or any(above in parameters for above in _above(name)))
    }


def _above(name: str) -> list[str]:
    """``a`` and ``a.b`` of ``a.b.c``."""
    levels = name.split(".")
    return [".".join(levels[:count]) for count in range(1, len(levels))]


def load_model(module: nn.Module, tensors: Mapping[str, Tensor], trained: Sequence[str]) -> None:
    """Put the tensors back.

    Raises:
        TrialbookError: something that is trained, or a buffer, is not in the checkpoint, or the checkpoint holds what the
            module has not.
    """
    missing = sorted(set(model_tensors(module, trained)) - set(tensors))
    unknown = sorted(set(tensors) - set(module.state_dict()))
    if missing or unknown:
        raise TrialbookError(
            f"the checkpoint does not fit: missing {missing or 'nothing'}, unknown {unknown or 'nothing'}"
        )
    module.load_state_dict(dict(tensors), strict=False)


def optimizer_tensors(optimizer: AdamW, module: nn.Module) -> dict[str, Tensor]:
    """The optimiser's moments under ``<moment>/<parameter>``."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return {
        f"{key}/{names[id(parameter)]}": torch.as_tensor(value)
        for parameter, moments in optimizer.state.items()
        for key, value in moments.items()
    }


def load_optimizer(optimizer: AdamW, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put the moments back, on each parameter's device.

    Raises:
        TrialbookError: the moments name a parameter that the module has not.
    """
    named = dict(module.named_parameters())
    for full, value in tensors.items():
        key, name = full.split("/", 1)
        if name not in named:
            raise TrialbookError(f"the checkpoint's optimiser knows '{name}', which this run has not")
        parameter = named[name]
        optimizer.state[parameter][key] = value.to(parameter.device)


def first_non_finite(values: Mapping[str, float], *, gradient: bool) -> str | None:
    """Name of the first loss that is NaN or infinite, or of the gradient's norm if that counts (in half precision it may be)."""
    counted = {
        name: v for name, v in values.items() if name.split("/")[0] == "loss" or (gradient and name == "grad_norm")
    }
    return next((name for name, value in counted.items() if not math.isfinite(value)), None)


def missing_records(state: Mapping[str, Any], recorded: int) -> str | None:
    """Explain why a run with so many records cannot resume from a checkpoint with this state; None if it can."""
    seen = int(state["records"])
    return f"it has seen {seen} records, of which {seen - recorded} are lost" if seen > recorded else None


def check_processes(found: Checkpoint, processes: int) -> None:
    """Check that as many processes continue as saved the checkpoint; older ones do not say.

    Raises:
        TrialbookError: they are not: a step would have another batch.
    """
    if (then := found.state.get("processes", processes)) != processes:
        raise TrialbookError(f"checkpoint step-{found.step:08d} {refusal(then)}")


def check_agreement(steps: Sequence[int | None]) -> None:
    """Check that all processes resume from the same checkpoint, by the step that each has found.

    Raises:
        TrialbookError: they do not.
    """
    if len(set(steps)) > 1:
        raise TrialbookError(
            f"the processes of this run see different checkpoints (of the steps {', '.join(map(str, steps))}): they must "
            "share the directory of runs"
        )


def resume_events(found: Checkpoint) -> list[Event]:
    """List the events to record of a run that resumes from this checkpoint."""
    events = [Event(found.step, "resumed", f"resumed from the checkpoint at step {found.step}")]
    for fact, now in (("threads", torch.get_num_threads()), ("torch", torch.__version__)):
        if (then := found.state.get(fact)) != now:
            message = f"{fact} was {then} and is {now}: from here on results may differ in the last bits"
            events.append(Event(found.step, "resume-inexact", message))
    return events
