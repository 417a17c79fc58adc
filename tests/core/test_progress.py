"""Progress in a terminal: what runs say is shown as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from trialbook.config.experiment import Experiment
from trialbook.config.runspec import Plan, RunSpec
from trialbook.config.toml import Document
from trialbook.contracts.records import Event, Record
from trialbook.execution import progress
from trialbook.execution.progress import BarProgress


def test_brackets_in_messages_are_shown_and_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    spec = RunSpec("e", "a", "a", {}, 0, {}, {}, "00000000")
    watcher = BarProgress()
    watcher.plan_started(Plan(Experiment(Path("e.toml"), "e", "", Document()), (spec,)), 0)
    watcher.run_started(spec, 10, 0)
    watcher.item(spec, Event(0, "resumed", "[stage] resumed"))
    watcher.run_ended(spec, "failed", "e.toml:4: [loss] must not be [/red]")
    watcher.close()
    shown = " ".join(capsys.readouterr().err.split())
    assert "[stage] resumed" in shown
    assert "e.toml:4: [loss] must not be [/red]" in shown


def test_a_run_takes_as_long_as_it_took_also_behind_one_that_failed_before_its_first_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, said = [100.0], list[str]()
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    spec = RunSpec("e", "a", "a", {}, 0, {}, {}, "00000000")
    watcher = progress.PlainProgress(said.append)
    watcher.plan_started(Plan(Experiment(Path("e.toml"), "e", "", Document()), (spec,) * 5), 1)

    def passes(seconds: float) -> None:
        clock[0] += seconds

    passes(10)
    watcher.run_started(spec, 100, 0)
    passes(50)
    watcher.run_ended(spec, "finished")
    passes(7)  # its parts cannot be made
    watcher.run_ended(spec, "failed", "no")
    watcher.run_ended(spec, "kept")
    passes(3)
    watcher.run_started(spec, 100, 0)
    watcher.item(spec, Record(50, {"loss": 1.0}))
    passes(10)
    assert [line.split(" in ")[1].split()[0] for line in said if " in " in line] == ["1:00", "0:07"]
    assert watcher.status.left() == (10.0, 70.0)  # one more run, as long as the one that finished
