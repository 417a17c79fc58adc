"""Checks of losses and metrics."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trialbook.produces import expand_produces
from trialbook.testing.answers import made_up_predictions
from trialbook.testing.common import Subject, check_gradients, check_names, check_signature, ensure, same

_ROWS = 6


def check_loss(subject: Subject) -> None:
    """A finite scalar that depends on its inputs and on every parameter, and that repeats."""
    name = subject.name
    check_names(name, "needs", getattr(subject.cls, "needs", None))
    loss = subject.make()
    ensure(isinstance(loss, nn.Module), f"{name} must be an nn.Module")
    check_signature(name, loss.forward, loss.needs)
    inputs = _inputs(subject, loss.needs, captions=1)
    leaves = [tensor for tensor in _tensors(inputs) if tensor.is_floating_point()]
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


def _inputs(subject: Subject, needs: tuple[str, ...], captions: int) -> dict[str, Any]:
    """Inputs that were given, and made-up predictions, embeddings and groups: ``captions`` texts an image."""
    generator = torch.Generator().manual_seed(0)
    dim = int(subject.wired.get("dim", 16))
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


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    return [tensor for one in value for tensor in _tensors(one)] if isinstance(value, list | tuple) else []
