"""Check ``ties-as-hits``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding
from trialbook_plugins.checks._shown import Shown, recorded, shown

#: Share of queries that are tied from which on it matters how ties are counted.
TIED = 0.05
#: A recall that is this much above what random order among the tied allows counts them in its favour.
ABOVE = 0.05
#: Where a query has several rows of its own to find, only embeddings as tied as this say so clearly.
NEARLY_ALL = 0.5


def check(chart: RunEvidence) -> Iterable[Finding]:
    """A recorded recall that is higher than the embeddings allow if ties are broken at random: ties were counted as hits."""
    for one in shown(chart, trained=False):
        for (first, second), facts in one.pairs.items():
            single = one.modalities[second]["rows"] == facts["candidates"] if second in one.modalities else False
            if facts["ties"] < (TIED if single else NEARLY_ALL):
                continue
            for figure, k in _recalls(chart, one, (first, second)):
                value = dict(recorded(chart, one.split, figure)).get(one.step)
                allowed = _allowed(facts, k)
                if value is not None and value > allowed + ABOVE:
                    yield Finding(
                        "ties-as-hits", "error", f"{one.split}.{first}>{second}",
                        f"'{figure}' of '{one.split}' is {value:.3f} and can be {allowed:.3f} at most: {facts['ties']:.0%} of "
                        "the queries are tied with rows of other groups, and ties were counted as hits",
                        {"recorded": value, "at most": allowed, "expected@1": facts["expected@1"], "ties": facts["ties"]},
                        "count the candidates that score higher and those that score the same, and break ties at random (metric "
                        "'retrieval' does); then look for why embeddings are tied", one.step,
                    )  # fmt: skip
                    break


def _recalls(chart: RunEvidence, one: Shown, pair: tuple[str, str]) -> list[tuple[str, int]]:
    """Recorded metrics of a direction that end in ``@k``, by their own name: (``retrieval/i2t@5``, 5)."""
    from trialbook.contracts.datasets import pair_names  # late: it imports numpy

    direction = pair_names(list(one.modalities)).get(pair, "-")
    pattern = re.compile(rf"(?:^|.*/){re.escape(direction)}@(\d+)$")
    own, others = f"{one.split}/", f"{chart.curve_split}/"
    found = {}
    for name in [name for record in chart.records if record.step == one.step for name in record.values]:
        is_answer = one.split == chart.final_split and not name.startswith(others)
        if (name.startswith(own) or is_answer) and (match := pattern.match(name.removeprefix(own))):
            found[name.removeprefix(own)] = int(match[1])
    return sorted(found.items(), key=lambda item: item[1])


def _allowed(facts: Mapping[str, Any], k: int) -> float:
    """The largest recall@k that ties broken at random allow: untied queries may all be hits, one of m tied with odds of k / m."""
    untied = 1 - facts["ties"]
    odds = facts.get("tie_odds", 1.0) - untied  # runs of before that was measured say nothing beyond k = 1
    return float(facts["expected@1"]) if k == 1 else min(1.0, untied + k * odds)
