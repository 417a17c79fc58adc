"""Steps of a file are runs of their own, made again only if something before them changes; files can need files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from trialbook.config.load import load_experiment
from trialbook.config.runspec import Plan
from trialbook.errors import ExperimentErrors, TrialbookError
from trialbook.planning.planner import make_plan, plan_files
from trialbook.plugins.schema import SchemaBook

TASK = "[prepare.words.task]"
PREPARATIONS = """
[prepare.raw.task]
use = "measure"
[prepare.raw.dataset]
use = "shapes"
train = 50

[prepare.words.task]
use = "measure"
[prepare.words.dataset]
use = "shapes"
train = 60
"""
Write = Callable[..., Path]


@pytest.fixture
def plan_of(toys: SchemaBook) -> Callable[..., Plan]:
    return lambda file, **options: make_plan(load_experiment(file, **options), toys)


def ids(plan: Plan) -> list[str]:
    return [one.runs[0].id for one in (*plan.before, plan)]


def test_preparations_come_before_the_file_and_are_inputs_of_all_its_runs(
    toy_file: Write, plan_of: Callable[..., Plan]
) -> None:
    plan = plan_of(toy_file(append=PREPARATIONS))
    assert [one.experiment.name for one in plan.before] == ["prepare.raw", "prepare.words"]
    raw, words = (one.runs[0] for one in plan.before)
    assert words.inputs == {"raw": raw.relative_path}  # all that stands before it, as it does not say
    assert all(run.inputs == {"raw": raw.relative_path, "words": words.relative_path} for run in plan.runs)
    assert raw.relative_path == f"prepare.raw/main-s0-{raw.id}"


def test_a_change_of_a_preparation_changes_what_follows_and_nothing_before(
    toy_file: Write, plan_of: Callable[..., Plan]
) -> None:
    first = ids(plan_of(toy_file(append=PREPARATIONS)))
    last = ids(plan_of(toy_file(append=PREPARATIONS.replace("60", "70"))))
    assert [a == b for a, b in zip(first, last, strict=True)] == [True, False, False]
    assert ids(plan_of(toy_file(append=PREPARATIONS), sets=["prepare.raw.dataset.train=51"]))[0] != first[0]


def test_two_files_share_equal_preparations(toy_file: Write, plan_of: Callable[..., Plan], tmp_path: Path) -> None:
    first = plan_of(toy_file(append=PREPARATIONS))
    other = tmp_path / "other.toml"
    other.write_text(f'extends = "{toy_file(append=PREPARATIONS).name}"\n[train]\nsteps = 77\n')
    second = plan_of(other)
    assert [one.runs[0].relative_path for one in second.before] == [one.runs[0].relative_path for one in first.before]
    assert second.runs[0].id != first.runs[0].id


def test_needs_can_be_narrowed(toy_file: Write, plan_of: Callable[..., Plan]) -> None:
    text = PREPARATIONS.replace("[prepare.words.task]", "[prepare.words]\nneeds = []\n[prepare.words.task]")
    plan = plan_of(toy_file(append=text))
    assert plan.before[1].runs[0].inputs == {}
    changed = plan_of(toy_file(append=text.replace("50", "55")))
    assert changed.before[1].runs[0].id == plan.before[1].runs[0].id


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("train = 60", "trian = 60", "[prepare.words.dataset] unknown key 'trian'; did you mean 'train'?"),
        (TASK, f"[prepare.words]\nneeds = ['rav']\n{TASK}", "no preparation 'rav' to need; did you mean 'raw'"),
        (TASK, f"[prepare.words]\nneeds = ['words']\n{TASK}", "a preparation cannot need itself"),
        (TASK, f"[prepare.words]\nseed = 1\n{TASK}", "unknown key 'seed'; did you mean 'seeds'?"),
        (TASK, f"[prepare.words.gate]\n{TASK}", "table [gate] cannot stand in a preparation"),
        ('use = "measure"\n[prepare.raw.dataset]', 'use = "mesure"\n[prepare.raw.dataset]', "did you mean 'measure'?"),
    ],
)  # fmt: skip
def test_mistakes_in_preparations_come_with_line_and_table(
    toy_file: Write, plan_of: Callable[..., Plan], old: str, new: str, message: str
) -> None:
    file = toy_file(append=PREPARATIONS.replace(old, new))
    with pytest.raises(ExperimentErrors) as raised:
        plan_of(file)
    (problem,) = raised.value.problems
    assert message in str(problem)
    assert file.read_text().splitlines()[problem.line - 1] in new.splitlines()


def test_preparations_that_need_one_another_are_refused(toy_file: Write, plan_of: Callable[..., Plan]) -> None:
    text = PREPARATIONS.replace("[prepare.raw.task]", "[prepare.raw]\nneeds = ['words']\n[prepare.raw.task]")
    with pytest.raises(ExperimentErrors, match="preparations need one another: raw -> words -> raw"):
        plan_of(toy_file(append=text))


def test_a_preparation_and_an_arm_cannot_share_a_name(toy_file: Write, plan_of: Callable[..., Plan]) -> None:
    with pytest.raises(ExperimentErrors, match="'deep' is an arm too"):
        plan_of(toy_file(append=PREPARATIONS.replace("prepare.raw", "prepare.deep")))


def test_a_file_can_need_another_with_the_run_of_its_seed(
    toy_file: Write, plan_of: Callable[..., Plan], tmp_path: Path
) -> None:
    first = toy_file()
    second = tmp_path / "second.toml"
    second.write_text(f'extends = "{first.name}"\nneeds = ["{first.name}"]\nseeds = [1]\n[train]\nsteps = 9\n')
    plan = plan_of(second)
    (before,) = plan.before
    flat, deep = (next(run for run in before.runs if run.arm == arm and run.seed == 1) for arm in ("flat", "deep"))
    assert plan.runs[0].inputs == {f"{first.stem}/flat": flat.relative_path, f"{first.stem}/deep": deep.relative_path}


def test_a_seed_that_a_needed_file_does_not_have_is_refused(
    toy_file: Write, plan_of: Callable[..., Plan], tmp_path: Path
) -> None:
    first = toy_file()
    second = tmp_path / "second.toml"
    second.write_text(f'extends = "{first.name}"\nneeds = ["{first.name}"]\nseeds = [7]\n[train]\nsteps = 9\n')
    with pytest.raises(ExperimentErrors, match=r"second.toml:2: .* is needed with seed 7, and has seeds 0, 1"):
        plan_of(second)


def test_files_that_need_one_another_or_nothing_are_refused(
    toy_file: Write, plan_of: Callable[..., Plan], tmp_path: Path
) -> None:
    first = toy_file()
    second = tmp_path / "second.toml"
    first.write_text(f'needs = ["second.toml"]\n{first.read_text()}')
    second.write_text(f'extends = "{first.name}"\nneeds = ["{first.name}"]\n[train]\nsteps = 9\n')
    with pytest.raises(ExperimentErrors, match=f"files need one another: second.toml -> {first.name} -> second.toml"):
        plan_of(second)
    first.write_text(first.read_text().replace("second.toml", "third.toml"))
    with pytest.raises(ExperimentErrors, match=r":1: 'needs' names .*third.toml, which is no file"):
        plan_of(first)


def test_a_folder_is_laid_out_behind_what_its_files_need(toy_file: Write, toys: SchemaBook, tmp_path: Path) -> None:
    last = toy_file()
    first, second = tmp_path / "a.toml", tmp_path / "b.toml"
    first.write_text(f'extends = "{last.name}"\nneeds = ["b.toml"]\n[train]\nsteps = 8\n')
    second.write_text(f'extends = "{last.name}"\nneeds = ["{last.name}"]\n[train]\nsteps = 9\n')
    plans = plan_files([first, second, last], toys)
    order = list(dict.fromkeys(one.experiment.file.name for plan in plans for one in (*plan.before, plan)))
    assert order == [last.name, "b.toml", "a.toml"]
    assert len({id(one) for plan in plans for one in (*plan.before, plan)}) == 3  # each file once
    with pytest.raises(TrialbookError, match="none of the files has a profile 'fulll'"):
        plan_files([first, second, last], toys, profile="fulll")


def test_what_a_run_is_made_of_stands_in_its_record(toy_file: Write, plan_of: Callable[..., Plan]) -> None:
    run = plan_of(toy_file(append=PREPARATIONS)).runs[0]
    written = json.loads(json.dumps(run.to_json()))
    assert type(run).from_json(written) == run
    assert sorted(written["inputs"]) == ["raw", "words"]
