"""Checks of a file's tables on decisions: every candidate, place, gate and metric that they name must be there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trialbook.config.decision_options import gate_name
from trialbook.config.experiment import Experiment
from trialbook.config.options import CORE_TABLES
from trialbook.config.scale import own_direction
from trialbook.config.sources import Offer, Place, Places, UnknownPlace
from trialbook.config.toml import KeyPath
from trialbook.contracts.metric_names import is_recorded
from trialbook.errors import ErrorCollector, suggest
from trialbook.planning.components import Judge, TableReport, value_problems
from trialbook.plugins.schema import SchemaBook

if TYPE_CHECKING:
    from trialbook.config.runspec import Plan
    from trialbook.planning.check import Checked


import re
from fnmatch import fnmatchcase

from trialbook.config.decision_options import GROUPS, PLACEHOLDERS, conditions_of, gates_named

#: Keys of a gate that only a decision reads.
_OF_DECISIONS = ("measured_in",)
#: Names listed where nothing near was found.
_LISTED = 8


class DecisionCheck:
    """Checks the decisions of one file, with all that they rest on."""

    def __init__(self, experiment: Experiment, book: SchemaBook, problems: ErrorCollector) -> None:
        self.experiment, self.judge = experiment, Judge(book)
        self.report = TableReport(experiment, experiment.document, problems)
        self.gates = {gate_name(gate): gate for gate in experiment.gates if isinstance(gate_name(gate), str)}
        self.manual_scores = [str(one.get("name")) for one in experiment.manual_scores]
        self.unsound: set[KeyPath] = set()

    def check(self, checked: Checked, before: Sequence[Plan]) -> None:
        """Check all tables; ``before`` are the plans of what the file needs."""
        one = self.experiment
        tables: dict[KeyPath, tuple[str, Mapping[str, Any]]] = {
            **{("manual_score", i): ("manual_score", table) for i, table in enumerate(one.manual_scores)},
            **{
                ("external_baseline", name): ("external_baseline", table)
                for name, table in one.external_baselines.items()
            },
            **{path: ("decision", table) for path, table in one.decisions.items()},
        }
        self.unsound = {path for path, (name, table) in tables.items() if not self.table(path, name, table)}
        if not one.decisions:
            self.without_decision()
            return
        self.names()
        core = self.judge.book.core("gate")
        self.unsound |= {("gate", i) for i, gate in enumerate(one.gates) if self.judge.problems(gate, core)}
        needed = {name.rpartition("/")[2] for name in one.needed if name.endswith(".toml")}
        hidden = needed - {plan.experiment.file.name for plan in before} or {"arm", "grid"} & self.experiment.lost
        if hidden or not (checked.figures or one.decides_only):
            return  # other mistakes leave it unknown what can be named
        arms = {label: arm for label, (arm, _) in checked.figures.items()}
        figures = {label: names for label, (_, names) in checked.figures.items()}
        own = Offer(one.name, (one.file.name, one.name, one.file.stem), arms, figures, checked.lower_is_better)
        places = Places(own, [Offer.of(plan) for plan in before if not plan.experiment.is_preparation])
        for path, table in one.decisions.items():
            if path not in self.unsound:
                self.decision(path, table, places)
        self.external_baselines()

    def table(self, path: KeyPath, name: str, content: Mapping[str, Any]) -> bool:
        """The keys and values of one table; whether they are right."""
        found = self.judge.problems(content, self.judge.book.core(name))
        for problem in found:
            self.report.add_suggested(path, problem.path, problem.message, problem.suggestion)
        said = [] if found else list(value_problems(content, lambda one: CORE_TABLES[name](**one)))
        for key, message in said:
            self.report.add(path, (key,) if key else (), message)
        return not found and not said

    def without_decision(self) -> None:
        """Tables and keys that nothing reads."""
        if "decision" in self.experiment.lost:
            return
        for index, _ in enumerate(self.experiment.manual_scores):
            self.report.add(("manual_score", index), (), "a manual score is for a [decision], which is not in the file")
        for index, gate in enumerate(self.experiment.gates):
            for key in [key for key in _OF_DECISIONS if key in gate]:
                self.report.add(("gate", index), (key,), f"'{key}' is for a [decision], which is not in the file")

    def names(self) -> None:
        """Two criteria, or two decisions, of one name."""
        seen = set[str]()
        named: list[tuple[KeyPath, str, str]] = [
            (("gate", i), gate_name(one), "name" if "name" in one else "metric")
            for i, one in enumerate(self.experiment.gates)
        ]
        named += [(("manual_score", i), name, "name") for i, name in enumerate(self.manual_scores)]
        for path, name, key in named:
            if name in seen:
                self.report.add(path, (key,), f"two criteria are called '{name}'; give one another 'name'")
            seen.add(name)
        titles = [one.get("name", "") for one in self.experiment.decisions.values()]
        for path, one in self.experiment.decisions.items():
            if len(titles) > 1 and titles.count(one.get("name", "")) > 1:
                self.report.add(path, (), "several decisions need a 'name' each, and no two the same")

    def decision(self, path: KeyPath, table: Mapping[str, Any], places: Places) -> None:
        """One decision: its candidates, criteria and outcomes."""
        known = [*self.gates, *self.manual_scores]
        for index, name in enumerate(table.get("gates") or ()):
            self.known(path, ("gates", index), name, known, "gate or manual score")
        counted = [name for name in known if table.get("gates") is None or name in table["gates"]]
        if not counted:
            self.report.add(path, (), "a decision needs a [[gate]] or a [[manual_score]] criterion to rest on")
        candidates = table["candidates"]
        places_found = [self.candidate(path, one, text, places) for one, text in candidates.items()]
        for index, one in enumerate(self.experiment.manual_scores):
            if ("manual_score", index) not in self.unsound and one["name"] in counted:
                self.scores(("manual_score", index), one["scores"], candidates)
        for index, gate in enumerate(self.experiment.gates):
            if ("gate", index) not in self.unsound and gate_name(gate) in counted and all(places_found):
                self.gate(("gate", index), gate, candidates, places)
        gates = {name: str(self.gates[name].get("level", "must")) for name in counted if name in self.gates}
        OutcomeCheck(self.report, gates).check(path, table.get("outcome") or [], len(candidates))

    def candidate(self, path: KeyPath, name: str, text: str, places: Places) -> Place | None:
        """The runs of a candidate."""
        try:
            return places.of_candidate(text)
        except UnknownPlace as error:
            self.report.add_suggested(path, ("candidates", name), error.message, error.suggestion)
            return None

    def scores(self, path: KeyPath, scores: Mapping[str, float], candidates: Mapping[str, str]) -> None:
        """The manual scores of every candidate, and of nobody else."""
        for name in scores:
            self.known(path, ("scores", name), name, candidates, "candidate")
        if lacking := [name for name in candidates if name not in scores]:
            self.report.add(path, ("scores",), f"'scores' has no score for {' and '.join(lacking)}")

    def gate(self, path: KeyPath, gate: Mapping[str, Any], candidates: Mapping[str, str], places: Places) -> None:
        """Check where a gate is measured, what is recorded there, and what it is taken relative to."""
        if not isinstance(gate.get("metric"), str):
            return
        said = gate.get("measured_in")
        for name in said if isinstance(said, dict) else ():
            self.known(path, ("measured_in", name), name, candidates, "candidate")
        for candidate in candidates:
            try:
                self.metric(path, gate, places.of_gate(gate, candidate, candidates), places)
            except UnknownPlace as error:
                key: KeyPath = ("measured_in", candidate) if isinstance(said, dict) else ("measured_in",)
                self.report.add_suggested(path, key, error.message, error.suggestion)
        self.reference(path, gate, candidates, places)
        if own_direction(gate) and "direction" not in gate and self.is_lower(gate["metric"], places):
            told = (
                f"its thresholds say that higher is better, but '{gate['metric']}' is declared to be better when lower"
            )
            self.report.add(path, (), f'{told}; if it is meant so, say direction = "higher"')

    def is_lower(self, metric: str, places: Places) -> bool:
        """Return whether a component declares a metric to be better when lower."""
        return any(is_recorded(metric, one.lower_is_better) for one in (places.own, *places.others))

    def metric(self, path: KeyPath, gate: Mapping[str, Any], place: Place, places: Places) -> None:
        """A metric that must be recorded at a place."""
        offer = places.offer(place.experiment)
        figures = offer.figures
        for pattern, why in offer.doubtful.items() if offer is not places.own else ():
            if fnmatchcase(gate["metric"], pattern):
                self.report.add(path, ("metric",), f"'{gate['metric']}' of {place} decides nothing: {why}")
                return
        chosen = [figures.get(label) for label in place.arms]
        known = list(dict.fromkeys(name for names in chosen if names is not None for name in names))
        if any(names is None for names in chosen) or is_recorded(gate["metric"], known):
            return
        hint = suggest(gate["metric"], known)
        there = "" if hint else f"; there are {', '.join(known[:_LISTED])}{' …' if len(known) > _LISTED else ''}"
        self.report.add_suggested(path, ("metric",), f"nothing in {place} records '{gate['metric']}'{there}", hint)

    def reference(self, path: KeyPath, gate: Mapping[str, Any], candidates: Mapping[str, str], places: Places) -> None:
        """Check what a gate's ratio is taken to."""
        name = gate.get("relative_to")
        if not isinstance(name, str) or name in candidates:
            return
        if ("external_baseline", name) in self.unsound:
            return
        if name in self.experiment.external_baselines:
            figures = self.experiment.external_baselines[name]["values"]
            if gate["metric"] not in figures and gate_name(gate) not in figures:
                self.report.add(
                    path, ("relative_to",), f"[external_baseline.{name}] has no metric for '{gate['metric']}'"
                )
            return
        try:
            self.metric(path, gate, places.of_candidate(name), places)
        except UnknownPlace as error:
            hint = suggest(name, [*candidates, *self.experiment.external_baselines]) or error.suggestion
            told = f"'{name}' is no candidate, no arm, no needed experiment and not in [external_baseline]"
            self.report.add_suggested(path, ("relative_to",), told, hint)

    def external_baselines(self) -> None:
        """Values of external baselines that no gate asks for."""
        asked = [*self.gates, *(str(gate.get("metric")) for gate in self.gates.values())]
        for name, table in self.experiment.external_baselines.items():
            for figure in table["values"] if ("external_baseline", name) not in self.unsound else ():
                self.known(("external_baseline", name), ("values", figure), figure, asked, "gate's name or metric")

    def known(
        self, table: KeyPath, key: KeyPath, name: str, known: Sequence[str] | Mapping[str, Any], what: str
    ) -> None:
        """A name that must be one of those known."""
        if name not in known:
            hint = suggest(name, known)
            there = "" if hint else f"; there are {', '.join(list(known)[:_LISTED])}" if known else ""
            self.report.add_suggested(table, key, f"'{name}' is no {what}{there}", hint)


#: Keys that say what must hold for a candidate, and those that say for how many.
_WHAT, _COUNTS = ("passes", "fails", "above", "below"), ("at_least", "at_most")


class OutcomeCheck:
    """Checks the outcomes of one decision.

    Args:
        report: takes the problems.
        gates: name of each gate of the decision to its level.
    """

    def __init__(self, report: TableReport, gates: Mapping[str, str]) -> None:
        self.report, self.gates = report, gates

    def check(self, decision: KeyPath, outcomes: Sequence[Mapping[str, Any]], candidates: int) -> None:
        """All outcomes; ``decision`` is where they stand."""
        for index, outcome in enumerate(outcomes):
            path = (*decision, "outcome", index)
            for name in re.findall(r"\{(.*?)\}", outcome["recommend"]):
                if name not in PLACEHOLDERS:
                    hint = suggest(name, PLACEHOLDERS)
                    there = "" if hint else f"; there are {', '.join(f'{{{one}}}' for one in PLACEHOLDERS)}"
                    told = f"'{{{name}}}' stands for nothing{there}"
                    self.report.add_suggested(path, ("recommend",), told, hint and f"{{{hint}}}")
            conditions = conditions_of(outcome)
            if not conditions and index < len(outcomes) - 1:
                self.report.add(
                    path, (), "an outcome without 'when' applies to all that is left: it must be the last one"
                )
            for condition in conditions:
                self.condition(path, condition, candidates)

    def condition(self, path: KeyPath, condition: Mapping[str, Any], candidates: int) -> None:
        """One condition."""
        if not any(key in condition for key in (*_WHAT, "gate")):
            self.report.add(path, ("when",), "a condition needs 'passes', 'fails', or 'gate' with 'above' or 'below'")
        elif ("gate" in condition) != ("above" in condition or "below" in condition):
            self.report.add(path, ("when",), "'gate' goes with 'above' or 'below': the value to compare it with")
        if "for" in condition and any(key in condition for key in _COUNTS):
            self.report.add(path, ("when",), "'for' cannot stand beside 'at_least' or 'at_most': all say for how many")
        for key in _COUNTS:
            if not 0 <= condition.get(key, 0) <= candidates:
                told = f"'{key}' ({condition[key]}) counts candidates: from 0 to {candidates}"
                self.report.add(path, ("when",), told)
        if "at_most" in condition and condition.get("at_least", 0) > condition["at_most"]:
            self.report.add(path, ("when",), "'at_least' is more than 'at_most': this never holds")
        for key in ("passes", "fails"):
            self.gates_of(path, condition, key)
        if "gate" in condition:
            self.gate(path, condition["gate"], ())

    def gates_of(self, path: KeyPath, condition: Mapping[str, Any], key: str) -> None:
        """The gates that ``passes`` or ``fails`` names."""
        named = gates_named(condition, key, self.gates)
        if key in condition and not named:
            self.report.add(path, ("when",), f"'{key}' names no gate: none of them is a '{condition[key]}'")
        for name in named:
            self.gate(path, name, GROUPS)

    def gate(self, path: KeyPath, name: str, groups: Sequence[str]) -> None:
        """A name that must be a gate's of this decision."""
        if name not in self.gates:
            hint = suggest(name, [*self.gates, *groups])
            there = "" if hint else f"; there are {', '.join(self.gates)}"
            self.report.add_suggested(path, ("when",), f"'{name}' is no gate of this decision{there}", hint)
