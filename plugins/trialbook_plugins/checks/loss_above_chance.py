"""Check ``loss-above-chance``."""

from __future__ import annotations

from collections.abc import Iterable

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding
from trialbook_plugins.checks._curves import end_of, still_falls
from trialbook_plugins.checks._losses import LossCurve, chance_in_words, loss_curves

#: A loss counts as above chance from this share above it; what is nearer is chance.
ABOVE = 0.05
#: A loss that fell by more than this share of chance over its last fifth is on its way.
ON_ITS_WAY = 0.02
#: So near to what random embeddings would give, as a share of it, the scale explains the loss.
NEAR_RANDOM = 0.15


def check(chart: RunEvidence) -> Iterable[Finding]:
    """A training loss clearly above chance after half of the steps: saying nothing would be better than what is said."""
    for loss in loss_curves(chart):
        chance, end = loss.chance, end_of(loss.points)
        if not loss.stage.tells or chance <= 0 or end <= (1 + ABOVE) * chance:
            continue
        falling = still_falls(loss.points, ON_ITS_WAY * chance)
        if falling and not loss.stage.over:
            continue
        why, advice = _explained(loss, end)
        facts = {key: loss.facts[key] for key in ("random", "scale", "batch") if key in loss.facts}
        yield Finding(
            "loss-above-chance", "error" if loss.stage.last and not falling else "warning", loss.part,
            f"the training loss{loss.of_stage} is {end:.3f} after {loss.stage.done} steps, above chance "
            f"({chance_in_words(loss.facts)}): {why}",
            {"loss": end, "chance": chance, **facts}, advice, loss.points[-1][0],
        )  # fmt: skip


def _explained(loss: LossCurve, end: float) -> tuple[str, str]:
    """Explain why it is so, as far as the loss at random embeddings tells, and what to try."""
    random, scale = loss.facts.get("random"), loss.facts.get("scale")
    if random is not None and scale is not None and abs(end - random) <= NEAR_RANDOM * random:
        return (
            f"random embeddings at scale {scale:.3g} give {random:.3f}, so the embeddings say nothing and the scale makes it "
            "count (a saturated temperature)",
            "start with a higher temperature (a smaller scale), give the scale a lower learning rate (lr_multipliers), and look "
            "for why the embeddings say nothing: gradients, attention, the pairing of rows",
        )
    return (
        "the model is sure of what is wrong",
        "lower the learning rate or raise the temperature, and check that row i of one modality belongs to row i of the other",
    )
