"""Check ``saturated-attention``."""

from __future__ import annotations

from collections.abc import Iterable

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding
from trialbook_plugins.checks._stages import shows_training
from trialbook_plugins.checks._tensors import attention, named

#: Entropy of attention, as a share of that of looking at all keys alike, up to which a head looks at one key alone.
SATURATED = 0.01


def check(chart: RunEvidence) -> Iterable[Finding]:
    """Attention all of whose heads look at a single key: the softmax lets no gradient through to queries and keys.

    At the first step that is a matter of the initialisation. Later it may be what was learned, and then it is a note
    unless it was so from the start.
    """
    first = chart.of("attention", "")[:1]
    begun = {name: facts["highest"] for one in first for name, facts in one.values.items()}
    for part, step, modules in attention(chart):
        saturated = {name: facts for name, facts in modules.items() if facts["highest"] <= SATURATED}
        if not saturated:
            continue
        from_start = [name for name in saturated if begun.get(name, 1.0) <= SATURATED]
        if not from_start and not shows_training(chart, step):
            continue
        facts = min(saturated.values(), key=lambda one: float(one["highest"]))
        yield Finding(
            "saturated-attention", "warning" if from_start else "note", part,
            f"attention is saturated in {named(saturated)}: every head looks at one of {facts['keys']} keys"
            + (", and did so from the start" if from_start else ""),
            {**{key: facts[key] for key in ("entropy", "highest", "keys")}, "saturated": len(saturated), "of": len(modules)},
            "queries or keys are too large: begin them smaller, normalise them, and check that scores are divided by the square "
            "root of the head's width",
            step,
        )  # fmt: skip
