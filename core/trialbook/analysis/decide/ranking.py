"""Candidates by weighted score, with tie-breaks between those that score alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from trialbook.config.scale import Scale

#: Criterion and candidate to the value measured, None where there is none.
Values = Mapping[tuple[str, str], "float | None"]


@dataclass(frozen=True)
class Criterion:
    """A criterion that candidates are judged by: a gate, or a score that somebody gave.

    Args:
        name, level, weight: as in the file.
        scale: of a gate; None for a manual score.
        manual_scores: candidate to its score, of such a score.
    """

    name: str
    level: str
    weight: float = 1.0
    scale: Scale | None = None
    manual_scores: Mapping[str, float] = field(default_factory=dict)

    def score(self, candidate: str, values: Values) -> float | None:
        """From 0 to 1; None where there is no value."""
        if self.scale is None:
            return self.manual_scores.get(candidate)
        value = values.get((self.name, candidate))
        return None if value is None else self.scale.score(value)

    def passes(self, candidate: str, values: Values) -> bool | None:
        """Return whether the value is on the good side; None where there is none."""
        value = values.get((self.name, candidate))
        return None if value is None or self.scale is None else self.scale.passes(value)


@dataclass(frozen=True)
class Standing:
    """A candidate among the others.

    Args:
        candidate: its name.
        score: weighted mean of its scores on what must or should be passed; what was not measured counts as 0.
        most: the same if what was not measured counted as 1.
        tie_break: weighted mean of its scores on tie-breaks; None where there is none.
        meets: whether its values pass every gate that must be passed; None where that turns on one that was not measured.
        parts: what each criterion adds to the score.
    """

    candidate: str
    score: float
    most: float
    tie_break: float | None
    meets: bool | None
    parts: Mapping[str, float]


def rank(criteria: Sequence[Criterion], candidates: Sequence[str], values: Values, tie: float) -> list[Standing]:
    """Candidates that meet every must first, then those that may, then the others; within each by score.

    Those whose score is within ``tie`` of the best one left are ordered by their tie-breaks.
    """
    left = [_stand(criteria, candidate, values) for candidate in candidates]
    ranked: list[Standing] = []
    while left:
        group = [one for meets in (True, None, False) for one in left if one.meets is meets]
        group = [one for one in group if one.meets is group[0].meets]
        top = max(one.score for one in group)
        level = [one for one in group if top - one.score <= tie + 1e-12]
        first = max(level, key=lambda one: (one.tie_break or 0.0, one.score))
        ranked.append(first)
        left.remove(first)
    return ranked


def _stand(criteria: Sequence[Criterion], candidate: str, values: Values) -> Standing:
    weighed = [one for one in criteria if one.level != "tie-break"]
    total = sum(one.weight for one in weighed) or 1.0
    scores = {one.name: one.score(candidate, values) for one in weighed}
    parts = {one.name: one.weight * (scores[one.name] or 0.0) / total for one in weighed}
    absent = sum(one.weight for one in weighed if scores[one.name] is None) / total
    musts = [one.passes(candidate, values) for one in criteria if one.level == "must" and one.scale is not None]
    meets = False if False in musts else None if None in musts else True
    score = sum(parts.values())
    return Standing(candidate, score, score + absent, _tie_break(criteria, candidate, values), meets, parts)


def _tie_break(criteria: Sequence[Criterion], candidate: str, values: Values) -> float | None:
    own = [one for one in criteria if one.level == "tie-break"]
    total = sum(one.weight for one in own)
    return sum(one.weight * (one.score(candidate, values) or 0.0) for one in own) / total if total else None
