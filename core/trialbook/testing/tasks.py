"""Checks of tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trialbook.config.kinds import KINDS
from trialbook.contracts import Measurable, Step, Trainable, to_device
from trialbook.contracts.records import Measured, Record
from trialbook.testing.common import Subject, check_names, ensure, same
from trialbook.testing.devices import ensure_on_device, on_device

_TAKES = ("one", "optional", "named", "many", "modality")
_TRAINS = ("module", "size", "batch", "losses", "evaluate", "after_step")
_MEASURES = ("measurements", "measured")


def check_task(subject: Subject) -> None:
    """Check what it declares; with a builder also that it sets itself up, and trains or measures in a way that repeats."""
    name, cls = subject.name, subject.cls
    takes = getattr(cls, "takes", None)
    ensure(isinstance(takes, Mapping), f"{name}.takes must map component kinds to how many it takes")
    for kind, how in dict(takes or {}).items():
        ensure(kind in KINDS, f"{name}.takes names the kind '{kind}'; kinds are {', '.join(KINDS)}")
        ensure(how in _TAKES, f"{name}.takes['{kind}'] is '{how}'; it must be one of {', '.join(_TAKES)}")
    check_names(name, "provides", getattr(cls, "provides", None))
    check_names(name, "produces", getattr(cls, "produces", None))
    ensure("builder" in subject.schema["injected"], f"the first parameter of {name} must be `builder, /`")
    trains, measures = (all(hasattr(cls, part) for part in parts) for parts in (_TRAINS, _MEASURES))
    ensure(trains or measures, f"{name} must have all of {', '.join(_TRAINS)} or all of {', '.join(_MEASURES)}")
    ensure(callable(getattr(cls, "setup", None)), f"{name} has no `setup`")
    if "builder" in subject.injected:
        if trains:
            _check_training(name, _set_up(subject), _set_up(subject))
            with on_device(subject) as (there, device):
                _check_training_on_device(name, _set_up(there), device)
        if measures:
            _check_measuring(name, _set_up(subject), _set_up(subject))
            with on_device(subject, trains=trains) as (there, _):
                _check_measuring_on_device(name, _set_up(there))


def _set_up(subject: Subject) -> Any:
    task = subject.make()
    task.setup()
    return task


def _check_training(name: str, task: Trainable, twin: Trainable) -> None:
    module = task.module()
    ensure(isinstance(module, nn.Module), f"{name}.module must give an nn.Module")
    for label, _ in module.named_parameters():
        ensure(
            label.partition(".")[0] in KINDS, f"parameter '{label}' of {name} must begin with its kind: 'projector.…'"
        )
    step = Step(0, "train", 0)
    size = task.size("train")
    ensure(size > 0, f"{name} has no training samples")
    samples = np.arange(min(4, size), dtype=np.int64)
    batch = task.batch(samples, 0, step)
    ensure(same(batch, twin.batch(samples, 0, step)), f"{name}.batch must be a function of its arguments alone")
    losses = task.losses(batch)
    ensure("loss" in losses, f"{name}.losses must give 'loss'")
    for key, value in losses.items():
        single = isinstance(value, Tensor) and value.ndim == 0 and bool(value.isfinite())
        ensure(single, f"'{key}' of {name} must be a finite scalar tensor, not {value!r}")
    ensure(losses["loss"].requires_grad, f"the loss of {name} depends on no parameter")
    module.eval()  # as in the engine
    with torch.no_grad():
        figures, again = dict(task.evaluate("train")), dict(task.evaluate("train"))
    ensure(same(figures, again), f"{name}.evaluate gives something else the second time")
    _check_figures(name, figures)
    ensure(
        dict(task.evaluate("no such split")) == {}, f"{name}.evaluate must give nothing for a split that is not there"
    )
    task.after_step()


def _check_measuring(name: str, task: Measurable, twin: Measurable) -> None:
    records = []
    for item in task.measurements():
        allowed = isinstance(item, Measured)
        ensure(
            allowed,
            f"{name}.measurements yields {item!r}; it must yield Records, Timings, Events, Facts, Arrays and Artifacts",
        )
        if isinstance(item, Record):
            _check_figures(name, item.values)
            records.append(item)
    done = len(records) // 2
    twin.measured(done)
    rest = [item for item in twin.measurements() if isinstance(item, Record)]
    ensure(rest == records[done:], f"{name} does not continue after `measured({done})` as if it had never stopped")


def _check_training_on_device(name: str, task: Trainable, device: torch.device) -> None:
    """A step as the engine does it: the module and the batch are on the device, frozen parts outside of it are not."""
    module = task.module().to(device)
    samples = np.arange(min(4, task.size("train")), dtype=np.int64)
    losses = task.losses(to_device(task.batch(samples, 0, Step(0, "train", 0)), device))
    ensure_on_device(name, "losses", losses["loss"], device)
    losses["loss"].backward()  # type: ignore[no-untyped-call]
    module.eval()
    with torch.no_grad():
        _check_figures(name, dict(task.evaluate("train")))
    task.after_step()


def _check_measuring_on_device(name: str, task: Measurable) -> None:
    """Until the first record: the others are made in the same way."""
    task.measured(0)
    for item in task.measurements():
        if isinstance(item, Record):
            _check_figures(name, item.values)
            return


def _check_figures(name: str, figures: Mapping[str, float]) -> None:
    for key, value in figures.items():
        number = isinstance(value, int | float) and math.isfinite(value)
        ensure(number, f"'{key}' of {name} must be a finite number, not {value!r}")
