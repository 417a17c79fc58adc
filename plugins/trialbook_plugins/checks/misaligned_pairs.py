"""Check ``misaligned-pairs``."""

from __future__ import annotations

from collections.abc import Iterable

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding
from trialbook_plugins.checks._shown import shown

#: Standard errors by which pairs that are shifted must be closer than those that the data name. Of the six shifts that are
#: tried the best is beyond 3 once in 100 times where all are alike, beyond 6 never.
CLEARLY = 6.0


def check(chart: RunEvidence) -> Iterable[Finding]:
    """Pairs that are off by a few rows: row i of one modality is closest to row i + 1 of the other throughout."""
    for one in shown(chart, trained=False):
        for (first, second), facts in one.pairs.items():
            shift = facts["shift"]
            if not shift or facts["shift_gain"] < CLEARLY or ((second, first) in one.pairs and first > second):
                continue
            other = f"row i {'+' if shift > 0 else '-'} {abs(shift)}"
            evidence = {key: facts[key] for key in ("shift", "matching", "expected@1")}
            yield Finding(
                "misaligned-pairs", "error", f"{one.split}.{first}>{second}",
                f"the pairs of '{one.split}' are off by {abs(shift)}: row i of '{first}' belongs to {other} of '{second}'",
                {**evidence, "standard errors": facts["shift_gain"]},
                "look for a header line read as data, a first or last row dropped on one side only, and files that are sorted "
                "differently; join modalities by a key, not by position",
                one.step,
            )  # fmt: skip
