"""Progress in a terminal: what runs say is shown as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from trialbook.config.experiment import Experiment
from trialbook.config.runspec import Plan, RunSpec
from trialbook.config.toml import Document
from trialbook.contracts.records import Event
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
