"""Check ``shared-duplicates``."""

from __future__ import annotations

from collections.abc import Iterable

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding


def check(chart: RunEvidence) -> Iterable[Finding]:
    """A loss that shares its targets among equal rows whose embeddings are equal as well, which changes nothing."""
    said = chart.of("own", "")
    for part, facts in said[-1].values.items() if said else ():
        if facts.get("duplicates") and not facts.get("duplicates_apart"):
            yield Finding(
                "shared-duplicates", "note", part,
                "rows that say the same have equal embeddings, and then sharing the target among them changes nothing: the loss "
                "is that of duplicates = \"negatives\"",
                {"duplicates": facts["duplicates"], "batch": facts["batch"]},
                "set duplicates = \"excluded\", so that they are no negatives of one another", said[-1].step,
            )  # fmt: skip
