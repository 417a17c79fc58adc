"""Check ``no-update``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding, Severity
from trialbook_plugins.checks._stages import stages
from trialbook_plugins.checks._tensors import Tensor, by_part, counted, how_much, named, tensors, without_shadows

#: A learning rate below this share of the weights (root mean square) is lost in float32, which keeps 6e-8 of a number: at the
#: end of a schedule that is as it should be.
LOST = 1e-6
#: A look counts also below that where the learning rate is at least this share of the peak that the file asks for.
NEAR_PEAK = 0.1

_HOW_BAD: dict[Literal["all", "many", "few"], Severity] = {"all": "error", "many": "warning", "few": "note"}


def check(chart: RunEvidence) -> Iterable[Finding]:
    """Parameters that have a gradient and that the optimiser never changed, counted by part.

    A learned scale that is clamped back to its bound at every step is named by ``scale-at-clamp``.
    """
    every = [
        tensor for tensor in tensors(chart, until=_spoilt(chart)) if any(facts["grad"] for _, facts in tensor.seen)
    ]
    peak = max((stage.options.lr for stage in stages(chart)), default=0.0)
    skipped = _skipped_steps(every)
    still = [tensor for tensor in every if _is_still(tensor, peak, skipped)]
    clamped = {part for part, facts in _newest_own(chart).items() if _at_bound(facts)}
    still = [tensor for tensor in still if tensor.size > 1 or tensor.part not in clamped]
    if every and len(still) == len(every):
        yield _finding("", still, "error", "no step changes any parameter")
        return
    of_part = by_part(every)
    for part, some in by_part(still).items():
        some = without_shadows(some, of_part[part])
        if some:
            much = how_much(some, of_part[part])
            which = "no step changes this part" if much == "all" else f"no step changes {named(t.module for t in some)}"
            off = all(facts["lr"] == 0 for tensor in some for _, facts in tensor.seen)
            severity = "note" if part.split(".")[0] == "loss" else _HOW_BAD[much]
            yield _finding(part, some, "warning" if off and severity == "error" else severity, which)


def _spoilt(chart: RunEvidence) -> float:
    """The step whose values were not finite, and which was therefore not taken."""
    return min((one.step for one in chart.of("failure")), default=math.inf)


def _is_still(tensor: Tensor, peak: float, skipped: set[int]) -> bool:
    """Return whether every look that tells something found it unchanged, and at least one does."""
    if all(facts["lr"] == 0 for _, facts in tensor.seen):
        return not any(facts["update"] for _, facts in tensor.seen)
    telling = [
        facts for step, facts in tensor.seen
        if step not in skipped and (facts["lr"] > LOST * tensor.rms(facts, "weight") or facts["lr"] >= NEAR_PEAK * peak > 0)
    ]  # fmt: skip
    return bool(telling) and not any(facts["update"] for _, facts in tensor.seen)


def _skipped_steps(every: Sequence[Tensor]) -> set[int]:
    """The step at which nothing at all changed, if it is the only one: in half precision a step may be left out."""
    moved: dict[int, bool] = {}
    for tensor in every:
        for step, facts in tensor.seen:
            moved[step] = moved.get(step, False) or bool(facts["update"]) or facts["lr"] == 0
    still = {step for step, some in moved.items() if not some}
    return still if len(still) == 1 < len(moved) else set()


def _newest_own(chart: RunEvidence) -> Mapping[str, Mapping[str, Any]]:
    own = chart.newest("own", "")
    return own.values if own else {}


def _at_bound(facts: Mapping[str, Any]) -> bool:
    scale = facts.get("scale")
    bounds = [facts[key] for key in ("scale_min", "scale_max") if key in facts]
    return scale is not None and any(abs(scale - bound) <= 1e-4 * abs(bound) for bound in bounds)


def _finding(part: str, some: Sequence[Tensor], severity: Severity, which: str) -> Finding:
    rates = [facts["lr"] for tensor in some for _, facts in tensor.seen]
    step, _ = some[0].seen[-1]
    weight = max(tensor.rms(facts, "weight") for tensor in some for _, facts in tensor.seen)
    if max(rates) == 0:
        why, advice = (
            "its learning rate is 0",
            "raise its factor in lr_multipliers, or write frozen = true if it is not to learn",
        )
    elif max(rates) <= LOST * weight:
        why = f"its learning rate, {max(rates):.2g}, is lost in the last digits of the weights"
        advice = (
            "raise the learning rate; 1e-3 for what is trained from nothing and 1e-5 for what is fine-tuned are usual"
        )
    else:
        why = "though it has a gradient and a learning rate"
        advice = "keep the weights in float32 (precision = 'bf16' computes in half precision and keeps them so): small steps are "
        advice += "lost in bf16 weights; otherwise look for what writes the weights back after a step"
    evidence = {**counted(some), "update": 0.0, "largest lr": max(rates), "looks": len(some[0].seen)}
    return Finding("no-update", severity, part, f"{which}: {why}", evidence, advice, step)
