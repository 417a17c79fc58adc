"""`mlrun run`: finished runs are kept, a failing one does not touch the others, mistakes come out before the first run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from small_align import align_file

import trialbook_plugins.plugin
from trialbook.config.load import load_experiment
from trialbook.config.runspec import Plan
from trialbook.config.settings import Settings
from trialbook.errors import ExperimentErrors
from trialbook.execution.launcher import Launcher
from trialbook.execution.progress import PlainProgress
from trialbook.planning.planner import make_plan
from trialbook.plugins.hookspec import Component, hookimpl
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook
from trialbook.registry.lock import RunLock

EXPERIMENT = align_file(
    head='# Is the MLP better?\nname = "small"\nseeds = [0, 1]\nbaseline = "linear"',
    train=256, val=64, test=64, steps=20,
    more="""
[[metric]]
use = "retrieval"
[results]
loss = "loss"
at1 = "retrieval/i2t@1"
[arm.linear]
[arm.mlp.projector.image]
use = "mlp"
hidden = 16
""",
)  # fmt: skip


def mlrun(folder: Path, *arguments: str, status: int = 0) -> str:
    """What ``mlrun`` prints in ``folder``, both streams."""
    paths = {"TRIALBOOK_RUNS": str(folder / "runs"), "TRIALBOOK_CACHE": str(folder / "cache")}
    environment = {**os.environ, **paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "trialbook", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the experiment was run once."""
    folder = tmp_path_factory.mktemp("launch")
    (folder / "small.toml").write_text(EXPERIMENT)
    out = mlrun(folder, "run", "small.toml")
    assert "mlp" in out
    return folder


def _directories(folder: Path) -> list[Path]:
    return sorted(path.parent for path in (folder / "runs" / "small").glob("*/config.toml"))


def test_a_run_leaves_all_that_is_needed_to_believe_it(finished: Path) -> None:
    directories = _directories(finished)
    assert len(directories) == 4
    for path in directories:
        results = json.loads((path / "results.json").read_text())
        assert {"loss_start", "loss_end", "at1_start", "at1_end"} <= set(results)
        assert results["loss_end"] < results["loss_start"]
        data = json.loads((path / "data.json").read_text())
        assert data["dataset"]["splits"] == {"train": 256, "val": 64, "test": 64}
        assert len(data["dataset"]["fingerprint"]) == 64
        assert data["overlaps"] == []
        components = json.loads((path / "components.json").read_text())
        assert components["projector.image"]["version"]
        assert len(components["projector.image"]["source"]) == 64
        assert (path / "config.toml").exists()
        assert (path / "report.md").exists()
        assert "versions" in json.loads((path / "env.json").read_text())


def test_a_run_keeps_the_value_of_every_query_whose_mean_it_records(finished: Path) -> None:
    for path in _directories(finished):
        samples = load_file(path / "arrays/test-per-sample.safetensors")
        final = json.loads((path / "metrics.jsonl").read_text().splitlines()[-1])["values"]
        assert set(samples) == {f"retrieval/{pair}@{k}" for pair in ("i2t", "t2i") for k in (1, 5, 10)}
        for name, values in samples.items():
            assert values.shape == (64,)
            assert values.mean() == pytest.approx(final[name], abs=1e-12)


def test_the_same_command_again_keeps_every_finished_run(finished: Path) -> None:
    before = {path: (path / "metrics.jsonl").stat().st_mtime_ns for path in _directories(finished)}
    out = mlrun(finished, "run", "small.toml")
    assert "4 finished already" in out
    assert {path: (path / "metrics.jsonl").stat().st_mtime_ns for path in _directories(finished)} == before


def test_a_run_that_another_process_does_is_left_to_it(finished: Path) -> None:
    lock = RunLock(_directories(finished)[0] / "lock")
    lock.acquire()
    out = mlrun(finished, "run", "small.toml", status=1)
    lock.release()
    assert f"process {os.getpid()} on" in out
    assert "3 finished already" in out
    assert "end it" not in out


def test_another_option_is_another_run_and_the_old_ones_stay(finished: Path) -> None:
    mlrun(finished, "run", "small.toml", "--set", "train.lr=0.01", "--arm", "linear")
    assert len(_directories(finished)) == 6


def test_a_dry_run_prints_the_plan_and_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(EXPERIMENT)
    out = mlrun(tmp_path, "run", "small.toml", "--dry-run")
    assert "small: 4 runs" in out
    assert "20 steps" in out
    assert "projector.image (mlp)" in out
    assert not (tmp_path / "runs" / "small").exists()


def test_a_value_that_a_constructor_refuses_is_named_with_file_and_line_before_any_run(tmp_path: Path) -> None:
    text = EXPERIMENT.replace('use = "mlp"\nhidden = 16', 'use = "mlp"\nhidden = 16\nlayers = 0')
    (tmp_path / "small.toml").write_text(text)
    line = text.splitlines().index("layers = 0") + 1
    out = mlrun(tmp_path, "run", "small.toml", status=2)
    assert f"small.toml:{line}: [projector.image]" in out
    assert "layers (0) must be at least 1" in out
    assert "Traceback" not in out
    assert not (tmp_path / "runs" / "small").exists()


def test_a_failing_run_is_recorded_and_the_others_go_on(tmp_path: Path) -> None:
    text = EXPERIMENT.replace(
        "[arm.mlp.projector.image]",
        "[arm.broken.train]\nlr = 1e30\nmax_grad_norm = 0.0\nlog_every = 1\n[arm.mlp.projector.image]",
    )
    (tmp_path / "small.toml").write_text(text)
    out = mlrun(tmp_path, "run", "small.toml", status=1)
    assert "broken-s0" in out
    listed = json.loads(mlrun(tmp_path, "ls", "--json"))
    states = {(run["arm"], run["status"]) for run in listed}
    assert states == {("linear", "finished"), ("mlp", "finished"), ("broken", "failed")}


def test_a_run_that_another_process_has_finished_meanwhile_is_kept(finished: Path, tmp_path: Path) -> None:
    settings = Settings(root=finished, runs=finished / "runs", data_root=None, cache=tmp_path)
    book = SchemaBook(PluginManager.discover(), tmp_path)
    plan = make_plan(load_experiment(finished / "small.toml"), book)
    results = finished / "runs" / plan.runs[0].relative_path / "results.json"
    before = results.stat().st_mtime_ns
    outcome = Launcher(settings, book.host, book, PlainProgress(print)).run(plan.runs[0])
    assert outcome.state == "kept"
    assert results.stat().st_mtime_ns == before


def test_an_interrupted_run_shows_as_killed_and_the_registry_can_be_thrown_away(finished: Path) -> None:
    before = mlrun(finished, "compare", "small.toml")
    for file in (finished / "runs").glob("registry.db*"):
        file.unlink()
    mlrun(finished, "registry", "sync")
    assert mlrun(finished, "compare", "small.toml") == before


def test_the_experiment_leaves_its_conclusion_beside_its_runs(finished: Path) -> None:
    results = json.loads((finished / "runs" / "small" / "results.json").read_text())
    assert set(results["arms"]) == {"linear", "mlp"}
    for arm in results["arms"].values():
        assert set(arm) == {"seeds", "loss_start", "loss_end", "at1_start", "at1_end"}
        assert arm["loss_end"] == pytest.approx(sum(seed["loss_end"] for seed in arm["seeds"].values()) / 2)
    report = (finished / "runs" / "small" / "report.md").read_text()
    assert "| retrieval/i2t@1" in report


def test_a_file_is_compared_as_it_stands_and_a_name_by_its_newest_runs(finished: Path) -> None:
    shown = json.loads(mlrun(finished, "compare", "small.toml", "--json"))
    again = mlrun(finished, "compare", "small.toml", "--set", "train.steps=7", status=2)
    assert "as it stands" in again
    mlrun(finished, "run", "small.toml", "--set", "train.steps=7")
    assert json.loads(mlrun(finished, "compare", "small.toml", "--json"))["rows"] == shown["rows"]
    other = json.loads(mlrun(finished, "compare", "small.toml", "--set", "train.steps=7", "--json"))["rows"]
    assert other != shown["rows"]
    assert json.loads(mlrun(finished, "compare", "small", "--json"))["rows"] == other


def test_a_disk_without_room_fails_runs_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(EXPERIMENT)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "small").write_text("a file where a folder should be")
    out = mlrun(tmp_path, "run", "small.toml", "--arm", "mlp", status=1)
    assert out.count("cannot be written: [Errno") >= 2
    assert "Traceback" not in out


BROKEN = """
import sys
import numpy as np
from torch import nn
from trialbook.contracts.datasets import Modality
class Exits(nn.Module):
    "Gives up."
    needs = ("embeddings",)
    def forward(self, *, embeddings):
        sys.exit(3)
class Raises(nn.Module):
    "Cannot be made."
    needs = ("embeddings",)
    def __init__(self):
        super().__init__()
        {}["nothing"]
class Part:
    def __init__(self, name):
        self.name = name
    def __len__(self):
        return 32
    def groups(self, modality):
        return np.arange(32)
    def read(self, modality, rows):
        return np.eye(32, dtype=np.float32)[rows]
    def content(self, modality):
        return [f"{modality}{row if row < 5 else self.name + str(row)}" for row in range(32)]
class Leaky:
    "Five rows of each modality stand in every split."
    modalities = {"image": "vector", "text": "vector"}
    fingerprint = "f"
    def describe(self, modality):
        return Modality("vector", (32,))
    def splits(self):
        return {name: Part(name) for name in ("train", "val", "test")}
"""


class BrokenLosses:
    """A plugin with losses that do not work, and data whose splits share rows."""

    @hookimpl
    def mlrun_datasets(self) -> Iterator[Component]:
        yield Component("leaky", "broken_losses:Leaky", "")

    @hookimpl
    def mlrun_losses(self) -> Iterator[Component]:
        yield Component("exits", "broken_losses:Exits", "")
        yield Component("raises", "broken_losses:Raises", "")


@pytest.fixture
def launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Launcher:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "broken_losses", raising=False)
    (tmp_path / "broken_losses.py").write_text(BROKEN)
    host = PluginManager.from_modules({"trialbook": trialbook_plugins.plugin, "broken": BrokenLosses()})
    settings = Settings(root=tmp_path, runs=tmp_path / "runs", data_root=None, cache=tmp_path)
    return Launcher(settings, host, SchemaBook(host, tmp_path), PlainProgress(print))


def _plan(launcher: Launcher, loss: str) -> Plan:
    file = launcher.settings.root / "broken.toml"
    file.write_text(EXPERIMENT + f"[[arm.broken.loss]]\nuse = '{loss}'\n")
    return make_plan(load_experiment(file), launcher.book)


def test_a_component_that_calls_exit_fails_its_run_alone(launcher: Launcher) -> None:
    outcomes = launcher.mlrun_launch(_plan(launcher, "exits").only(["broken", "linear"]))
    assert [(outcome.spec.arm, outcome.state) for outcome in outcomes[:2]] == [
        ("linear", "finished"),
        ("broken", "failed"),
    ]
    assert outcomes[1].message.startswith("SystemExit: 3 (")
    assert "sys.exit(3)" in (launcher.settings.runs / outcomes[1].spec.relative_path / "error.txt").read_text()


def test_a_component_that_cannot_be_made_is_named_with_its_place_before_any_run(launcher: Launcher) -> None:
    with pytest.raises(ExperimentErrors, match=r"\[arm.broken\] KeyError: 'nothing' \(.*broken_losses.py:16\)"):
        launcher.survey(_plan(launcher, "raises"))


def test_content_that_stands_in_two_splits_is_said_when_the_run_begins_and_in_its_report(
    launcher: Launcher, capsys: pytest.CaptureFixture[str]
) -> None:
    file = launcher.settings.root / "leaky.toml"
    rows = "train = 256\nval = 64\ntest = 64\n"
    file.write_text(EXPERIMENT.replace('"paired-latents"', '"leaky"').replace(rows, ""))
    plan = make_plan(load_experiment(file), launcher.book).only(["linear"])
    said = "'train' and 'val' overlap"
    assert launcher.run(plan.runs[0]).state == "finished"
    assert said in capsys.readouterr().out
    assert said in (launcher.settings.runs / plan.runs[0].relative_path / "report.md").read_text()
