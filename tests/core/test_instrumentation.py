"""What is measured inside the parts while they are trained, and that measuring changes nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from trialbook.config.options import CheckpointOptions, EvaluateOptions, StageOptions
from trialbook.contracts import Step
from trialbook.contracts.records import Facts, Item, ModuleStats, Record
from trialbook.engine.activation_hooks import ActivationHooks
from trialbook.engine.checkpoint import CheckpointStore
from trialbook.engine.embedding_stats import MOST_GROUPS, describe_embeddings, keep_embeddings
from trialbook.engine.execute import make_accelerator
from trialbook.engine.flops import count_flops
from trialbook.engine.instrumentation import Monitor, PartView
from trialbook.engine.nonfinite import locate
from trialbook.engine.stages import plan_stages
from trialbook.engine.trainer import Trainer
from trialbook.errors import TrialbookError

DATA = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))


class Regression:
    """Two linear layers with dropout, the second frozen in part; a task small enough to check by hand."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 6))
        self.parts = nn.ModuleDict({"projector": nn.ModuleDict({"x": self.layers})})

    def module(self) -> nn.Module:
        return self.parts

    def size(self, stage: str) -> int:
        return len(DATA)

    def batch(self, samples: NDArray[np.int64], epoch: int, step: Step) -> Tensor:
        return DATA[torch.from_numpy(samples)]

    def losses(self, batch: Tensor) -> dict[str, Tensor]:
        return {"loss": (self.layers(batch) - batch).square().mean()}

    def evaluate(self, split: str) -> Mapping[str, float]:
        return {"loss": 0.0}

    def after_step(self) -> None:
        return None


def _train(folder: Path, task: Regression, every: int, steps: int = 7, **options: Any) -> list[Item]:
    parts = [PartView("projector.x", task.layers, False), PartView("encoder.y", nn.Linear(2, 2), False)]
    training = Trainer(
        task, [StageOptions(name="train", steps=steps, batch_size=8, log_every=1, **options)], seed=0,
        accelerator=make_accelerator("cpu", "no"), checkpoints=CheckpointStore(folder),
        evaluate=EvaluateOptions(at_start=False), checkpoint=CheckpointOptions(),
        monitor=Monitor(task.module(), parts, every),
    )  # fmt: skip
    return list(training.run())


def _stats(items: list[Item], kind: str) -> list[ModuleStats]:
    return [item for item in items if isinstance(item, ModuleStats) and item.kind == kind]


def test_looking_changes_neither_the_records_nor_the_weights(tmp_path: Path) -> None:
    watched, alone = Regression(), Regression()
    seen, unseen = _train(tmp_path / "a", watched, every=2), _train(tmp_path / "b", alone, every=0)
    assert [i for i in seen if isinstance(i, Record)] == [i for i in unseen if isinstance(i, Record)]
    assert all(torch.equal(a, b) for a, b in zip(watched.parts.parameters(), alone.parts.parameters(), strict=True))
    assert not [i for i in unseen if isinstance(i, ModuleStats)]
    assert [set(i.values) for i in unseen if isinstance(i, Facts)] == [{"trained", "stages"}]


def test_the_first_step_every_nth_and_the_last_are_looked_at(tmp_path: Path) -> None:
    assert [v.step for v in _stats(_train(tmp_path, Regression(), every=3), "parameters")] == [1, 3, 6, 7]


def test_norms_of_weights_gradients_and_updates_are_those_of_the_step(tmp_path: Path) -> None:
    first, second = Regression(), Regression()
    items = _train(tmp_path / "a", first, every=1, steps=1, max_grad_norm=1e-3, warmup=0, schedule="constant")
    values = _stats(items, "parameters")[0].values
    before = {name: p.detach().clone() for name, p in second.parts.named_parameters()}
    norm = next(i for i in items if isinstance(i, Record) and "grad_norm" in i.values).values["grad_norm"]
    assert math.sqrt(sum(v["grad"] ** 2 for v in values.values())) == pytest.approx(norm, rel=1e-5)  # before clipping
    for name, p in first.parts.named_parameters():
        assert values[name]["weight"] == pytest.approx(float(p.detach().norm()), rel=1e-5)
        assert values[name]["update"] == pytest.approx(float((p.detach() - before[name]).norm()), rel=1e-4)
        assert values[name]["size"] == p.numel()


def test_the_update_of_a_large_parameter_is_estimated_from_a_sample() -> None:
    module = nn.ModuleDict({"a": nn.ModuleDict({"b": nn.Linear(400, 300)})})
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    monitor = Monitor(module, every=1)
    module["a"]["b"](torch.randn(5, 400)).square().sum().backward()
    before = module["a"]["b"].weight.detach().clone()
    monitor.before_update(optimizer)
    optimizer.step()
    values = next(iter(monitor.after_update(1, optimizer))).values["a.b.weight"]
    assert values["update"] == pytest.approx(float((module["a"]["b"].weight.detach() - before).norm()), rel=0.05)


def test_a_parameter_without_a_gradient_says_so() -> None:
    module = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    monitor = Monitor(module, every=1)
    module["a"](torch.ones(3, 2)).sum().backward()
    monitor.before_update(optimizer)
    optimizer.step()
    values = next(iter(monitor.after_update(1, optimizer))).values
    assert values["b.weight"]["grad"] is None
    assert values["b.weight"]["update"] == 0
    assert values["a.weight"]["grad"] > 0


def test_a_part_outside_of_the_module_is_seen_to_be_outside_of_the_optimiser(tmp_path: Path) -> None:
    values = _stats(_train(tmp_path, Regression(), every=5), "wiring")[0].values
    assert (values["projector.x"]["in_module"], values["projector.x"]["optimized"]) == (110, 110)
    assert (values["encoder.y"]["parameters"], values["encoder.y"]["in_module"]) == (6, 0)


def test_a_frozen_part_that_moves_has_another_checksum() -> None:
    part = nn.BatchNorm1d(3)
    monitor = Monitor(nn.ModuleDict(), [PartView("encoder.x", part, True)], every=1)
    sums = [next(iter(monitor.frozen(0, []))).values["encoder.x"]["sum"] for _ in range(2)]
    part(torch.randn(5, 3))  # in training mode its statistics move
    assert sums[0] == sums[1] != next(iter(monitor.frozen(1, []))).values["encoder.x"]["sum"]


def test_dead_units_spread_and_size_of_outputs() -> None:
    root = nn.Sequential(nn.Linear(4, 6), nn.ReLU())
    with torch.no_grad():
        root[0].bias[:2] = -100.0
    watch, x = ActivationHooks(root), torch.randn(12, 4)
    with watch.during():
        y = root(x)
    seen = watch.modules()["1"]
    assert seen["type"] == "ReLU"
    assert seen["units"] == 6
    assert seen["dead"] == pytest.approx(float((y == 0).all(dim=0).float().mean()))
    assert seen["spread"] == pytest.approx(float(y.detach().std(dim=0, correction=0).mean()), rel=1e-5)
    assert seen["largest"] == pytest.approx(float(y.abs().max()))


def _entropy(weights: Tensor) -> float:
    return float(-(weights * weights.log()).sum(dim=-1).mean() / math.log(weights.shape[-1]))


def test_entropy_of_attention_is_that_of_its_weights() -> None:
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    x = torch.randn(3, 5, 8)
    watch = ActivationHooks(nn.ModuleDict({"pool": attention}))
    with watch.during():
        _, weights = attention(x, x, x, average_attn_weights=False)  # by softmax
        attention(x, x, x, need_weights=False)  # by scaled_dot_product_attention
    assert watch.attention()["pool"]["entropy"] == pytest.approx(_entropy(weights), abs=1e-5)
    assert watch.attention()["pool"]["keys"] == 5


@pytest.mark.parametrize("case", ["causal", "mask", "bias", "grouped"])
def test_attention_is_seen_through_masks_and_groups_as_torch_computes_it(case: str) -> None:
    torch.manual_seed(0)
    query, key = torch.randn(2, 4, 6, 8), torch.randn(2, 2 if case == "grouped" else 4, 6, 8)
    mask = torch.rand(2, 1, 6, 6) > 0.4
    mask[..., 0] = True
    named = {
        "causal": {"is_causal": True}, "mask": {"attn_mask": mask}, "bias": {"attn_mask": torch.randn(6, 6)},
        "grouped": {"enable_gqa": True},
    }[case]  # fmt: skip

    class Attend(nn.Module):
        def forward(self, value: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(query, key, value, **named)

    weights = torch.stack([  # with one-hot values attention gives its weights
        F.scaled_dot_product_attention(query, key, F.one_hot(torch.tensor(i), 6).float().expand(6, 6).T[None, None]
        .expand(2, key.shape[1], 6, 6)[..., :1], **named)[..., 0] for i in range(6)
    ], dim=-1)  # fmt: skip
    open_to = (weights > 0).sum(dim=-1)
    entropy = torch.special.entr(weights).sum(dim=-1) / open_to.clamp(min=2).log()
    watch = ActivationHooks(nn.ModuleDict({"it": Attend()}))
    with watch.during():
        watch.root["it"](torch.randn(2, key.shape[1], 6, 8))
    seen = watch.attention()["it"]
    heads = entropy.mean(dim=(0, -1))
    assert seen["entropy"] == pytest.approx(float(heads.mean()), abs=1e-5)
    assert seen["lowest"] == pytest.approx(float(heads.min()), abs=1e-5)


def test_functions_of_torch_are_back_after_a_look_even_if_the_pass_fails() -> None:
    before = (F.scaled_dot_product_attention, F.softmax)
    root = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(RuntimeError), ActivationHooks(root).during():
        root(torch.ones(1, 3))
    assert (F.scaled_dot_product_attention, F.softmax) == before
    assert not root[0]._forward_hooks


class _Spoils(nn.Module):
    """Makes what it is told to of a finite input."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.weight
        if self.how == "output":
            return x / 0
        return (x * 0).sqrt() + x if self.how == "gradient" else x


@pytest.mark.parametrize("how", ["output", "gradient"])
def test_the_module_that_first_makes_a_value_not_finite_is_named(how: str) -> None:
    root = nn.ModuleDict({"a": nn.Linear(3, 3), "b": _Spoils(how), "c": nn.Linear(3, 3)})
    x = torch.ones(4, 3)
    found = locate(root, lambda: {"loss": root["c"](root["b"](root["a"](x))).sum()}, x)
    assert found == {"module": "b", "how": how}
    assert all(p.grad is None for p in root.parameters())


def test_a_spoilt_parameter_and_a_spoilt_batch_are_told_from_a_spoilt_module() -> None:
    root = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    x = torch.ones(4, 3)
    assert locate(root, lambda: {"loss": root["b"](root["a"](x)).sum()}, {"x": (x * math.nan,)})["how"] == "input"
    assert locate(root, lambda: {"loss": root["b"](root["a"](x)).sum()}, x) == {"module": "", "how": "vanished"}
    with torch.no_grad():
        root["b"].bias[0] = math.inf
    assert locate(root, lambda: {"loss": root["b"](x).sum()}, x) == {"module": "b", "how": "parameter"}


def _noting(items: Iterable[Item], seen: list[Item]) -> Iterator[Item]:
    for item in items:
        seen.append(item)
        yield from ()


def test_a_run_that_breaks_tells_its_step_and_module(tmp_path: Path) -> None:
    class Breaks(Regression):
        def batch(self, samples: NDArray[np.int64], epoch: int, step: Step) -> Tensor:
            self.layers[3].scale = 0.0 if step.number == 4 else 1.0
            return super().batch(samples, epoch, step)

        def losses(self, batch: Tensor) -> dict[str, Tensor]:
            return {"loss": (self.layers(batch) - batch).square().mean()}

    task = Breaks()
    task.layers[3].register_forward_hook(lambda module, inputs, output: output / module.scale)
    seen: list[Item] = []
    training = Trainer(
        task, [StageOptions(name="train", steps=9, batch_size=8, log_every=9)], seed=0,
        accelerator=make_accelerator("cpu", "no"), checkpoints=CheckpointStore(tmp_path),
        evaluate=EvaluateOptions(at_start=False), checkpoint=CheckpointOptions(),
    )  # fmt: skip
    with pytest.raises(TrialbookError, match=r"'loss' is (inf|nan) at step 5: projector\.x\.3 makes it of finite"):
        seen.extend(_noting(training.run(), seen))
    (failure,) = _stats(seen, "failure")
    assert (failure.values["module"], failure.values["how"], failure.values["step"]) == ("projector.x.3", "output", 5)


def test_operations_are_those_of_the_matrix_products_of_training() -> None:
    task = Regression()
    stages = plan_stages(task, task.module(), [StageOptions(name="train", steps=3, batch_size=8, accumulate=2)], 1)
    before = torch.get_rng_state()
    flops = count_flops(task.module(), stages, lambda stage: task.losses(DATA[:4]))
    torch.set_rng_state(before)
    forward = 2 * (6 * 8 + 8 * 6)
    assert flops["forward_per_sample"] == forward
    assert flops["forward_backward_per_sample"] == forward + 2 * (6 * 8) + 2 * 2 * (
        8 * 6
    )  # the input needs no gradient
    assert flops["training"] == flops["forward_backward_per_sample"] * 24
    assert all(p.grad is None for p in task.parts.parameters())


def test_facts_of_embeddings_agree_with_plain_computations() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(20, 5))
    text = np.roll(image, 1, axis=0) + 0.01 * rng.normal(size=(20, 5))  # the text of i belongs to i - 1
    shown = {
        "embeddings": {"image": torch.tensor(image), "text": torch.tensor(text)},
        "groups": {"image": torch.arange(20), "text": torch.arange(20)},
    }
    found = describe_embeddings(shown)
    unit = image / np.linalg.norm(image, axis=1, keepdims=True)
    cosines = unit @ unit.T
    singular = np.linalg.svd(unit - unit.mean(axis=0), compute_uv=False)
    share = singular / singular.sum()
    assert found["image"]["cosine"] == pytest.approx((cosines.sum() - 20) / 380, abs=1e-5)
    assert found["image"]["rank"] == pytest.approx(float(np.exp(-(share * np.log(share)).sum())), rel=1e-5)
    pair = found["image>text"]
    assert pair["shift"] == 1
    assert pair["shift_gain"] > 5
    assert pair["expected@1"] < 0.3
    assert found["text>image"]["shift"] == -1


def test_collapsed_embeddings_are_all_tied_and_score_chance() -> None:
    rows = torch.ones(10, 4)
    groups = torch.arange(10)
    found = describe_embeddings({"embeddings": {"a": rows, "b": rows}, "groups": {"a": groups, "b": groups}})
    assert found["a"]["rank"] == pytest.approx(1.0)
    assert found["a>b"]["ties"] == 1
    assert found["a>b"]["expected@1"] == pytest.approx(0.1)


def test_only_the_first_groups_are_kept_with_their_classes() -> None:
    groups = torch.arange(MOST_GROUPS + 7).repeat_interleave(2)
    shown = {
        "embeddings": {"a": torch.randn(len(groups), 3)},
        "groups": {"a": groups},
        "classes": np.arange(MOST_GROUPS + 7) % 4,
    }
    kept = keep_embeddings(shown)
    assert kept["embeddings.a"].shape == (2 * MOST_GROUPS, 3)
    assert kept["groups.a"].max() == MOST_GROUPS - 1
    assert kept["classes"].shape == (MOST_GROUPS,)
