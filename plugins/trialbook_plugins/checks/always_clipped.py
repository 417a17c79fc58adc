"""Check ``always-clipped``."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding
from trialbook_plugins.checks._curves import finite
from trialbook_plugins.checks._stages import stages

#: Share of the recorded steps whose gradient was cut, and by what factor in the middle, from which on 'clip' is no guard
#: against spikes any more but decides every step.
NEARLY_ALL, FACTOR = 0.95, 10.0


def check(chart: RunEvidence) -> Iterable[Finding]:
    """A gradient that is cut at nearly every step, to a tenth of its size or less."""
    norms = finite(chart.curve("grad_norm"))
    for stage in stages(chart):
        own, clip = [norm for step, norm in norms if stage.holds(step)], stage.options.max_grad_norm
        if not clip or not stage.tells or not own:
            continue
        cut = sum(norm > clip for norm in own) / len(own)
        if cut >= NEARLY_ALL and median(own) >= FACTOR * clip:
            yield Finding(
                "always-clipped", "note", "train" if stage.last and not stage.start else f"stage.{stage.options.name}",
                f"the gradient is clipped at {cut:.0%} of the recorded steps, to {clip / median(own):.2g} of its usual size",
                {"clipped": cut, "median norm": median(own), "max_grad_norm": clip},
                "AdamW divides by the gradient's usual size, so that a constant cut changes little, but large gradients then "
                "weigh no more than small ones: raise 'max_grad_norm' to a few times the median norm", stage.start + stage.done,
            )  # fmt: skip
