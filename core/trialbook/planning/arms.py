"""The arms of a file: each must differ from the others, and what they need of one another must be there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from trialbook.config.experiment import Experiment
from trialbook.config.merge import leaves
from trialbook.config.variants import Variant, find_cycle, variant
from trialbook.errors import ErrorCollector, TrialbookError, suggest
from trialbook.planning.defaults import with_defaults
from trialbook.plugins.schema import SchemaBook


class ArmCheck:
    """Checks the arms of one experiment."""

    def __init__(self, experiment: Experiment, book: SchemaBook, problems: ErrorCollector) -> None:
        self.experiment, self.book, self.problems = experiment, book, problems

    def check(self, variants: Iterable[Variant]) -> None:
        """Arms that touch nothing or are the same as another, and what arms need."""
        first: dict[str, Variant] = {}
        for one in variants:
            first.setdefault(one.arm, one)
        seen: dict[str, str] = {}
        for arm in self.experiment.document.data.get("arm", {}):
            if arm in first and not self.is_broken(arm):
                self.difference(arm, first[arm], seen)
            self.needs(arm)
        self.cycle()

    def is_broken(self, arm: str) -> bool:
        """Return whether something in the arm is wrong, so that nobody knows yet what it changes."""
        return any(f".{problem.table}.".find(f".arm.{arm}.") >= 0 for problem in self.problems)

    def difference(self, arm: str, one: Variant, seen: dict[str, str]) -> None:
        """Compare an arm with the file as it stands, and with the arms before it."""
        needs = self.experiment.needs(arm)
        resolved = self.resolved(one.document.data, needs)
        says_something = any(True for _ in leaves(self.experiment.arms[arm].data))
        if says_something and not needs and resolved == self.base_at(one.point):
            self.report(arm, "this arm touches nothing: all that it says, the file says already")
        elif resolved in seen:
            why = " (what --profile and --set decide holds in every arm)" if self.is_overridden() else ""
            self.report(arm, f"this arm is the same as arm '{seen[resolved]}'{why}")
        seen.setdefault(resolved, arm)

    def base_at(self, point: Mapping[str, Any]) -> str | None:
        """The file without any arm, at a point of the grid; None where that point is not in it."""
        try:
            return self.resolved(variant(self.experiment, "", self.experiment.base, point).document.data, ())
        except TrialbookError:
            return None

    def resolved(self, data: Mapping[str, Any], needs: Iterable[str]) -> str:
        """A configuration as text: equal where the runs would be."""
        return json.dumps([with_defaults(data, self.book), sorted(needs)], sort_keys=True, default=str)

    def is_overridden(self) -> bool:
        """Return whether a profile or ``--set`` has changed what the arms say."""
        places = self.experiment.document.positions.values()
        return self.experiment.profile is not None or any(place.file is None for place in places)

    def needs(self, arm: str) -> None:
        """Arms that are needed but not there."""
        known = [name for name in self.experiment.arms if name != arm]
        for index, need in enumerate(self.experiment.needs(arm)):
            if need not in known:
                message = "an arm cannot need itself" if need == arm else f"there is no arm '{need}' to need"
                suggestion = None if need == arm else suggest(need, known)
                place = self.experiment.place("arm", arm, "needs", index) or self.experiment.place("arm", arm, "needs")
                self.problems.add_suggested(place, f"arm.{arm}", message, suggestion)

    def cycle(self) -> None:
        """Arms that need one another."""
        cycle = find_cycle({arm: self.experiment.needs(arm) for arm in self.experiment.arms})
        if len(cycle) > 2:
            place = self.experiment.place("arm", cycle[0], "needs")
            self.problems.add(place, f"arm.{cycle[0]}", f"arms need one another: {' -> '.join(cycle)}")

    def report(self, arm: str, message: str) -> None:
        self.problems.add(self.experiment.place("arm", arm), f"arm.{arm}", message)


class PreparationCheck:
    """Checks how the preparations of one file depend on one another; each of them is checked as an experiment by itself."""

    def __init__(self, experiment: Experiment, problems: ErrorCollector) -> None:
        self.experiment, self.problems = experiment, problems
        self.preparations = experiment.preparations

    def check(self) -> None:
        """Names that are needed and not there, preparations that need one another, names that an arm has too."""
        self.needs("", self.experiment)
        for name, one in self.preparations.items():
            self.needs(name, one)
            if name in self.experiment.arms:
                self.report(name, f"'{name}' is an arm too; runs that need one of them could not tell which")
        wanted = {
            name: [need for need in one.needed if need in self.preparations] for name, one in self.preparations.items()
        }
        if len(cycle := find_cycle(wanted)) > 2:
            self.report(cycle[0], f"preparations need one another: {' -> '.join(cycle)}")

    def needs(self, name: str, one: Experiment) -> None:
        """Check what a preparation, or the file itself, needs: other preparations, or files."""
        known = [other for other in self.preparations if other != name]
        for index, need in enumerate(one.needed):
            if need in known or need.endswith(".toml"):
                continue
            place = one.place("needs", index) or one.place("needs")
            message = (
                "a preparation cannot need itself" if need == name else f"there is no preparation '{need}' to need"
            )
            message += "" if known or need == name else "; another experiment is named by its file, as in 'other.toml'"
            hint = None if need == name else suggest(need, known)
            self.problems.add_suggested(place, f"prepare.{name}" if name else "", message, hint)

    def report(self, name: str, message: str) -> None:
        self.problems.add(self.experiment.place("prepare", name), f"prepare.{name}", message)
