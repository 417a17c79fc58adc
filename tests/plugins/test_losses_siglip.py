from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trialbook_plugins.losses.siglip import SigLIP


def reference(x: np.ndarray, y: np.ndarray, scale: float, bias: float) -> float:
    """The pairwise sigmoid loss from its definition, pair by pair in float64."""
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    y = y / np.linalg.norm(y, axis=1, keepdims=True)
    total = 0.0
    for i in range(len(x)):
        for j in range(len(y)):
            logit = (1 if i == j else -1) * (scale * float(x[i] @ y[j]) + bias)
            total += max(-logit, 0) + math.log1p(math.exp(-abs(logit)))
    return total / len(x)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(1, 16), st.integers(1, 40), st.floats(0.1, 100), st.floats(-20, 5)
)  # fmt: skip
def test_it_agrees_with_the_definition(seed: int, batch: int, dim: int, scale: float, bias: float):
    """Tolerance 1e-6 in relation to the value, which grows with batch and scale; inputs float64, parameters float32."""
    generator = torch.Generator().manual_seed(seed)
    rows = {name: torch.randn(batch, dim, generator=generator, dtype=torch.float64) for name in ("image", "text")}
    expected = reference(*(x.numpy() for x in rows.values()), scale, bias)
    assert SigLIP(init_scale=scale, init_bias=bias)(embeddings=rows).item() == pytest.approx(
        expected, rel=1e-6, abs=1e-6
    )


def test_it_starts_at_scale_ten_and_bias_minus_ten():
    loss = SigLIP()
    assert loss.log_scale.item() == pytest.approx(math.log(10))
    report = {name: value.item() for name, value in loss.report().items()}
    assert report == {"logit_scale": pytest.approx(10), "logit_bias": -10}


def test_scale_and_bias_learn():
    loss = SigLIP()
    loss(embeddings={"image": torch.randn(4, 8), "text": torch.randn(4, 8)}).backward()
    assert loss.log_scale.grad != 0
    assert loss.bias.grad != 0


def test_three_modalities_give_the_mean_over_their_pairs():
    x, y, z = (torch.randn(6, 9) for _ in range(3))
    loss = SigLIP()
    pairs = [loss(embeddings={"a": a, "b": b}) for a, b in ((x, y), (x, z), (y, z))]
    torch.testing.assert_close(loss(embeddings={"image": x, "text": y, "audio": z}), sum(pairs) / 3)


def test_a_scale_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="init_scale"):
        SigLIP(init_scale=0.0)


# --- what it tells the doctor -------------------------------------------------------------------------------------


def random_pair(seed: int, batch: int, dim: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(batch, dim, generator=generator) for name in ("image", "text")}


def test_it_tells_the_batch_and_the_scale_of_its_last_pass():
    loss = SigLIP()
    assert loss.stats() == {}
    loss(embeddings=random_pair(0, 9, 4))
    told = loss.stats()
    assert set(told) == {"batch", "chance", "random", "scale"}
    assert (told["batch"], told["scale"]) == (9, pytest.approx(10))


@pytest.mark.parametrize("batch", [2, 64])
def test_chance_is_the_least_that_equal_embeddings_can_have(batch: int):
    """Found here by trying biases in steps of 0.001; the minimum is flat, so that its value is right within 1e-5."""
    same = torch.randn(1, 8).expand(batch, 8)
    values = []
    for bias in torch.arange(-15, 5, 0.001).tolist():
        logit = 10 + bias
        values.append(math.log1p(math.exp(-logit)) + (batch - 1) * math.log1p(math.exp(logit)))
    loss = SigLIP(init_bias=-10 - math.log(batch - 1))
    at_best = loss(embeddings={"image": same, "text": same}).item()
    assert loss.stats()["chance"] == pytest.approx(min(values), abs=1e-5)
    assert loss.stats()["chance"] == pytest.approx(at_best, abs=1e-4)


def test_chance_of_a_batch_of_one_is_zero():
    loss = SigLIP()
    loss(embeddings=random_pair(0, 1, 4))
    assert loss.stats()["chance"] == 0


@pytest.mark.parametrize(
    ("batch", "dim", "scale", "bias"), [(2, 1, 2, 0), (16, 2, 10, -3), (64, 32, 10, -10), (64, 8, 60, -5)]
)
def test_random_is_the_mean_loss_of_random_embeddings(batch: int, dim: int, scale: float, bias: float):
    """A simulation of 300 batches, within five of its standard errors."""
    loss = SigLIP(init_scale=scale, init_bias=bias)
    simulated = [loss(embeddings=random_pair(seed, batch, dim)).item() for seed in range(300)]
    error = np.std(simulated) / math.sqrt(len(simulated))
    assert loss.stats()["random"] == pytest.approx(np.mean(simulated), abs=5 * error + 1e-4)
