"""Plots of a decision: what each criterion adds to the score of each candidate, and gates with their thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trialbook.analysis.decide.results import Decision, Held
from trialbook.analysis.verdicts import UNTOLD
from trialbook.reports.document.blocks import Picture
from trialbook.reports.plots.canvas import INK, PALETTE, Frame, add_legend, axis_label, clipped, draw, grid_lines
from trialbook.reports.plots.plot import Drawn, Undrawable, picture
from trialbook.reports.tables import show_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TONES = {"pass": PALETTE[0], "fail": PALETTE[1], "undecided": INK, UNTOLD: INK}
#: Gates that have a plot.
_MOST_GATES = 12
#: Patterns of bars that tell criteria apart whose colours come again.
_HATCHES = ("", "////", "....", "xxxx")


def decision_plots(decision: Decision, number: int = 0, *, png: bool = False) -> list[Picture]:
    """The weighted decision chart, and one plot for each gate; ``number`` counts the decisions of a file."""
    front = f"decision-{number + 1}-" if number else "decision-"
    found = picture(f"{front}scores", "Weighted scores", lambda: _scores(decision, png))
    gates = [one for one in decision.criteria if one.scale is not None][:_MOST_GATES]
    for place, one in enumerate(gates, start=1):
        found += picture(f"{front}gate-{place}", one.name, lambda name=one.name: _gate(decision, name, png))  # type: ignore[misc]
    return found


def _scores(decision: Decision, png: bool) -> Drawn:
    names = [one.name for one in decision.criteria if one.level != "tie-break"]
    if not names:
        raise Undrawable("no criterion is weighed: there are tie-breaks alone")
    ranking = list(reversed(decision.ranking))
    frame = Frame([0.42 * len(ranking) + 0.1], names=names, left=0.12, down=0.0)

    def paint(figure: Figure) -> None:
        (axes,) = frame.axes(figure, 1)
        handles = []
        starts = [0.0] * len(ranking)
        for place, name in enumerate(names):
            parts = [one.parts[name] for one in ranking]
            colour, hatch = PALETTE[place % len(PALETTE)], _HATCHES[place // len(PALETTE) % len(_HATCHES)]
            bars = axes.barh(range(len(ranking)), parts, 0.4, left=starts, color=colour, hatch=hatch, edgecolor="white")
            handles.append(bars.patches[0])
            starts = [start + part for start, part in zip(starts, parts, strict=True)]
        for row, one in enumerate(ranking):
            if one.most > one.score + 1e-9:
                axes.barh(
                    [row],
                    [one.most - one.score],
                    0.4,
                    left=[one.score],
                    fill=False,
                    edgecolor=INK,
                    linewidth=0.6,
                    linestyle=":",
                )
            axes.text(0.0, row + 0.27, f"{clipped(one.candidate, 40)}  {one.score:.2f}", fontsize=7.5, va="bottom")
        axes.set_xlim(0, 1)
        axes.set_ylim(-0.4, len(ranking) - 0.3)
        axes.set_yticks([])
        grid_lines(axes, "x")
        axis_label(figure, frame, "weighted score", "bottom")
        add_legend(figure, frame, handles)

    told = "; ".join(f"{one.candidate} {one.score:.2f}" for one in decision.ranking)
    caption = "What each criterion adds to the score, of 1. Dotted: what is not measured, if it reached its target."
    return Drawn(draw(frame, paint, png=png), caption, f"Weighted scores: {told}.")


def _gate(decision: Decision, name: str, png: bool) -> Drawn:
    held = [one for one in decision.held if one.gate == name and one.estimate is not None]
    outer = [one for one in decision.external_baselines if one.gate == name]
    if not held and not outer:
        raise Undrawable("nothing was measured")
    frame = Frame([0.34 * (len(held) + len(outer)) + 0.16], left=0.12)
    scale = next(one.scale for one in decision.criteria if one.name == name)

    def paint(figure: Figure) -> None:
        (axes,) = frame.axes(figure, 1)
        place, rows = axes.get_yaxis_transform(), len(held) + len(outer)
        edges = dict(scale.knots) if scale else {}
        bounds = (scale.low, scale.high) if scale and not edges else ()
        for label, edge in [*edges.items(), *(("", edge) for edge in bounds if edge is not None)]:
            axes.axvline(
                edge, color=INK, linewidth=0.8, alpha=0.6, linestyle={"fail": ":", "target": "--"}.get(label, "-")
            )
        for row, one in enumerate(reversed(held), start=len(outer)):
            _interval(axes, one, row)
            axes.text(
                0,
                row + 0.24,
                clipped(f"{one.candidate}: {one.verdict}", 50),
                transform=place,
                fontsize=7.5,
                va="center",
            )
        for row, other in enumerate(reversed(outer)):
            axes.plot(
                [other.value], [row], marker="D", color=INK, markerfacecolor="none", markersize=4.5, linestyle="none"
            )
            axes.text(
                0, row + 0.24, clipped(f"{other.name} (external)", 50), transform=place, fontsize=7.5, va="center"
            )
        axes.set_ylim(-0.35, rows - 0.5)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.margins(x=0.06)
        grid_lines(axes, "x")
        axis_label(figure, frame, name, "bottom")

    caption = (
        "With 95% intervals. Lines: solid, what passes; dashed, the target; dotted, fail. Diamonds: reported elsewhere."
    )
    return Drawn(draw(frame, paint, png=png), caption, _told(name, held))


def _interval(axes: Axes, one: Held, row: int) -> None:
    estimate, colour = one.estimate, _TONES[one.verdict]
    if estimate is None:
        return
    if estimate.low is not None and estimate.high is not None:
        axes.plot([estimate.low, estimate.high], [row, row], color=colour, linewidth=1.4)
    filled = "none" if one.verdict in ("undecided", UNTOLD) else colour
    axes.plot(
        [estimate.mean], [row], marker="o", color=colour, markerfacecolor=filled, markersize=4.5, linestyle="none"
    )


def _told(name: str, held: Sequence[Held]) -> str:
    parts = [f"{one.candidate} {show_number(one.estimate.mean, 3)}, {one.verdict}" for one in held if one.estimate]
    return f"{name}: {'; '.join(parts) or 'nothing was measured'}."
