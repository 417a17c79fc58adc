from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trialbook.errors import TrialbookError
from trialbook_plugins.losses.info_nce import InfoNCE


def reference(x: np.ndarray, y: np.ndarray, scale: float) -> float:
    """CLIP's loss from its definition, row by row in float64."""
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    y = y / np.linalg.norm(y, axis=1, keepdims=True)
    total = 0.0
    for a, b in ((x, y), (y, x)):
        for i in range(len(a)):
            logits = [scale * float(a[i] @ other) for other in b]
            highest = max(logits)
            total += highest + math.log(sum(math.exp(z - highest) for z in logits)) - logits[i]
    return total / (2 * len(x))


def random_pair(seed: int, batch: int, dim: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: 3 * torch.randn(batch, dim, generator=generator) for name in ("image", "text")}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 20), st.integers(1, 40), st.floats(0.01, 1))
def test_it_agrees_with_the_definition(seed: int, batch: int, dim: int, temperature: float):
    """Float64 within 1e-9; float32 within 1e-6 of the scale, as its logits have six to seven digits."""
    embeddings = random_pair(seed, batch, dim)
    exact = InfoNCE(temperature=temperature).double()
    expected = reference(*(x.double().numpy() for x in embeddings.values()), exact.report()["logit_scale"].item())
    got = exact(embeddings={name: x.double() for name, x in embeddings.items()})
    assert got.item() == pytest.approx(expected, abs=1e-9)
    got = InfoNCE(temperature=temperature)(embeddings=embeddings)
    assert got.item() == pytest.approx(expected, abs=1e-6 / temperature)


def test_the_loss_ignores_the_length_of_the_embeddings():
    embeddings = random_pair(0, 8, 16)
    longer = {name: 7 * x for name, x in embeddings.items()}
    torch.testing.assert_close(InfoNCE()(embeddings=embeddings), InfoNCE()(embeddings=longer))


@pytest.mark.parametrize("batch", [2, 64])
def test_equal_embeddings_give_the_logarithm_of_the_batch_size(batch: int):
    same = torch.randn(1, 32).expand(batch, 32)
    loss = InfoNCE(temperature=0.01)(embeddings={"image": same, "text": same})
    assert loss.item() == pytest.approx(math.log(batch), abs=1e-5)  # logits are 100 with float32's digits
    if batch == 64:
        assert round(loss.item(), 5) == 4.15888


def test_a_batch_of_one_gives_zero():
    assert InfoNCE()(embeddings=random_pair(0, 1, 8)).item() == 0


def test_random_embeddings_give_chance_plus_half_the_squared_scale_over_the_dimension():
    torch.manual_seed(0)
    batch, dim, scale = 512, 256, 4.0
    loss = InfoNCE(temperature=1 / scale)(embeddings=random_pair(1, batch, dim))
    assert loss.item() == pytest.approx(math.log(batch) + scale**2 / (2 * dim), abs=0.015)  # 1 sd is about 0.008


def test_three_modalities_give_the_mean_over_their_pairs():
    x, y, z = (torch.randn(6, 9) for _ in range(3))
    loss = InfoNCE()
    pairs = [loss(embeddings={"a": a, "b": b}) for a, b in ((x, y), (x, z), (y, z))]
    torch.testing.assert_close(loss(embeddings={"image": x, "text": y, "audio": z}), sum(pairs) / 3)


def test_the_scale_starts_at_clips_and_is_clamped_after_a_step():
    loss = InfoNCE()
    assert loss.log_scale.item() == pytest.approx(math.log(1 / 0.07))
    assert loss.report()["logit_scale"].item() == pytest.approx(1 / 0.07)
    for before, after in ((9.0, math.log(100)), (-1.0, 0.0), (2.0, 2.0)):
        torch.nn.init.constant_(loss.log_scale, before)
        loss.after_step()
        assert loss.log_scale.item() == pytest.approx(after)


def test_a_fixed_scale_has_nothing_to_learn_and_is_saved():
    loss = InfoNCE(temperature=0.002, learn_scale=False)
    loss.after_step()
    assert list(loss.parameters()) == []
    assert loss.state_dict()["log_scale"].exp().item() == pytest.approx(500, rel=1e-5)


def test_mixed_precision_does_not_reach_the_logits():
    embeddings = random_pair(3, 16, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = InfoNCE()(embeddings=embeddings)
    torch.testing.assert_close(inside, InfoNCE()(embeddings=embeddings), rtol=0, atol=0)


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"temperature": 0.001}, {"temperature": 2.0}])
def test_a_temperature_out_of_range_is_refused(options: dict[str, float]):
    with pytest.raises(ValueError, match="temperature"):
        InfoNCE(**options)


def test_one_modality_or_uneven_rows_are_refused():
    with pytest.raises(TrialbookError, match="two modalities"):
        InfoNCE()(embeddings={"image": torch.randn(2, 3)})
    with pytest.raises(TrialbookError, match="one shape"):
        InfoNCE()(embeddings={"image": torch.randn(2, 3), "text": torch.randn(3, 3)})


# --- what it tells the doctor -------------------------------------------------------------------------------------


def test_before_the_first_pass_there_is_nothing_to_tell():
    assert InfoNCE().stats() == {}


def test_it_tells_the_batch_chance_and_the_scale_with_its_bounds():
    loss = InfoNCE()
    loss(embeddings=random_pair(0, 64, 32))
    loss(embeddings=random_pair(0, 24, 32))  # the last pass counts
    told = loss.stats()
    assert told.pop("random") > told["chance"]
    assert told == {
        "batch": 24, "chance": math.log(24), "scale": pytest.approx(1 / 0.07), "scale_min": 1, "scale_max": 100,
    }  # fmt: skip


def test_a_fixed_scale_has_no_bounds():
    loss = InfoNCE(temperature=0.002, learn_scale=False)
    loss(embeddings=random_pair(0, 4, 8))
    told = loss.stats()
    assert told["scale"] == pytest.approx(500)
    assert set(told) == {"batch", "chance", "random", "scale"}


def test_chance_is_the_loss_of_equal_embeddings():
    same = torch.randn(1, 32).expand(48, 32)
    loss = InfoNCE()
    value = loss(embeddings={"image": same, "text": same})
    assert loss.stats()["chance"] == pytest.approx(value.item(), abs=1e-5)


@pytest.mark.parametrize(
    ("batch", "dim", "scale"), [(2, 1, 3), (16, 2, 10), (64, 8, 14.3), (128, 128, 14.3), (64, 64, 100), (1, 8, 20)]
)
def test_random_is_the_mean_loss_of_random_embeddings(batch: int, dim: int, scale: float):
    """A simulation of 300 batches, within five of its standard errors; also where the scale is far too large for d."""
    loss = InfoNCE(temperature=1 / scale)
    simulated = [loss(embeddings=random_pair(seed, batch, dim)).item() for seed in range(300)]
    error = np.std(simulated) / math.sqrt(len(simulated))
    assert loss.stats()["random"] == pytest.approx(np.mean(simulated), abs=5 * error + 1e-4)


@pytest.mark.parametrize(("batch", "dim", "scale"), [(64, 512, 5), (128, 4096, 14.3), (512, 256, 4), (4096, 768, 10)])
def test_random_is_half_the_squared_scale_over_the_dimension_above_chance_to_first_order(batch, dim, scale):
    """The next order is (scale²/dim)² / 4 dim and e^(scale²/dim) / 2 batch."""
    loss = InfoNCE(temperature=1 / scale)
    loss(embeddings=random_pair(0, batch, dim))
    told = loss.stats()
    next_order = (scale**2 / dim) ** 2 / 4 / dim + math.expm1(scale**2 / dim) / 2 / batch
    assert told["random"] == pytest.approx(told["chance"] + scale**2 / 2 / dim, abs=2 * next_order)


def test_random_stays_below_what_the_largest_cosine_allows():
    loss = InfoNCE(temperature=1e-5, learn_scale=False)
    loss(embeddings=random_pair(0, 8, 2))
    told = loss.stats()
    assert 0.5 * told["scale"] < told["random"] < told["scale"] + told["chance"]


def test_telling_changes_neither_results_nor_state():
    embeddings = random_pair(0, 8, 16)
    loss, twin = InfoNCE(), InfoNCE()
    for one in (loss, twin):
        one(embeddings=embeddings).backward()
        if one is loss:
            one.stats()
    assert set(loss.state_dict()) == {"log_scale"}
    torch.testing.assert_close(loss.log_scale.grad, twin.log_scale.grad, rtol=0, atol=0)
    torch.testing.assert_close(loss(embeddings=embeddings), twin(embeddings=embeddings), rtol=0, atol=0)


# --- duplicates ---------------------------------------------------------------------------------------------------


def test_sharing_the_target_among_equal_embeddings_is_the_loss_of_negatives_and_that_is_told():
    """Texts of rows 0 and 1, and of 2, 3 and 4 are equal, word for word and in their embeddings."""
    text = torch.tensor([7, 7, 8, 8, 8, 9])
    content = {"image": torch.arange(6), "text": text}
    embeddings = {"image": torch.randn(6, 9, requires_grad=True), "text": torch.randn(10, 9)[text]}
    shared, plain = InfoNCE(duplicates="shared"), InfoNCE()
    grads = []
    for loss in (shared, plain):
        value = loss(embeddings=embeddings, **({"content": content} if loss is shared else {}))
        grads.append((value, *torch.autograd.grad(value, embeddings["image"])))
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-5, atol=1e-6)
    assert (shared.stats()["duplicates"], shared.stats()["duplicates_apart"]) == (5, 0)
    shared(embeddings={**embeddings, "text": torch.randn(6, 9)}, content=content)  # dropout, say
    assert (shared.stats()["duplicates"], shared.stats()["duplicates_apart"]) == (5, 5)
