"""Two runs' answers to the same questions: what got better, what got worse."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import Any

from trialbook.analysis.failures.judge import Answer, Judged
from trialbook.errors import TrialbookError


@dataclass(frozen=True)
class Versus:
    """Answers of a run beside those of another, question by question; ``(own, other)`` each.

    Args:
        better: right here, wrong there.
        worse: wrong here, right there.
        both_wrong, both_right: the rest.
        unmatched: answers of either that the other has none to.
    """

    better: tuple[tuple[Answer, Answer], ...]
    worse: tuple[tuple[Answer, Answer], ...]
    both_wrong: tuple[tuple[Answer, Answer], ...]
    both_right: int
    unmatched: int

    @property
    def p(self) -> float:
        """The probability of so uneven a split of better and worse if neither run is better; see ``mcnemar``."""
        return mcnemar(len(self.better), len(self.worse))

    def as_dict(self) -> dict[str, Any]:
        """Counts, and ids of what differs."""
        return {
            "better": [own.prediction.id for own, _ in self.better],
            "worse": [own.prediction.id for own, _ in self.worse],
            "both_wrong": len(self.both_wrong), "both_right": self.both_right, "unmatched": self.unmatched, "p": self.p,
        }  # fmt: skip


def compare_answers(own: Judged, other: Judged) -> Versus:
    """Lay two evaluations side by side: by id, where the question and its accepted answers are the same.

    Raises:
        TrialbookError: they have no question in common.
    """
    there = {one.prediction.id: one for one in other.answers if one.right is not None}
    pairs: list[tuple[Answer, Answer]] = []
    for one in own.answers:
        match = there.get(one.prediction.id)
        if one.right is not None and match is not None and _asked(one) == _asked(match):
            pairs.append((one, match))
    if not pairs:
        raise TrialbookError("the two have no question in common that could be compared: they answered other data")
    return Versus(
        better=tuple(pair for pair in pairs if pair[0].right and not pair[1].right),
        worse=tuple(pair for pair in pairs if pair[1].right and not pair[0].right),
        both_wrong=tuple(pair for pair in pairs if not pair[0].right and not pair[1].right),
        both_right=sum(bool(a.right and b.right) for a, b in pairs),
        unmatched=own.judged + other.judged - 2 * len(pairs),
    )


def mcnemar(better: int, worse: int) -> float:
    """Two-sided p of the exact test: how often a fair coin falls at least as unevenly.

    Source: McNemar 1947, with the binomial distribution in place of its approximation.
    """
    total = better + worse
    tail = sum(comb(total, k) for k in range(min(better, worse) + 1))
    return float(min(1.0, 2 * tail / 2**total))


def _asked(one: Answer) -> tuple[Any, ...]:
    asked = one.prediction
    return (asked.question, asked.answerable, asked.answers if asked.answerable else ())
