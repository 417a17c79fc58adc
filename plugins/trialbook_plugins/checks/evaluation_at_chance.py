"""Check ``evaluation-at-chance``."""

from __future__ import annotations

from collections.abc import Iterable

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding
from trialbook_plugins.checks._curves import end_of, finite
from trialbook_plugins.checks._losses import loss_curves
from trialbook_plugins.checks._shown import Shown, recorded, shown

#: A training loss below this share of chance has learned to tell rows apart.
LEARNED = 0.75
#: A loss of a split from this share of chance on has not.
AT_CHANCE = 0.95
#: Of N queries one is right by chance; more than this many are so once in 1,700 times (Poisson).
MOST_HITS = 5
#: Fewest rows to tell.
FEWEST = 50


def check(chart: RunEvidence) -> Iterable[Finding]:
    """A split where the model does no better than chance: its pairs may be wrong, above all if the training loss is far below."""
    curves = [loss for loss in loss_curves(chart) if loss.stage.last and loss.chance > 0]
    if not curves:
        return
    learned = min(end_of(loss.points) / loss.chance for loss in curves)
    looked = list(shown(chart))
    for one in looked:
        if not _is_chance(chart, one):
            continue
        others = [other.split for other in looked if other.works]
        hits = {f"expected@1 {a}>{b}": facts["expected@1"] for (a, b), facts in one.pairs.items()}
        chance = next(iter(one.pairs.values()))["chance@1"]
        why = (
            f"while '{others[0]}' is far above it: its pairs are wrong, or its rows are prepared differently" if others
            else f"and the training loss is {learned:.0%} of it: nothing was learned that holds here" if learned > LEARNED
            else "while the training loss is far below: nothing that was learned holds here, or its pairs are wrong"
        )  # fmt: skip
        yield Finding(
            "evaluation-at-chance", "error" if others else "warning", one.split,
            f"retrieval in '{one.split}' is at chance, {why}",
            {**hits, "chance@1": chance, "training loss / chance": learned},
            "check that row i of one modality belongs to row i of the other in this split (a shuffled or sorted file, a loader "
            "that shuffles one side), and that evaluation prepares its rows as training does; with few training rows it is "
            "learning by heart: use more data",
            one.step,
        )  # fmt: skip


def _is_chance(chart: RunEvidence, one: Shown) -> bool:
    if not one.pairs or any(facts["rows"] < FEWEST for facts in one.pairs.values()):
        return False
    if any(facts["expected@1"] * facts["rows"] > MOST_HITS for facts in one.pairs.values()):
        return False
    own = chart.newest("own", one.split)
    losses = finite(recorded(chart, one.split, "loss"))
    chances = [facts["chance"] for facts in own.values.values() if facts.get("chance")] if own else []
    return not losses or not chances or losses[-1][1] >= AT_CHANCE * max(chances)
