"""Check ``changed-midway``."""

from __future__ import annotations

from collections.abc import Iterable

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding, Severity

#: Events of a run that resumed, and how much they matter to its metrics.
EVENTS: dict[str, Severity] = {
    "data-changed": "note", "resume-diverged": "warning", "records-lost": "warning",
    "environment-changed": "note", "resume-inexact": "note",
}  # fmt: skip
#: What of the data may not change.
CONTENT = "dataset"


def check(chart: RunEvidence) -> Iterable[Finding]:
    """A run that was interrupted and resumed with other data, another environment or other numbers than it had before."""
    for kind, severity in EVENTS.items():
        found = [event for event in chart.events if event.kind == kind]
        if any(key.split(".")[0] == CONTENT for event in found if kind == "data-changed" for key in event.data):
            severity = "error"
        if found:
            yield Finding(
                "changed-midway", severity, kind, found[-1].message, {"times": len(found)},
                "delete the run (mlrun rm) and run it again in one piece if its metrics are to be compared with others",
                found[-1].step,
            )  # fmt: skip
