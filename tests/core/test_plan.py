"""Plans: which runs a file asks for, in which order, and what makes two runs the same."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from trialbook.config.load import load_experiment
from trialbook.config.runspec import Plan, RunSpec
from trialbook.errors import TrialbookError
from trialbook.planning.planner import make_plan
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook
from trialbook_plugins import plugin as first_party

Write = Callable[..., Path]
EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def plan_of(file: Path, book: SchemaBook, **options: object) -> Plan:
    return make_plan(load_experiment(file, **options), book)  # type: ignore[arg-type]


def ids(plan: Plan) -> dict[tuple[str, int], str]:
    return {(run.arm, run.seed): run.id for run in plan.runs}


def test_all_arms_of_a_seed_come_before_the_next_seed(toy_file: Write, toys: SchemaBook) -> None:
    runs = plan_of(toy_file(), toys).runs
    assert [(run.arm, run.seed) for run in runs] == [("flat", 0), ("deep", 0), ("flat", 1), ("deep", 1)]


def test_a_configuration_has_all_defaults_and_nothing_of_the_experiment(toy_file: Write, toys: SchemaBook) -> None:
    config = plan_of(toy_file(), toys).runs[1].config
    assert config["task"] == {"use": "join", "dim": 8}
    assert config["dataset"] == {"use": "shapes", "train": 100, "seed": 0}
    assert config["encoder"]["image"] == {"use": "pixels", "patch": 4, "frozen": True}
    assert config["projector"]["image"] == {"use": "deep", "depth": 2, "dropout": 0.0, "frozen": False}
    assert config["loss"] == [{"use": "pull", "margin": 0.1, "weight": 1.0}]
    assert config["metric"] == [{"use": "found", "k": [1, 5]}]
    assert (config["train"]["steps"], config["train"]["batch_size"], "epochs" in config["train"]) == (20, 64, False)
    assert config["evaluate"]["split"] == "val"
    assert config["checkpoint"]["keep_last"] == 2
    expected = {"task", "dataset", "encoder", "projector", "loss", "metric", "train", "evaluate", "checkpoint"}
    assert set(config) == expected


def test_stages_keep_to_what_they_say(toy_file: Write, toys: SchemaBook) -> None:
    stages = "[[stage]]\nname = 'a'\nepochs = 2\n[[stage]]\ntrain = ['projector.*']\n"
    config = plan_of(toy_file(append=stages), toys).runs[0].config
    assert config["stage"] == [{"name": "a", "epochs": 2}, {"train": ["projector.*"]}]


def test_a_nested_component_is_filled_in_and_counts_in_the_source(toy_file: Write, toys: SchemaBook) -> None:
    around = ('use = "pull"', 'use = "around"\nsizes = [2]\nof = "pull"')
    run = plan_of(toy_file(around), toys).runs[0]
    assert run.config["loss"][0]["of"] == {"use": "pull", "margin": 0.1}
    assert run.sources["loss.around"] not in ("", toys.get("loss", "around").source)
    assert run.sources["projector.image"] == toys.get("projector", "flat").source
    assert set(run.sources) == {
        "task", "dataset", "encoder.image", "encoder.text", "projector.image", "loss.around", "metric.found",
    }  # fmt: skip


def test_what_an_experiment_says_of_itself_does_not_change_a_run(toy_file: Write, toys: SchemaBook) -> None:
    before = ids(plan_of(toy_file(), toys))
    told = toy_file(
        ("# Is deep", "# Really: is deep"), ('baseline = "flat"', 'baseline = "deep"\nheadline = ["loss"]'),
        ("seeds = [0, 1]", "seeds = [1, 0, 5]"), ("at_least = 0.5", "at_least = 0.9"), append="[results]\na = 'loss'\n",
    )  # fmt: skip
    after = ids(plan_of(told, toys))
    assert {run: after[run] for run in before} == before


def test_writing_out_a_default_does_not_change_a_run(toy_file: Write, toys: SchemaBook) -> None:
    explicit = toy_file(
        ("lr = 1e-3", "lr = 1e-3\nmax_grad_norm = 1.0"), ('use = "words"', 'use = "words"\nfrozen = false')
    )
    assert ids(plan_of(explicit, toys)) == ids(plan_of(toy_file(), toys))


def test_any_other_value_seed_or_arm_is_another_run(toy_file: Write, toys: SchemaBook) -> None:
    first = ids(plan_of(toy_file(), toys))
    second = ids(plan_of(toy_file(("lr = 1e-3", "lr = 2e-3")), toys))
    assert len({*first.values(), *second.values()}) == 8


def test_a_grid_is_multiplied_with_the_arms(toy_file: Write, toys: SchemaBook) -> None:
    grid = "[grid]\n'train.lr' = [1e-3, 1e-4]\n'encoder.text.width' = [8]\n"
    plan = plan_of(toy_file(("seeds = [0, 1]", "seeds = [3]"), append=grid), toys)
    assert [run.arm for run in plan.runs] == [
        "flat,lr=0.001,width=8", "flat,lr=0.0001,width=8", "deep,lr=0.001,width=8", "deep,lr=0.0001,width=8",
    ]  # fmt: skip
    run = plan.runs[3]
    assert (run.base_arm, run.point) == ("deep", {"train.lr": 1e-4, "encoder.text.width": 8})
    assert (run.config["train"]["lr"], run.config["encoder"]["text"]["width"]) == (1e-4, 8)
    assert run.positions["train", "lr"].line == 42


def test_keys_of_a_grid_that_end_alike_are_told_apart(toy_file: Write, toys: SchemaBook) -> None:
    grid = "[grid]\n'projector.image.use' = ['flat', 'left:twin']\n'dataset.seed' = [1]\n'dataset.train' = [5]\n"
    file = toy_file(('[arm.deep.projector.image]\nuse = "deep"\ndepth = 2\n', ""), ('pool = "max"\n', ""), append=grid)
    assert plan_of(file, toys).runs[1].arm == "flat,use=left:twin,seed=1,train=5"
    twice = "[grid]\n'encoder.image.frozen' = [true]\n'encoder.text.frozen' = [false]\n"
    assert (
        plan_of(toy_file(append=twice), toys).runs[0].arm == "flat,encoder.image.frozen=true,encoder.text.frozen=false"
    )


def test_names_are_safe_as_file_names(toy_file: Write, toys: SchemaBook) -> None:
    file = toy_file(("[arm.deep.", '[arm."../a b/é".'), append="[grid]\n'dataset.root' = ['/data/x']\n")
    run = plan_of(file, toys).runs[1]
    assert run.arm == "../a b/é,root=/data/x"
    assert run.name == f"_a_b_,root=_data_x-s0-{run.id}"
    assert run.relative_path == f"toy/{run.name}"
    assert len(run.id) == 8


def test_a_needed_arm_comes_first_and_its_run_is_an_input(toy_file: Write, toys: SchemaBook) -> None:
    first, pre = ("[arm.flat]", "[arm.flat]\nneeds = ['pre']"), "[arm.pre.train]\nsteps = 5\n"
    plan = plan_of(toy_file(first, append=pre), toys)
    assert [run.arm for run in plan.runs] == ["pre", "flat", "deep"] * 2
    flat = plan.runs[4]
    assert list(flat.inputs) == ["pre"]
    assert plan.inputs_of(flat) == {"pre": plan.runs[3]}
    other = plan_of(toy_file(first, append=pre.replace("5", "6")), toys)
    assert other.runs[1].id != plan.runs[1].id  # it is made from another run
    assert other.runs[2].id == plan.runs[2].id


def test_needs_hold_point_by_point(toy_file: Write, toys: SchemaBook) -> None:
    append = "[arm.pre.train]\nsteps = 5\n[grid]\n'encoder.text.width' = [8, 9]\n"
    plan = plan_of(toy_file(("[arm.flat]", "[arm.flat]\nneeds = ['pre']"), append=append), toys)
    flat = next(run for run in plan.runs if run.arm == "flat,width=9")
    assert plan.inputs_of(flat)["pre"].arm == "pre,width=9"


def test_a_plan_can_be_cut_to_some_arms_and_what_they_need(toy_file: Write, toys: SchemaBook) -> None:
    plan = plan_of(toy_file(("[arm.flat]", "[arm.flat]\nneeds = ['pre']"), append="[arm.pre.train]\nsteps = 5\n"), toys)
    assert [run.arm for run in plan.only(["flat"]).runs] == ["pre", "flat"] * 2
    with pytest.raises(TrialbookError, match="there is no arm 'fat'; did you mean 'flat'"):
        plan.only(["fat"])


def test_variants_are_one_run_of_each_label(toy_file: Write, toys: SchemaBook) -> None:
    plan = plan_of(toy_file(append="[grid]\n'train.lr' = [1, 2]\n"), toys)
    assert [(run.arm, run.seed) for run in plan.variants()] == [
        ("flat,lr=1", 0), ("flat,lr=2", 0), ("deep,lr=1", 0), ("deep,lr=2", 0),
    ]  # fmt: skip


def test_gates_are_ready_to_use(toy_file: Write, toys: SchemaBook) -> None:
    (gate,) = plan_of(toy_file(), toys).gates
    assert (gate.metric, gate.at_least, gate.at_most, gate.arm) == ("found/i2t@1", 0.5, None, None)


def test_a_run_goes_through_json_and_pickle(toy_file: Write, toys: SchemaBook) -> None:
    run = plan_of(toy_file(append="[results]\nhits = 'found/i2t@1'\n"), toys).runs[1]
    data = json.loads(json.dumps(run.to_json()))
    assert RunSpec.from_json(data) == run
    assert RunSpec.from_json(data).to_json() == run.to_json()
    assert (data["name"], data["question"], data["baseline"]) == (run.name, "Is deep better than flat?", "flat")
    assert (data["results"], data["gates"][0]["at_least"]) == ({"hits": "found/i2t@1"}, 0.5)
    assert data["arms"] == ["flat", "deep"]
    again = pickle.loads(pickle.dumps(run))
    assert (again, again.positions) == (run, run.positions)
    assert len({run, again}) == 1


def test_a_wide_grid_is_planned_quickly(toy_file: Write, toys: SchemaBook) -> None:
    lr = ", ".join(f"{n}.0" for n in range(1, 26))
    append = f"[grid]\n'train.lr' = [{lr}]\n'encoder.text.width' = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n"
    file = toy_file(append=append)
    started = time.perf_counter()
    plan = plan_of(file, toys)
    assert len(plan.runs) == 2 * 250 * 2
    assert time.perf_counter() - started < 5  # half a second on a free core; comparing every pair would take minutes


def test_what_is_better_when_lower_and_what_each_arm_changes_goes_with_the_runs(tmp_path: Path) -> None:
    book = SchemaBook(PluginManager.from_modules({"trialbook": first_party}), tmp_path / "cache")
    plan = make_plan(load_experiment(EXPERIMENTS / "perceiver_vs_mlp.toml"), book)
    info = plan.runs[0].info
    assert {"retrieval/i2t/median_rank", "val/retrieval/t2i/median_rank", "val/loss"} <= set(info.lower_is_better)
    assert "retrieval/i2t@1" not in info.lower_is_better
    assert info.changes["mlp"] == []
    assert {"projector.image.use", "projector.image.latents"} <= set(info.changes["perceiver"])
