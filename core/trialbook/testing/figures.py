"""Checks of losses and metrics."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trialbook.contracts import to_device
from trialbook.contracts.metric_names import expand_produces
from trialbook.contracts.metric_values import per_sample_of
from trialbook.testing.answers import made_up_predictions
from trialbook.testing.common import Subject, check_gradients, check_names, check_signature, ensure, same
from trialbook.testing.devices import ensure_on_device, modules_of, on_device, tensors_of

_ROWS = 6


def check_loss(subject: Subject) -> None:
    """A finite scalar that depends on its inputs and on every parameter, that repeats, and lies where its inputs do."""
    name = subject.name
    check_names(name, "needs", getattr(subject.cls, "needs", None))
    loss = subject.make()
    ensure(isinstance(loss, nn.Module), f"{name} must be an nn.Module")
    check_signature(name, loss.forward, loss.needs)
    inputs = _inputs(subject, loss.needs, captions=1)
    leaves = [tensor for tensor in tensors_of(inputs) if tensor.is_floating_point()]
    for leaf in leaves:
        leaf.requires_grad_(True)
    value = loss.eval()(**inputs)
    ensure(isinstance(value, Tensor) and value.ndim == 0, f"{name} must give a scalar tensor, not {value!r}")
    ensure(value.isfinite(), f"{name} gives {value.item()}")
    ensure(same(value, loss(**inputs)), f"{name} gives something else the second time")
    check_gradients(name, loss, loss.train()(**inputs))
    reached = [leaf.grad is not None and bool(leaf.grad.any()) for leaf in leaves]
    ensure(not leaves or any(reached), f"{name} gives no gradient to any of its inputs")
    if hasattr(loss, "after_step"):
        loss.after_step()
    for key, figure in (loss.report() if hasattr(loss, "report") else {}).items():
        single = isinstance(figure, int | float) or (isinstance(figure, Tensor) and figure.numel() == 1)
        ensure(single, f"{name}.report gives {figure!r} for '{key}'; it must be one number")
    _check_loss_on_device(subject, inputs, value.item())


def _check_loss_on_device(subject: Subject, inputs: Mapping[str, Any], expected: float) -> None:
    name = subject.name
    with on_device(replace(subject, inputs=inputs)) as (there, device):
        loss, moved = there.make().to(device), to_device(there.inputs, device)
        for module in modules_of(moved):
            module.to(device)
        value = loss.eval()(**moved)
        ensure_on_device(name, "its value", value, device)
        ensure(math.isclose(value.item(), expected, rel_tol=1e-4, abs_tol=1e-5), f"{name} is another on a CUDA device")
        check_gradients(name, loss, loss.train()(**moved))
        for part in ("after_step", "report"):
            if hasattr(loss, part):
                getattr(loss, part)()


def check_metric(subject: Subject) -> None:
    """Finite numbers under the names that it declared, the same every time, from inputs that it leaves as they are."""
    name = subject.name
    check_names(name, "needs", getattr(subject.cls, "needs", None))
    check_names(name, "produces", getattr(subject.cls, "produces", None))
    metric = subject.make()
    check_signature(name, metric.compute, metric.needs)
    inputs = _inputs(subject, metric.needs, captions=2)
    before = copy.deepcopy(inputs)
    figures = metric.compute(**inputs)
    ensure(same(inputs, before), f"{name} changes its inputs")
    ensure(same(dict(figures), dict(metric.compute(**inputs))), f"{name} gives something else the second time")
    ensure(same(dict(figures), dict(subject.make(seed=1).compute(**inputs))), f"another instance of {name} differs")
    modalities = next((list(value) for value in inputs.values() if isinstance(value, Mapping)), [])
    expected = expand_produces(metric.produces, subject.all_options, modalities)
    ensure(set(figures) == set(expected), f"{name} declares {sorted(expected)} but gives {sorted(figures)}")
    for key, figure in figures.items():
        number = isinstance(figure, int | float) and not isinstance(figure, bool)
        ensure(number and math.isfinite(figure), f"'{key}' of {name} must be a finite number, not {figure!r}")
    _check_per_sample(name, figures)
    with on_device(subject) as (
        there,
        device,
    ):  # as tasks do: embeddings come from the device, all else from the data set
        for key, figure in there.make().compute(**_with_embeddings_on(device, inputs)).items():
            close = math.isclose(figure, figures[key], rel_tol=1e-4, abs_tol=1e-5)
            ensure(close, f"'{key}' of {name} is {figure} on a CUDA device, {figures[key]} on a CPU")


def _check_per_sample(name: str, values: Mapping[str, float]) -> None:
    """Values of samples, where there are any, are those whose mean the metric gives."""
    for key, each in per_sample_of("", values).items():
        own = key.removeprefix("/")
        ensure(own in values, f"{name} gives values of samples for '{own}', which is no value of it")
        ensure(each.ndim == 1, f"values of samples of '{own}' of {name} must be [n], not {list(each.shape)}")
        counted = each[~np.isnan(each)]
        mean = float(counted.mean()) if len(counted) else math.nan
        ensure(
            math.isclose(mean, values[own], rel_tol=1e-6, abs_tol=1e-9),
            f"the mean of the samples' values of '{own}' of {name} is {mean}, but its value is {values[own]}",
        )


def _with_embeddings_on(device: torch.device, inputs: Mapping[str, Any]) -> dict[str, Any]:
    moved = dict(inputs)
    if "embeddings" in inputs:
        moved["embeddings"] = to_device(inputs["embeddings"], device)
    if isinstance(inputs.get("train"), Mapping):
        moved["train"] = _with_embeddings_on(device, inputs["train"])
    return moved


def _inputs(subject: Subject, needs: tuple[str, ...], captions: int) -> dict[str, Any]:
    """Inputs that were given, and made-up predictions, embeddings and groups: ``captions`` texts an image."""
    generator = torch.Generator().manual_seed(0)
    dim = int(subject.injected.get("dim", 16))
    image = torch.randn(_ROWS, dim, generator=generator)
    text = image.repeat_interleave(captions, 0) + torch.randn(_ROWS * captions, dim, generator=generator)
    groups = torch.arange(_ROWS)
    embeddings, classes = {"image": image, "text": text}, groups % 2
    of_rows = {"image": groups, "text": groups.repeat_interleave(captions)}
    made_up: dict[str, Any] = {
        "embeddings": embeddings, "groups": of_rows, "predictions": made_up_predictions(),
        "content": {name: torch.arange(len(rows)) for name, rows in embeddings.items()},
        "classes": {name: classes[own] for name, own in of_rows.items()} if subject.kind == "loss" else classes,
    }  # fmt: skip
    made_up["train"] = {key: made_up[key] for key in ("embeddings", "groups", "content", "classes")}
    inputs = {key: value for key, value in {**made_up, **(subject.inputs or {})}.items() if key in needs}
    missing = [key for key in needs if key not in inputs]
    ensure(not missing, f"give `inputs` for what {subject.name} needs: {', '.join(missing)}")
    return inputs
