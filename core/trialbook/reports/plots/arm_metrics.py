"""Plots of an experiment's metrics: arms beside one another, differences, effects, claims."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from trialbook.analysis.compare.claims import claim_text
from trialbook.analysis.compare.compare import Row
from trialbook.analysis.compare.effects import last_part, show_level
from trialbook.analysis.compare.metrics import higher_is_better
from trialbook.reports.comparison_tables import effect_text, short_names
from trialbook.reports.document.blocks import Picture
from trialbook.reports.plots.arms import Arms
from trialbook.reports.plots.bars import Series, draw_bars, draw_points
from trialbook.reports.plots.forest import ForestRow, draw_forest
from trialbook.reports.plots.layout import MOST_LINES
from trialbook.reports.plots.matryoshka import is_cut
from trialbook.reports.plots.plot import Drawn, find_stems, picture
from trialbook.reports.tables import show_number

#: Plots of metrics on a page; rows of a forest plot.
_MOST_FIGURES, _MOST_ROWS = 4, 24


def figure_plots(arms: Arms, *, png: bool = False) -> list[Picture]:
    """Plot the comparison of an experiment."""
    found = _figures(arms, png)
    found += picture("differences", "Differences to the baseline", lambda: _differences(arms, png))
    found += _effects(arms, png)
    return found + picture("claims", "Claims", lambda: _claims(arms, png))


def _figures(arms: Arms, png: bool) -> list[Picture]:
    """A plot for each stem of recalls, then for each other metric of the comparison."""
    whole = [name for name in arms.names if not is_cut(name)]
    asked: dict[str, Callable[[], Drawn | None]] = {}
    for stem, own in find_stems(whole).items():
        asked[stem] = lambda stem=stem, own=own: _recall(arms, stem, own, png)  # type: ignore[misc]
    for name in dict.fromkeys(row.metric for row in arms.comparison.rows):
        if name in whole and "@" not in name:
            asked[name] = lambda name=name: _points(arms, name, png)  # type: ignore[misc]
    found: list[Picture] = []
    for number, (title, make) in enumerate(list(asked.items())[:_MOST_FIGURES]):
        found += picture(f"metric-{number + 1}", title, make)
    return found


def _recall(arms: Arms, stem: str, own: Mapping[int, str], png: bool) -> Drawn | None:
    if len(arms.runs) > MOST_LINES:
        first = next(
            (row.metric for row in arms.comparison.rows if row.metric in own.values()), next(iter(own.values()))
        )
        return _points(arms, first, png)
    members = arms.layout.panels[0].members
    values = {name: arms.values(name) for name in own.values()}
    series = [Series(m.name, m.colour, [values[name].get(m.arm, []) for name in own.values()]) for m in members]
    image = draw_bars(f"{stem}@k", [str(k) for k in own], series, "k", png=png)
    caption = f"On split '{arms.one.final_split}': mean over seeds with its 95% interval; dots are single seeds."
    return Drawn(image, caption, told_means(arms, list(own.values())))


def _points(arms: Arms, name: str, png: bool) -> Drawn | None:
    values = arms.values(name)
    if sum(len(own) for own in values.values()) < 2:  # a single number needs no plot
        return None
    return Drawn(
        draw_points(arms.layout, name, values, png=png),
        "Mean over seeds with its 95% interval.",
        told_means(arms, [name]),
    )


def told_means(arms: Arms, names: Sequence[str]) -> str:
    """The means of metrics in words, for who does not see the plot."""
    said = [
        f"{name} of {arm} {show_number(sum(finite) / len(finite), 3)}"
        for name in names
        for arm, own in arms.values(name).items()
        if (finite := [value for value in own if value == value])
    ]
    return f"Means: {'; '.join(said[:24])}{' …' if len(said) > 24 else ''}."


def _differences(arms: Arms, png: bool) -> Drawn | None:
    rows = [row for row in arms.comparison.rows if row.difference is not None]
    if not rows:
        return None
    metrics = _alike([row.metric for row in rows])
    shown = [row for row in rows if row.metric in metrics][:_MOST_ROWS]
    lines: list[ForestRow] = []
    for metric in dict.fromkeys(row.metric for row in shown):
        lines.append(ForestRow(metric))
        lines += [_difference(row) for row in shown if row.metric == metric]
    caption = (
        "Paired by seed, with 95% intervals. Blue: better; orange: worse; hollow: undecided after Holm's correction."
    )
    caption += _left(len(rows) - len(shown))
    alt = "; ".join(f"{row.metric}, {row.arm} less {row.baseline}: {row.verdict}" for row in shown)
    return Drawn(draw_forest("difference to the baseline", lines, png=png), caption, alt)


def _difference(row: Row) -> ForestRow:
    tone = {"better": "good", "worse": "bad"}.get(row.verdict or "", "open")
    arm, _, place = row.arm.partition(",")
    base, _, other = (row.baseline or "").partition(",")
    shared = f"{arm} − {base}, {place}" if place and place == other else f"{row.arm} − {row.baseline}"
    return ForestRow(shared.replace(",", ", ").replace(",  ", ", "), row.difference, tone)


def _effects(arms: Arms, png: bool) -> list[Picture]:
    """A plot for each metric that has effects, as many as metrics are drawn."""
    found: list[Picture] = []
    metrics = list(dict.fromkeys(effect.metric for effect in arms.comparison.effects))
    for number, metric in enumerate(metrics[:_MOST_FIGURES]):
        found += picture(f"effects-{number + 1}", f"Effects on {metric}", lambda m=metric: _effects_on(arms, m, png))  # type: ignore[misc]
    return found


def _effects_on(arms: Arms, metric: str, png: bool) -> Drawn:
    effects = [effect for effect in arms.comparison.effects if effect.metric == metric and effect.estimate]
    shown, names = effects[:_MOST_ROWS], short_names(effects)
    lines: list[ForestRow] = []
    for count, heading in ((1, "main effects"), (2, "interactions")):
        own = [effect for effect in shown if len(effect.factors) == count]
        lines += [ForestRow(heading)] if own else []
        lines += [ForestRow(effect_text(e, names), e.estimate, _tone(arms, metric, e.verdict)) for e in own]
    caption = (
        "Mean change of the metric, over all combinations of the other factors, paired by seed, with 95% intervals. An "
        "interaction is by how much one change alters the effect of the other. Blue: for the better; orange: for the worse; "
        "hollow: undecided after Holm's correction."
    )
    alt = "; ".join(f"{effect_text(effect, names)}: {effect.verdict}" for effect in shown)
    return Drawn(draw_forest(f"change of {metric}", lines, png=png), caption + _left(len(effects) - len(shown)), alt)


def _tone(arms: Arms, metric: str, verdict: str) -> str:
    if verdict not in ("raises", "lowers"):
        return "open"
    known = {row.metric: row.higher_is_better for row in arms.comparison.rows}
    info = arms.one.info
    higher = known.get(metric, higher_is_better(metric, info.lower_is_better, info.gates))
    return "good" if (verdict == "raises") == higher else "bad"


def _claims(arms: Arms, png: bool) -> Drawn | None:
    claims = [claim for claim in arms.comparison.claims if claim.estimate]
    if not claims:
        return None
    lines: list[ForestRow] = []
    for claim in claims:
        sign, wanted = (1, "raises") if claim.direction == "higher" else (-1, "lowers")
        tones = {"supported": "good", "not supported": "bad", "raises": "bad", "lowers": "bad", wanted: "good"}
        lines.append(ForestRow(claim_text(claim)))
        lines.append(
            ForestRow(claim.verdict, claim.estimate, tones.get(claim.verdict, "open"), sign * claim.at_least or None)
        )
        lines += [
            ForestRow(
                f"at {last_part(effect.factors[1])} = {show_level(effect.levels[1])}",
                effect.estimate,
                tones.get(effect.verdict, "open"),
            )
            for effect in claim.conditional
            if effect.estimate
        ]
    caption = (
        "The claimed difference with its 95% interval, then at each level of the other factors. Blue: as claimed; orange: "
        "not; hollow: undecided; a stroke marks the least that the claim asks for."
    )
    alt = "; ".join(f"{claim_text(claim)}: {claim.verdict}" for claim in claims)
    return Drawn(draw_forest("difference", lines[:_MOST_ROWS], png=png), caption + _left(len(lines) - _MOST_ROWS), alt)


def _alike(metrics: Sequence[str]) -> set[str]:
    """Those that share a scale with the first: shares of queries, or the first alone."""
    return {name for name in metrics if "@" in name} if "@" in metrics[0] else {metrics[0]}


def _left(count: int) -> str:
    return f" {count} more stand in the table." if count > 0 else ""
