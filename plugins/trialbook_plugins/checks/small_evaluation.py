"""Check ``small-evaluation``."""

from __future__ import annotations

import math
from collections.abc import Iterable

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding

#: Groups below which a share such as recall@1 is known to no better than a tenth up or down (95%, at a recall of 0.5).
FEW = 100


def check(chart: RunEvidence) -> Iterable[Finding]:
    """A test split with so few groups that its shares are coarse."""
    split = chart.final_split
    size = chart.data.get("dataset", {}).get("splits", {}).get(split)
    if size and size < FEW:
        within = 1.96 * math.sqrt(0.25 / size)
        yield Finding(
            "small-evaluation", "note", split,
            f"'{split}' has {size} groups: a share such as recall@1 moves by {1 / size:.2g} a query, and one of 0.5 is known to "
            f"within {within:.2g}",
            {"groups": size, "95% of a share of 0.5": within},
            "evaluate on more groups; seeds do not make up for it, as all of them see the same few", chart.step,
        )  # fmt: skip
