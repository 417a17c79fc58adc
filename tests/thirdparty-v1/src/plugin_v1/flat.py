"""Check ``v1-flat`` of the doctor."""

from __future__ import annotations

from collections.abc import Iterator

from trialbook.contracts import Finding, RunEvidence

#: Fewer points say nothing yet.
FEWEST = 3


def flat(evidence: RunEvidence) -> Iterator[Finding]:
    """A metric of the nearest row has the same value at every evaluation."""
    names = dict.fromkeys(name for record in evidence.records for name in record.values if "v1-nearest/" in name)
    for name in names:
        values = [value for _, value in evidence.curve(name)]
        if len(values) >= FEWEST and len(set(values)) == 1:
            numbers = {"value": values[0], "evaluations": len(values)}
            yield Finding("v1-flat", "note", "", f"{name} never moved", evidence=numbers, step=evidence.step)
