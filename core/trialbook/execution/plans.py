"""Running plans one after the other; one that needs a failed one is not run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from trialbook.config.runspec import Outcome, Plan
from trialbook.execution.launcher import Launcher

#: Ends of a run that keep what needs it from being run.
_FAILED = ("failed", "busy")


@dataclass(frozen=True)
class PlanResult:
    """The outcome of a plan.

    Args:
        plan: that was run.
        outcomes: how each of its runs ended.
        lost: names of what it needs and what failed; nothing was run then.
    """

    plan: Plan
    outcomes: Sequence[Outcome] = ()
    lost: tuple[str, ...] = ()

    @property
    def failed(self) -> list[Outcome]:
        """Its runs that did not end well."""
        return [outcome for outcome in self.outcomes if outcome.state in _FAILED]

    @property
    def recorded(self) -> bool:
        """True if any of its runs is finished, now or before."""
        return any(outcome.state in ("finished", "kept") for outcome in self.outcomes)


def run_plans(plans: Sequence[Plan], launcher: Launcher) -> Iterator[PlanResult]:
    """Run plans, each behind those that it needs, and yield what became of each before the next one begins.

    Where a plan has several variants to run, each is built once before the first run starts.

    Raises:
        ExperimentErrors: a variant cannot be built.
    """
    failed: set[Plan] = set()
    for plan in plans:
        lost = tuple(one.experiment.name for one in plan.before if one in failed)
        if lost:
            result = PlanResult(plan, lost=lost)
        else:
            if launcher.peers.first(partial(_several_to_do, plan, launcher)):
                launcher.survey(plan)
            result = PlanResult(plan, tuple(launcher.host.launch(plan)) if plan.runs else ())
        if lost or result.failed:
            failed.add(plan)
        yield result


def _several_to_do(plan: Plan, launcher: Launcher) -> bool:
    return sum(not launcher.is_finished(spec) for spec in plan.variants()) > 1
