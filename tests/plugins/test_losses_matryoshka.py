from __future__ import annotations

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
    assert loss.report() == {}


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
