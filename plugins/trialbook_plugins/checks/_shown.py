"""Embeddings and pairs of modalities, as the newest evaluation of each split found them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.records import answer_name, curve_name
from trialbook_plugins.checks._stages import shows_training

#: Retrieval this often right, and this many times chance, means that the embeddings work, whatever they look like.
WORKS, WORKS_TIMES = 0.1, 10


@dataclass(frozen=True)
class Shown:
    """The facts that were seen of a split's embeddings.

    Args:
        split: its name.
        step: when.
        modalities: modality to ``rows``, ``dim``, ``rank``, ``cosine``, ``spread``.
        pairs: ordered pair of modalities to what was seen of it.
    """

    split: str
    step: int
    modalities: Mapping[str, Mapping[str, Any]]
    pairs: Mapping[tuple[str, str], Mapping[str, Any]]

    @property
    def works(self) -> bool:
        """True if some direction finds partners far more often than chance does."""
        return any(works(facts) for facts in self.pairs.values())


#: What was seen in a split, and of one modality or pair in it.
Look = tuple[Shown, Mapping[str, Any]]


def works(facts: Mapping[str, Any]) -> bool:
    """Return whether a direction finds partners far more often than chance does."""
    return bool(facts["expected@1"] >= max(WORKS, WORKS_TIMES * facts["chance@1"]))


def shown(chart: RunEvidence, *, trained: bool = True) -> Iterator[Shown]:
    """The newest look at every split that was evaluated; ``trained``: only if half of the training was done by then."""
    for split in dict.fromkeys(one.split for one in chart.of("embeddings")):
        newest = chart.newest("embeddings", split)
        if newest is not None and (shows_training(chart, newest.step) or not trained):
            singles = {name: facts for name, facts in newest.values.items() if ">" not in name}
            pairs = {pair(name): facts for name, facts in newest.values.items() if ">" in name}
            yield Shown(split, newest.step, singles, pairs)


def by_modality(chart: RunEvidence) -> dict[str, list[Look]]:
    """Modality to the newest look at it in every split."""
    found: dict[str, list[Look]] = {}
    for one in shown(chart):
        for modality, facts in one.modalities.items():
            found.setdefault(modality, []).append((one, facts))
    return found


def by_pair(chart: RunEvidence) -> dict[tuple[str, str], list[Look]]:
    """Pair of modalities, in one of its orders, to the newest look at it in every split."""
    found: dict[tuple[str, str], list[Look]] = {}
    for one in shown(chart):
        for names, facts in one.pairs.items():
            if names[::-1] not in found:
                found.setdefault(names, []).append((one, facts))
    return found


def in_splits(looks: Sequence[Look]) -> str:
    """``'val' and 'test'``."""
    return " and ".join(f"'{one.split}'" for one, _ in looks)


def pair(name: str) -> tuple[str, str]:
    """``image>text`` -> image, text."""
    first, _, second = name.partition(">")
    return first, second


def recorded(chart: RunEvidence, split: str, figure: str) -> list[tuple[int, float]]:
    """(step, value) of a metric of a split, under whichever name it is recorded."""
    names = [curve_name(split, figure)]
    if split == chart.final_split:
        names.append(answer_name(split, figure))
    return next((points for name in names if (points := chart.curve(name))), [])
