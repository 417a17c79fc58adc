"""Runs of a plan whose data were edited since they were recorded: they are run again, as runs of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from trialbook.config.runspec import Plan, RunSpec, canonical, run_id
from trialbook.config.settings import Settings
from trialbook.plugins.schema import SchemaBook
from trialbook.registry.data_files import DataFiles
from trialbook.registry.earlier_runs import keep_earlier_runs
from trialbook.registry.replaced_runs import ReplacedRuns
from trialbook.registry.run_directory import RunDirectory

#: How often the data of one run are followed from one edit to the next.
_EDITS = 1000


def plans_on_record(plans: Sequence[Plan], settings: Settings, book: SchemaBook) -> list[Plan]:
    """The plans, with the recorded runs that stand for theirs: those of an earlier version, and those with the data of now.

    A finished run counts as long as the files that it read are what they were. Where one of them is another now, a run with
    an id of its own takes its place, and so on for all that need it; the record of the old one stays.

    Args:
        plans: as they were laid out; those that they need are among them or stand in their ``before``.
        settings: where runs and data lie.
        book: schemas of components.
    """
    current = _Current(settings.runs, settings.data_root)
    return [current.plan(one) for one in keep_earlier_runs(plans, settings.runs, book)]


def describe_changed(plan: Plan, runs: Path) -> str:
    """A sentence on finished runs of a plan whose data are others now, with the files; empty where there are none."""
    outdated = [
        one for one in plan.runs if one.outdated and RunDirectory(runs / one.relative_path).status() != "finished"
    ]
    if not outdated:
        return ""
    files = list(dict.fromkeys(file for one in outdated for file in one.outdated))
    listed = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
    some = f"{len(outdated)} finished run{'s' * (len(outdated) > 1)} of {plan.experiment.name}"
    was, they = ("were", "they do") if len(outdated) > 1 else ("was", "it does")
    return (
        f"{some} {was} recorded with other data, and {they} not count any more: {listed} changed since; 'mlrun run' makes "
        "new ones, and keeps the old"
    )


class _Current(ReplacedRuns):
    def __init__(self, runs: Path, data_root: Path | None) -> None:
        super().__init__()
        self.runs, self.files = runs, DataFiles(runs, data_root)

    def spec(self, spec: RunSpec, inputs: dict[str, str]) -> RunSpec:
        """A run, or the one with the data of now that takes its place."""
        if spec.earlier:
            return spec
        if inputs != spec.inputs:
            spec = _with(spec, inputs, spec.data, ())
        for _ in range(_EDITS):
            run = RunDirectory(self.runs / spec.relative_path)
            if run.status() != "finished" or not (changed := self.files.changed(run)):
                break
            data = hashlib.sha256(canonical([spec.data, changed]).encode("utf-8", "surrogateescape")).hexdigest()[:16]
            spec = _with(spec, spec.inputs, data, tuple(changed))
        return spec


def _with(spec: RunSpec, inputs: Mapping[str, str], data: str, outdated: tuple[str, ...]) -> RunSpec:
    own = run_id(spec.config, spec.seed, spec.sources, inputs, data)
    return replace(spec, inputs=inputs, data=data, outdated=outdated, id=own)
