"""A recorded run as Python objects: ``trialbook.load_run``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from trialbook.api.app import app_of, settings_of
from trialbook.api.display import Displayed
from trialbook.config.runspec import RunSpec
from trialbook.config.settings import Settings
from trialbook.contracts.findings import Finding
from trialbook.contracts.predictions import Prediction
from trialbook.registry.curves import read_curves
from trialbook.registry.run_directory import RunDirectory

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from trialbook.contracts import Task
    from trialbook.registry import query
    from trialbook.replay.load import LoadedRun
    from trialbook.reports.document.blocks import Block, Text
    from trialbook.reports.plots.run_data import RunData

_COMMIT = 12


class Curve(NamedTuple):
    """Values of a metric over optimiser steps.

    Args:
        steps: int64 [T], rising.
        values: float64 [T]; NaN where the recorded value was no number.
    """

    steps: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Run(Displayed):
    """A recorded run. Everything but its identity is read from its directory when it is asked for.

    Args:
        path: its directory.
        experiment, name, arm, base_arm, seed: which run it is; ``base_arm`` is the arm in the file, without a point of the grid.
        id: 8 hex digits of a hash over configuration, seed and sources.
        started: when it began; None where that was not recorded.
        seconds: that it was worked at; None while it has no end.
        outcome: ``finished`` or ``failed``; None where it is open.
        settings: of the workplace.
        checkpoint: that ``load`` takes unless it is given another; None for the newest sound one.
    """

    path: Path
    experiment: str
    name: str
    arm: str
    base_arm: str
    seed: int
    id: str
    started: datetime | None
    seconds: float | None
    outcome: str | None
    settings: Settings = field(compare=False)
    checkpoint: str | None = None

    @classmethod
    def of_row(cls, row: query.Run, settings: Settings) -> Run:
        """The run of a row of the registry."""
        facts = {name: getattr(row, name) for name in _COLUMNS}
        return cls._of(row.directory.path, facts, settings)

    @classmethod
    def of_directory(cls, path: Path, settings: Settings, checkpoint: str | None = None) -> Run:
        """The run that lies in a directory, whether or not a registry knows it."""
        from trialbook.registry.run_row import run_facts

        return cls._of(path, run_facts(RunDirectory(path))[0], settings, checkpoint)

    @classmethod
    def _of(cls, path: Path, facts: Mapping[str, Any], settings: Settings, checkpoint: str | None = None) -> Run:
        started = facts["started"]
        return cls(
            path, facts["experiment"], facts["name"], facts["arm"], facts["base_arm"], facts["seed"], facts["hash"],
            None if started is None else datetime.fromtimestamp(started), facts["seconds"], facts["outcome"], settings,
            checkpoint,
        )  # fmt: skip

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    @property
    def directory(self) -> RunDirectory:
        """The files of the run by name."""
        return RunDirectory(self.path)

    @property
    def status(self) -> str:
        """``running``, ``finished``, ``failed``, ``killed`` or ``missing``, as its directory shows it now."""
        return self.directory.status()

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved configuration, with all defaults."""
        return dict(RunSpec.from_json(self.directory.read("run")).config)

    @cached_property
    def metrics(self) -> dict[str, Curve]:
        """Metric to its values over steps."""
        return _curves(self.directory.read_lines("metrics"))

    @cached_property
    def timing(self) -> dict[str, Curve]:
        """The measurements of time and memory, over steps: seconds, samples per second, bytes."""
        return _curves(self.directory.read_lines("timing"))

    @property
    def results(self) -> dict[str, Any] | None:
        """``results.json``: a summary of each metric, seconds, parameters; None where the run is not finished."""
        found: dict[str, Any] | None = self.directory.read("results")
        return found

    @property
    def findings(self) -> list[Finding]:
        """The doctor's findings, the worst first."""
        return [Finding.from_dict(one) for one in self.directory.read("findings") or []]

    @property
    def predictions(self) -> list[Prediction]:
        """Its answers in the last evaluation of its final split; empty where its task gives none."""
        return list(self.directory.read_answers())

    def arrays(self, name: str | None = None) -> dict[str, NDArray[Any]]:
        """Arrays that the run kept as ``arrays/<name>.safetensors``; empty where it kept none.

        Args:
            name: a split, of which embeddings and groups are kept; the final split if None.
        """
        return self._recorded.arrays_named(name or self._recorded.final_split)

    def per_sample(self, split: str | None = None) -> dict[str, NDArray[np.float64]]:
        """Metric to its value for each sample of a split, float64 [n]; empty where no metric of the run gives any.

        Args:
            split: that was evaluated; the final split if None.
        """
        return self.arrays(f"{split or self._recorded.final_split}-per-sample")

    @property
    def _recorded(self) -> RunData:
        from trialbook.reports.plots.run_data import RunData

        return RunData(self.directory)

    @property
    def data(self) -> dict[str, Any]:
        """``data.json``: the data set with its fingerprint and splits, parameters by part."""
        return self.directory.read("data") or {}

    @property
    def environment(self) -> dict[str, Any]:
        """``env.json``: hardware, versions, commit."""
        return self.directory.read("env") or {}

    @property
    def commit(self) -> str:
        """The commit that it was made from and whether there were changes, in words."""
        git = self.environment.get("git") or {}
        if not git.get("commit"):
            return "not under version control"
        return f"commit {git['commit'][:_COMMIT]}" + (" with changes (dirty.patch)" if git.get("dirty") else ", clean")

    def load(self, checkpoint: str | None = None) -> LoadedRun:
        """Build the run's task again, with the weights of a checkpoint, on the device of the workplace.

        Args:
            checkpoint: ``step-N``, or the path of a checkpoint; the newest sound one if None.
        Raises:
            TrialbookError: there is no such checkpoint, or a component of the run is gone.
        """
        from trialbook.replay.load import load_weights

        app = app_of(self.settings)
        return load_weights(str(self.path), app.settings, app.host, app.book, checkpoint=checkpoint or self.checkpoint)

    def task(self, checkpoint: str | None = None) -> Task:
        """The task of ``load``, in evaluation mode: its modules are ``task.module()``."""
        return self.load(checkpoint).task

    def text(self) -> str:
        """The run in a line."""
        return f"{self.experiment}/{self.name}  {self.status}"

    def blocks(self) -> Sequence[Block]:
        """Show which run it is, what it measured, what looks broken, what it was made from."""
        from trialbook.reports.document.blocks import Code, CodeBlock, Collapsible, KeyValues
        from trialbook.reports.pages.run_page import metric_table
        from trialbook.reports.pages.sections import config_text, data_facts, finding_notice, setup_facts

        facts: dict[str, Text] = {
            "run": [Code(self.name), f", {self.status}"], "experiment": self.experiment, "arm": self.arm,
            "seed": str(self.seed), "code": self.commit, **setup_facts(self.config), **data_facts(self.data),
        }  # fmt: skip
        blocks: list[Block] = [KeyValues(facts), *map(finding_notice, self.findings)]
        if metrics := self._recorded.metrics:
            blocks.append(Collapsible("Metrics", [metric_table(metrics)]))
        if config := config_text(self.directory):
            blocks.append(Collapsible("The whole resolved configuration", [CodeBlock(config)]))
        return blocks


#: What a run's row in the registry and its directory both tell.
_COLUMNS = ("experiment", "name", "arm", "base_arm", "seed", "hash", "started", "seconds", "outcome")


def load_run(run: Run | Path | str, *, root: Path | str | None = None, runs: Path | str | None = None) -> Run:
    """A recorded run.

    Args:
        run: its name or the beginning of one, its id, its path, or the path of one of its checkpoints.
        root: folder in which or above which ``runner.toml`` lies; the working directory if None.
        runs: another directory of runs than ``runner.toml`` names.
    Raises:
        TrialbookError: no run is meant, or several are.
    """
    from trialbook.replay.load import split_checkpoint
    from trialbook.replay.recorded_run import find_run

    if isinstance(run, Run):
        return run
    settings = settings_of(root, runs)
    text, checkpoint = split_checkpoint(str(run))
    return Run.of_directory(find_run(text, settings).path, settings, checkpoint)


def _curves(lines: Iterable[Mapping[str, Any]]) -> dict[str, Curve]:
    import numpy as np

    return {
        name: Curve(np.array(steps, np.int64), np.array(values, np.float64))
        for name, (steps, values) in read_curves(lines).items()
    }
