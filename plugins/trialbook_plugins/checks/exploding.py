"""Check ``exploding``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median_low
from typing import Any

from trialbook.contracts.evidence import RunEvidence, component_of
from trialbook.contracts.findings import Finding
from trialbook_plugins.checks._stages import ENOUGH_STEPS
from trialbook_plugins.checks._tensors import Tensor, by_part, counted, part_names, tensors

#: A step that changes a part by more than this share of its weights throws away what they say; 0.001 to 0.03 is healthy.
LARGE_UPDATE = 0.3
#: Weights that grew this many times over are running away; a training from nothing at a high rate doubles them.
LARGE_GROWTH = 10.0
#: Weights whose root mean square is no larger than this at the first look began at 0, and may grow as they like.
FROM_NOTHING = 1e-3
#: A gradient this many times as large as at the median look, and as large as the weights themselves.
LARGE_GRADIENT = 100.0
#: Outputs beyond this come near the largest number of half precision, 65504, and lose all decimals in bf16.
LARGE_OUTPUT = 1e4


def check(chart: RunEvidence) -> Iterable[Finding]:
    """Parts whose updates, weights, gradients or outputs are out of proportion."""
    for part, some in by_part(tensors(chart)).items():
        yield from _part(part, [tensor for tensor in some if tensor.size > 1])
    yield from _outputs(chart)


def _part(part: str, some: Sequence[Tensor]) -> Iterable[Finding]:
    norms = _norms(some)
    if len(norms) < 2:
        return  # the first update is as large for weights that begin at 0 as for others
    (_, first), *later = norms.items()
    step, now = later[-1]
    share, at = max((one["update"] / one["weight"] if one["weight"] else 0.0, look) for look, one in later)
    if share > LARGE_UPDATE:
        yield _finding(
            part, some, at, f"one step changes this part by {share:.0%} of its weights",
            {"update / weights": share, "lr": max(facts["lr"] for _, facts in some[0].seen)},
            "lower the learning rate ten times, or lengthen the warm-up",
        )  # fmt: skip
    # before the first step, which stands all but square to the weights
    begun = math.sqrt(max(0.0, first["weight"] ** 2 - first["update"] ** 2))
    from_nothing = begun <= FROM_NOTHING * math.sqrt(sum(tensor.size for tensor in some))
    if not from_nothing and now["weight"] > LARGE_GROWTH * begun:
        growth = now["weight"] / begun
        yield _finding(
            part, some, step, f"the weights of this part grew {growth:.3g} times over",
            {"growth": growth, "weights": now["weight"]},
            "lower the learning rate, add weight decay, or put a norm before the part",
        )  # fmt: skip
    usual = median_low(one["grad"] for one in norms.values())
    if step >= ENOUGH_STEPS and usual and now["grad"] > max(LARGE_GRADIENT * usual, now["weight"]):
        yield _finding(
            part, some, step, f"the gradient of this part is {now['grad'] / usual:.3g} times as large as usual in this run",
            {"gradient": now["grad"], "usual gradient": usual, "weights": now["weight"]},
            "clip the gradient ('max_grad_norm' in [train]), lower the learning rate, and look at the loss around this step",
        )  # fmt: skip


def _norms(some: Sequence[Tensor]) -> dict[int, dict[str, float]]:
    """Step of each look to the norms over all tensors of a part."""
    squares: dict[int, dict[str, float]] = {}
    for tensor in some:
        for step, facts in tensor.seen:
            sums = squares.setdefault(step, {"weight": 0.0, "grad": 0.0, "update": 0.0})
            for key in sums:
                sums[key] += (facts[key] or 0.0) ** 2
    return {step: {key: math.sqrt(total) for key, total in squares[step].items()} for step in sorted(squares)}


def _outputs(chart: RunEvidence) -> Iterable[Finding]:
    newest, parts = chart.newest("modules", ""), part_names(chart)
    large: dict[str, list[tuple[float, str]]] = {}
    for name, facts in newest.values.items() if newest else ():
        if facts["largest"] > LARGE_OUTPUT:
            large.setdefault(component_of(name, parts), []).append((facts["largest"], name))
    for part, found in large.items():
        largest, name = max(found)
        assert newest is not None
        yield Finding(
            "exploding", "warning", part, f"{name} puts out numbers as large as {largest:.3g}",
            {"largest output": largest, "modules": len(found)},
            "half precision ends at 65504: compute in float32 (precision = 'no'), put a norm before the part, lower the learning "
            "rate",
            newest.step,
        )  # fmt: skip


def _finding(part: str, some: Sequence[Tensor], step: int, what: str, evidence: dict[str, Any], advice: str) -> Finding:
    return Finding("exploding", "warning", part, what, {**evidence, **counted(some)}, advice, step)
