"""Check ``over-fitting``."""

from __future__ import annotations

import math
from collections.abc import Iterable

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding, Severity
from trialbook_plugins.checks._curves import end_of, finite
from trialbook_plugins.checks._losses import outermost
from trialbook_plugins.checks._shown import recorded

#: A loss that rose by this share of its lowest value, and by this share of what it began with, is worth a note …
NOTE_OF_LOW, NOTE_OF_FIRST = 0.1, 0.03
#: … and by these, or by the second and beyond chance, a warning: the end of the run is not where it was best.
RISE_OF_LOW, RISE_OF_FIRST = 0.5, 0.1
#: Fewest evaluations to see a turn.
FEWEST = 3


def check(chart: RunEvidence) -> Iterable[Finding]:
    """A loss of the validation split that has risen clearly above its lowest value while the training loss kept falling."""
    split = chart.curve_split
    points, training = finite(recorded(chart, split, "loss")), finite(chart.curve("loss"))
    if len(points) < FEWEST or not training:
        return
    low_step, low = min(points, key=lambda point: point[1])
    step, last = points[-1]
    first, rise = points[0][1], last - low
    before = [point for point in training if point[0] <= max(low_step, training[0][0])]
    if low <= 0 or end_of(training) >= end_of(before):
        return
    if rise < max(NOTE_OF_LOW * low, NOTE_OF_FIRST * first):
        return
    clearly = rise >= RISE_OF_FIRST * first and (rise >= RISE_OF_LOW * low or last >= _chance(chart, split))
    severity: Severity = "warning" if clearly else "note"
    yield Finding(
        "over-fitting", severity, split,
        f"the loss of '{split}' was lowest at step {low_step} ({low:.3f}) and is {last:.3f} at step {step}, while the training "
        f"loss fell to {end_of(training):.3f}",
        {"lowest": low, "lowest at step": low_step, "last": last, "training loss": end_of(training)},
        f"train for about {low_step or step // 4} steps, use more data or augmentation, a smaller model, more weight decay or "
        "dropout; or compare at the best step: mlrun compare --at best:METRIC",
        step,
    )  # fmt: skip


def _chance(chart: RunEvidence, split: str) -> float:
    """Loss of a split where nothing is known; infinite where that is not known."""
    own = chart.newest("own", split)
    values = outermost(own.values).values() if own else ()
    return max((facts["chance"] for facts in values if "chance" in facts), default=math.inf)
