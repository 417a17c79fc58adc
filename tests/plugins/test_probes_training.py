"""Probes that are trained together are what each is alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trialbook.errors import TrialbookError
from trialbook_plugins.probes.recipes import Plan, Setting, first_weights, grid, sample_order
from trialbook_plugins.probes.training import Probes, fit_probes


def data(loss: str, n: int = 120, d: int = 10, dtype: torch.dtype = torch.float32):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64) * torch.logspace(-1, 1, d, dtype=torch.float64) + 1
    y = x[:, :3] + 0.3 * torch.randn(n, 3, generator=generator, dtype=torch.float64)
    y = {"mse": y, "bce": (y > 1).double(), "cross-entropy": y.argmax(1)}[loss]
    return x.to(dtype), y if loss == "cross-entropy" else y.to(dtype)


def alone(x: torch.Tensor, y: torch.Tensor, setting: Setting, plan: Plan) -> nn.Module:
    """One probe, trained by torch's own modules and optimiser."""
    x = (x - x.mean(0)) / x.std(0, correction=0)
    weights = first_weights(setting.seed, x.shape[1], 3, plan.hidden, x.dtype)
    layers = [nn.Linear(*w.shape, dtype=x.dtype) for w in weights[::2]]
    for layer, weight, bias in zip(layers, weights[::2], weights[1::2], strict=True):
        layer.weight.data, layer.bias.data = weight.T.clone(), bias.clone()
    model = nn.Sequential(layers[0], nn.GELU(), layers[1]) if plan.hidden else layers[0]
    optimiser = torch.optim.AdamW(model.parameters(), lr=setting.lr, weight_decay=setting.weight_decay)
    rates = torch.optim.lr_scheduler.LambdaLR(optimiser, plan.rate)
    loss = {"mse": nn.MSELoss(), "bce": nn.BCEWithLogitsLoss(), "cross-entropy": nn.CrossEntropyLoss()}[plan.loss]
    order = sample_order(setting.seed, len(x), plan) if plan.batch else [slice(None)] * plan.steps
    for rows in order:
        optimiser.zero_grad()
        loss(model(x[rows]), y[rows]).backward()
        optimiser.step()
        rates.step()
    return model


@pytest.mark.parametrize("hidden", [0, 6])
@pytest.mark.parametrize("batch", [0, 16])
@pytest.mark.parametrize("loss", ["mse", "bce", "cross-entropy"])
def test_together_is_one_by_one(loss: str, batch: int, hidden: int) -> None:
    """Within 1e-5 on outputs of order 1: linear ones in float32, whose products are summed in another order; MLPs, which
    make small differences larger from step to step, in float64."""
    x, y = data(loss, dtype=torch.float64 if hidden else torch.float32)
    plan = Plan(loss=loss, steps=25, batch=batch, hidden=hidden, schedule="cosine" if batch else "constant")
    settings = grid([1e-3, 3e-2], [0.1], [0, 1])
    probes = fit_probes(x, y, settings, plan)
    found = probes.predict(x)
    scaled = (x - x.mean(0)) / x.std(0, correction=0)
    for place, setting in enumerate(settings):
        expected = alone(x, y, setting, plan)(scaled)
        torch.testing.assert_close(found[place], expected, rtol=1e-5, atol=1e-5)


def test_in_float64_they_are_the_same_for_long() -> None:
    x, y = data("mse", dtype=torch.float64)
    plan = Plan(steps=400)
    settings = grid([1e-3, 1e-1], [0.0, 0.1])
    found = fit_probes(x, y, settings, plan).predict(x)
    scaled = (x - x.mean(0)) / x.std(0, correction=0)
    for place, setting in enumerate(settings):
        torch.testing.assert_close(found[place], alone(x, y, setting, plan)(scaled), rtol=1e-9, atol=1e-9)


def test_a_grid_larger_than_a_block_keeps_its_order() -> None:
    x, y = data("mse", d=400)
    settings = [Setting(10.0**-i, 0.0, seed) for seed in range(10) for i in range(1, 11)]
    together = fit_probes(x, y, settings, Plan(steps=5, batch=8))
    for place in (0, 37, 99):
        one = fit_probes(x, y, [settings[place]], Plan(steps=5, batch=8))
        torch.testing.assert_close(together.predict(x, place), one.predict(x, 0), rtol=1e-5, atol=1e-5)


def test_the_best_probe_is_that_of_the_smallest_loss_on_other_samples() -> None:
    x, _ = data("cross-entropy", n=400)
    y = x[:, -3:].argmax(1)
    probes = fit_probes(x[:200], y[:200], grid([1e-6, 1e-2]), Plan(loss="cross-entropy", steps=200))
    assert isinstance(probes, Probes)
    assert probes.best(x[200:], y[200:]) == 1
    assert (probes.predict(x[200:], 1).argmax(1) == y[200:]).float().mean() > 0.8


def test_what_cannot_be_trained_is_refused() -> None:
    x, y = data("mse")
    with pytest.raises(TrialbookError, match="one target each"):
        fit_probes(x, y[:-1], [Setting()])
    with pytest.raises(TrialbookError, match="do not fit"):
        fit_probes(x, y[:, 0], [Setting()])
    with pytest.raises(TrialbookError, match="at least one setting"):
        fit_probes(x, y, [])
