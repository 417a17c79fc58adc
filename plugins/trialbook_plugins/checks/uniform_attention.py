"""Check ``uniform-attention``."""

from __future__ import annotations

from collections.abc import Iterable

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding
from trialbook_plugins.checks._stages import shows_training
from trialbook_plugins.checks._tensors import attention, named

#: Entropy of attention, as a share of that of looking at all keys alike, from which on a head looks at all alike. Layers
#: that have just been made lie at 0.95 to 0.99; queries of size 0.02 give 0.9999 and more.
UNIFORM = 0.998


def check(chart: RunEvidence) -> Iterable[Finding]:
    """Attention all of whose heads look at all keys alike when half of the training is done: no more than a mean."""
    for part, step, modules in attention(chart):
        if not shows_training(chart, step):
            continue
        uniform = {name: facts for name, facts in modules.items() if facts["lowest"] >= UNIFORM}
        if not uniform:
            continue
        facts = max(uniform.values(), key=lambda one: float(one["lowest"]))
        yield Finding(
            "uniform-attention", "warning", part,
            f"attention is uniform in {named(uniform)}: every head gives all {facts['keys']} keys the same weight",
            {**{key: facts[key] for key in ("entropy", "lowest", "keys")}, "uniform": len(uniform), "of": len(modules)},
            "queries or keys are too small: begin learned queries (latents) with a standard deviation near 1 or normalise them "
            "(LayerNorm on queries and keys), check the factor before the softmax, and raise the learning rate of the part",
            step,
        )  # fmt: skip
