"""The plots of a page, drawn so that one that fails says so in its place and hurts nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from trialbook.reports.document.blocks import Picture
from trialbook.reports.plots.run_data import RunData
from trialbook.reports.tables import show_number

#: A metric at several K: stem to K to name, ``retrieval/i2t`` -> {1: "retrieval/i2t@1"}.
Stems = dict[str, dict[int, str]]


class Undrawable(ValueError):
    """A plot that cannot be drawn from what was recorded; the message says why."""


@dataclass(frozen=True)
class Drawn:
    """The parts of a plot beside its pixels."""

    image: tuple[str, bytes]
    caption: str
    alt: str


def picture(name: str, title: str, make: Callable[[], Drawn | None]) -> list[Picture]:
    """The plot that ``make`` draws; none where it gives None, and one that says what went wrong where it raises."""
    try:
        drawn = make()
    except Undrawable as reason:
        return [Picture(name, title, "", error=str(reason))]
    except Exception as error:
        return [Picture(name, title, "", error=f"{type(error).__name__}: {error}", fault=True)]
    if drawn is None:
        return []
    svg, png = drawn.image
    return [Picture(name, title, drawn.caption, drawn.alt, svg, png)]


def find_stems(names: Iterable[str]) -> Stems:
    """Metrics named ``<stem>@<k>``, by stem and K."""
    found: Stems = {}
    for name in names:
        stem, _, k = name.rpartition("@")
        if stem and k.isdigit():
            found.setdefault(stem, {})[int(k)] = name
    return {stem: dict(sorted(own.items())) for stem, own in found.items()}


def final_figures(run: RunData) -> list[str]:
    """Metrics of the answer that a run recorded: the headline of its experiment first, then those of its metrics."""
    tables = run.spec.get("config", {}).get("metric") or ()
    own = {str(table.get("name") or table["use"].rpartition(":")[2]) for table in tables}
    headline = [name for name in run.info.headline if name in run.metrics]
    return list(dict.fromkeys([*headline, *(name for name in run.metrics if name.partition("/")[0] in own)]))


def last_values(runs: Sequence[RunData], name: str) -> list[float]:
    """The last value of a metric in each of the runs that has one."""
    found = [run.metrics[name].get("last", math.nan) for run in runs if name in run.metrics]
    return [math.nan if value is None else float(value) for value in found]


def told_ends(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> str:
    """Say where curves begin and end, in words, for who does not see them."""
    parts = [
        f"{name} from {show_number(values[0], 3)} at step {steps[0]:g} to {show_number(values[-1], 3)} at step {steps[-1]:g}"
        for name, (steps, values) in curves.items()
        if len(values)
    ]
    return "; ".join(parts) or "no value"


def told_chance(levels: Iterable[float]) -> str:
    """Say what a dashed line of a loss means; nothing where there is none."""
    shown = " and ".join(dict.fromkeys(show_number(level, 3) for level in levels))
    return (
        f" Dashed: chance ({shown}), the loss of embeddings that know nothing, at the same batch size." if shown else ""
    )
