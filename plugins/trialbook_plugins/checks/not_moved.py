"""Check ``not-moved``."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding
from trialbook_plugins.checks._stages import stages
from trialbook_plugins.checks._tensors import Tensor, by_part, counted, tensors

#: A part none of whose tensors can have moved by more than this share of itself over a whole run is as it began. Fine-tuning at
#: a learning rate of 1e-6 moves weights of 0.05 by more than that within 50 steps.
HARDLY = 1e-3


def check(chart: RunEvidence) -> Iterable[Finding]:
    """Parts that were trained to the end and are still where they began, at the most that the measured steps allow."""
    begun = stages(chart)
    if not begun or not (begun[-1].last and begun[-1].over and begun[-1].tells):
        return
    parts = by_part(
        tensor for tensor in tensors(chart) if any(facts["update"] and facts["grad"] for _, facts in tensor.seen)
    )
    ways = {part: max(_way(tensor) for tensor in some) for part, some in parts.items()}
    for part, way in ways.items():
        if way < HARDLY:
            everything = all(other < HARDLY for other in ways.values())
            rates = [facts["lr"] for tensor in parts[part] for _, facts in tensor.seen]
            yield Finding(
                "not-moved", "error" if everything else "warning", part,
                f"the weights of this part moved by at most {way:.2g} of themselves over the whole run",
                {"moved at most": way, "largest lr": max(rates), **counted(parts[part])},
                "raise its learning rate (lr, or its factor in lr_multipliers) by ten or a hundred times, or freeze it",
                chart.step,
            )  # fmt: skip


def _way(tensor: Tensor) -> float:
    """The longest way that it can have gone if no step was longer than the longer of the looks around it, over its size."""
    way = sum(
        max(before["update"], after["update"]) * (last - first)
        for (first, before), (last, after) in pairwise(tensor.seen)
    )
    weight = tensor.seen[0][1]["weight"]
    return float(way / weight) if weight else float("inf")
