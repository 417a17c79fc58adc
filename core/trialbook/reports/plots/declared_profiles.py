"""Declared curves along places: of one run, or of the arms of an experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from trialbook.analysis.compare.metrics import higher_is_better
from trialbook.contracts.plots import Profile, look_up
from trialbook.reports.plots.layout import MOST_PANELS, Layout, Member, Panel
from trialbook.reports.plots.plot import Drawn
from trialbook.reports.plots.profiles import Strip, Track, draw_profiles
from trialbook.reports.plots.run_data import RunData, Runs, mean_known
from trialbook.reports.tables import show_number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float64]

#: Panels of metrics in one plot; values that are told in words.
_MOST_STRIPS, _MOST_TOLD = 5, 12


def profile_parts(declared: Mapping[str, Profile], layout: Layout) -> list[str]:
    """Nothing where all arms stand in one plot, with a panel for each metric; else metrics that have a plot each."""
    if len({tuple(one.places) for one in declared.values()}) == 1 and len(layout.panels) == 1:
        return [""]
    return list(dict.fromkeys(label for one in declared.values() for label in one.metrics))[:_MOST_STRIPS]


def draw_profile(runs: Runs, declared: Mapping[str, Profile], layout: Layout, label: str, *, png: bool) -> Drawn | None:
    """All metrics, or the one that ``label`` names."""
    return _apart(runs, declared, layout, label, png) if label else _together(runs, declared, layout, png)


def _together(runs: Runs, declared: Mapping[str, Profile], layout: Layout, png: bool) -> Drawn | None:
    """A panel for each metric, the arms overlaid."""
    members = [member for member in layout.panels[0].members if member.arm in declared]
    labels = dict.fromkeys(label for one in declared.values() for label in one.metrics)
    strips = [_strip(runs, declared, members, label, label) for label in labels]
    return _drawn(runs, declared, strips, "", _MOST_STRIPS, png)


def _apart(runs: Runs, declared: Mapping[str, Profile], layout: Layout, label: str, png: bool) -> Drawn | None:
    """One metric: a panel for each arm, or for each of the layout's where the arms in it have the same places."""
    panels = layout.panels if _agree(layout, declared) else _one_each(declared)
    chosen = [(panel.title, [member for member in panel.members if member.arm in declared]) for panel in panels]
    strips = [_strip(runs, declared, members, label, title) for title, members in chosen if members]
    return _drawn(runs, declared, strips, label, MOST_PANELS, png)


def _drawn(
    runs: Runs, declared: Mapping[str, Profile], strips: Sequence[Strip], label: str, most: int, png: bool
) -> Drawn | None:
    first = next(iter(declared.values()))
    found = [strip for strip in strips if strip.has_values]
    if not found:
        return None
    shown, legend = found[:most], _legend(first, found[:most])
    image = draw_profiles(shown, first.axis, legend, side_by_side=bool(label), png=png)
    single = all(len(own) < 2 for own in runs.values())
    left_out = f" {len(found) - most} more panels are left out." if len(found) > most else ""
    return Drawn(image, _caption(first, legend, shown, single=single) + left_out, _told(shown))


def _agree(layout: Layout, declared: Mapping[str, Profile]) -> bool:
    """Return whether arms that share a panel have the same places."""
    if len(layout.panels) < 2:
        return False
    places = [{tuple(declared[m.arm].places) for m in panel.members if m.arm in declared} for panel in layout.panels]
    return all(len(own) <= 1 for own in places)


def _one_each(arms: Mapping[str, object]) -> tuple[Panel, ...]:
    return tuple(Panel(arm, (Member(arm, "value", 0),)) for arm in arms)


def _strip(runs: Runs, declared: Mapping[str, Profile], members: Sequence[Member], label: str, title: str) -> Strip:
    """The panel of one metric, its ceiling the lowest and its floor the highest of the arms'."""
    own = {m.arm: declared[m.arm] for m in members if label in declared[m.arm].metrics}
    lower = any(
        not higher_is_better(one.metric(label, place), runs[arm][0].info.lower_is_better, runs[arm][0].info.gates)
        for arm, one in own.items()
        for place in one.places[:1]
    )
    best, worst = (np.fmin, np.fmax) if not lower else (np.fmax, np.fmin)
    width = len(next(iter(own.values())).places) if own else 0

    def ends(kind: str) -> list[Values]:
        return [
            found
            for arm, one in own.items()
            for reference in getattr(one, kind)
            if np.isfinite(found := _means(runs[arm], one, label, reference)).any()
        ]

    nothing = np.full(width, np.nan)
    baselines: list[tuple[str, Values]] = []
    for arm, one in own.items():
        for reference in one.baseline:
            values = _means(runs[arm], one, label, reference)
            if np.isfinite(values).any() and not any(np.array_equal(values, v, equal_nan=True) for _, v in baselines):
                baselines.append((reference, values))
    return Strip(
        title,
        next(iter(own.values())).places if own else (),
        [_track(runs[m.arm], declared[m.arm], label, m) for m in members if m.arm in own],
        best.reduce([nothing, *ends("ceiling")]),
        worst.reduce([nothing, *ends("floor")]),
        baselines,
        lower,
    )


def _track(runs: Sequence[RunData], one: Profile, label: str, member: Member) -> Track:
    singles = np.array([[run.last(one.metric(label, place)) for place in one.places] for run in runs])
    values = mean_known(singles)
    low, high = (_means(runs, one, label, end) for end in ("low", "high"))
    chosen = {place for run in runs if isinstance(place := look_up(run.facts, one.chosen), str)}
    marked = one.places.index(chosen.pop()) if len(chosen) == 1 and chosen <= set(one.places) else -1
    return Track(member.name, member.colour, values, low, high, singles, marked)


def _means(runs: Sequence[RunData], one: Profile, label: str, end: str) -> Values:
    """Mean over seeds of a metric's end, or reference, at each place."""
    return mean_known(np.array([[run.last(one.metric(label, place, end)) for place in one.places] for run in runs]))


def _legend(first: Profile, strips: Sequence[Strip]) -> dict[str, str]:
    """Return what ceiling, baseline and floor are called, those that are drawn."""
    drawn = {
        "ceiling": any(np.isfinite(strip.ceiling).any() for strip in strips),
        "baseline": any(strip.baselines for strip in strips),
        "floor": any(np.isfinite(strip.floor).any() for strip in strips),
    }
    names = {"ceiling": first.ceiling, "baseline": first.baseline, "floor": first.floor}
    return {kind: ", ".join(names[kind]) if kind == "baseline" else kind for kind, there in drawn.items() if there}


def _caption(first: Profile, legend: Mapping[str, str], strips: Sequence[Strip], *, single: bool) -> str:
    said = ["With 95% intervals." if single else "Mean over seeds, with the 95% interval over samples; dots are seeds."]
    several = any(len(strip.tracks) > 1 for strip in strips)
    if "ceiling" in legend:
        said.append(f"Shaded: beyond the ceiling ({_which(first.ceiling, 'worst', several=several)}).")
    if "floor" in legend:
        said.append(f"Hatched: not above the floor ({_which(first.floor, 'best', several=several)}).")
    if "baseline" in legend:
        said.append(f"Dashed: {legend['baseline']}.")
    marked = _chosen(strips)
    return " ".join([*said, *([f"Ringed: the chosen {first.axis}, {marked}."] if marked else [])])


def _which(references: Sequence[str], end: str, *, several: bool) -> str:
    """Name what a band begins at: of several references, or of those of several arms, the worst or the best."""
    named = " and ".join(references)
    return f"the {end} of {named}{' of all arms' if several else ''}" if several or len(references) > 1 else named


def _chosen(strips: Sequence[Strip]) -> str:
    found = {
        (track.name if len(strip.tracks) > 1 else strip.title if len(strips) > 1 else "", strip.places[track.chosen])
        for strip in strips
        for track in strip.tracks
        if track.chosen >= 0
    }
    places = sorted({place for _, place in found})
    if len(places) == 1:
        return places[0]
    return ", ".join(f"{place} ({name})" for name, place in sorted(found)[:_MOST_TOLD])


def _told(strips: Sequence[Strip]) -> str:
    """The curves in words, for who does not see them."""
    said = []
    for strip in strips:
        for track in strip.tracks:
            name = strip.title if len(strip.tracks) == 1 else f"{strip.title} of {track.name}"
            pairs = [(p, v) for p, v in zip(strip.places, track.values.tolist(), strict=True) if v == v]
            values = ", ".join(f"{place} {show_number(value, 3)}" for place, value in pairs[:_MOST_TOLD])
            said.append(f"{name}: {values}{' …' if len(pairs) > _MOST_TOLD else ''}")
    return "; ".join(said) + "."
