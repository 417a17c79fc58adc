"""Effects of an experiment's factors (its arms and the keys of its grid) on a metric, paired by seed.

An effect is a contrast: a weighted sum of the means of the cells, a cell being an arm at a point of the grid. It is computed
for every seed by itself and then averaged over seeds, so nothing is assumed of the spread in single cells: some may be
at chance, with none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

from trialbook.analysis import statistics as stats
from trialbook.analysis.statistics import Estimate

if TYPE_CHECKING:
    from trialbook.analysis.compare.groups import Groups
    from trialbook.registry.query import Run

#: Places of a factor's levels -> their weights in a contrast.
Weights = Mapping[int, float]
#: Value of a metric, by number of the run.
Values = Mapping[int, float]


@dataclass(frozen=True)
class Effect:
    """The effect of a change of one factor on a metric, or of a second change on that effect.

    Args:
        metric: what is changed.
        factors: one for a main effect, two for an interaction: ``arm`` or keys of the grid.
        levels: the levels changed to.
        references: the levels changed from. The last factor of a conditional effect has none: it stands at its level.
        estimate: over seeds, with its 95% t interval; None where no seed has all runs that it takes. A main effect is the mean
            at the level less the mean at the reference, over all combinations of the other factors. An interaction is the
            effect of the first change at the second's new level, less that at its old one; it is not halved.
        p: of the paired t-test; p_holm: corrected for all effects of the table.
        verdict: ``raises``, ``lowers`` or ``undecided``.
    """

    metric: str
    factors: tuple[str, ...]
    levels: tuple[Any, ...]
    references: tuple[Any, ...]
    estimate: Estimate | None
    p: float | None
    p_holm: float | None = None
    verdict: str = "undecided"


@dataclass(frozen=True)
class Design:
    """Factors and the runs in their cells.

    Args:
        factors: name to levels, the reference first.
        cells: place of each factor's level -> seed -> the cell's run, by number.
        strangers: arms of runs that belong to no cell: the experiment was another one when they were made.
    """

    factors: Mapping[str, tuple[Any, ...]]
    cells: Mapping[tuple[int, ...], Mapping[int, int]]
    strangers: tuple[str, ...] = ()

    def contrast(self, values: Values, weights: Mapping[str, Weights]) -> dict[int, float]:
        """By seed, the weighted sum of the cells' values; seeds that lack one of them are left out.

        Args:
            values: of the metric.
            weights: factor -> its weights; a cell's weight is the product of theirs. A factor that is not named is averaged
                over.
        """
        each = [weights.get(name, _evenly(range(len(levels)))) for name, levels in self.factors.items()]
        terms = []
        for chosen in product(*(own.items() for own in each)):
            runs = self.cells.get(tuple(place for place, _ in chosen), {})
            weight = math.prod(share for _, share in chosen)
            terms.append({seed: weight * values[run] for seed, run in runs.items() if run in values})
        complete = set[int]().union(*terms).intersection(*terms)
        return {seed: _sum([own[seed] for own in terms]) for seed in sorted(complete)}

    def seeds(self) -> set[int]:
        """Seeds with a run in any cell."""
        return {seed for runs in self.cells.values() for seed in runs}


def make_design(groups: Groups, *, whole: bool) -> Design:
    """The factors that an experiment was recorded with, and the runs of a comparison in their cells.

    Args:
        groups: runs of one experiment.
        whole: these are all of its runs; else a level that none of them has is no part of the design. A factor with one
            level is none.
    """
    info = groups.info
    runs = [run for group in groups.used.values() for run in group]
    factors = {}
    for name, levels in info.factors.items():
        present = {_text(_level(run, name)) for run in runs}
        kept = [level for level in levels if whole or _text(level) in present]
        if len(kept) > 1:
            factors[name] = tuple(_reference_first(kept, info.baseline if name == "arm" else None))
    places = {name: {_text(level): place for place, level in enumerate(levels)} for name, levels in factors.items()}
    cells: dict[tuple[int, ...], dict[int, int]] = {}
    strangers: dict[str, None] = {}
    for run in runs:
        cell = [places[name].get(_text(_level(run, name)), -1) for name in factors]
        if run.arm in info.arms and -1 not in cell:
            cells.setdefault(tuple(cell), {})[run.seed] = run.id
        else:
            strangers[run.arm] = None
    return Design(factors, cells, tuple(strangers))


def find_effects(design: Design, values: Mapping[str, Values]) -> list[Effect]:
    """Main effects and two-way interactions on every metric, corrected together after Holm.

    Args:
        design: with at least one factor.
        values: metric -> run -> value.
    """
    found = [
        _effect(design, metric, own, changes)
        for metric, own in values.items()
        for count in (1, 2)
        for factors in combinations(design.factors, count)
        for changes in product(*(_changes(design, factor) for factor in factors))
    ]
    return judge(found)


def judge(effects: Sequence[Effect]) -> list[Effect]:
    """The effects of one table with their corrected p and verdicts."""
    judged = []
    for effect, p in zip(effects, stats.holm([effect.p for effect in effects]), strict=True):
        verdict = "undecided"
        if effect.estimate is not None and stats.decides(p, effect.estimate.n):
            verdict = "raises" if effect.estimate.mean > 0 else "lowers"
        judged.append(replace(effect, p_holm=p, verdict=verdict))
    return judged


def show_level(level: Any) -> str:
    """A level as labels have it: strings bare, anything else as JSON."""
    return level if isinstance(level, str) else json.dumps(level, separators=(",", ":"), default=str)


def last_part(factor: str) -> str:
    """The last part of a dotted key."""
    return factor.rpartition(".")[2]


def change(level: int, against: Iterable[int]) -> Weights:
    """Weights of a change from the mean of some levels to another, by their places."""
    return {**{place: -share for place, share in _evenly(against).items()}, level: 1.0}


def estimate_of(contrast: Mapping[int, float]) -> tuple[Estimate | None, float | None]:
    """Estimate and p of a contrast, by seed."""
    own = list(contrast.values())
    return (stats.t_interval(own), stats.paired_p(own)) if own else (None, None)


def _changes(design: Design, factor: str) -> Iterator[tuple[str, int]]:
    """Every level of a factor but its reference."""
    yield from ((factor, place) for place in range(1, len(design.factors[factor])))


def _effect(design: Design, metric: str, values: Values, changes: Sequence[tuple[str, int]]) -> Effect:
    estimate, p = estimate_of(design.contrast(values, {factor: change(place, [0]) for factor, place in changes}))
    return Effect(
        metric, tuple(factor for factor, _ in changes),
        tuple(design.factors[factor][place] for factor, place in changes),
        tuple(design.factors[factor][0] for factor, _ in changes), estimate, p,
    )  # fmt: skip


def _level(run: Run, factor: str) -> Any:
    return run.base_arm if factor == "arm" else run.point.get(factor)


def _reference_first(levels: Sequence[Any], reference: Any) -> list[Any]:
    """The levels as they are, but with the reference in front if it is one of them."""
    return [*(level for level in levels if level == reference), *(level for level in levels if level != reference)]


def _text(level: Any) -> str:
    return json.dumps(level, sort_keys=True, default=str)


def _evenly(places: Iterable[int]) -> dict[int, float]:
    counted = list(places)
    return {place: 1 / len(counted) for place in counted}


def _sum(terms: Sequence[float]) -> float:
    """Their sum; 0 where they cancel but for rounding."""
    if not all(map(math.isfinite, terms)):
        return sum(terms)
    return stats.without_rounding(math.fsum(terms), math.fsum(map(abs, terms)))
