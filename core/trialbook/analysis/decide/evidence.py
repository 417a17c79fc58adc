"""The evidence for or against a candidate at a gate: the values that count, or why there are none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from trialbook.analysis import statistics as stats
from trialbook.analysis.compare.metrics import higher_is_better
from trialbook.analysis.estimates import Measured, Value, measure, ratios
from trialbook.config.scale import Scale
from trialbook.config.sources import Offer, Place, Places
from trialbook.contracts.metric_names import fitting, references, with_ends

if TYPE_CHECKING:
    from trialbook.config.runspec import Plan
    from trialbook.registry.query import Registry, Run

#: Standard error of what is 1 by definition: a value over itself.
_EXACT = 1e-12


@dataclass(frozen=True)
class Evidence:
    """The evidence found for a candidate at a gate.

    Args:
        place: where it was looked for.
        found: what was measured: one for each arm and metric that may stand for the candidate.
        missing: runs and metrics that should be there and are not; nothing is decided then.
        note: what else keeps values from being used.
    """

    place: str
    found: tuple[Measured, ...] = ()
    missing: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Sources:
    """The places that evidence is taken from.

    Args:
        places: names of experiments and arms.
        recorded: their values.
        candidates: name to its own runs.
        external_baselines: name to ``[external_baseline.NAME]``.
    """

    places: Places
    recorded: Recorded
    candidates: Mapping[str, str]
    external_baselines: Mapping[str, Mapping[str, Any]]

    def gather(self, gate: Mapping[str, Any], candidate: str) -> Evidence:
        """The evidence on a gate for a candidate."""
        place = self.places.of_gate(gate, candidate, self.candidates)
        metric = gate["metric"]
        values, missing = self.recorded.values(place, metric), list(self.recorded.missing(place))
        if not values and not missing:
            missing.append(f"{place}: nothing recorded '{metric}'")
        seeds = {unit for one in values.values() for unit in one}
        for (arm, name), one in values.items():
            missing += [f"{place.experiment}/{arm} {unit}: no '{name}'" for unit in sorted(seeds - one.keys())]
        if (reference := gate.get("relative_to")) is not None and values:
            own = self._reference_place(gate, reference)
            if own == place and len(values) == 1:
                (one,) = values.values()
                return Evidence(str(place), (Measured(len(one), 1.0, _EXACT, _EXACT, basis="itself", decides=True),))
            missing += () if own is None else self.recorded.missing(own)
            try:
                values = {
                    key: ratios(one, self._reference(gate, reference, own, key[1])) for key, one in values.items()
                }
            except (KeyError, ValueError) as error:
                return Evidence(str(place), missing=tuple(missing) or (str(error.args[0]),))
        return _evidence(place, values, missing)

    def _reference_place(self, gate: Mapping[str, Any], name: str) -> Place | None:
        """The runs that a gate takes ratios to; None for external values."""
        if name in self.external_baselines:
            return None
        if name in self.candidates:
            return self.places.of_gate(gate, name, self.candidates)
        return self.places.of_candidate(name)

    def _reference(self, gate: Mapping[str, Any], name: str, place: Place | None, metric: str) -> Mapping[str, Value]:
        """Return what a ratio is taken to, by seed.

        Raises:
            KeyError: there is no such value.
        """
        if place is None:
            value = baseline_value(self.external_baselines[name], gate)
            if value is None:
                raise KeyError(f"[external_baseline.{name}] has no metric for '{metric}'")
            return {"external_baseline": Value(value)}
        found = list(self.recorded.values(place, metric).values())
        if not found:
            raise KeyError(f"{place}: nothing recorded '{metric}'")
        best = max if self.scale(gate).higher else min
        return best(found, key=lambda one: stats.mean([value.value for value in one.values()]))

    def scale(self, gate: Mapping[str, Any]) -> Scale:
        """The thresholds of a gate, the way that its metric is declared where it does not say."""
        return Scale.of(gate, higher=declared_higher(gate["metric"], [self.places.own, *self.places.others]))


def _evidence(place: Place, values: Found, missing: Sequence[str]) -> Evidence:
    several = len(values) > 1
    arms, names = len({arm for arm, _ in values}) > 1, len({name for _, name in values}) > 1
    found, odd = [], []
    for (arm, name), one in values.items():
        where = " ".join([*([arm] if arms else []), *([name] if names else [])]) if several else ""
        measured = measure(list(one.values()), where)
        if measured is None:
            odd.append(f"{place.experiment}/{arm}: '{name}' is not finite")
        else:
            found.append(replace(measured, decides=measured.decides and not missing))
    return Evidence(str(place), tuple(found), tuple(missing), "; ".join(odd))


def declared_higher(metric: str, offers: Sequence[Offer]) -> bool:
    """Return whether higher values of a metric are better: as its component declares, else by its name."""
    lower = [name for offer in offers for name in offer.lower_is_better if fnmatchcase(name, metric) or name == metric]
    return higher_is_better(metric, [metric] if lower else ())


def baseline_value(baseline: Mapping[str, Any], gate: Mapping[str, Any]) -> float | None:
    """The value of an external baseline for a gate: under the gate's name, or the metric's."""
    values = baseline["values"]
    value = values.get(gate.get("name") or gate["metric"], values.get(gate["metric"]))
    return None if value is None else float(value)


#: What a gate may stand on: metrics that repeat, and those that do not (seconds, memory).
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

    def random_weights(self) -> tuple[str, ...]:
        """Parts with random weights that were never trained, of the runs that count: ``encoder.image in study/tiny``."""
        found: dict[str, None] = {}
        for experiment in self._plans:
            for run in self._finished(experiment):
                for part in self.registry.document(run.data).get("random_weights") or ():
                    found[f"{part} in {run.experiment}/{run.arm}"] = None
        return tuple(found)

    def missing(self, place: Place) -> tuple[str, ...]:
        """Planned runs of a place that are not finished, with what became of them."""
        runs = self._recorded(place.experiment)
        return tuple(
            f"{spec.experiment}/{spec.arm} seed {spec.seed}: {runs[spec.name].status if spec.name in runs else 'not started'}"
            for spec in self._plans[place.experiment].runs
            if spec.arm in place.arms and (spec.name not in runs or runs[spec.name].status != "finished")
        )

    def values(self, place: Place, metric: str) -> Found:
        """Read the values that the finished runs of a place recorded last, in the order of arms and metrics."""
        runs = [run for run in self._finished(place.experiment) if run.arm in place.arms]
        names = fitting(self._figures(place.experiment), metric)
        wanted = [n for name in names for n in (*with_ends(name), *references(name))]
        read = [one for kind in KINDS for one in self.registry.summaries(runs, wanted, "last", kind)] if runs else []
        values: dict[int, dict[str, float]] = {}
        for number, name, value in read:
            values.setdefault(number, {})[name] = float("nan") if value is None else value
        found: Found = {}
        for arm in place.arms:
            for name in names:
                of_seeds = {
                    f"seed {run.seed}": Value.read(name, values[run.id])
                    for run in runs
                    if run.arm == arm and name in values.get(run.id, {})
                }
                if of_seeds:
                    found[arm, name] = of_seeds
        return found

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
