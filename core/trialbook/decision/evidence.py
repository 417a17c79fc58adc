"""What speaks for or against a candidate at a gate: the values that count, or why there are none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from trialbook.comparison import stats
from trialbook.comparison.figures import higher_is_better
from trialbook.decision.measured import Measured, Value, measure, ratios
from trialbook.decision.places import Offer, Place, Places
from trialbook.decision.recorded import Found, Recorded
from trialbook.decision.scale import Scale

#: Standard error of what is 1 by definition: a value over itself.
_EXACT = 1e-12


@dataclass(frozen=True)
class Evidence:
    """What was found for a candidate at a gate.

    Args:
        place: where it was looked for.
        found: what was measured: one for each arm and figure that may stand for the candidate.
        missing: runs and figures that should be there and are not; nothing is decided then.
        note: what else keeps values from being used.
    """

    place: str
    found: tuple[Measured, ...] = ()
    missing: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Sources:
    """Where evidence is taken from.

    Args:
        places: names of experiments and arms.
        recorded: their values.
        candidates: name to its own runs.
        published: name to ``[published.NAME]``.
    """

    places: Places
    recorded: Recorded
    candidates: Mapping[str, str]
    published: Mapping[str, Mapping[str, Any]]

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
        """The runs that a gate takes ratios to; None for published figures."""
        if name in self.published:
            return None
        if name in self.candidates:
            return self.places.of_gate(gate, name, self.candidates)
        return self.places.of_candidate(name)

    def _reference(self, gate: Mapping[str, Any], name: str, place: Place | None, metric: str) -> Mapping[str, Value]:
        """What a ratio is taken to, by seed.

        Raises:
            KeyError: there is no such value.
        """
        if place is None:
            value = published_figure(self.published[name], gate)
            if value is None:
                raise KeyError(f"[published.{name}] has no figure for '{metric}'")
            return {"published": Value(value)}
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
    """Whether higher values of a figure are better: as its component declares, else by its name."""
    lower = [name for offer in offers for name in offer.lower_is_better if fnmatchcase(name, metric) or name == metric]
    return higher_is_better(metric, {"lower_is_better": [metric] if lower else []})


def published_figure(published: Mapping[str, Any], gate: Mapping[str, Any]) -> float | None:
    """A published value of a gate's figure: under the gate's name, or the metric's."""
    figures = published["figures"]
    value = figures.get(gate.get("name") or gate["metric"], figures.get(gate["metric"]))
    return None if value is None else float(value)


def gate_name(gate: Mapping[str, Any]) -> str:
    """What a gate is called: its name, or its metric."""
    return str(gate.get("name") or gate.get("metric", ""))
