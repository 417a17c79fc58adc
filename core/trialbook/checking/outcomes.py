"""The outcomes of a decision: conditions that name gates of it and can be met, and recommendations that can be filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from trialbook.checking.tablereport import TableReport
from trialbook.decision.advice import PLACEHOLDERS
from trialbook.decision.outcomes import GROUPS, gates_named
from trialbook.decision.tables import conditions_of
from trialbook.toml import KeyPath
from trialbook.words import closest

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
                    hint = closest(name, PLACEHOLDERS)
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
            hint = closest(name, [*self.gates, *groups])
            there = "" if hint else f"; there are {', '.join(self.gates)}"
            self.report.add_suggested(path, ("when",), f"'{name}' is no gate of this decision{there}", hint)
