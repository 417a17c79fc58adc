"""Check ``collapsed-embeddings``."""

from __future__ import annotations

from collections.abc import Iterable

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding, Severity
from trialbook_plugins.checks._shown import by_modality, in_splits

#: Mean cosine of different rows from which on they are as good as one. Networks that have just been made lie at 0.3 to
#: 0.98, trained ones near 0.
ONE, NEARLY_ONE = 0.995, 0.95
#: Fewest rows to speak of.
FEWEST = 8


def check(chart: RunEvidence) -> Iterable[Finding]:
    """Embeddings of different rows that are all but the same when half of the training is done."""
    for modality, looks in by_modality(chart).items():
        fallen = [look for look in looks if look[1]["rows"] >= FEWEST and look[1]["cosine"] >= NEARLY_ONE]
        if not fallen:
            continue
        one, facts = max(fallen, key=lambda look: float(look[1]["cosine"]))
        severity: Severity = "error" if facts["cosine"] >= ONE else "warning"
        if one.works:  # half precision would lose what sets rows apart that are as good as one
            severity = "warning" if facts["cosine"] >= ONE else "note"
        but = "; what sets them apart is enough for retrieval all the same" if one.works else ""
        yield Finding(
            "collapsed-embeddings", severity, f"{fallen[0][0].split}.{modality}",
            f"the embeddings of '{modality}' have collapsed in {in_splits(fallen)}: the cosine of two different rows is "
            f"{facts['cosine']:.4f} on average{but}",
            {key: facts[key] for key in ("cosine", "spread", "rank", "rows")},
            "look for a part that ignores its input (dead units, uniform attention, a mask that hides all tokens, a norm over "
            "the wrong axis) and for a bias that outweighs the rest; then try a lower learning rate",
            one.step,
        )  # fmt: skip
