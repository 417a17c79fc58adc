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
