"""The doctor's findings on the runs of a comparison, arm by arm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trialbook.analysis.compare.groups import Groups
from trialbook.contracts.findings import SEVERITIES, Finding, Span
from trialbook.registry.query import Registry, Run


@dataclass(frozen=True)
class ArmFinding:
    """A finding that some runs of an arm share.

    Args:
        arm: label of the group.
        check, severity, component: what was found, how bad it is, and where.
        message, advice: of the first of these runs.
        evidence: name to what all of these runs have; a ``Span`` where their numbers differ.
        runs: names of the runs that have it; of: how many runs the arm has.
        varies: the message reads otherwise in other runs.
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
    varies: bool = False

    @property
    def sentence(self) -> str:
        """The message; where it holds numbers of one run among several, with the name of that run."""
        return f"{self.message.rstrip('.')} (as in {self.runs[0]})" if self.varies else self.message


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


def across_arms(findings: Iterable[ArmFinding]) -> list[tuple[ArmFinding, list[ArmFinding]]]:
    """Group findings that arms share: each with the evidence of all its runs, and the findings of the single arms."""
    shared: dict[tuple[str, str, str], list[ArmFinding]] = {}
    for one in findings:
        shared.setdefault((one.severity, one.check, one.component), []).append(one)
    return [(_merged(found), found) for found in shared.values()]


def _merged(found: Sequence[ArmFinding]) -> ArmFinding:
    varies = any(one.varies for one in found) or len({one.message for one in found}) > 1
    return replace(found[0], evidence=_evidence([one.evidence for one in found]), varies=varies)


def _shared(arm: str, pairs: list[tuple[Run, Finding]], count: int) -> ArmFinding:
    first = pairs[0][1]
    runs = tuple(dict.fromkeys(run.name for run, _ in pairs))
    evidence = _evidence([finding.evidence for _, finding in pairs])
    varies = len({finding.message for _, finding in pairs}) > 1
    return ArmFinding(
        arm, first.check, first.severity, first.component, first.message, evidence, first.advice, runs, count, varies
    )


def _evidence(all_of: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Name to its value in all runs, or to the span of its numbers; what is no number stands as in the first run."""
    merged: dict[str, Any] = {}
    for name in dict.fromkeys(name for one in all_of for name in one):
        values = [one[name] for one in all_of if name in one]
        ends = [end for value in values for end in ((value.low, value.high) if isinstance(value, Span) else (value,))]
        numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends)
        merged[name] = Span(min(ends), max(ends)) if numbers and min(ends) != max(ends) else values[0]
    return merged
