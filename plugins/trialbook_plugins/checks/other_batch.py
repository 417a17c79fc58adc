"""Check ``other-batch``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding
from trialbook_plugins.checks._losses import outermost
from trialbook_plugins.checks._stages import stages

#: Batches that differ by less than this share make losses that can be compared.
ALIKE = 0.1


def check(chart: RunEvidence) -> Iterable[Finding]:
    """Losses whose chance level is another in evaluation than in training, or for micro-batches than for the batch.

    Only losses that depend on the batch (their chance is another for another batch) are looked at.
    """
    own = chart.newest("own", "")
    begun = stages(chart)
    for part, facts in outermost(own.values).items() if own else ():
        batch, chance = facts.get("batch"), facts.get("chance")
        if not batch or chance is None or not _depends(facts):
            continue
        options = begun[-1].options if begun else None
        if options and options.accumulate > 1:
            yield Finding(
                "other-batch", "note", part,
                f"the loss tells a row from the {batch:.0f} of its micro-batch, not from the {options.batch_size} of a step",
                {"micro-batch": batch, "batch_size": options.batch_size, "accumulate": options.accumulate},
                "with 'accumulate' a contrastive loss has fewer negatives: compare it only with runs of this micro-batch",
                chart.step,
            )  # fmt: skip
        others = _others(chart, part, batch)
        if others:
            splits = " and ".join(f"'{split}'" for split in others)
            smallest = min(others.values())
            yield Finding(
                "other-batch", "note", part,
                f"the loss of {splits} is over {smallest:.0f} rows at a time, that of training over {batch:.0f}",
                {"batch in training": batch, "chance": chance, **{f"batch in {split}": rows for split, rows in others.items()}},
                f"compare each with its own chance; a split needs at least {batch:.0f} groups for batches of the training's size",
                chart.step,
            )  # fmt: skip


def _others(chart: RunEvidence, part: str, batch: float) -> dict[str, float]:
    """Split to the rows of its batches, where they are other than in training; a batch of one is named by ``batch-of-one``."""
    found = {}
    for split in dict.fromkeys((chart.curve_split, chart.final_split)):
        there = chart.newest("own", split)
        rows = there.values.get(part, {}).get("batch") if there else None
        if rows and rows > 1 and abs(rows - batch) > ALIKE * batch:
            found[split] = rows
    return found


def _depends(facts: Mapping[str, float]) -> bool:
    """Return whether the chance level is that of a contrastive loss, which depends on the batch; a vocabulary's does not."""
    return "random" in facts
