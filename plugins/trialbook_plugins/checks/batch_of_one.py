"""Check ``batch-of-one``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding
from trialbook.contracts.records import curve_name
from trialbook_plugins.checks._curves import end_of, finite
from trialbook_plugins.checks._losses import outermost
from trialbook_plugins.checks._shown import recorded

#: A chance level this small is that of a contrastive loss over one row: there is nothing to tell it from.
NOTHING = 1e-9
#: Without the loss's own word: a loss of a split below this share of the training loss, beside a training loss above the
#: second number, is none that was measured as training's was. Dropout and augmentation make a factor of 2.
SHARE, CLEARLY = 0.02, 0.2
_ADVICE = (
    "a contrastive loss over one row is 0 whatever the model does: evaluate over batches of the training's size, gather all rows "
    "first, and never divide a batch into micro-batches of one"
)


def check(chart: RunEvidence) -> Iterable[Finding]:
    """A contrastive loss over batches of one row, in training or in evaluation; or a loss of a split that is all but 0."""
    single = _single(chart)
    for part, splits in single.items():
        facts, step = next(iter(splits.values()))
        places = " and ".join(f"'{split}'" if split else "training" for split in sorted(splits))
        losses = {f"loss of {split}": chart.last(curve_name(split, "loss")) for split in splits if split}
        yield Finding(
            "batch-of-one", "error", part if "" in splits else f"{next(iter(splits))}.{part}",
            f"the loss in {places} is taken over batches of one row, where it is 0 whatever the model does",
            {"batch": facts.get("batch", 1.0), "chance": facts["chance"], **losses}, _ADVICE, step,
        )  # fmt: skip
    known = {split for splits in single.values() for split in splits}
    training = finite(chart.curve("loss"))
    for split in dict.fromkeys((chart.curve_split, chart.final_split)):
        losses_there = [(step, loss) for step, loss in finite(recorded(chart, split, "loss")) if step > 0]
        if not losses_there or not training or split in known:
            continue
        step, loss = losses_there[-1]
        beside = end_of([point for point in training if point[0] <= step] or training)
        if beside > CLEARLY and 0 <= loss < SHARE * beside:
            yield Finding(
                "batch-of-one", "error" if loss <= NOTHING else "warning", split,
                f"the loss of '{split}' is {loss:.2g} beside a training loss of {beside:.3f}: the two cannot have been measured "
                "in the same way",
                {"loss": loss, "training loss": beside}, f"look for an evaluation over batches of one row: {_ADVICE}", step,
            )  # fmt: skip


def _single(chart: RunEvidence) -> dict[str, dict[str, tuple[Mapping[str, Any], int]]]:
    """Loss -> split (empty for training) -> what it said of a batch of one row, and when it said so first."""
    found: dict[str, dict[str, tuple[Mapping[str, Any], int]]] = {}
    for one in chart.of("own"):
        for part, facts in outermost(one.values).items():
            if facts.get("chance", 1.0) > NOTHING:
                continue
            losses = finite(recorded(chart, one.split, "loss")) if one.split else []
            if all(loss <= NOTHING + SHARE for _, loss in losses):  # else it is a last row behind larger batches
                found.setdefault(part, {}).setdefault(one.split, (facts, one.step))
    return found
