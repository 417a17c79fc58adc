"""The parts of the plugin keep trialbook's contracts, and do what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from acme_trialbook.gated import Gated
from acme_trialbook.linear_targets import LinearTargets
from acme_trialbook.modality_gap import ModalityGap
from acme_trialbook.progressions import Progressions
from acme_trialbook.random_features import RandomFeatures

from trialbook import TrialbookError
from trialbook.testing import check_component


@pytest.mark.parametrize(
    ("component", "kind"),
    [
        (Gated, "projector"),
        (ModalityGap, "metric"),
        (RandomFeatures, "encoder"),
        (Progressions, "dataset"),
        (LinearTargets, "dataset"),
    ],
)
def test_it_keeps_its_contract(component: type, kind: str) -> None:
    check_component(component, kind)


def test_an_open_gate_is_a_linear_map() -> None:
    gated = Gated(4, 3, gate_bias=100.0)
    tokens = torch.randn(2, 5, 4)
    torch.testing.assert_close(gated(tokens), gated.value(tokens))


def test_the_gap_of_opposite_modalities_is_two() -> None:
    rows = torch.tensor([[1.0, 0.0]]).repeat(3, 1)
    figures = ModalityGap().compute(embeddings={"image": rows, "text": -2 * rows})
    assert figures == {"i2t": pytest.approx(2), "t2i": pytest.approx(2)}


def test_every_progression_is_in_exactly_one_split() -> None:
    rows = np.concatenate([split.rows for split in Progressions(vocab_size=8).splits().values()])
    assert len({tuple(row) for row in rows}) == len(rows) == 32


def test_tokens_go_on_by_the_same_step() -> None:
    split = Progressions(vocab_size=7, length=6).splits()["train"]
    assert (np.diff(split.rows, axis=1) % 7 == split.labels("step")[:, None]).all()


def test_a_target_without_noise_is_linear() -> None:
    split = LinearTargets(noise=0.0).splits()["train"]
    weight, residual, _, _ = np.linalg.lstsq(split.rows, split.labels("target"), rcond=None)
    assert len(weight) == 8
    assert residual[0] < 1e-8


def test_too_small_a_vocabulary_is_refused() -> None:
    with pytest.raises(TrialbookError, match="vocab_size"):
        Progressions(vocab_size=2)
