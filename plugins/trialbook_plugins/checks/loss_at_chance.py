"""Check ``loss-at-chance``."""

from __future__ import annotations

from collections.abc import Iterable

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding
from trialbook_plugins.checks._curves import end_of, still_falls
from trialbook_plugins.checks._losses import chance_in_words, loss_curves

#: So near to chance, as a share of it, a loss has learned nothing that counts: at batch 64, 4.034 to 4.367.
BELOW, ABOVE = 0.03, 0.05
#: A loss that fell by more than this share of chance over its last fifth is on its way.
ON_ITS_WAY = 0.02


def check(chart: RunEvidence) -> Iterable[Finding]:
    """A training loss that lies where knowing nothing would put it, after half of the steps, and does not fall."""
    for loss in loss_curves(chart):
        chance, end = loss.chance, end_of(loss.points)
        if not loss.stage.tells or chance <= 0 or not (1 - BELOW) * chance <= end <= (1 + ABOVE) * chance:
            continue
        if still_falls(loss.points, ON_ITS_WAY * chance):
            continue
        facts = {key: loss.facts[key] for key in ("batch", "scale") if key in loss.facts}
        yield Finding(
            "loss-at-chance", "error" if loss.stage.last else "warning", loss.part,
            f"the training loss{loss.of_stage} is {end:.3f} after {loss.stage.done} steps, which is chance "
            f"({chance_in_words(loss.facts)}): the model tells no row from another",
            {"loss": end, "chance": chance, "first": loss.points[0][1], **facts},
            "look at findings of gradients, embeddings and attention first; then try a learning rate ten times smaller and "
            "ten times larger, a longer warm-up, and whether rows of the modalities belong together in the training data",
            loss.points[-1][0],
        )  # fmt: skip
