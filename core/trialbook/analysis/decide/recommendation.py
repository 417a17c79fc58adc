"""The recommendation that follows from what was measured, and how sure it is.

What is recommended follows from the values as measured. How sure it is, is the share of draws in which the same recommendation
would be made: in each draw every value that has an interval is drawn again from the distribution of that interval (Student's t
for seeds, a normal for intervals that metrics recorded; all independent), the rest stays.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trialbook.analysis.decide.outcomes import Facts, possible_outcomes
from trialbook.analysis.decide.ranking import Criterion, Standing, Values, rank
from trialbook.analysis.estimates import Measured
from trialbook.config.decision_options import PLACEHOLDERS

#: Draws, and the share of them from which confidence is high and medium.
DRAWS, HIGH, MEDIUM = 2000, 0.95, 0.75
NOBODY = "none"


@dataclass(frozen=True)
class Ballot:
    """The fixed parts of a decision: its criteria, candidates, outcomes, and what counts as a tie."""

    criteria: Sequence[Criterion]
    candidates: Sequence[str]
    outcomes: Sequence[Mapping[str, Any]]
    tie: float

    @property
    def gates(self) -> dict[str, str]:
        """Name of each gate to its level."""
        return {one.name: one.level for one in self.criteria if one.scale is not None}

    def ranking(self, values: Values) -> list[Standing]:
        """The candidates, best first."""
        return rank(self.criteria, self.candidates, values, self.tie)

    def possible(self, values: Values) -> list[int | None]:
        """Outcomes that may apply, if these are the values: one alone, unless it turns on a value that is None."""
        by_name = {one.name: one for one in self.criteria}

        def beyond(gate: str, candidate: str, side: str, edge: float) -> bool | None:
            value = values.get((gate, candidate))
            return None if value is None else value > edge if side == "above" else value < edge

        facts = Facts(self.candidates, self.gates, lambda g, c: by_name[g].passes(c, values), beyond)
        return possible_outcomes(self.outcomes, facts)

    def recommended(self, number: int | None, ranking: Sequence[Standing]) -> str:
        """Return what an outcome recommends, with candidates filled in."""
        names = [one.candidate for one in ranking]
        filled = {
            "best": names[0], "second": names[1] if len(names) > 1 else NOBODY, "ranking": ", ".join(names),
            "passing": ", ".join(one.candidate for one in ranking if one.meets) or NOBODY,
        }  # fmt: skip
        text = "{best}" if not self.outcomes else "" if number is None else str(self.outcomes[number]["recommend"])
        for name in PLACEHOLDERS:
            text = text.replace(f"{{{name}}}", filled[name])
        return text


@dataclass(frozen=True)
class Advice:
    """A recommendation.

    Args:
        outcome: number of the outcome; None where none applies, or what is missing leaves it open.
        text: what is recommended; empty where that is open or nothing applies.
        open: outcomes that the missing values leave possible, where there are several; None stands for no outcome.
        possible: outcomes that undecided gates and missing values leave possible.
        confidence: ``high``, ``medium`` or ``low``; None where nothing is recommended.
        share: of draws in which the same is recommended.
        shares: outcome to the share of draws in which it applies (or may, where values are missing).
        first: candidate to the share of draws in which it stands first.
        without: whether a value that is missing or has no interval can change the outcome.
    """

    outcome: int | None
    text: str
    open: tuple[int | None, ...] = ()
    possible: tuple[int | None, ...] = ()
    confidence: str | None = None
    share: float | None = None
    shares: Mapping[int | None, float] = field(default_factory=dict)
    first: Mapping[str, float] = field(default_factory=dict)
    without: bool = False


def advise(
    ballot: Ballot, measured: Mapping[tuple[str, str], Measured | None], possible: Sequence[int | None], *,
    rehearsal: bool = False,
) -> Advice:  # fmt: skip
    """The recommendation.

    Args:
        ballot: what is decided.
        measured: gate and candidate to what was measured.
        possible: outcomes that the verdicts leave possible.
        rehearsal: models have random weights: the values are true, but of nothing that anyone would use.
    """
    values = {key: None if one is None else one.mean for key, one in measured.items()}
    ranking, found = ballot.ranking(values), ballot.possible(values)
    number = found[0] if len(found) == 1 else None
    text = ballot.recommended(number, ranking) if len(found) == 1 else ""
    bare = {key: None if one is None or not one.below else one.mean for key, one in measured.items()}
    without = len(ballot.possible(bare)) > 1
    shares, first, same = _draw(ballot, measured, text)
    confidence = None
    if text:
        confidence = "low" if rehearsal or without or same < MEDIUM else "medium" if same < HIGH else "high"
    return Advice(
        number, text, tuple(found) if len(found) > 1 else (), tuple(possible), confidence, same if text else None, shares,
        first, without,
    )  # fmt: skip


def _draw(
    ballot: Ballot, measured: Mapping[tuple[str, str], Measured | None], text: str
) -> tuple[dict[int | None, float], dict[str, float], float]:
    """Shares of draws: by outcome, by who stands first, and in which ``text`` is recommended."""
    draw = random.Random(0)  # the same report from the same records
    counts: dict[int | None, int] = {}
    first = dict.fromkeys(ballot.candidates, 0)
    same = 0
    for _ in range(DRAWS):
        values = {key: None if one is None else _drawn(draw, one) for key, one in measured.items()}
        ranking, found = ballot.ranking(values), ballot.possible(values)
        first[ranking[0].candidate] += 1
        for number in found:
            counts[number] = counts.get(number, 0) + 1
        same += len(found) == 1 and ballot.recommended(found[0], ranking) == text
    shares = {number: count / DRAWS for number, count in sorted(counts.items(), key=lambda one: -one[1])}
    return shares, {name: count / DRAWS for name, count in first.items()}, same / DRAWS


def _drawn(draw: random.Random, one: Measured) -> float:
    """A value from the distribution that the interval stands for."""
    if not one.below:
        return one.mean
    t = draw.gauss(0, 1)
    if math.isfinite(one.df):
        t /= math.sqrt(draw.gammavariate(one.df / 2, 2) / one.df)
    return one.mean + t * (one.above if t > 0 else one.below)
