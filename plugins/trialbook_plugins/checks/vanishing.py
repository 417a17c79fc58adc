"""Check ``vanishing``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding
from trialbook_plugins.checks._stages import stages
from trialbook_plugins.checks._tensors import Tensor, by_part, how_much, named, tensors

#: A module whose gradient (root mean square) is this share of the largest module's is cut off from the loss. In healthy runs
#: the smallest has 1e-4 of the largest.
FACTOR = 1e-6
#: AdamW's update is its gradient over (its size + eps): from a gradient of this many times eps down, eps decides.
LOST_IN_EPS = 1.0


def check(chart: RunEvidence) -> Iterable[Finding]:
    """Modules whose gradient is there, but so much smaller than elsewhere that it says nothing, at every look but the first."""
    every = [tensor for tensor in tensors(chart) if not tensor.is_bias and tensor.size > 1]
    looks = sorted({step for tensor in every for step, facts in tensor.seen})[1:]
    if not looks:
        return
    eps = min((stage.options.eps for stage in stages(chart)), default=1e-8)
    sizes = _gradients(every, looks)
    most = {step: max(found.values()) for step, found in sizes.items() if found}
    if not most:
        return
    faint: dict[str, list[Tensor]] = {}
    for part, some in by_part(every).items():
        faint[part] = [tensor for tensor in some if _is_faint(tensor.module, sizes, most)]
    for part, some in faint.items():
        if not some:
            continue
        step = max(most)
        largest = max(sizes[step][tensor.module] for tensor in some)
        lost = largest <= LOST_IN_EPS * eps
        whole = by_part(every)[part]
        yield Finding(
            "vanishing", "warning" if lost and how_much(some, whole) != "few" else "note", part,
            f"the gradient all but vanishes in {named(tensor.module for tensor in some)}: {largest:.2g} a number, "
            f"{most[step] / largest:.2g} times less than elsewhere",
            {"gradient": largest, "largest gradient": most[step], "eps": eps, "looks": len(most)},
            "look for what lies between this part and the loss: a saturated softmax or sigmoid, uniform attention, a tiny "
            "initialisation, a missing residual or norm" + (f"; below eps = {eps:g} AdamW makes up for no more" if lost else ""),
            step,
        )  # fmt: skip


def _gradients(every: Iterable[Tensor], looks: Sequence[int]) -> dict[int, dict[str, float]]:
    """Step of each look -> module -> root mean square of its gradient; those without any left out."""
    squares: dict[int, dict[str, tuple[float, int]]] = {step: {} for step in looks}
    for tensor in every:
        for step, facts in tensor.seen:
            if step in squares and facts["grad"]:
                total, size = squares[step].get(tensor.module, (0.0, 0))
                squares[step][tensor.module] = (total + facts["grad"] ** 2, size + tensor.size)
    return {
        step: {name: math.sqrt(total / size) for name, (total, size) in found.items() if 0 < total < math.inf}
        for step, found in squares.items()
    }


def _is_faint(module: str, sizes: Mapping[int, Mapping[str, float]], most: Mapping[int, float]) -> bool:
    seen = [sizes[step][module] / top for step, top in most.items() if module in sizes[step]]
    return bool(seen) and len(seen) == len(most) and max(seen) < FACTOR
