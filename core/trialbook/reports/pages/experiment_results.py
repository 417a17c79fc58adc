"""The files of an experiment beside its runs: its pages, and ``results.json`` with the metrics of every arm."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialbook.contracts.files import UnreadableFile, to_json, write_whole
from trialbook.registry.run_directory import RunDirectory
from trialbook.reports.pages.write import PageOptions, Written, write_experiment_pages

if TYPE_CHECKING:
    from trialbook.analysis.compare.compare import Comparison
    from trialbook.config.runspec import Plan


def write_conclusion(plan: Plan, comparison: Comparison, runs: Path, options: PageOptions | None = None) -> Written:
    """Write pages and metrics into the experiment's directory; those of a profile have its name: ``report.full.md``.

    Args:
        plan: its runs.
        comparison: of these runs.
        runs: directory of all runs.
        options: how; by default with plots as SVG.
    """
    folder, profile = runs / plan.experiment.name, plan.experiment.profile
    figures = folder / (f"results.{profile}.json" if profile else "results.json")
    results = {"experiment": plan.experiment.name, "arms": _arms(plan, runs), "comparison": comparison.as_dict()}
    write_whole(figures, to_json(results))
    finished: dict[str, list[RunDirectory]] = {}
    for spec in plan.runs:
        run = RunDirectory(runs / spec.relative_path)
        if run.has("results"):
            finished.setdefault(spec.arm, []).append(run)
    written = write_experiment_pages(comparison, finished, folder, profile, options)
    return Written((*written.files[:2], figures, *written.files[2:]), written.problems)


def _arms(plan: Plan, runs: Path) -> dict[str, Any]:
    """Arm to its ``[results]`` metrics (``<name>_start``, ``<name>_end``): the mean over seeds, and each seed's."""
    wanted = [f"{name}_{end}" for name in plan.experiment.results for end in ("start", "end")]
    arms: dict[str, Any] = {}
    for spec in plan.runs:
        try:
            found = RunDirectory(runs / spec.relative_path).read("results")
        except UnreadableFile:  # the page says so
            continue
        if found:
            seeds = arms.setdefault(spec.arm, {"seeds": {}})["seeds"]
            seeds[str(spec.seed)] = {name: found[name] for name in wanted if name in found}
    for arm in arms.values():
        rows = list(arm["seeds"].values())
        arm |= {
            name: statistics.fmean(row[name] for row in rows)
            for name in wanted
            if all(isinstance(row.get(name), int | float) for row in rows)
        }
    return arms
