"""Filling in hidden tokens, alone and beside a contrastive loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from trialbook.contracts import Reconstructs, Step
from trialbook.contracts.datasets import Modality
from trialbook.testing import PartsBuilder, check_component
from trialbook_plugins.datasets.smart_home import SmartHome
from trialbook_plugins.encoders.identity import Identity
from trialbook_plugins.encoders.sensor_transformer import SensorTransformer
from trialbook_plugins.encoders.token_embedding import TokenEmbedding
from trialbook_plugins.losses.info_nce import InfoNCE
from trialbook_plugins.losses.masked_modelling import MaskedModelling
from trialbook_plugins.tasks.align import Align

SMALL: dict[str, Any] = {"width": 16, "depth": 1, "heads": 2, "patch": 4}


@pytest.fixture(scope="module")
def home() -> SmartHome:
    return SmartHome(residents=1, days=4)


def made(kind: str, home: SmartHome) -> tuple[SensorTransformer, Any]:
    """An encoder of series or events with prepared rows of different lengths."""
    torch.manual_seed(0)
    if kind == "series":
        encoder = SensorTransformer(Modality("series", (0, 2)), pool="class", **SMALL)
        rng = np.random.default_rng(0)
        return encoder, encoder.prepare([rng.standard_normal((length, 2)).astype(np.float32) for length in (30, 7, 18)])
    encoder = SensorTransformer(home.describe("sensor"), **SMALL)
    return encoder, encoder.prepare(home.splits()["train"].read("sensor", np.arange(100, 106)))


@pytest.mark.parametrize("kind", ["series", "events"])
def test_it_conforms(kind: str, home: SmartHome) -> None:
    encoder, prepared = made(kind, home)
    inputs = {"encoders": {"sensor": encoder}, "prepared": {"sensor": prepared}}
    check_component(MaskedModelling, "loss", injected={"encoders": {"sensor": encoder}}, inputs=inputs)


def test_the_loss_of_a_series_is_the_mean_square_over_hidden_samples(home: SmartHome) -> None:
    encoder, rows = made("series", home)
    loss = MaskedModelling({"sensor": encoder}, share=0.4).eval()
    value = loss(encoders={"sensor": encoder}, prepared={"sensor": rows})
    hidden = loss.hide(encoder.real_tokens(rows))
    predicted = encoder.reconstruct(rows, hidden, loss.reconstructor)["patch"].predicted
    squares = []
    for row, length in enumerate(rows.lengths.tolist()):
        for patch in np.flatnonzero(hidden[row].numpy()).tolist():
            for sample in range(4 * patch, min(4 * patch + 4, length)):  # what is filled up at the end does not count
                for channel in range(2):
                    guess = predicted[row, patch, 2 * (sample - 4 * patch) + channel].item()
                    squares.append((guess - rows.values[row, sample, channel].item()) ** 2)
    assert value.item() == pytest.approx(np.mean(squares), rel=1e-5)  # float32 sums in another order


def test_the_loss_of_events_is_the_cross_entropy_of_sensor_and_state(home: SmartHome) -> None:
    encoder, rows = made("events", home)
    loss = MaskedModelling({"sensor": encoder}).eval()
    value = loss(encoders={"sensor": encoder}, prepared={"sensor": rows})
    hidden = loss.hide(encoder.real_tokens(rows))
    told = encoder.reconstruct(rows, hidden, loss.reconstructor)
    expected = 0.0
    for name, truth in (("sensor", rows.sensor), ("state", rows.state)):
        logits = told[name].predicted.detach().double().numpy()[hidden.numpy()]
        right = logits[np.arange(len(logits)), truth[hidden].numpy()]
        expected += float((np.log(np.exp(logits).sum(axis=1)) - right).mean())
    assert value.item() == pytest.approx(expected, rel=1e-5)  # float32 against float64


def test_the_share_is_hidden_of_every_row_but_at_least_one_and_never_padding(home: SmartHome) -> None:
    encoder, _ = made("series", home)
    loss = MaskedModelling({"sensor": encoder}, share=0.25)
    real = torch.arange(20) < torch.tensor([[20], [10], [2], [1]])
    draws = torch.stack([loss.hide(real) for _ in range(50)])
    assert (draws.sum(dim=2) == torch.tensor([5, 2, 1, 1])).all()  # 2.5 is rounded to even
    assert not (draws & ~real).any()
    assert draws.any(dim=0)[0].all()  # each token at times


def test_what_is_hidden_follows_the_step_in_training_and_nothing_in_evaluation(home: SmartHome) -> None:
    encoder, _ = made("series", home)
    loss = MaskedModelling({"sensor": encoder})
    real = torch.ones(4, 12, dtype=torch.bool)
    draws = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        draws.append(loss.hide(real))
    assert torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[1])
    loss.eval()
    assert torch.equal(loss.hide(real), loss.hide(real))


def test_an_encoder_that_cannot_be_asked_is_refused(home: SmartHome) -> None:
    plain: nn.Module = Identity(Modality("vector", (4,)))
    assert not isinstance(plain, Reconstructs)
    with pytest.raises(ValueError, match="there is none"):
        MaskedModelling({"image": plain})
    encoder, _ = made("series", home)
    with pytest.raises(ValueError, match=r"modality \(text\).*are sensor"):
        MaskedModelling({"sensor": encoder}, modality="text")
    with pytest.raises(ValueError, match=r"modality \(None\).*are a, b"):
        MaskedModelling({"a": encoder, "b": encoder})
    with pytest.raises(ValueError, match="share"):
        MaskedModelling({"sensor": encoder}, share=1.0)


def test_beside_info_nce_both_fall_on_a_small_home(home: SmartHome) -> None:
    torch.manual_seed(0)
    encoders = {
        "sensor": SensorTransformer(home.describe("sensor"), **SMALL), "text": TokenEmbedding(home.describe("text"), width=16),
    }  # fmt: skip
    losses = {"info-nce": InfoNCE(duplicates="shared"), "masked-modelling": MaskedModelling(encoders)}
    weights = {("loss", name, "weight"): 0.5 for name in losses}
    task = Align(PartsBuilder({"dataset": home, "encoder": encoders, "loss": losses}, options=weights), dim=16)
    task.setup()
    parts = task.module()
    names = [name for name, _ in parts.named_parameters()]
    assert "loss.masked-modelling.reconstructor.token" in names
    assert not any("loss" in name and "transformer" in name for name in names)
    optimiser = torch.optim.AdamW(parts.parameters(), lr=3e-3)
    history = []
    for number in range(60):
        torch.manual_seed(number)
        samples = np.random.default_rng(number).choice(task.size("train"), 48, replace=False)
        values = task.losses(task.batch(samples, 0, Step(number, "train", 0)))
        both = 0.5 * values["info-nce/loss"] + 0.5 * values["masked-modelling/loss"]
        assert torch.allclose(values["loss"], both)
        optimiser.zero_grad()
        values["loss"].backward()
        optimiser.step()
        history.append([values["info-nce/loss"].item(), values["masked-modelling/loss"].item()])
    first, last = np.mean(history[:5], axis=0), np.mean(history[-5:], axis=0)
    assert (last < 0.75 * first).all()
    assert all(parameter.grad is not None for parameter in parts.parameters())


def test_the_rest_of_a_step_is_the_same_where_training_goes_on(home: SmartHome) -> None:
    encoders = {
        "sensor": SensorTransformer(home.describe("sensor"), **SMALL),
        "text": TokenEmbedding(home.describe("text"), width=16),
    }
    parts: dict[str, Any] = {
        "dataset": home,
        "encoder": encoders,
        "loss": {"masked-modelling": MaskedModelling(encoders)},
    }
    check_component(Align, "task", options={"dim": 16}, injected={"builder": PartsBuilder(parts)})
