"""Plans with other runs in place of some of theirs, and with all that depends on these."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

from trialbook.config.runspec import Plan, RunSpec


class ReplacedRuns(ABC):
    """Goes through plans and those that they need, each once, and puts another run in place of some."""

    def __init__(self) -> None:
        self._plans: dict[Plan, Plan] = {}
        self._moved: dict[str, str] = {}

    def plan(self, plan: Plan) -> Plan:
        """The plan and those that it needs."""
        if plan not in self._plans:
            before = tuple(self.plan(one) for one in plan.before)
            runs = tuple(self._noted(one) for one in plan.runs)
            same = before == plan.before and all(new is old for new, old in zip(runs, plan.runs, strict=True))
            self._plans[plan] = plan if same else replace(plan, runs=runs, before=before)
        return self._plans[plan]

    @abstractmethod
    def spec(self, spec: RunSpec, inputs: dict[str, str]) -> RunSpec:
        """A run, or the one that takes its place.

        Args:
            spec: as planned.
            inputs: name to path of the runs that it needs, which have been replaced already.
        """

    def _noted(self, spec: RunSpec) -> RunSpec:
        made = self.spec(spec, {name: self._moved.get(path, path) for name, path in spec.inputs.items()})
        self._moved[spec.relative_path] = made.relative_path
        return made
