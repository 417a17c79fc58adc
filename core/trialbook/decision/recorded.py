"""The recorded values that a decision rests on, from the registry: those of the planned runs alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from trialbook.decision.measured import Value
from trialbook.decision.places import Place

if TYPE_CHECKING:
    from trialbook.plan import Plan
    from trialbook.registry.query import Registry, Run

#: What a metric's own interval is recorded under, behind its name.
ENDS = ("low", "high")
#: What a gate may stand on: figures that repeat, and those that do not (seconds, memory).
KINDS = ("metric", "timing")

#: Arm and metric to seed to value.
Found = dict[tuple[str, str], dict[str, Value]]


class Recorded:
    """Values and missing runs of several plans.

    Args:
        registry: opened for reading.
        plans: the runs that count; finished runs of other configurations do not.
    """

    def __init__(self, registry: Registry, plans: Iterable[Plan]) -> None:
        self.registry = registry
        self._plans = {plan.experiment.name: plan for plan in plans}
        self._runs: dict[str, dict[str, Run]] = {}
        self._names: dict[str, list[str]] = {}

    def missing(self, place: Place) -> tuple[str, ...]:
        """Planned runs of a place that are not finished, with what became of them."""
        runs = self._recorded(place.experiment)
        return tuple(
            f"{spec.experiment}/{spec.arm} seed {spec.seed}: {runs[spec.name].status if spec.name in runs else 'not started'}"
            for spec in self._plans[place.experiment].runs
            if spec.arm in place.arms and (spec.name not in runs or runs[spec.name].status != "finished")
        )

    def values(self, place: Place, metric: str) -> Found:
        """What the finished runs of a place recorded last, in the order of arms and figures."""
        runs = [run for run in self._finished(place.experiment) if run.arm in place.arms]
        names = fitting(self._figures(place.experiment), metric)
        wanted = [n for name in names for n in with_ends(name)]
        read = [one for kind in KINDS for one in self.registry.summaries(runs, wanted, "last", kind)] if runs else []
        values: dict[tuple[int, str], float] = {
            (run, name): float("nan") if value is None else value for run, name, value in read
        }
        found: Found = {}
        for arm in place.arms:
            for name in names:
                of_seeds = {
                    f"seed {run.seed}": Value(
                        values[run.id, name], *(values.get((run.id, f"{name}/{end}")) for end in ENDS)
                    )
                    for run in runs
                    if run.arm == arm and (run.id, name) in values
                }
                if of_seeds:
                    found[arm, name] = of_seeds
        return found

    def about(self, experiment: str) -> Mapping[str, object]:
        """What an experiment says of itself."""
        runs = self._plans[experiment].runs
        return runs[0].about if runs else {}

    def _recorded(self, experiment: str) -> dict[str, Run]:
        if experiment not in self._runs:
            planned = {spec.name for spec in self._plans[experiment].runs}
            found = self.registry.runs(experiment=experiment)
            self._runs[experiment] = {run.name: run for run in found if run.name in planned}
        return self._runs[experiment]

    def _finished(self, experiment: str) -> list[Run]:
        runs = self._recorded(experiment)
        order = [spec.name for spec in self._plans[experiment].runs]
        return [runs[name] for name in order if name in runs and runs[name].status == "finished"]

    def _figures(self, experiment: str) -> list[str]:
        if experiment not in self._names:
            finished = self._finished(experiment)
            self._names[experiment] = [name for kind in KINDS for name in self.registry.metric_names(finished, kind)]
        return self._names[experiment]


def fitting(names: Iterable[str], metric: str) -> list[str]:
    """The figures that a gate's metric means: itself, or all that its pattern fits, but for the ends of intervals."""
    known = list(names)
    if "*" not in metric:
        return [metric] if metric in known else []
    ends = {end for name in known for end in with_ends(name)[1:]}
    return sorted(name for name in known if fnmatchcase(name, metric) and name not in ends)


def with_ends(metric: str) -> list[str]:
    """A metric and the names of its interval's ends."""
    return [metric, *(f"{metric}/{end}" for end in ENDS)]


def is_recorded(metric: str, known: Iterable[str]) -> bool:
    """Whether a figure, or pattern of figures, is among the names known, which may be patterns as well."""
    return any(
        metric == name
        or ("*" in name and fnmatchcase(metric.replace("*", "x"), name))
        or ("*" in metric and fnmatchcase(name.replace("*", "x"), metric))
        for name in known
    )
