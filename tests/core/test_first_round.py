"""A check and a dry run name all that cannot run in the first round, and say how much is trained."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from torch import nn

from trialbook.analysis.compare.compare import compare
from trialbook.analysis.compare.metrics import trained_by_part
from trialbook.api.check import check
from trialbook.cli.main import cli
from trialbook.cli.run import _plans_text
from trialbook.config.load import load_experiment
from trialbook.config.runspec import Plan, RunSpec
from trialbook.config.settings import Settings, load_settings
from trialbook.engine.survey import trained_by_stage
from trialbook.errors import ExperimentErrors, Position, Problem, TrialbookError
from trialbook.planning import machine
from trialbook.planning.planner import make_plan
from trialbook.plugins.hookspec import Component, hookimpl
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook
from trialbook.plugins.signature import describe_class
from trialbook.registry.query import open_index
from trialbook.registry.run_directory import RunDirectory
from trialbook.reports.pages.architecture import architecture
from trialbook.reports.plots.run_data import RunData

Write = Callable[..., Path]


def complaints(file: Path, book: SchemaBook, settings: Settings | None = None, *sets: str) -> list[tuple[int, str]]:
    """Line and table of all problems."""
    try:
        make_plan(load_experiment(file, sets=sets), book, settings)
    except ExperimentErrors as error:
        return [(problem.line, problem.table) for problem in error.problems]
    return []


class Counted:
    """Counts things.

    Args:
        width: of its layers.
        heads: of its layers.
        size: of pictures; 0 keeps their own.
        k: ranks that are looked at.
        hidden: of the layer between; off if left out.
        seed: of its draws.
    """

    def __init__(
        self, *, width: int, heads: int = 4, size: int = 8, k: list[int] = [1, 5],  # noqa: B006
        hidden: int | None = None, rank: int = 0, seed: int = 1,
    ) -> None: ...  # fmt: skip


def test_what_must_be_there_is_at_least_one_unless_0_has_a_meaning() -> None:
    properties = describe_class(Counted)["json_schema"]["properties"]
    assert {name for name, one in properties.items() if "'minimum': 1" in str(one)} == {"width", "heads", "k", "hidden"}


@pytest.mark.parametrize(("sets", "table"), [("task.dim=0", "task"), ("encoder.text.width=-3", "encoder.text")])
def test_a_dimension_below_one_is_refused_by_a_check(sets: str, table: str, toy_file: Write, toys: SchemaBook) -> None:
    assert complaints(toy_file(), toys, None, sets) == [(0, table)]


def test_all_mistakes_of_a_table_come_at_once(toy_file: Write, toys: SchemaBook) -> None:
    file = toy_file(("lr = 1e-3", "lr = -1.0\nbatch_size = 0\nmin_lr = 7.0\n[checkpoint]\nevery = -1\nkeep_last = 0"))
    assert complaints(file, toys) == [
        (31, "train"),
        (32, "train"),
        (33, "train"),
        (35, "checkpoint"),
        (36, "checkpoint"),
    ]
    staged = "[[stage]]\nsteps = 0\nwarmup = -1.0\n[[stage]]\nbatch_size = -4\n"
    assert complaints(toy_file(append=staged), toys) == [(42, "stage"), (43, "stage"), (45, "stage")]


def test_headline_and_gates_are_judged_beside_other_mistakes(toy_file: Write, toys: SchemaBook) -> None:
    gates = '[[gate]]\nmetric = "fund/i2t@1"\nat_least = 0.1\n[[gate]]\nmetric = "found/i2t@7"\nat_least = 0.1\n'
    file = toy_file(
        ("seeds = [0, 1]", 'seeds = [0, 1]\nheadline = ["nonsense", "found/t2i@5"]'), ('"pixels"', '"pixel"'),
        ("lr = 1e-3", "lr = -1.0"), append=gates,
    )  # fmt: skip
    assert complaints(file, toys) == [(4, ""), (14, "encoder.image"), (32, "train"), (43, "gate"), (46, "gate")]


def test_what_a_mistake_leaves_unknown_is_taken_for_right(toy_file: Write, toys: SchemaBook) -> None:
    metric = ('use = "found"', 'use = "found"\nk = "many"')
    gates = '[[gate]]\nmetric = "found/i2t@77"\nat_least = 0.1\n[[gate]]\nmetric = "lost/i2t@1"\nat_least = 0.1\n'
    assert complaints(toy_file(metric, append=gates), toys) == [(28, "metric"), (46, "gate")]
    assert complaints(toy_file(('use = "found"', 'use = "fond"'), append=gates), toys) == [(27, "metric")]


def test_a_decision_is_judged_beside_other_mistakes(toy_file: Write, toys: SchemaBook) -> None:
    decision = """
[decision]
candidates = { one = "flat", two = "depe" }
[[decision.outcome]]
when = { gate = "nothing", above = 0.1 }
recommend = "{bset}"
[[manual_score]]
name = "ease"
by = "me"
why = "so"
scores = { one = 7.0, two = 0.5 }
"""
    file = toy_file(("lr = 1e-3", "lr = -1.0"), append=decision)
    found = complaints(file, toys)
    assert [table for _, table in found] == [
        "train",
        "decision",
        "decision.outcome",
        "decision.outcome",
        "manual_score",
    ]


TASKS = """
class Trains:
    takes = {"metric": "many"}
    provides = produces = ()
    def __init__(self, builder, /): ...
    def setup(self): ...
    def module(self): ...
    def size(self, stage): ...
    def batch(self, samples, epoch, step): ...
    def losses(self, batch): ...
    def evaluate(self, split): ...
    def after_step(self): ...

class Measures:
    takes = {"metric": "many"}
    provides = produces = ()
    def __init__(self, builder, /): ...
    def setup(self): ...
    def measurements(self): ...
    def measured(self, done): ...

class Both(Trains, Measures):
    pass
"""


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SchemaBook:
    """Tasks that train, measure, and do both."""
    (tmp_path / "toy_tasks.py").write_text(TASKS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "toy_tasks", raising=False)

    def mlrun_tasks() -> list[Component]:
        return [Component(name.lower(), f"toy_tasks:{name}", "") for name in ("Trains", "Measures", "Both")]

    plugin = types.SimpleNamespace(mlrun_tasks=hookimpl(mlrun_tasks))
    return SchemaBook(PluginManager.from_modules({"tasks": plugin}), tmp_path / "cache")


@pytest.mark.parametrize(
    ("task", "tables", "expected"),
    [
        ("measures", "[train]\nsteps = 1\n", [(3, "train")]),
        ("measures", "[train]\nsteps = 1\n[[stage]]\n", [(3, "train"), (5, "stage")]),
        ("measures", "", []), ("trains", "", [(1, "task")]), ("both", "", [(1, "task")]), ("trains", "[train]\nsteps = 1\n", []),
        ("both", "[train]\nsteps = 1\n", []),
    ],
)  # fmt: skip
def test_training_is_said_of_tasks_that_train(
    task: str, tables: str, expected: list[tuple[int, str]], tasks: SchemaBook, tmp_path: Path
) -> None:
    file = tmp_path / "one.toml"
    file.write_text(f"[task]\nuse = '{task}'\n{tables}")
    assert complaints(file, tasks) == expected


@pytest.mark.parametrize(
    ("device", "cuda", "refused"), [("cpu", True, True), ("auto", False, True), ("auto", True, False), ("cuda", False, False)]
)  # fmt: skip
def test_half_precision_is_refused_where_there_is_no_device_for_it(
    device: str,
    cuda: bool,
    refused: bool,
    toy_file: Write,
    toys: SchemaBook,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "lacks_cuda", lambda: not cuda)
    (tmp_path / "runner.toml").write_text(f'threads = 1\ndevice = "{device}"\n')
    file = toy_file(("lr = 1e-3", 'lr = 1e-3\nprecision = "fp16"'))
    assert complaints(file, toys, load_settings(tmp_path)) == ([(32, "train")] if refused else [])
    assert complaints(file, toys) == []  # nothing is to be run here
    (tmp_path / "runner.toml").write_text(f'precision = "fp16"\ndevice = "{device}"\n')
    assert complaints(toy_file(), toys, load_settings(tmp_path)) == ([(1, "")] if refused else [])


SMALL = """\
# Does it fit?
[task]
use = "align"
dim = 8
[dataset]
use = "scenes"
train = 16
val = 4
test = 4
[encoder.image]
use = "patches"
patch = 8
[encoder.text]
use = "token-embedding"
width = 16
frozen = true
[projector.image]
use = "linear"
[projector.text]
use = "linear"
[[loss]]
use = "info-nce"
[train]
steps = 3
batch_size = 8
[[stage]]
name = "first"
train = ["projector.text"]
[[stage]]
name = "second"
"""


def dry_run(file: Path) -> tuple[int, str]:
    done = CliRunner().invoke(cli, ["run", str(file), "--dry-run", "--runs", str(file.parent / "runs")])
    return done.exit_code, str(done.exception or done.output)


def test_a_dry_run_counts_what_the_optimiser_gets_in_each_stage_and_refuses_a_batch_above_the_data(
    tmp_path: Path,
) -> None:
    file = tmp_path / "small.toml"
    file.write_text(SMALL)
    status, text = dry_run(file)
    assert status == 0
    rows = re.findall(r"^  (\S.*?) +([\d,]+) parameters", text, re.MULTILINE)
    counts = {name: int(count.replace(",", "")) for name, count in rows}
    assert counts["trained in first"] == 16 * 8 + 8
    assert (
        counts["trained in second"]
        == 16 * 8 + 8 + counts["projector.image (linear)"] + counts["loss.info-nce (info-nce)"]
    )
    file.write_text(SMALL + "batch_size = 32\n")
    status, text = dry_run(file)
    assert (status, f"{file}:31: [stage]" in text) == (1, True)
    file.write_text(SMALL.replace('["projector.text"]', '["encoder.text"]'))
    status, text = dry_run(file)
    assert (status, f"{file}:28: [stage]" in text) == (1, True)


def test_a_run_asked_for_in_part_says_why_it_writes_no_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "small.toml"
    file.write_text(SMALL)
    monkeypatch.setattr("trialbook.cli.run._run_all", lambda *_, whole: not whole)
    arguments = ["run", str(file), "--runs", str(tmp_path / "runs")]
    done = CliRunner().invoke(cli, [*arguments, "--arm", "main", "--set", "train.steps=2"])
    assert (done.exit_code, "--arm and --set" in done.stderr, str(file) in done.stderr) == (0, True, True)


def test_a_file_that_was_never_run_is_told_so(
    toy_file: Write, toys: SchemaBook, record_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    record_plan(toy_file(name="other.toml"), lambda spec: {"found/i2t@1": 0.5})
    file = toy_file()
    with open_index(tmp_path / "runs" / "registry.db") as index:
        plan = make_plan(load_experiment(file), toys)
        for names, asked in (([str(file)], None), ([], plan)):
            with pytest.raises(TrialbookError) as caught:
                compare(index, names, plan=asked)
            assert f"mlrun run {file}" in str(caught.value)
        with pytest.raises(TrialbookError, match="folder"):
            compare(index, [str(tmp_path)])


@pytest.mark.parametrize(
    ("data", "config", "trained"),
    [
        ({"parameters": {"encoder": 9, "loss.a": 1}, "frozen": ["encoder"]}, {"train": {"steps": 1}}, {"loss.a": 1}),
        ({"parameters": {"encoder": 9, "loss.a": 1}, "frozen": []}, {"task": {"use": "probe"}}, {}),
        ({"parameters": {"encoder": 9}, "frozen": [], "trained": {"encoder": 4}}, {"stage": [{}]}, {"encoder": 4}),
    ],
)
def test_a_run_without_training_trains_no_part(
    data: dict[str, object], config: dict[str, object], trained: object
) -> None:
    assert trained_by_part(data, config) == trained


def test_the_drawing_of_a_probe_shows_no_part_as_trained(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    config = {"task": {"use": "probe"}, "encoder": {"image": {"use": "vit"}}}
    about = {"name": "main-s0", "id": "0" * 8, "base_arm": "main", "seed": 0, "point": {}, "sources": {}}
    run.write("run", {"config": config, "arm": "main", "experiment": "e", **about})
    run.write("data", {"parameters": {"encoder.image": 900}, "frozen": []})
    (drawing,) = architecture({"main": RunData(run)})
    assert "trained" not in drawing.text  # type: ignore[attr-defined]
    assert "900 parameters, frozen" in drawing.text  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("batch_size = 8", "batch_size = 17", 25),
        ("batch_size = 8", "", 23),
        ('name = "second"', 'name = "second"\nbatch_size = 40', 31),
    ],
)
def test_a_batch_above_the_samples_is_refused_by_a_check_where_the_data_say_how_many_there_are(
    old: str, new: str, line: int, tmp_path: Path
) -> None:
    file = tmp_path / "small.toml"
    file.write_text(SMALL.replace(old, new))
    found = {(problem.line, problem.table) for problem in check(file).problems}
    assert found == {(line, "stage" if line == 31 else "train")}
    file.write_text(SMALL)
    assert check(file).problems == ()


def test_a_dry_run_names_the_mistakes_of_all_plans_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(plan: SimpleNamespace, launcher: object) -> str:
        raise ExperimentErrors([Problem(plan.name, 1, "train", "no")])

    plans = [SimpleNamespace(name=name) for name in ("a", "b")]
    monkeypatch.setattr("trialbook.cli.run._plan_text", refuse)
    with pytest.raises(ExperimentErrors) as caught:
        _plans_text(plans, None)  # type: ignore[arg-type]
    assert [problem.file for problem in caught.value.problems] == ["a", "b"]


class Learns:
    """A task of eight samples."""

    def __init__(self) -> None:
        self.net = nn.ModuleDict({"projector": nn.Linear(3, 2), "encoder": nn.Linear(5, 5).requires_grad_(False)})

    def module(self) -> nn.Module:
        return self.net

    def size(self, stage: str) -> int:
        return 8

    def batch(self, samples: object, epoch: int, step: object) -> None: ...
    def losses(self, batch: object) -> None: ...
    def evaluate(self, split: str) -> None: ...
    def after_step(self) -> None: ...


def test_what_a_stage_trains_and_whether_its_batch_fits_is_known_before_it_runs(tmp_path: Path) -> None:
    train = {"steps": 2, "batch_size": 4}
    spec = RunSpec("e", "a", "a", {}, 0, {"train": train, "stage": [{}, {"name": "b", "batch_size": 9}]}, {}, "0" * 8)
    place = Position(tmp_path / "e.toml", 7)
    with pytest.raises(ExperimentErrors) as caught:
        trained_by_stage(Learns(), replace(spec, positions={("stage", 1, "batch_size"): place}))  # type: ignore[arg-type]
    assert [(one.file, one.line, one.table) for one in caught.value.problems] == [(str(place.file), 7, "stage")]
    assert trained_by_stage(Learns(), replace(spec, config={"train": train})) == {"train": 8}  # type: ignore[arg-type]
