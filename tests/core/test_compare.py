"""Comparisons: metrics against scipy, missing cells, what else differed, gates, where a metric is taken."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trialbook.analysis.compare.compare import Comparison, Row, compare
from trialbook.analysis.compare.differences import is_named
from trialbook.analysis.compare.metrics import At, higher_is_better
from trialbook.analysis.selection import Condition, flatten
from trialbook.analysis.statistics import ALPHA
from trialbook.config.experiment import Experiment
from trialbook.config.experiment_info import ExperimentInfo
from trialbook.config.runspec import Plan, RunSpec
from trialbook.config.toml import Document
from trialbook.contracts.findings import Finding, Span
from trialbook.contracts.records import Record, Timing
from trialbook.errors import TrialbookError
from trialbook.registry.query import open_index
from trialbook.registry.recorder import Recorder
from trialbook.reports.terminal import comparison_text

INFO = ExperimentInfo(question="Which?", baseline="mlp", arms=["mlp", "per"], seeds=[0, 1, 2])
ENVIRONMENT = {"hardware": {"cpu": "x"}, "git": {"commit": "a" * 40, "dirty": False}}


class Store:
    """Makes runs as a program would, without the registry: it is built when it is read."""

    def __init__(self, root: Path) -> None:
        self.root, self.count = root, 0

    def add(
        self, arm: str, seed: int, figures: Mapping[str, float] | list[tuple[int, Mapping[str, float]]], *,
        config: Mapping[str, Any] | None = None, info: Mapping[str, Any] | None = None, outcome: str = "finished",
        environment: Mapping[str, Any] = ENVIRONMENT, source: str = "s", data: Mapping[str, Any] | None = None,
        experiment: str = "exp", point: Mapping[str, Any] | None = None,
    ) -> RunSpec:  # fmt: skip
        self.count += 1
        base = {"projector": {"image": {"use": arm}}, "train": {"lr": 0.1}, "metric": [{"use": "retrieval"}]}
        label = ",".join([arm, *(f"{key.rpartition('.')[2]}={value}" for key, value in (point or {}).items())])
        spec = RunSpec(
            experiment=experiment, arm=label, base_arm=arm, point=point or {}, seed=seed, config=config or base, sources={},
            id=f"{self.count:08x}", info=replace(INFO, **(info or {})),
        )  # fmt: skip
        component = {"target": f"m:{arm}", "version": "1", "commit": None, "source": source, "plugin": "p"}
        with Recorder(self.root / spec.relative_path, None) as recorder:
            recorder.start(spec, environment, {"projector.image": component})
            recorder.describe(data or {"dataset": {"fingerprint": "f"}, "parameters": {"projector.image": 10, "llm": 90},
                                       "frozen": ["llm"]})  # fmt: skip
            for step, values in figures if isinstance(figures, list) else [(10, figures)]:
                recorder.add(Record(step, values))
                recorder.add(Timing(step, {"samples_per_second": 100.0 * (seed + 1)}))
            if outcome == "finished":
                recorder.finish({})
            elif outcome == "failed":
                recorder.fail("ValueError: no")
        return spec

    @contextmanager
    def open(self) -> Iterator[Any]:
        with open_index(self.root / "registry.db") as index:
            yield index

    def compare(self, *names: str, **options: Any) -> Comparison:
        with self.open() as index:
            return compare(index, names, **options)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def row(comparison: Comparison, arm: str, metric: str = "retrieval/i2t@1") -> Row:
    (found,) = [r for r in comparison.rows if (r.arm, r.metric) == (arm, metric)]
    return found


def test_figures_agree_with_scipy(store: Store) -> None:
    scipy_stats = pytest.importorskip("scipy.stats", reason="scipy is the oracle")
    draw = random.Random(0)
    values = {arm: [draw.gauss(mean, 0.02) for _ in range(5)] for arm, mean in (("mlp", 0.5), ("per", 0.6))}
    for arm in values:
        for seed in range(5):
            store.add(arm, seed, {"retrieval/i2t@1": values[arm][seed]})
    comparison = store.compare()
    assert [r.arm for r in comparison.rows] == ["mlp", "per"]
    own, base = row(comparison, "per"), row(comparison, "mlp")
    interval = scipy_stats.t.interval(0.95, 4, scipy_stats.tmean(values["per"]), scipy_stats.sem(values["per"]))
    assert own.estimate is not None
    assert (own.estimate.low, own.estimate.high) == pytest.approx(interval, rel=1e-9)
    oracle = scipy_stats.ttest_rel(values["per"], values["mlp"])
    assert own.p == pytest.approx(oracle.pvalue, rel=1e-9)
    assert own.difference is not None
    assert (own.difference.low, own.difference.high) == pytest.approx(tuple(oracle.confidence_interval(0.95)), rel=1e-9)
    assert (base.verdict, base.difference, own.verdict) == ("baseline", None, "better")


def test_p_values_are_corrected_over_the_whole_table(store: Store) -> None:
    draw = random.Random(1)
    for arm in ("mlp", "per", "other"):
        for seed in range(4):
            figures = {f"retrieval/{way}@1": draw.gauss(0.5, 0.1) for way in ("i2t", "t2i")}
            store.add(arm, seed, figures, info={"arms": ["mlp", "per", "other"], "seeds": [0, 1, 2, 3]})
    rows = [r for r in store.compare().rows if r.baseline]
    by_p = sorted(rows, key=lambda r: r.p or 0)
    running = 0.0
    for rank, one in enumerate(by_p):
        assert one.p is not None
        running = max(running, min(1, one.p * (4 - rank)))
        assert one.p_holm == pytest.approx(running)
    assert all((r.verdict == "undecided") == (r.p_holm >= ALPHA) for r in rows if r.p_holm is not None)


def test_one_seed_has_no_interval_and_decides_nothing(store: Store) -> None:
    for arm, value in (("mlp", 0.5), ("per", 0.9)):
        store.add(arm, 0, {"retrieval/i2t@1": value})
    comparison = store.compare()
    own = row(comparison, "per")
    assert own.estimate is not None
    assert (own.estimate.n, own.estimate.low, own.estimate.high) == (1, None, None)
    assert own.difference is not None
    assert (own.difference.low, own.p, own.verdict, own.seeds_to_decide) == (None, None, "undecided", None)
    assert any("fewer than 3 seeds: mlp, per" in note for note in comparison.notes)


def test_ends_of_recorded_intervals_have_no_rows_of_their_own_unless_asked_for(store: Store) -> None:
    figures = {"retrieval/iou": 0.5, "retrieval/iou/low": 0.4, "retrieval/iou/high": 0.6, "retrieval/alone/low": 0.1}
    store.add("mlp", 0, figures)
    assert {one.metric for one in store.compare().rows} == {"retrieval/iou", "retrieval/alone/low"}
    assert {one.metric for one in store.compare(metrics=["retrieval/iou/low"]).rows} == {"retrieval/iou/low"}


def test_two_seeds_decide_nothing_however_alike_they_are(store: Store) -> None:
    for seed, value in enumerate((0.9, 0.9001)):
        store.add("mlp", seed, {"retrieval/i2t@1": 0.5})
        store.add("per", seed, {"retrieval/i2t@1": value})
    comparison = store.compare()
    own = row(comparison, "per")
    assert own.p is not None
    assert own.p < 0.001
    assert (own.verdict, own.seeds_to_decide) == ("undecided", 3)
    assert any(note.startswith("fewer than 3 seeds: mlp, per") for note in comparison.notes)


def test_a_verdict_takes_less_than_the_usual_5_percent(store: Store) -> None:
    """Between 0.04 and 0.05 nothing is decided: the margin that keeps wrong winners at 5% where metrics are not normal."""
    for seed, value in enumerate((0.10, 0.02, 0.11, 0.07, 0.005)):
        store.add("mlp", seed, {"retrieval/i2t@1": 0.5})
        store.add("per", seed, {"retrieval/i2t@1": 0.5 + value})
    own = row(store.compare(), "per")
    assert own.p_holm is not None
    assert 0.04 < own.p_holm < 0.05
    assert own.verdict == "undecided"


def test_seeds_that_change_nothing_decide_nothing(store: Store) -> None:
    for seed in range(3):
        store.add("mlp", seed, {"retrieval/i2t@1": 0.5})
        store.add("per", seed, {"retrieval/i2t@1": 0.6})
    comparison = store.compare()
    assert row(comparison, "per").verdict == "undecided"
    assert any("the seeds decide nothing" in note for note in comparison.notes)


def test_only_shared_seeds_are_paired(store: Store) -> None:
    for seed, value in enumerate((0.1, 0.2, 0.35)):
        store.add("mlp", seed, {"retrieval/i2t@1": value})
    for seed, value in ((1, 0.3), (2, 0.4), (7, 0.9)):
        store.add("per", seed, {"retrieval/i2t@1": value})
    own = row(store.compare(), "per")
    assert own.estimate is not None
    assert own.difference is not None
    assert (own.estimate.n, own.difference.n, own.difference.mean) == (3, 2, pytest.approx(0.075))


def test_missing_cells_and_how_their_runs_ended_are_named(store: Store) -> None:
    for seed in range(3):
        store.add("mlp", seed, {"retrieval/i2t@1": 0.5 + seed / 10})
    store.add("per", 0, {"retrieval/i2t@1": 0.5})
    store.add("per", 1, {"retrieval/i2t@1": 0.9}, outcome="killed")
    store.add("per", 3, {"retrieval/i2t@1": 0.9}, outcome="failed")
    comparison = store.compare()
    assert sorted(comparison.missing) == [
        "mlp seed 3: not started", "per seed 1: killed", "per seed 2: not started", "per seed 3: failed",
    ]  # fmt: skip
    assert row(comparison, "per").estimate.n == 1  # type: ignore[union-attr]


def test_nothing_finished_is_said(store: Store) -> None:
    store.add("mlp", 0, {"retrieval/i2t@1": 0.5}, outcome="killed")
    with pytest.raises(TrialbookError, match=r"no run is finished yet .*mlp seed 0: killed"):
        store.compare()


def test_the_newest_finished_run_of_a_cell_counts(store: Store) -> None:
    store.add("mlp", 0, {"retrieval/i2t@1": 0.1})
    store.add("mlp", 0, {"retrieval/i2t@1": 0.2})
    store.add("mlp", 0, {"retrieval/i2t@1": 0.3}, outcome="killed")
    comparison = store.compare()
    assert dict(row(comparison, "mlp").values) == {"seed 0": 0.2}
    assert "older finished runs of the same arm and seed are left out: 1 of mlp" in comparison.notes
    assert any("a newer run is not finished" in note and "mlp seed 0" in note for note in comparison.notes)


def test_what_nobody_named_is_listed_and_what_the_arm_names_is_not(store: Store) -> None:
    changes = {"changes": {"mlp": [], "per": ["projector.image.use", "projector.image.latents"]}}
    config = {"projector": {"image": {"use": "per", "latents": 4, "depth": 2}}, "train": {"lr": 0.2}, "metric": []}
    other = {"hardware": {"cpu": "x"}, "git": {"commit": "b" * 40, "dirty": True}}
    for seed in range(2):
        store.add("mlp", seed, {"a": 0.1}, info=changes)
        store.add(
            "per", seed, {"a": 0.1}, info=changes, config=config | {"metric": [{"use": "retrieval"}]}, environment=other,
            data={"dataset": {"fingerprint": "g"}}, source="t",
        )  # fmt: skip
    found = {d.key: (d.arms, d.baseline, d.before, d.now) for d in store.compare().differences}
    assert found == {
        "train.lr": (("per",), "mlp", (0.1,), (0.2,)),
        "environment.git.commit": (("per",), "mlp", ("a" * 40,), ("b" * 40,)),
        "environment.git.dirty": (("per",), "mlp", (False,), (True,)),
        "data.dataset.fingerprint": (("per",), "mlp", ("f",), ("g",)),
    }


def test_another_source_of_a_part_that_nobody_changed_is_listed(store: Store) -> None:
    same = {"projector": {"image": {"use": "x"}}}
    store.add("mlp", 0, {"a": 0.1}, config=same)
    store.add("per", 0, {"a": 0.1}, config=same, source="edited")
    keys = [d.key for d in store.compare().differences]
    assert keys == ["components.projector.image.source", "components.projector.image.target"]


def test_runs_of_one_arm_that_were_made_differently_are_listed(store: Store) -> None:
    store.add("mlp", 0, {"a": 0.1})
    store.add("mlp", 1, {"a": 0.2}, environment={"hardware": {"cpu": "y"}, "git": {"commit": "a" * 40, "dirty": False}})
    (difference,) = store.compare().differences
    assert str(difference) == "environment.hardware.cpu is mixed among the runs of mlp: x and y"


def computing(**changes: Any) -> dict[str, Any]:
    """An environment with a device and how a run computed on it."""
    device = {"type": "cuda", "name": "H200", "index": 0, "visible": 8}
    compute = {"matmul_precision": "highest", "matmul_tf32": False, "deterministic": False, "processes": 1}
    slots = {"CUDA_VISIBLE_DEVICES": str(changes.pop("slot", 0))}
    return {
        **ENVIRONMENT, "device": {key: changes.pop(key, value) for key, value in device.items()},
        "compute": {**compute, **changes}, "variables": slots,
    }  # fmt: skip


def test_another_device_and_other_numerics_are_listed_and_another_gpu_of_the_same_name_is_not(store: Store) -> None:
    config = {"projector": {"image": {"use": "x"}}}
    for seed in range(2):
        store.add(
            "mlp", seed, {"a": 0.1}, config=config, environment=computing(index=seed, visible=8 - seed, slot=seed)
        )
        store.add(
            "per", seed, {"a": 0.1}, config=config,
            environment=computing(name="A100", matmul_precision="high", matmul_tf32=True, deterministic=True, processes=4),
        )  # fmt: skip
    found = {d.key: (d.before, d.now) for d in store.compare().differences if d.key.startswith("environment.")}
    assert found == {
        "environment.device.name": (("H200",), ("A100",)),
        "environment.compute.matmul_precision": (("highest",), ("high",)),
        "environment.compute.matmul_tf32": ((False,), (True,)),
        "environment.compute.deterministic": ((False,), (True,)),
        "environment.compute.processes": ((1,), (4,)),
    }


def test_numerics_that_a_file_asks_for_are_listed_once_and_those_that_an_arm_names_not_at_all(store: Store) -> None:
    config = {"projector": {"image": {"use": "x"}}, "train": {"matmul_precision": "high", "deterministic": True}}
    info = {"changes": {"mlp": [], "per": ["train.matmul_precision"]}}
    environment = computing(matmul_precision="high", matmul_tf32=True, deterministic=True)
    store.add("mlp", 0, {"a": 0.1}, info=info, config=config | {"train": {}}, environment=computing())
    store.add("per", 0, {"a": 0.1}, info=info, config=config, environment=environment)
    keys = [d.key for d in store.compare().differences if not d.key.startswith("components.")]
    assert keys == ["train.deterministic"]


def test_naming_a_use_names_the_table_and_naming_the_dataset_its_content() -> None:
    named = ["projector.image.use", "dataset.size", "loss.0.weight", "train.lr"]
    for key in ("projector.image.depth", "components.projector.image.source", "data.dataset.fingerprint",
                "loss.info-nce.weight", "train.lr"):  # fmt: skip
        assert is_named(key, named), key
    for key in (
        "projector.text.depth",
        "train.lr_multipliers",
        "train.steps",
        "environment.git.commit",
        "encoder.image.use",
    ):
        assert not is_named(key, named), key


def test_gates_are_passed_failed_undecided_or_have_no_value(store: Store) -> None:
    gates = [
        {"metric": "retrieval/i2t@1", "at_least": 0.5}, {"metric": "loss", "at_most": 1.5, "arm": "per"},
        {"metric": "never", "at_least": 0.0, "arm": "mlp"}, {"metric": "ap", "at_least": 0.5, "arm": "mlp"},
        {"metric": "retrieval/i2t@1", "at_least": 1.2, "relative_to": "mlp", "arm": "per"},
        {"metric": "retrieval/i2t@1", "at_most": 1.0, "relative_to": "paper", "arm": "per", "name": "as published"},
    ]  # fmt: skip
    published = {"paper": {"source": "table 2", "values": {"retrieval/i2t@1": 0.7}}}
    for arm, value in (("mlp", 0.4), ("per", 0.6)):
        for seed in range(4):
            figures = {"retrieval/i2t@1": value + seed * 0.001, "loss": 1.5 + seed * 0.1 - 0.15}
            figures |= {"ap": 0.6, "ap/low": 0.55, "ap/high": 0.64}
            store.add(arm, seed, figures, info={"gates": gates, "external_baselines": published})
    comparison = store.compare()
    assert [(g.title, g.arm, g.verdict, g.passed) for g in comparison.gates] == [
        ("retrieval/i2t@1 ≥ 0.5", "mlp", "fail", False), ("retrieval/i2t@1 ≥ 0.5", "per", "pass", True),
        ("loss ≤ 1.5", "per", "undecided", None), ("never ≥ 0", "mlp", None, None),
        ("ap ≥ 0.5", "mlp", "pass", True),  # all seeds give the same: the interval that was recorded decides
        ("retrieval/i2t@1 relative to mlp ≥ 1.2", "per", "pass", True),
        ("as published relative to paper ≤ 1", "per", "pass", True),
    ]  # fmt: skip
    assert "paper is an external baseline, not measured here: table 2" in comparison.notes
    shown = comparison_text(comparison)
    assert "ap ≥ 0.5: mlp passes (0.6 [0.55, 0.64])" in shown
    assert re.search(r"paper \(external\) +– +0\.7 +–", shown)


def test_lower_is_better_where_name_or_gate_say_so(store: Store) -> None:
    for seed in range(4):
        store.add("mlp", seed, {"retrieval/i2t@1": 0.5, "test/loss": 1.0 + seed * 0.01})
        store.add("per", seed, {"retrieval/i2t@1": 0.5, "test/loss": 0.5 + seed * 0.012})
    assert row(store.compare(metrics=["test/loss"]), "per", "test/loss").verdict == "better"
    for name, higher in (
        ("loss", False),
        ("val/loss", False),
        ("info-nce/loss", False),
        ("time", False),
        ("r@1", True),
    ):
        assert higher_is_better(name) is higher
    assert not higher_is_better("r@1", gates=[{"metric": "r@1", "at_most": 3}])
    assert higher_is_better("loss", gates=[{"metric": "loss", "at_least": 3}])
    assert not higher_is_better("x/odd", ["x/odd"])


CURVE = [
    (0, {"retrieval/i2t@1": 0.1, "val/retrieval/i2t@1": 0.1}), (5, {"loss": 1.0, "lr": 1.0, "val/retrieval/i2t@1": 0.7}),
    (10, {"retrieval/i2t@1": 0.5, "val/retrieval/i2t@1": 0.6, "loss": 0.5}),
]  # fmt: skip


def test_figures_are_taken_where_asked(store: Store) -> None:
    store.add("mlp", 0, [*CURVE])
    name = "val/retrieval/i2t@1"
    for at, value in (("last", 0.6), (f"best:{name}", 0.7), ("step:0", 0.1)):
        comparison = store.compare(metrics=[name], at=at)
        assert comparison.at == at
        assert dict(row(comparison, "mlp", name).values) == {"seed 0": value}
    # At the best step of the curve the final metric was not taken: there is no value, and none is made up.
    assert row(store.compare(metrics=["retrieval/i2t@1"], at=f"best:{name}"), "mlp").estimate is None
    assert dict(row(store.compare(metrics=["loss"], at="best:loss"), "mlp", "loss").values) == {"seed 0": 0.5}


def test_the_table_shows_the_headline_or_all_final_figures(store: Store) -> None:
    def metrics(**options: Any) -> list[str]:
        return list(dict.fromkeys(r.metric for r in store.compare(**options).rows))

    curve = [*CURVE, (10, {"retrieval/t2i@1": 0.2})]
    store.add("mlp", 0, curve)
    assert metrics() == ["retrieval/i2t@1", "retrieval/t2i@1"]
    assert metrics(at="best:val/retrieval/i2t@1") == ["val/retrieval/i2t@1"]
    store.add("mlp", 1, curve, info={"headline": ["retrieval/t2i@1"]})
    assert metrics() == ["retrieval/t2i@1"]
    assert metrics(metrics=["loss"]) == ["loss"]


def test_a_task_without_metric_tables_shows_what_it_recorded(store: Store) -> None:
    store.add("mlp", 0, {"cka": 0.3, "loss": 1.0, "lr": 0.1}, config={"task": {"use": "similarity"}})
    assert [r.metric for r in store.compare().rows] == ["cka"]


def test_not_a_number_is_no_figure_to_decide_on(store: Store) -> None:
    for seed in range(3):
        store.add("mlp", seed, {"retrieval/i2t@1": 0.5 + seed / 100})
        store.add("per", seed, {"retrieval/i2t@1": math.nan if seed == 1 else 0.7})
    comparison = store.compare()
    own = row(comparison, "per")
    assert own.estimate is not None
    assert math.isnan(own.estimate.mean)
    assert (own.estimate.low, own.p, own.verdict) == (None, None, "undecided")
    assert "retrieval/i2t@1 of per is not finite: seed 1" in comparison.notes


def test_runs_are_grouped_by_any_key_and_chosen_by_conditions(store: Store) -> None:
    for lr in (1e-2, 1e-3):
        for arm in ("mlp", "per"):
            for seed in range(2):
                store.add(arm, seed, {"retrieval/i2t@1": lr * 10 + seed / 100}, point={"train.lr": lr},
                          config={"train": {"lr": lr}, "metric": [{"use": "retrieval"}]},
                          info={"arms": [], "seeds": []})  # fmt: skip
    comparison = store.compare(by="train.lr", baseline="0.001")
    assert comparison.arms == ("0.001", "0.01")
    assert row(comparison, "0.01").difference.n == 2  # type: ignore[union-attr]
    assert row(comparison, "0.01").difference.mean == pytest.approx(0.09)  # type: ignore[union-attr]
    assert store.compare(where=["train.lr<5e-3", "arm!=per,lr=0.001"]).arms == ("mlp,lr=0.001",)
    assert store.compare(where=["seed=1"], by="base_arm").arms == ("mlp", "per")
    paired = store.compare()
    assert {r.arm: r.baseline for r in paired.rows if r.baseline} == {
        "per,lr=0.01": "mlp,lr=0.01", "per,lr=0.001": "mlp,lr=0.001",
    }  # fmt: skip


def add_grid(store: Store, values: Mapping[tuple[str, int, float], float]) -> None:
    """One run for each arm, seed and learning rate."""
    for (arm, seed, lr), value in values.items():
        store.add(arm, seed, {"acc": value}, point={"train.lr": lr}, config={"train": {"lr": lr}},
                  info={"arms": [], "seeds": [], "headline": ["acc"]})  # fmt: skip


def test_arms_are_no_seeds_of_another_group(store: Store) -> None:
    gains = {"a": 0.10, "b": 0.11, "c": 0.12, "d": 0.13}
    add_grid(store, {(arm, 0, lr): lr + gain * (lr == 0.2) for arm, gain in gains.items() for lr in (0.1, 0.2)})
    comparison = store.compare(by="train.lr", baseline="0.1")
    found = row(comparison, "0.2", "acc")
    assert (found.estimate.n, found.difference.n) == (1, 1)  # type: ignore[union-attr]
    assert found.difference.mean == pytest.approx(0.1 + 0.115)  # type: ignore[union-attr]
    assert (found.p, found.verdict) == (None, "undecided")
    (said,) = [note for note in comparison.notes if "averaged" in note]
    assert all(arm in said for arm in gains)


def test_seeds_are_averaged_over_arms_and_paired(store: Store) -> None:
    draw = random.Random(3)
    values = {(arm, seed, lr): lr + draw.random() for arm in "ab" for seed in range(4) for lr in (0.1, 0.2)}
    add_grid(store, values)
    found = row(store.compare(by="train.lr", baseline="0.1"), "0.2", "acc")
    means = {lr: [(values["a", s, lr] + values["b", s, lr]) / 2 for s in range(4)] for lr in (0.1, 0.2)}
    assert list(found.values.values()) == pytest.approx(means[0.2])
    assert found.difference.n == 4  # type: ignore[union-attr]
    assert found.difference.mean == pytest.approx(sum(means[0.2]) / 4 - sum(means[0.1]) / 4)  # type: ignore[union-attr]


def test_a_seed_that_lacks_an_arm_is_left_out_and_a_difference_keeps_to_common_arms(store: Store) -> None:
    values = {(arm, seed, lr): {"a": 0.0, "b": 8.0}[arm] + lr for arm in "ab" for seed in range(3) for lr in (1.0, 2.0)}
    del values["b", 1, 2.0]
    add_grid(store, values)
    comparison = store.compare(by="train.lr", baseline="1.0")
    found = row(comparison, "2.0", "acc")
    assert (found.difference.n, found.difference.mean) == (2, 1.0)  # type: ignore[union-attr]
    assert any("seed 1" in note and "lacks b" in note for note in comparison.notes)


def test_a_difference_of_groups_with_other_arms_is_taken_over_those_of_both(store: Store) -> None:
    rows = [("a", 1.0), ("b", 1.0), ("a", 2.0), ("b", 2.0), ("c", 2.0)]
    add_grid(
        store, {(arm, seed, lr): {"a": 0.0, "b": 8.0, "c": 99.0}[arm] + lr for arm, lr in rows for seed in range(3)}
    )
    comparison = store.compare(by="train.lr", baseline="1.0")
    assert row(comparison, "2.0", "acc").difference.mean == 1.0  # type: ignore[union-attr]
    assert any("a, b, c" in note for note in comparison.notes)


def test_runs_of_one_seed_stay_one_whatever_they_are_grouped_by(store: Store) -> None:
    add_grid(store, {(arm, seed, lr): float(seed) for arm in "ab" for seed in (0, 1) for lr in (0.1, 0.2)})
    for key in ("base_arm", "experiment", "train.lr", "host"):
        assert {found.estimate.n for found in store.compare(by=key).rows if found.estimate} == {2}
    assert {found.estimate.n for found in store.compare(by="seed").rows if found.estimate} == {1}


def test_a_gate_that_its_null_passes_cannot_be_told(store: Store) -> None:
    gates = [
        {"metric": "best/cka", "at_least": 0.3},
        {"metric": "best/iou", "at_least": 0.5},
        {"metric": "best/r2", "at_least": 0.1},
    ]
    for seed in range(4):
        values = {"best/cka": 0.38, "best/cka/null": 0.35, "best/iou": 0.2, "best/iou/oracle": 0.22, "best/r2": 0.6}
        noisy = {name: value + seed / 1000 for name, value in values.items()}
        store.add("mlp", seed, noisy, info={"arms": ["mlp"], "seeds": [0, 1, 2, 3], "gates": gates})
    comparison = store.compare()
    assert [gate.verdict for gate in comparison.gates] == ["cannot be told", "cannot be told", "pass"]
    assert [gate.passed for gate in comparison.gates] == [None, None, True]
    assert ["null" in gate.note for gate in comparison.gates] == [True, False, False]
    assert "cannot be told" in comparison_text(comparison)


def test_a_gate_on_an_arm_is_not_held_against_a_group_of_several(store: Store) -> None:
    for arm in "ab":
        gates = [{"metric": "acc", "at_least": 0.5, "arm": "a"}]
        store.add(arm, 0, {"acc": 1.0}, info={"arms": ["a", "b"], "seeds": [0], "gates": gates})
    assert store.compare(by="experiment").gates == ()
    assert [gate.arm for gate in store.compare().gates] == ["a"]


def test_elements_of_arrays_are_named_or_counted(store: Store) -> None:
    for weight in (0.1, 0.5):
        loss = [{"use": "siglip"}, {"use": "info-nce", "weight": weight}]
        store.add("mlp", 0, {"loss": weight}, config={"loss": loss}, point={"loss.1.weight": weight})
    for key in ("loss.info-nce.weight", "loss.1.weight"):
        assert store.compare(by=key).arms == ("0.1", "0.5")
        assert store.compare(where=[f"{key}<0.2"]).arms == ("mlp,weight=0.1",)


def test_several_experiments_and_single_runs_are_compared(store: Store, tmp_path: Path) -> None:
    one = store.add("mlp", 0, {"retrieval/i2t@1": 0.1})
    store.add("mlp", 1, {"retrieval/i2t@1": 0.1})
    store.add("mlp", 0, {"retrieval/i2t@1": 0.2}, experiment="other")
    assert store.compare().experiments == ("other",)
    assert store.compare("exp", "other").arms == ("exp/mlp", "other/mlp")
    alone = store.compare(one.name)
    assert (alone.experiments, alone.missing) == (("exp",), ())
    file = tmp_path / "file.toml"
    file.write_text('name = "exp"\n')
    assert store.compare(str(file)).experiments == ("exp",)
    file.write_text("seeds = [0]\n")
    with pytest.raises(TrialbookError, match="no run of 'file' is recorded yet"):
        store.compare(str(file))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ["retrieval/i2t@2"]}, "no run recorded 'retrieval/i2t@2'; did you mean 'retrieval/i2t@1'"),
        ({"by": "train.lrr"}, "no run has the key 'train.lrr'; did you mean 'train.lr'"),
        ({"where": ["train.lr"]}, "is no condition; write KEY=VALUE"),
        ({"where": ["arm=none"]}, "no run meets the conditions"),
        ({"at": "best"}, "--at takes last, best:METRIC or step:N"),
        ({"baseline": "mpl"}, "no group is called 'mpl'; did you mean 'mlp'"),
    ],
)
def test_mistakes_are_answered_with_what_was_meant(store: Store, options: dict[str, Any], message: str) -> None:
    store.add("mlp", 0, {"retrieval/i2t@1": 0.1})
    with pytest.raises(TrialbookError) as caught:
        store.compare(**options)
    assert message in str(caught.value)


def test_costs_are_means_over_runs(store: Store) -> None:
    for seed in range(2):
        store.add("mlp", seed, {"retrieval/i2t@1": 0.1})
    cost = store.compare().costs["mlp"]
    assert {k: v for k, v in cost.items() if k != "seconds"} == {
        "samples_per_second": 150.0, "trained_parameters": 10, "parameters": 100,
    }  # fmt: skip
    assert cost["seconds"] >= 0


def cost_data(flops: float | None, trained: int) -> dict[str, Any]:
    counted = {} if flops is None else {"flops": {"forward_backward_per_sample": flops / 640, "training": flops}}
    return {"dataset": {"fingerprint": "f"}, "parameters": {"projector.image": trained}, **counted}


def pareto_of(store: Store, arms: Mapping[str, tuple[float, float | None, int]], **options: Any) -> tuple[str, ...]:
    """The arms that no other beats; of each its metric, FLOPs and trained parameters."""
    for arm, (figure, flops, trained) in arms.items():
        for seed in range(2):
            store.add(arm, seed, {"retrieval/i2t@1": figure, "loss": 0.1}, data=cost_data(flops, trained))
    return store.compare(**options).pareto


def test_floating_point_operations_are_part_of_the_cost(store: Store) -> None:
    store.add("mlp", 0, {"retrieval/i2t@1": 0.1}, data=cost_data(6.4e9, 10))
    cost = store.compare().costs["mlp"]
    assert (cost["training_flops"], cost["flops_per_sample"]) == (6.4e9, 1e7)


def test_an_arm_that_no_other_beats_is_marked(store: Store) -> None:
    assert pareto_of(store, {
        "cheap": (0.3, 1e9, 100), "good": (0.6, 4e9, 400), "same": (0.6, 4e9, 400), "dear": (0.6, 5e9, 400),
        "small": (0.2, 2e9, 50), "poor": (0.2, 2e9, 100),
    }) == ("cheap", "good", "same", "small")  # fmt: skip


def test_where_less_is_better_the_least_is_marked(store: Store) -> None:
    arms = {"low": (0.3, 1e9, 100), "high": (0.6, 1e9, 100)}
    gates = [{"metric": "retrieval/i2t@1", "at_most": 1.0}]
    for arm, (figure, flops, trained) in arms.items():
        store.add(arm, 0, {"retrieval/i2t@1": figure}, data=cost_data(flops, trained), info={"gates": gates})
    assert store.compare().pareto == ("low",)


def test_where_operations_are_not_counted_seconds_of_training_stand_for_them(store: Store) -> None:
    for arm, seconds, flops in (("slow", 20.0, 1e9), ("quick", 10.0, None), ("broken", 10.0, None)):
        spec = store.add(arm, 0, {"retrieval/i2t@1": 0.5}, data=cost_data(flops, 100))
        with Recorder(store.root / spec.relative_path, None) as recorder:
            recorder.add(Timing(11, {"train_seconds": seconds}))
        if arm == "broken":
            add_findings(store, spec, "error")
    assert store.compare().pareto == ("quick",)  # a broken run costs nothing that can be compared


def test_nothing_is_marked_where_nothing_can_be_compared(store: Store) -> None:
    assert pareto_of(store, {"alone": (0.3, 1e9, 100), "nan": (math.nan, 1e9, 100)}) == ()


def add_findings(store: Store, spec: RunSpec, *severities: str, part: str = "loss.info-nce") -> None:
    """What the doctor would write beside a run."""
    found = [
        Finding(
            f"{severity}-check", severity, part, f"What is wrong in {spec.seed}.", {"loss": 4.2 + spec.seed}, "Mend it."
        )  # type: ignore[arg-type]
        for severity in severities
    ]
    text = json.dumps([one.as_dict() for one in found])
    (store.root / spec.relative_path / "findings.json").write_text(text)


def test_findings_are_gathered_by_arm_the_worst_first(store: Store) -> None:
    for arm in ("mlp", "per"):
        for seed in range(3):
            spec = store.add(arm, seed, {"retrieval/i2t@1": 0.5 + seed / 100})
            if arm == "mlp":
                add_findings(store, spec, "note")
            elif seed != 1:
                add_findings(store, spec, "warning", "error")
    found = [(one.severity, one.arm, one.check, len(one.runs), one.of) for one in store.compare().findings]
    assert found == [
        ("error", "per", "error-check", 2, 3), ("warning", "per", "warning-check", 2, 3), ("note", "mlp", "note-check", 3, 3),
    ]  # fmt: skip
    first = store.compare().findings[0]
    assert (first.message, first.component) == ("What is wrong in 0.", "loss.info-nce")
    assert (first.evidence, first.varies) == ({"loss": Span(4.2, 6.2)}, True)
    note = store.compare().findings[2]
    assert (note.evidence, note.sentence) == ({"loss": Span(4.2, 6.2)}, f"What is wrong in 0 (as in {note.runs[0]})")
    assert [name.split("-")[1] for name in first.runs] == ["s0", "s2"]
    assert [one.arm for one in store.compare(where=["arm=mlp"]).findings] == ["mlp"]


def test_conditions_leave_nothing_missing_that_they_leave_out(store: Store, tmp_path: Path) -> None:
    for arm in ("mlp", "per"):
        for seed in range(3):
            store.add(arm, seed, {"retrieval/i2t@1": 0.1})
    assert store.compare(where=["arm=mlp"]).missing == ()
    runs = [
        RunSpec("exp", arm, arm, {}, seed, {}, {}, f"{n:08x}", info=INFO)
        for n, (arm, seed) in enumerate([(arm, seed) for arm in ("mlp", "per") for seed in range(3)], start=1)
    ]
    plan = Plan(Experiment(tmp_path / "exp.toml", "exp", "", Document()), (*runs, replace(runs[0], seed=7)))
    assert store.compare(plan=plan).missing == ("mlp seed 7: not started",)
    assert store.compare(plan=plan, where=["arm=mlp"]).missing == ()


def test_a_rebuilt_registry_gives_the_same_comparison(store: Store, tmp_path: Path) -> None:
    for arm in ("mlp", "perceiver"):
        for seed in range(3):
            store.add(arm, seed, {"retrieval/i2t@1": (len(arm) * 7 + seed * 31 % 11) / 50})
    before = store.compare().as_dict()
    for file in tmp_path.glob("registry.db*"):
        file.unlink()
    assert store.compare().as_dict() == before


def test_at_and_conditions_are_read() -> None:
    assert At.parse("best:a:b") == At("best", metric="a:b")
    assert At.parse("step:12") == At("step", step=12)
    assert Condition.parse("a.b <= 1e-3") == Condition("a.b", "<=", 1e-3)
    assert Condition.parse("arm=mlp,lr=1") == Condition("arm", "=", "mlp,lr=1")
    assert Condition("x", "=", 1).holds("1")
    assert not Condition("x", "<", 1).holds("0")
    assert not Condition("x", "<", 1).holds(None)


def test_tables_are_flattened_by_name() -> None:
    config = {
        "a": {"b": 1},
        "loss": [{"use": "x"}, {"use": "y", "name": "z"}],
        "k": [1, 2],
        "twice": [{"use": "q"}] * 2,
    }
    assert flatten(config) == {
        "a.b": 1, "loss.x.use": "x", "loss.z.use": "y", "loss.z.name": "z", "k": [1, 2],
        "twice.0.use": "q", "twice.1.use": "q",
    }  # fmt: skip


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_commit_of_the_working_copy_is_said_once_and_not_for_each_component(store: Store, elsewhere: bool) -> None:
    for seed, commit in enumerate("abb"):
        spec = store.add("mlp", seed, {"r@1": 0.1}, environment={"git": {"commit": commit * 40, "dirty": False}})
        file = store.root / spec.relative_path / "components.json"
        components = json.loads(file.read_text())
        components["projector.image"]["commit"] = ("9" if elsewhere and seed == 2 else commit) * 40
        file.write_text(json.dumps(components))
    keys = {one.key for one in store.compare().differences if one.key.endswith("commit")}
    assert keys == {"environment.git.commit", *(["components.projector.image.commit"] if elsewhere else [])}
