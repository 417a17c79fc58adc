"""The plots that tasks declared: curves along places and maps of pairs, of one run or of the arms of an experiment."""

from __future__ import annotations

from functools import partial
from typing import TypeVar

from trialbook.contracts.plots import HeatMap, Profile, read_plots
from trialbook.reports.document.blocks import Picture
from trialbook.reports.plots.arms import Arms
from trialbook.reports.plots.declared_heatmaps import draw_map
from trialbook.reports.plots.declared_profiles import draw_profile, profile_parts
from trialbook.reports.plots.layout import Layout, Member, Panel
from trialbook.reports.plots.plot import picture
from trialbook.reports.plots.run_data import RunData, Runs

#: Plots of one kind on a page.
_MOST = 8
_Declared = TypeVar("_Declared", Profile, HeatMap)


def run_declared(run: RunData, *, png: bool = False) -> list[Picture]:
    """The declared plots of one run."""
    alone = Layout((Panel("", (Member(run.arm, "value", 0),)),))
    return _plots({run.arm: [run]}, alone, png)


def arms_declared(arms: Arms, *, png: bool = False) -> list[Picture]:
    """The declared plots of an experiment: curves of arms with the same places in one, maps with one scale."""
    return _plots({arm: own for arm, own in arms.runs.items() if own}, arms.layout, png)


def _plots(runs: Runs, layout: Layout, png: bool) -> list[Picture]:
    found: list[Picture] = []
    profiles, maps = _named(runs, Profile), _named(runs, HeatMap)
    asked = [(own, label) for own in profiles.values() for label in profile_parts(own, layout)]
    for number, (own, label) in enumerate(asked[:_MOST], start=1):
        title = next(iter(own.values())).title + (f": {label}" if label else "")
        found += picture(f"profile-{number}", title, partial(draw_profile, runs, own, layout, label, png=png))
    for number, cells in enumerate(list(maps.values())[:_MOST], start=1):
        title = next(iter(cells.values())).title
        found += picture(f"map-{number}", title, partial(draw_map, runs, cells, png=png))
    return found


def _named(runs: Runs, kind: type[_Declared]) -> dict[str, dict[str, _Declared]]:
    """Name of a plot to the arms that declared it, each with what its first run says."""
    found: dict[str, dict[str, _Declared]] = {}
    for arm, own in runs.items():
        for one in read_plots(own[0].facts):
            if isinstance(one, kind):
                found.setdefault(one.name, {})[arm] = one
    return found
