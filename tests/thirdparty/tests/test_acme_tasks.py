"""The task seam: training in stages, and closed-form probes without any training, with nothing changed in core."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from acme_trialbook.gru_lm import GruLM
from acme_trialbook.linear_targets import LinearTargets
from acme_trialbook.next_token import NextToken
from acme_trialbook.progressions import Progressions
from acme_trialbook.random_features import RandomFeatures
from acme_trialbook.ridge_probe import RidgeProbe

from trialbook import TrialbookError
from trialbook.contracts import Step
from trialbook.contracts.datasets import Modality
from trialbook.testing import PartsBuilder, check_component


def language_parts() -> PartsBuilder:
    torch.manual_seed(0)
    return PartsBuilder({"dataset": Progressions(), "llm": GruLM(32, width=32)})


def probe_parts() -> PartsBuilder:
    torch.manual_seed(0)
    encoder = RandomFeatures(Modality("vector", (8,)), width=64)
    return PartsBuilder({"dataset": LinearTargets(), "encoder": {"vector": encoder}})


def train(task: NextToken, stage: str, parameters: list[Any], steps: int) -> None:
    optimizer = torch.optim.AdamW(parameters, lr=1e-2)
    random = np.random.default_rng(0)
    for index in range(steps):
        samples = random.integers(0, task.size(stage), 32)
        task.losses(task.batch(samples, 0, Step(index, stage, 0)))["loss"].backward()
        optimizer.step()
        task.module().zero_grad()


def test_next_token_keeps_its_contract() -> None:
    check_component(NextToken, "task", injected={"builder": language_parts()})


def test_ridge_probe_keeps_its_contract() -> None:
    check_component(RidgeProbe, "task", injected={"builder": probe_parts()}, options={"ridge": [0.1, 1, 10]})


def test_two_stages_learn_to_predict_unseen_sequences() -> None:
    task = NextToken(language_parts())
    task.setup()
    before = {name: value.clone() for name, value in task.module().state_dict().items()}
    start = task.evaluate("val")["loss"]
    train(task, "embedding", list(task.llm.embedding.parameters()), 30)
    changed = {name for name, value in task.module().state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"llm.embedding.weight"}
    train(task, "all", list(task.module().parameters()), 150)
    assert start == pytest.approx(np.log(32), abs=0.3)
    assert task.evaluate("val")["loss"] < start / 2


def test_the_loss_counts_only_tokens_after_the_prompt() -> None:
    task = NextToken(language_parts(), prompt=7)
    task.setup()
    batch = task.batch(np.arange(4), 0, Step(0, "all", 0))
    logits = task.llm(batch[:, :7])[:, -1]
    expected = -torch.log_softmax(logits, -1)[torch.arange(4), batch[:, 7]].mean()
    torch.testing.assert_close(task.losses(batch)["loss"], expected)


def test_a_prompt_that_leaves_nothing_is_refused() -> None:
    task = NextToken(language_parts(), prompt=8)
    with pytest.raises(TrialbookError, match="leaves nothing to predict"):
        task.setup()


def test_the_probe_agrees_with_the_normal_equations() -> None:
    builder = probe_parts()
    task = RidgeProbe(builder, ridge=[0.5])
    task.setup()
    plots, record = task.measurements()
    assert [plot["places"] for plot in plots.values["plots"]] == [["0.5"]]
    x, y = task._read("vector", "train")
    test_x, test_y = task._read("vector", "test")
    centred = x - x.mean(0)
    penalty = 0.5 * np.trace(centred.T @ centred) / 64 * np.eye(64)
    weight = np.linalg.solve(centred.T @ centred + penalty, centred.T @ (y - y.mean()))
    error = test_y - y.mean() - (test_x - x.mean(0)) @ weight
    r2 = 1 - error @ error / ((test_y - test_y.mean()) ** 2).sum()
    assert record.values == {"vector/r2@0.5": pytest.approx(r2, abs=1e-9)}  # float64; two ways to solve


def test_a_probe_that_was_stopped_measures_the_rest_alone() -> None:
    task = RidgeProbe(probe_parts())
    task.setup()
    plots, *everything = task.measurements()
    task.measured(2)
    assert list(task.measurements()) == [plots, *everything[2:]]
    assert [*everything[2].values] == ["vector/r2@100"]
