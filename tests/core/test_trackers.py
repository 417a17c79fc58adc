"""A tracker hears every record once; whatever it does, the run is as good as without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from interrupts import Interrupts
from labelled_windows import host_of, run_folder, run_windows

from trialbook.config.settings import load_settings
from trialbook.contracts.files import read_lines
from trialbook.contracts.trackers import TrackedRun
from trialbook.errors import ExperimentErrors, TrialbookError
from trialbook.execution import trackers
from trialbook.plugins.hookspec import Component, hookimpl
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook

MODULE = """
import json, sys, time
from pathlib import Path

class Notes:
    "Writes down what it is told."
    def __init__(self, runs, /, *, fails: str = "", seconds: float = 0.0):
        self.file, self.fails, self.seconds = runs.parent / "heard.jsonl", fails, seconds
    def hear(self, what, *facts):
        if what == self.fails:
            time.sleep(self.seconds)
            if not self.seconds:
                raise OSError(28, "No space left on device")
        with self.file.open("a") as out:
            out.write(json.dumps([what, *facts]) + "\\n")
    def start(self, run):
        if self.fails == "import":
            import package_that_nobody_has
        if self.fails == "exit":
            sys.exit(3)
        known = set()
        if self.file.exists():
            heard = [json.loads(line) for line in self.file.read_text().splitlines()]
            known = {(one[1], name) for one in heard if one[0] == "log" for name in one[2]}
        self.hear("start", run.name, run.about["arm"], run.config["train"]["steps"])
        return known
    def log(self, step, values):
        self.hear("log", step, values)
    def stop(self, status, results):
        self.hear("stop", status, sorted(results)[:2])
"""


class Offer:
    """A plugin with the tracker."""

    @hookimpl
    def mlrun_trackers(self) -> Iterable[Component]:
        yield Component("notes", "noting_tracker:Notes", "writes down what it is told")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PluginManager:
    (tmp_path / "noting_tracker.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "noting_tracker", raising=False)
    return host_of(noting=Offer())


def heard(folder: Path) -> list[list[object]]:
    file = folder / "heard.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def records(folder: Path) -> list[list[object]]:
    return [["log", one["step"], one["values"]] for one in read_lines(run_folder(folder) / "metrics.jsonl")]


def disabled(folder: Path) -> list[str]:
    events = read_lines(run_folder(folder) / "events.jsonl")
    return [one["message"] for one in events if one["kind"] == "tracker-disabled"]


def test_a_tracker_hears_a_run_from_start_to_end(host: PluginManager, tmp_path: Path) -> None:
    run_windows(tmp_path / "run", host=host, trackers=("notes",))
    told = heard(tmp_path / "run")
    assert told[0][0] == "start"
    assert told[0][2:] == ["main", 40]
    assert told[1:-1] == records(tmp_path / "run")
    assert told[-1] == ["stop", "finished", ["metrics", "parameters"]]


def test_a_tracker_changes_neither_the_run_nor_what_others_hear(tmp_path: Path) -> None:
    class Clearing:
        def start(self, run: TrackedRun) -> list[tuple[int, str]]:
            run.config["train"].clear()  # type: ignore[attr-defined]
            return []

        def log(self, step: int, values: dict[str, float]) -> None:
            values.clear()

        def stop(self, status: str, results: dict[str, Any]) -> None:
            results["metrics"].clear()

    config, values, results = {"train": {"lr": 0.1}}, {"loss": 1.0}, {"metrics": {"acc": 0.5}}
    tracking = trackers.Tracking([trackers.Follower(str(i), Clearing()) for i in range(2)], patience=5)  # type: ignore[arg-type]
    told = [
        *tracking.started("run", tmp_path, config),
        *tracking.recorded(1, values),
        *tracking.ended("finished", results),
    ]
    told += tracking.close()
    assert told == []
    assert (config, values, results) == ({"train": {"lr": 0.1}}, {"loss": 1.0}, {"metrics": {"acc": 0.5}})


def test_what_a_run_makes_again_when_it_goes_on_is_not_told_again(host: PluginManager, tmp_path: Path) -> None:
    for step in (13, 31):
        with pytest.raises(KeyboardInterrupt):
            run_windows(tmp_path / "run", host=host, trackers=("notes",), watcher=Interrupts(step))
    run_windows(tmp_path / "run", host=host, trackers=("notes",))
    told = heard(tmp_path / "run")
    assert [one for one in told if one[0] == "log"] == records(tmp_path / "run")
    assert [one[1] for one in told if one[0] == "stop"] == ["interrupted", "interrupted", "finished"]


def test_what_was_recorded_but_not_told_when_a_run_was_killed_is_told_when_it_goes_on(
    host: PluginManager, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run_windows(folder, host=host, trackers=("notes",), watcher=Interrupts(31))
    lines = (folder / "heard.jsonl").read_text().splitlines(keepends=True)
    (folder / "heard.jsonl").write_text("".join(lines[:5]))  # the rest was under way
    run_windows(folder, host=host, trackers=("notes",))
    assert [one for one in heard(folder) if one[0] == "log"] == records(folder)


FAULTS = {
    "import": "it raises ModuleNotFoundError: No module named 'package_that_nobody_has'",
    "exit": "it calls sys.exit(3)",
    "start": "it raises OSError: [Errno 28] No space left on device",
    "log": "it raises OSError: [Errno 28] No space left on device",
    "stop": "it raises OSError: [Errno 28] No space left on device",
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("plain")
    run_windows(folder)
    return (run_folder(folder) / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize(("fails", "says"), FAULTS.items())
def test_a_tracker_that_fails_is_disabled_with_an_event(
    fails: str, says: str, host: PluginManager, undisturbed: bytes, tmp_path: Path
) -> None:
    (outcome,) = run_windows(tmp_path / "run", host=host, trackers=("notes",), tracker={"notes": {"fails": fails}})
    assert outcome.state == "finished"
    assert (run_folder(tmp_path / "run") / "metrics.jsonl").read_bytes() == undisturbed
    assert disabled(tmp_path / "run") == [f"tracker 'notes' is disabled, the run continues without it: {says}"]


@pytest.mark.parametrize("fails", ["start", "log", "stop"])
def test_a_tracker_that_hangs_is_left_behind(
    fails: str, host: PluginManager, undisturbed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "PATIENCE", 0.5)
    monkeypatch.setattr(trackers, "FIRST_PATIENCE", 0.5)
    options = {"notes": {"fails": fails, "seconds": 60.0}}
    began = time.monotonic()
    (outcome,) = run_windows(tmp_path / "run", host=host, trackers=("notes",), tracker=options)
    assert time.monotonic() - began < 50
    assert outcome.state == "finished"
    assert (run_folder(tmp_path / "run") / "metrics.jsonl").read_bytes() == undisturbed
    assert disabled(tmp_path / "run") == [
        "tracker 'notes' is disabled, the run continues without it: it is still behind after 0.5 s"
    ]


def test_a_missing_package_is_one_sentence_that_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # importing it raises ModuleNotFoundError
    (outcome,) = run_windows(tmp_path, trackers=("wandb",))
    assert outcome.state == "finished"
    why = "the package 'wandb' is not installed; pip install 'trialbook[wandb]'"
    assert disabled(tmp_path) == [f"tracker 'wandb' is disabled, the run continues without it: {why}"]


def test_a_failed_run_is_told_as_failed(host: PluginManager, tmp_path: Path) -> None:
    parts = '[[loss]]\nuse = "info-nce"\n[[metric]]\nuse = "zero-shot"'
    run_windows(tmp_path / "run", parts, host=host, dataset="labelled = false", trackers=("notes",))
    assert heard(tmp_path / "run")[-1] == ["stop", "failed", ["error"]]


def test_a_file_names_trackers_in_place_of_the_workplace_s_and_keeps_its_run_ids(
    host: PluginManager, tmp_path: Path
) -> None:
    run_windows(tmp_path / "plain")
    run_windows(tmp_path / "named", host=host, top='trackers = ["notes"]')
    run_windows(tmp_path / "none", host=host, top="trackers = []", trackers=("notes",))
    assert len({run_folder(tmp_path / name).name for name in ("plain", "named", "none")}) == 1
    assert heard(tmp_path / "named")
    assert not heard(tmp_path / "none")


def test_a_misspelt_tracker_of_a_file_is_refused_at_its_line(host: PluginManager, tmp_path: Path) -> None:
    with pytest.raises(ExperimentErrors, match=r"windows\.toml:4: there is no tracker 'note'; did you mean 'notes'\?"):
        run_windows(tmp_path / "run", host=host, top='trackers = ["note"]')


WORKPLACES = {
    'device = "cpu"\ntrackers = ["wandbb"]': r"runner\.toml:2: there is no tracker 'wandbb'; did you mean 'wandb'\?",
    '[tracker.mlfow]\nuri = "x"': r"runner\.toml:1: there is no tracker 'mlfow'; did you mean 'mlflow'\?",
    'device = "cpu"\n[tracker.wandb]\nmode = "on"': r"runner\.toml:2: \[tracker\.wandb\] 'mode'",
    "trackers = [3]": r"runner\.toml:1: 'trackers' must hold names",
    "[tracker]\nwandb = 3": r"runner\.toml:1: 'tracker' must hold tables",
    'trackers = "wandb"': r"runner\.toml:1: 'trackers' has the wrong type",
}


def open_in(folder: Path) -> None:
    """Open the trackers of a workplace."""
    trackers.open_tracking(None, load_settings(folder), SchemaBook(host_of(), folder / "cache"))


@pytest.mark.parametrize(("text", "says"), WORKPLACES.items())
def test_a_mistake_in_the_workplace_s_settings_is_named_with_its_line(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "runner.toml").write_text(text)
    with pytest.raises(TrialbookError, match=says):
        open_in(tmp_path)


def test_without_a_tracker_nothing_of_them_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom labelled_windows import run_windows\n"
        f"run_windows(Path({str(tmp_path)!r}))\n"
        "print('FOUND', sorted({'wandb', 'mlflow', 'tensorboard'} & set(sys.modules)))"
    )
    paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **paths}, capture_output=True, text=True)
    assert "FOUND []" in done.stdout, done.stdout + done.stderr
