from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trialbook_plugins.losses.info_nce import InfoNCE
from trialbook_plugins.losses.matryoshka import Matryoshka
from trialbook_plugins.losses.siglip import SigLIP


class NeedsLabels(nn.Module):
    needs = ("embeddings", "labels")


class Bare(nn.Module):
    """A loss without the optional methods."""

    needs = ("embeddings",)

    def forward(self, *, embeddings: dict[str, Tensor]) -> Tensor:
        return sum(x.sum() for x in embeddings.values())


def rows() -> dict[str, Tensor]:
    return {"image": torch.randn(6, 16), "text": torch.randn(6, 16)}


@pytest.mark.parametrize("inner", [InfoNCE, SigLIP])
def test_it_is_the_sum_of_the_inner_loss_over_cut_and_renormalised_embeddings(inner: type[nn.Module]):
    """Every size is cut and normalised here by hand; tolerance 1e-6 for float32 sums."""
    embeddings = rows()
    loss = Matryoshka(16, inner(), dims=[4, 8, 16])
    by_hand = 0.0
    for size in (4, 8, 16):
        cut = {name: x[:, :size] / x[:, :size].pow(2).sum(1, keepdim=True).sqrt() for name, x in embeddings.items()}
        by_hand += inner()(embeddings=cut)
    torch.testing.assert_close(loss(embeddings=embeddings), by_hand, rtol=1e-6, atol=1e-6)


def test_weights_weigh_the_sizes():
    embeddings = rows()
    one, two = (Matryoshka(16, InfoNCE(), dims=[size])(embeddings=embeddings) for size in (4, 16))
    both = Matryoshka(16, InfoNCE(), dims=[4, 16], weights=[0.5, 2.0])(embeddings=embeddings)
    torch.testing.assert_close(both, 0.5 * one + 2 * two)


def test_the_full_size_alone_is_the_inner_loss():
    embeddings = rows()
    torch.testing.assert_close(
        Matryoshka(16, InfoNCE(), dims=[16])(embeddings=embeddings), InfoNCE()(embeddings=embeddings)
    )


def test_numbers_beyond_the_largest_size_get_no_gradient():
    embeddings = {name: x.requires_grad_() for name, x in rows().items()}
    Matryoshka(16, InfoNCE(), dims=[4, 8])(embeddings=embeddings).backward()
    for x in embeddings.values():
        assert x.grad[:, :8].abs().min() > 0
        assert x.grad[:, 8:].abs().max() == 0


def test_the_inner_loss_reports_clamps_and_learns():
    loss = Matryoshka(16, InfoNCE(), dims=[4, 16])
    nn.init.constant_(loss.of.log_scale, 9.0)
    loss.after_step()
    assert loss.report()["logit_scale"].item() == pytest.approx(100)
    loss(embeddings=rows()).backward()
    assert [name for name, p in loss.named_parameters() if p.grad is not None] == ["of.log_scale"]


def test_an_inner_loss_may_lack_the_optional_methods():
    loss = Matryoshka(16, Bare(), dims=[4])
    loss.after_step()
    loss(embeddings=rows())
    assert loss.report() == {}
    assert loss.stats() == {}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"dims": []}, "at least one"),
        ({"dims": [4, 4]}, "each once"),
        ({"dims": [4, 32]}, r"32.*16"),
        ({"dims": [0]}, "from 1"),
        ({"dims": [4], "weights": [1.0, 1.0]}, "weights"),
        ({"dims": [4], "weights": [-1.0]}, "weights"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], named: str):
    with pytest.raises(ValueError, match=named):
        Matryoshka(16, InfoNCE(), **options)


def test_a_loss_that_needs_more_than_embeddings_is_refused():
    with pytest.raises(ValueError, match="labels"):
        Matryoshka(16, NeedsLabels(), dims=[4])


# --- what it tells the doctor -------------------------------------------------------------------------------------


def random_rows(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(24, 16, generator=generator) for name in ("image", "text")}


@pytest.mark.parametrize("inner", [InfoNCE, SigLIP])
def test_chance_and_random_are_weighed_and_added_up_over_the_sizes(inner: type[nn.Module]):
    """Every size measured alone with the inner loss."""
    loss = Matryoshka(16, inner(), dims=[2, 16, 8], weights=[0.5, 1.0, 2.0])
    assert loss.stats() == {}
    loss(embeddings=random_rows(0))
    told, alone = loss.stats(), []
    for size in (2, 16, 8):
        one = inner()
        one(embeddings={name: x[:, :size] for name, x in random_rows(0).items()})
        alone.append(one.stats())
    for key in ("chance", "random"):
        assert told[key] == pytest.approx(0.5 * alone[0][key] + alone[1][key] + 2 * alone[2][key])
    assert {key: told[key] for key in told if key not in ("chance", "random")} == {
        key: alone[0][key] for key in alone[0] if key not in ("chance", "random")
    }


def test_random_is_the_mean_loss_of_random_embeddings():
    """A simulation of 300 batches, within five of its standard errors."""
    loss = Matryoshka(16, InfoNCE(), dims=[4, 16])
    simulated = [loss(embeddings=random_rows(seed)).item() for seed in range(300)]
    assert loss.stats()["random"] == pytest.approx(np.mean(simulated), abs=5 * np.std(simulated) / math.sqrt(300))


def test_chance_is_the_loss_of_equal_embeddings():
    same = torch.randn(1, 16).expand(20, 16)
    loss = Matryoshka(16, InfoNCE(), dims=[1, 4, 16])
    value = loss(embeddings={"image": same, "text": same})
    assert loss.stats()["chance"] == pytest.approx(value.item(), abs=1e-5) == 3 * math.log(20)


def test_the_scale_is_the_one_of_now():
    loss = Matryoshka(16, InfoNCE(), dims=[4, 16])
    loss(embeddings=rows())
    nn.init.constant_(loss.of.log_scale, 2.0)
    assert loss.stats()["scale"] == pytest.approx(math.exp(2))
    moved = copy.deepcopy(loss).double()
    nn.init.constant_(moved.of.log_scale, 1.0)
    assert moved.stats()["scale"] == pytest.approx(math.e)


def test_telling_leaves_the_state_as_it_is():
    loss = Matryoshka(16, InfoNCE(), dims=[4, 16])
    loss(embeddings=rows())
    loss.stats()
    assert list(loss.state_dict()) == ["of.log_scale"]
    assert [name for name, _ in loss.named_modules()] == ["", "of"]
