"""Checks of a file's references to its own arms and metrics: baseline, gates, claims, headline, results."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from trialbook.config.decision_options import GateOptions
from trialbook.config.experiment import Experiment
from trialbook.config.options import DoctorOptions
from trialbook.config.toml import KeyPath
from trialbook.errors import ErrorCollector, suggest
from trialbook.planning.claims import ClaimCheck
from trialbook.planning.components import Judge, TableReport, value_problems

#: Metrics listed where nothing near was found.
_LISTED = 8


class ReferenceCheck:
    """Checks the references of one experiment.

    Args:
        experiment: the file.
        judge: judges single tables.
        problems: takes the problems.
        figures: label of every configuration -> its arm, and the metrics that it records (None if not known).
    """

    def __init__(
        self,
        experiment: Experiment,
        judge: Judge,
        problems: ErrorCollector,
        figures: Mapping[str, tuple[str, list[str] | None]],
    ) -> None:
        self.experiment, self.judge, self.problems = experiment, judge, problems
        self.report = TableReport(experiment, experiment.document, problems)
        self.figures = figures
        self.arms = list(dict.fromkeys([*experiment.arms, *figures]))

    def check(self) -> None:
        """Check all references."""
        if self.experiment.baseline is not None:
            self.arm((), ("baseline",), self.experiment.baseline)
        for index, metric in enumerate(self.experiment.headline):
            self.figure((), ("headline", index), metric)
        for name, metric in self.experiment.results.items():
            self.figure(("results",), (name,), metric)
        offered = {one.name: one for one in self.judge.book.host.trackers()}
        for index, name in enumerate(self.experiment.trackers or ()):
            if name not in offered:
                self.report.add((), ("trackers", index), f"there is no tracker '{name}'", word=name, known=offered)
        for name, baseline in () if self.experiment.decisions else self.experiment.external_baselines.items():
            figures = baseline.get("values")
            for figure in figures if isinstance(figures, dict) else ():
                self.figure(("external_baseline", name), ("values", figure), figure)
        for index, gate in enumerate(self.experiment.gates):
            self.gate(("gate", index), gate)
        for path, claim in self.experiment.claims.items():
            self.claim(path, claim)
        self.doctor(self.experiment.doctor)

    def gate(self, path: KeyPath, gate: Mapping[str, object]) -> None:
        """One gate: its keys, its metric, its arm."""
        found = self.judge.problems(gate, self.judge.book.core("gate"))
        for problem in found:
            self.report.add_suggested(path, problem.path, problem.message, problem.suggestion)
        arm, metric = gate.get("arm"), gate.get("metric")
        if isinstance(arm, str):
            self.arm(path, ("arm",), arm)
        if isinstance(metric, str) and not self.experiment.decisions:  # else it may be measured elsewhere
            self.figure(path, ("metric",), metric, arm if isinstance(arm, str) and arm in self.arms else None)
        reference = gate.get("relative_to")
        if (
            isinstance(reference, str)
            and not self.experiment.decisions
            and reference not in self.experiment.external_baselines
        ):
            self.arm(path, ("relative_to",), reference)
        for key, message in () if found else value_problems(gate, lambda one: GateOptions(**one)):
            self.report.add(path, (key,) if key else (), message)

    def claim(self, path: KeyPath, claim: Mapping[str, Any]) -> None:
        """One claim: its keys, its metric, its factor and levels."""
        found = self.judge.problems(claim, self.judge.book.core("claim"))
        for problem in found:
            self.report.add_suggested(path, problem.path, problem.message, problem.suggestion)
        if isinstance(claim.get("metric"), str):
            self.figure(path, ("metric",), claim["metric"])
        check = ClaimCheck(self.experiment, self.report)
        if not found:
            check.values(path, claim)
        if {"factor", "level"} <= claim.keys() and not {"factor", "level", "against"} & {
            p.path[0] for p in found if p.path
        }:
            check.factor(path, claim)

    def doctor(self, options: Mapping[str, Any]) -> None:
        """The ``[doctor]`` table: its keys, its values, the checks that it names."""
        found = self.judge.problems(options, self.judge.book.core("doctor"))
        for problem in found:
            self.report.add_suggested(("doctor",), problem.path, problem.message, problem.suggestion)
        if found:
            return
        for key, message in value_problems(options, lambda one: DoctorOptions(**one)):
            self.report.add(("doctor",), (key,) if key else (), message)
        checks = [one.name for one in self.judge.book.host.checks()]
        for index, name in enumerate(options.get("ignore", ())):
            if name not in checks:
                self.report.add_suggested(
                    ("doctor",), ("ignore", index), f"there is no check '{name}'", suggest(name, checks)
                )

    def arm(self, table: KeyPath, key: KeyPath, name: str) -> None:
        """A name that must be an arm's."""
        if name not in self.arms and "arm" not in self.problems.lost:
            hint = suggest(name, self.arms)
            there = "" if hint else f"; there are {', '.join(self.experiment.arms)}"
            self.report.add_suggested(table, key, f"there is no arm '{name}'{there}", hint)

    def figure(self, table: KeyPath, key: KeyPath, name: str, arm: str | None = None) -> None:
        """A name that must be a recorded metric's, in ``arm`` or in any."""
        chosen = [names for label, (own, names) in self.figures.items() if arm in (None, label, own)]
        if not chosen or any(names is None for names in chosen):
            return  # another mistake hides what is recorded
        known = list(dict.fromkeys(one for names in chosen if names is not None for one in names))
        if name not in known and not any(fnmatchcase(name, one) for one in known if "*" in one):
            where = f" in arm '{arm}'" if arm else ""
            hint = suggest(name, known)
            there = "" if hint else f"; there are {', '.join(known[:_LISTED])}{' …' if len(known) > _LISTED else ''}"
            self.report.add_suggested(table, key, f"nothing records '{name}'{where}{there}", hint)
