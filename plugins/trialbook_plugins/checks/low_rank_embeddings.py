"""Check ``low-rank-embeddings``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding, Severity
from trialbook_plugins.checks._shown import by_modality, in_splits
from trialbook_plugins.checks.collapsed_embeddings import NEARLY_ONE

#: Effective rank below which hardly more than a line or a plane is left, whatever the data need.
FEW = 3.0
#: As a share of the most that it could be (the width, or the rows less one): below this it is worth a note. A hundred kinds of
#: scenes in 128 numbers have 0.15.
SMALL = 0.05
#: Where the rank can be no larger than this, small numbers say nothing.
FEWEST = 16


def check(chart: RunEvidence) -> Iterable[Finding]:
    """Embeddings that fill few of the directions that they have, when half of the training is done.

    Those that have collapsed to a point are left to ``collapsed-embeddings``.
    """
    for modality, looks in by_modality(chart).items():
        flat = [look for look in looks if look[1]["cosine"] < NEARLY_ONE and _is_flat(look[1])]
        if not flat:
            continue
        one, facts = min(flat, key=lambda look: float(look[1]["rank"]))
        severity: Severity = "warning" if facts["rank"] < FEW and not one.works else "note"
        yield Finding(
            "low-rank-embeddings", severity, f"{flat[0][0].split}.{modality}",
            f"the embeddings of '{modality}' fill {facts['rank']:.1f} of {_most(facts)} directions in {in_splits(flat)} "
            "(effective rank)",
            {"rank": facts["rank"], "most": _most(facts), "cosine": facts["cosine"], "rows": facts["rows"]},
            "look for a narrow layer or dead units on the way; a larger batch, a higher temperature or a smaller learning rate "
            "spread embeddings; where the data have few kinds of rows it is as it should be",
            one.step,
        )  # fmt: skip


def _most(facts: Mapping[str, Any]) -> int:
    """The largest rank that there could be: the width, or the rows less their mean."""
    return int(min(facts["dim"], facts["rows"] - 1))


def _is_flat(facts: Mapping[str, Any]) -> bool:
    return _most(facts) >= FEWEST and bool(facts["rank"] < max(FEW, SMALL * _most(facts)))
