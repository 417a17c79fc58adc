"""Runs small experiments, sound and broken, and hands back what the doctor said of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import trialbook_plugins.plugin
from trialbook.config.load import load_experiment
from trialbook.config.settings import Settings
from trialbook.contracts.findings import Finding
from trialbook.execution.launcher import Launcher
from trialbook.execution.progress import PlainProgress
from trialbook.planning.planner import make_plan
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook
from trialbook.registry.run_directory import RunDirectory

#: What was found so far, by fault or sound run; printed at the end.
TABLE: dict[str, str] = {}


@dataclass(frozen=True)
class Ended:
    """How a run ended, and what the doctor said of it."""

    state: str
    message: str
    findings: list[Finding]
    run: RunDirectory

    @property
    def alarms(self) -> list[Finding]:
        """Errors and warnings."""
        return [one for one in self.findings if one.severity != "note"]


class Ward:
    """Runs experiments in a folder of its own.

    Args:
        folder: takes runs and files.
        plugins: name to plugin, beside the first-party one.
    """

    def __init__(self, folder: Path, plugins: dict[str, object]) -> None:
        self.folder = folder
        self.host = PluginManager.from_modules({"trialbook": trialbook_plugins.plugin, **plugins})
        self.settings = Settings(root=folder, runs=folder / "runs", data_root=None, cache=folder / "cache")
        self.book = SchemaBook(self.host, self.settings.cache)

    def run(self, name: str, text: str, sets: Sequence[str] = (), *, strict: bool = False) -> Ended:
        """Run the first run of an experiment, as ``mlrun run`` does."""
        file = self.folder / f"{name}.toml"
        file.write_text(text)
        plan = make_plan(load_experiment(file, sets=sets), self.book)
        launcher = Launcher(self.settings, self.host, self.book, PlainProgress(lambda line: None), strict=strict)
        outcome = launcher.run(plan.runs[0])
        run = RunDirectory(launcher.directory_of(plan.runs[0]))
        findings = json.loads(run.json("findings").read_text()) if run.json("findings").is_file() else []
        return Ended(outcome.state, outcome.message, [Finding.from_dict(one) for one in findings], run)
