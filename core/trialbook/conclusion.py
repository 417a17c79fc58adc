"""What an experiment leaves beside its runs: ``report.md`` and ``results.json`` with the figures of every arm."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialbook.report import comparison_text
from trialbook.rundir import RunDirectory, read_json, to_json, write_whole

if TYPE_CHECKING:
    from trialbook.compare import Comparison
    from trialbook.plan import Plan


def write_conclusion(plan: Plan, comparison: Comparison, runs: Path) -> tuple[Path, Path]:
    """Write both files into the experiment's directory; those of a profile have its name: ``report.full.md``.

    Args:
        plan: its runs.
        comparison: of these runs.
        runs: directory of all runs.
    """
    folder = runs / plan.experiment.name
    profile = f".{plan.experiment.profile}" if plan.experiment.profile else ""
    report, figures = folder / f"report{profile}.md", folder / f"results{profile}.json"
    write_whole(report, f"# {plan.experiment.name}\n\n{comparison_text(comparison, 'markdown')}\n")
    results = {
        "experiment": plan.experiment.name,
        "arms": _arms(plan, runs),
        "comparison": comparison.as_dict(),
    }
    write_whole(figures, to_json(results))
    return report, figures


def _arms(plan: Plan, runs: Path) -> dict[str, Any]:
    """Arm to its ``[results]`` figures (``<name>_start``, ``<name>_end``): the mean over seeds, and each seed's."""
    wanted = [f"{name}_{end}" for name in plan.experiment.results for end in ("start", "end")]
    arms: dict[str, Any] = {}
    for spec in plan.runs:
        found = read_json(RunDirectory(runs / spec.relative_path).json("results"))
        if found:
            seeds = arms.setdefault(spec.arm, {"seeds": {}})["seeds"]
            seeds[str(spec.seed)] = {name: found[name] for name in wanted if name in found}
    for arm in arms.values():
        rows = list(arm["seeds"].values())
        arm |= {
            name: statistics.fmean(row[name] for row in rows) for name in wanted if all(name in row for row in rows)
        }
    return arms
