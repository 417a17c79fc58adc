"""Check ``modality-gap``."""

from __future__ import annotations

from collections.abc import Iterable

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding, Severity
from trialbook_plugins.checks._shown import by_pair, in_splits, works

#: Distance of the centroids of two modalities on the unit sphere. CLIP itself has 0.8 (Liang et al. 2022); trainings that have
#: not come far have up to 1.15, two modalities that point to unrelated sides 1.4.
USUAL, LARGE = 0.6, 1.2


def check(chart: RunEvidence) -> Iterable[Finding]:
    """Modalities that lie apart when half of the training is done: their centroids are further from each other than usual."""
    for (first, second), looks in by_pair(chart).items():
        apart = [look for look in looks if look[1]["gap"] >= USUAL]
        if not apart:
            continue
        one, facts = max(apart, key=lambda look: float(look[1]["gap"]))
        severity: Severity = "warning" if facts["gap"] >= LARGE and not works(facts) else "note"
        usual = "" if facts["gap"] >= LARGE else ", as contrastive training often leaves them"
        yield Finding(
            "modality-gap", severity, f"{apart[0][0].split}.{first}>{second}",
            f"'{first}' and '{second}' lie apart in {in_splits(apart)}, their centroids by {facts['gap']:.2f}{usual}",
            {key: facts[key] for key in ("gap", "matching", "other")},
            "it does no harm to retrieval from one modality into the other, but mixing both in one index, or moving from one to "
            "the other, needs centring; longer training and a higher temperature narrow it",
            one.step,
        )  # fmt: skip
