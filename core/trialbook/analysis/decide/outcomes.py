"""The choice of a decision's outcome: conditions on how many candidates pass what, where something may not be known.

A condition is true, false, or None where what is not known could make it either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trialbook.config.decision_options import conditions_of, gates_named

#: Whether the value of a gate (by name) for a candidate passes; whether it lies above, or below, another value.
Passes = Callable[[str, str], "bool | None"]
Beyond = Callable[[str, str, str, float], "bool | None"]


@dataclass(frozen=True)
class Facts:
    """The facts that conditions are held against.

    Args:
        candidates: their names.
        gates: name of each gate to its level.
        passes, beyond: as far as it is known.
    """

    candidates: Sequence[str]
    gates: Mapping[str, str]
    passes: Passes
    beyond: Beyond


def possible_outcomes(outcomes: Sequence[Mapping[str, Any]], facts: Facts) -> list[int | None]:
    """Numbers of the outcomes that may apply: the first whose condition holds, and those before it that might.

    None at the end stands for the case that none of them applies.
    """
    found: list[int | None] = []
    for number, outcome in enumerate(outcomes):
        holds = _all([_condition(one, facts) for one in conditions_of(outcome)])
        if holds is not False:
            found.append(number)
        if holds:
            return found
    return [*found, None]


def limits(outcomes: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, float]]:
    """Values other than the gates' own that outcomes ask for: gate, ``above`` or ``below``, value; each once."""
    found = [
        (str(one.get("gate")), side, float(one[side]))
        for outcome in outcomes
        for one in conditions_of(outcome)
        for side in ("above", "below")
        if side in one
    ]
    return list(dict.fromkeys(found))


def _condition(condition: Mapping[str, Any], facts: Facts) -> bool | None:
    states = [_of_candidate(condition, candidate, facts) for candidate in facts.candidates]
    fewest, most = sum(state is True for state in states), sum(state is not False for state in states)
    low, high = _range(condition, len(states))
    if low <= fewest and most <= high:
        return True
    return False if most < low or fewest > high else None


def _range(condition: Mapping[str, Any], count: int) -> tuple[int, int]:
    """Return how many candidates a condition asks for, from … to."""
    low, high = condition.get("at_least"), condition.get("at_most")
    if low is not None or high is not None:
        return low or 0, count if high is None else high
    return {"any": (1, count), "all": (count, count), "none": (0, 0)}[condition.get("for", "any")]


def _of_candidate(condition: Mapping[str, Any], candidate: str, facts: Facts) -> bool | None:
    """All that a condition says, of one candidate."""
    states = [facts.passes(gate, candidate) for gate in gates_named(condition, "passes", facts.gates)]
    if "fails" in condition:
        kept = _all([facts.passes(gate, candidate) for gate in gates_named(condition, "fails", facts.gates)])
        states.append(None if kept is None else not kept)
    states += [
        facts.beyond(condition["gate"], candidate, side, condition[side])
        for side in ("above", "below")
        if side in condition
    ]
    return _all(states)


def _all(states: Sequence[bool | None]) -> bool | None:
    if any(state is False for state in states):
        return False
    return None if any(state is None for state in states) else True
