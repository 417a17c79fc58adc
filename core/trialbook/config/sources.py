"""The places where a candidate is measured: names of experiments and arms in a file, and the runs that they mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from trialbook.errors import TrialbookError, suggest

if TYPE_CHECKING:
    from trialbook.config.runspec import Plan

#: Stands for the name of a candidate in a place.
CANDIDATE = "{candidate}"


class UnknownPlace(TrialbookError):
    """A name that means no experiment or arm; ``suggestion`` is what was probably meant."""

    def __init__(self, message: str, suggestion: str | None = None) -> None:
        super().__init__(message + (f"; did you mean '{suggestion}'?" if suggestion else ""))
        self.message, self.suggestion = message, suggestion


@dataclass(frozen=True)
class Offer:
    """An experiment that metrics can be taken from.

    Args:
        name: its runs are filed under.
        names: what a file may call it.
        arms: label of an arm, with its point of the grid, to the arm.
        figures: label to the names of what is recorded, None where they are not known.
        lower_is_better: metrics that are declared to be better when lower.
        doubtful: patterns of metrics that no conclusion may stand on, and why.
    """

    name: str
    names: tuple[str, ...]
    arms: Mapping[str, str]
    figures: Mapping[str, Sequence[str] | None] = field(default_factory=dict)
    lower_is_better: tuple[str, ...] = ()
    doubtful: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: Plan) -> Offer:
        """That of a plan."""
        one = plan.experiment
        lower = tuple(plan.runs[0].info.lower_is_better) if plan.runs else ()
        arms = {run.arm: run.base_arm for run in plan.runs}
        return cls(one.name, (one.file.name, one.name, one.file.stem), arms, plan.figures, lower, plan.doubtful)

    def called(self, pattern: str) -> tuple[str, ...]:
        """Labels that are called so, or whose arm is, or that fit the pattern."""
        exact = tuple(label for label, arm in self.arms.items() if pattern in (label, arm))
        return exact or tuple(label for label in self.arms if fnmatchcase(label, pattern))


@dataclass(frozen=True)
class Place:
    """Arms of an experiment, by label; of several the best one counts."""

    experiment: str
    arms: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.experiment}/{self.arms[0]}" if len(self.arms) == 1 else f"{self.experiment}, {len(self.arms)} arms"
        )


@dataclass(frozen=True)
class Places:
    """Finds places.

    Args:
        own: the file itself.
        others: what it needs, and what these need.
    """

    own: Offer
    others: Sequence[Offer] = ()

    def offer(self, experiment: str) -> Offer:
        """The experiment whose runs are filed under this name."""
        return next(one for one in (self.own, *self.others) if one.name == experiment)

    def of_candidate(self, text: str) -> Place:
        """A candidate's own runs: an arm of the file, an experiment with all its arms, or ``EXPERIMENT/ARM``."""
        return self._find(text, None)

    def of_gate(self, gate: Mapping[str, Any], candidate: str, candidates: Mapping[str, str]) -> Place:
        """Return where a gate is measured for a candidate.

        Raises:
            UnknownPlace: a name means nothing, or the gate says no place for this candidate.
        """
        said = gate.get("measured_in")
        if isinstance(said, dict) and candidate not in said:
            raise UnknownPlace(f"'measured_in' has no place for candidate '{candidate}'")
        text = said[candidate] if isinstance(said, dict) else said
        if text is None:
            return self.of_candidate(candidates[candidate])
        shared = None if isinstance(said, dict) or CANDIDATE in text else candidate
        return self._find(text.replace(CANDIDATE, candidate), shared)

    def _find(self, text: str, arm: str | None) -> Place:
        """The place of a name; where it is an experiment and ``arm`` is given, its arm of this name."""
        if arms := self.own.called(text):
            return Place(self.own.name, arms)
        front, slash, wanted = text.partition("/")
        found = next((one for one in self.others if front in one.names), None)
        if found is None and front in self.own.names and self.own.arms:
            found = self.own
        if found is None:
            known = [name for one in self.others for name in (one.names[0], one.name)]
            raise UnknownPlace(f"'{text}' is no arm of this file and no experiment that it needs",
                               suggest(front, [*self.own.arms, *known]))  # fmt: skip
        if not slash and arm is None:
            return Place(found.name, tuple(found.arms))
        wanted = wanted if slash else str(arm)
        if arms := found.called(wanted):
            return Place(found.name, arms)
        listed = ", ".join(dict.fromkeys(found.arms.values()))
        hint = suggest(wanted, [*found.arms, *found.arms.values()])
        raise UnknownPlace(f"'{found.name}' has no arm '{wanted}'" + ("" if hint else f"; it has {listed}"), hint)
