"""Check ``scale-at-clamp``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding, Severity
from trialbook_plugins.checks._curves import end_of
from trialbook_plugins.checks._losses import loss_curves, outermost
from trialbook_plugins.checks._stages import ENOUGH_STEPS

#: So near to its bound, as a share of it, a scale is at it: one step of a small learning rate may already have moved it.
AT = 0.01
#: A loss below this share of chance has learned, and a scale at its upper bound is then the usual end of a long training.
LEARNED = 0.8


def check(chart: RunEvidence) -> Iterable[Finding]:
    """A learned logit scale that lies at a bound: from the start, or at the end."""
    said = chart.of("own", "")
    if not said:
        return
    ends = {loss.part: end_of(loss.points) / loss.chance for loss in loss_curves(chart) if loss.chance > 0}
    for part, last in outermost(said[-1].values).items():
        first = said[0].values.get(part, {})
        bound = _bound(last) if said[-1].step >= ENOUGH_STEPS else None
        if bound:
            learned = ends.get(part, 0.0) < LEARNED
            yield _finding(part, last, bound, "note" if learned else "warning", said[-1].step, first)
        elif begun := _bound(first):
            yield _finding(part, first, begun, "warning" if begun == "scale_max" else "note", said[0].step)


def _bound(facts: Mapping[str, Any]) -> str | None:
    """The bound that the scale lies at."""
    scale, low, high = (facts.get(key) for key in ("scale", "scale_min", "scale_max"))
    if scale is None or low is None or high is None or not low < high:
        return None
    return "scale_max" if scale >= (1 - AT) * high else "scale_min" if scale <= (1 + AT) * low else None


def _finding(
    part: str,
    facts: Mapping[str, Any],
    bound: str,
    severity: Severity,
    step: int,
    first: Mapping[str, Any] | None = None,
) -> Finding:
    """``first``: what was said at the start, where this is the end."""
    upper, at_start = bound == "scale_max", first is None
    meaning, advice = _told(upper, at_start)
    side, when = "upper" if upper else "lower", "at the start" if at_start else f"at step {step}"
    start = {} if first is None else {"scale at the start": first.get("scale")}
    return Finding(
        "scale-at-clamp", severity, part,
        f"the logit scale is {facts['scale']:.4g} {when}, its {side} bound: {meaning}",
        {"scale": facts["scale"], bound: facts[bound], **start}, advice, step,
    )  # fmt: skip


def _told(upper: bool, at_start: bool) -> tuple[str, str]:
    """Say what it means that a scale is there, and what to try."""
    if upper:
        meaning = "every mistake costs all it can, and the scale can only fall" if at_start else "it can grow no more"
        return meaning, (
            "a temperature of 0.07 (scale 14.3) at the start is usual; a scale that runs to its bound while the loss stays "
            "high wants a lower learning rate of its own (lr_multipliers) and a look at the embeddings"
        )
    meaning = "the loss hardly sees differences between cosines" if at_start else "training takes the cosines' say away"
    return meaning, (
        "start with a lower temperature (0.07 is usual); at the end it means that cosines say nothing: look at gradients and at "
        "the pairing of rows"
    )
