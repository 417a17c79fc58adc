"""The doctor's findings on the runs of a comparison, arm by arm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trialbook.analysis.compare.groups import Groups
from trialbook.contracts.findings import SEVERITIES, Finding
from trialbook.registry.query import Registry, Run


@dataclass(frozen=True)
class ArmFinding:
    """A finding that some runs of an arm share.

    Args:
        arm: label of the group.
        check, severity, component: what was found, how bad it is, and where.
        message, evidence, advice: of the first of these runs.
        runs: names of the runs that have it; of: how many runs the arm has.
    """

    arm: str
    check: str
    severity: str
    component: str
    message: str
    evidence: Mapping[str, Any]
    advice: str
    runs: tuple[str, ...]
    of: int


def arm_findings(registry: Registry, groups: Groups) -> list[ArmFinding]:
    """Findings of the runs shown, the worst first, then in the order of the arms."""
    by_run = registry.findings(run for group in groups.used.values() for run in group)
    found = []
    for label, runs in groups.used.items():
        shared: dict[tuple[str, str, str], list[tuple[Run, Finding]]] = {}
        for run in runs:
            for finding in by_run.get(run.id, ()):
                shared.setdefault((finding.check, finding.severity, finding.component), []).append((run, finding))
        found += [_shared(label, pairs, len(runs)) for pairs in shared.values()]
    return sorted(found, key=lambda one: SEVERITIES.index(one.severity))


def _shared(arm: str, pairs: list[tuple[Run, Finding]], count: int) -> ArmFinding:
    first = pairs[0][1]
    runs = tuple(dict.fromkeys(run.name for run, _ in pairs))
    return ArmFinding(
        arm, first.check, first.severity, first.component, first.message, first.evidence, first.advice, runs, count
    )
