"""The files of a decision beside the runs of its experiment file: pages, plots, and its data as JSON and YAML."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from trialbook.analysis.decide.results import Decision, decision_record, metrics_record, to_yaml
from trialbook.contracts.files import to_json, write_whole
from trialbook.reports.pages.decision_page import decision_page
from trialbook.reports.pages.write import PageOptions, Written, write_pages

if TYPE_CHECKING:
    from trialbook.config.runspec import Plan
    from trialbook.reports.document.blocks import Page, Picture


def write_decisions(
    plan: Plan, decisions: Sequence[Decision], runs: Path, options: PageOptions | None = None
) -> Written:
    """Write ``report.md``, ``report.html``, ``decision.json``, ``metrics.yaml`` and plots into the directory of the file's runs.

    A file that has runs of its own has a ``report`` of these: its decision is written to ``decision.md`` and ``decision.html``.
    What is written under a profile has its name: ``report.full.md``. The same records give the same files.

    Args:
        plan: of the file.
        decisions: those of it.
        runs: directory of all runs.
        options: how; by default with plots as SVG.
    """
    options = options or PageOptions()
    folder, profile = runs / plan.experiment.name, plan.experiment.profile
    ending = f".{profile}" if profile else ""
    folder.mkdir(parents=True, exist_ok=True)
    data, figures = folder / f"decision{ending}.json", folder / f"metrics{ending}.yaml"
    write_whole(data, to_json({"experiment": plan.experiment.name, "decisions": decision_record(decisions)}) + "\n")
    recorded = {one.name or plan.experiment.name: metrics_record(one) for one in decisions}
    write_whole(figures, to_yaml(recorded))
    counts: list[int] = []

    def draw() -> list[Picture]:
        from trialbook.reports.plots.decision import decision_plots  # late: it needs matplotlib

        drawn = [decision_plots(one, number, png=options.png) for number, one in enumerate(decisions)]
        counts.extend(map(len, drawn))
        return [picture for own in drawn for picture in own]

    def make(pictures: Sequence[Picture]) -> Page:
        left = iter(pictures)
        each = [[*islice(left, count)] for count in counts or [len(pictures)]]
        each += [[]] * (len(decisions) - len(each))
        return decision_page(plan.experiment.name, decisions, each, profile)

    name = "report" if plan.experiment.decides_only else "decision"
    written = write_pages(folder, name, profile, make, draw, options)
    return Written((*written.files[:2], data, figures, *written.files[2:]), written.problems)
