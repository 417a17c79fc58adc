"""Check ``diverged``."""

from __future__ import annotations

from collections.abc import Iterable

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding
from trialbook_plugins.checks._curves import end_of, finite, lowest_window
from trialbook_plugins.checks._stages import stages

#: Share of what a loss had gained that must be lost again.
LOST = 0.5
#: A gain below this share of the first value is none that could be lost.
GAINED = 0.1


def check(chart: RunEvidence) -> Iterable[Finding]:
    """A training loss that had fallen and rose again by half of what it had gained, or more."""
    points = finite(chart.curve("loss"))
    for stage in stages(chart):
        own = [(step, loss) for step, loss in points if stage.holds(step)]
        if not stage.tells or len(own) < 2:
            continue
        first, low, end = own[0][1], lowest_window(own), end_of(own)
        gained = first - low
        if gained <= GAINED * abs(first) or end - low < LOST * gained:
            continue
        best = min(own, key=lambda point: point[1])[0]
        yield Finding(
            "diverged", "warning", "loss" if stage.last and not stage.start else f"stage.{stage.options.name}",
            f"the training loss fell from {first:.3f} to about {low:.3f} near step {best} and is {end:.3f} at the end",
            {"first": first, "lowest": low, "end": end},
            "lower the learning rate, lengthen the warm-up, clip the gradient; look at the data and at the logit scale around "
            "the step where it turned", own[-1][0],
        )  # fmt: skip
