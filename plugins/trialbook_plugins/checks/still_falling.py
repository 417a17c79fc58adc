"""Check ``still-falling``."""

from __future__ import annotations

from collections.abc import Iterable

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding
from trialbook_plugins.checks._curves import before_end, end_of, finite
from trialbook_plugins.checks._shown import recorded
from trialbook_plugins.checks._stages import stages

#: Fall of the training loss over the last fifth of the run, as a share of its value before.
STEEPLY = 0.15
#: A loss below this share of its first value is all but learned, and small changes are large shares of it.
ALL_BUT_LEARNED = 0.1


def check(chart: RunEvidence) -> Iterable[Finding]:
    """A finished training whose loss still fell steeply at its end, as did that of the validation split."""
    begun, points = stages(chart), finite(chart.curve("loss"))
    if not begun or not (begun[-1].last and begun[-1].over and begun[-1].tells) or not points:
        return
    own = [(step, loss) for step, loss in points if begun[-1].holds(step)]
    before = before_end(own)
    if (
        before is None
        or before <= 0
        or end_of(own) > (1 - STEEPLY) * before
        or end_of(own) < ALL_BUT_LEARNED * points[0][1]
    ):
        return
    seen = finite(recorded(chart, chart.curve_split, "loss"))
    if len(seen) > 1 and seen[-1][1] > min(loss for _, loss in seen):
        return  # more of it would not help there
    yield Finding(
        "still-falling", "note", "loss",
        f"the training loss still fell by {1 - end_of(own) / before:.0%} over the last fifth of the run",
        {"before": before, "end": end_of(own), "steps": begun[-1].done},
        "train for more steps before comparing: arms that learn at different speeds are compared at the speed, not at the end",
        own[-1][0],
    )  # fmt: skip
