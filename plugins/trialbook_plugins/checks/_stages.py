"""The state of a run: its stages and how far each has come."""

from __future__ import annotations

from dataclasses import dataclass

from trialbook import StageOptions, TrialbookError, stages_of
from trialbook.contracts.evidence import RunEvidence

#: A stage shows how it goes when this many steps are done, and this share of its steps.
ENOUGH_STEPS = 50
ENOUGH_SHARE = 0.5


@dataclass(frozen=True)
class Stage:
    """A stage of training that has begun.

    Args:
        options: what the file says of it.
        start: steps of the run before it.
        steps: how many it takes; None where it is given in epochs of data whose size is not known.
        done: how many are done.
        over: all are done.
        last: no other comes after it.
    """

    options: StageOptions
    start: int
    steps: int | None
    done: int
    over: bool
    last: bool

    def holds(self, step: int) -> bool:
        """Return whether what was recorded at this step was made in this stage."""
        return self.start < step and (self.last or step <= self.start + self.done)

    @property
    def share(self) -> float:
        """The share of it that is done, from 0 to 1; 0 where that is not known."""
        return 1.0 if self.over else min(1.0, self.done / self.steps) if self.steps else 0.0

    @property
    def tells(self) -> bool:
        """True if enough of it is done to see how it goes."""
        return self.done >= ENOUGH_STEPS and self.share >= ENOUGH_SHARE

    def told_at(self, step: int) -> bool:
        """Return whether enough of it was done at this step of the run."""
        steps = self.steps or (self.done if self.over else 0)
        return step - self.start >= max(ENOUGH_STEPS, ENOUGH_SHARE * steps) and bool(steps)


def stages(chart: RunEvidence) -> list[Stage]:
    """The stages of a run that have begun, in order; none where nothing is trained or its options are not understood."""
    try:
        options = stages_of(dict(chart.config)) if {"train", "stage"} & set(chart.config) else []
    except (TrialbookError, TypeError):
        return []
    starts = _starts(chart, options)
    step, found = chart.step, []
    for place, (one, start) in enumerate(zip(options, starts, strict=True)):
        if start is None or start > step:
            break
        following = starts[place + 1] if place + 1 < len(starts) else None
        steps = _steps(chart, one)
        over = chart.finished or (following is not None and following <= step) or (steps or step + 1) <= step - start
        stop = min(step, following) if following is not None else step
        found.append(Stage(one, start, steps, stop - start, over, place + 1 == len(options)))
    return found


def shows_training(chart: RunEvidence, step: int) -> bool:
    """Return whether what was measured at this step shows what training makes of it; true where nothing is trained."""
    begun = stages(chart)
    return begun[-1].told_at(step) if begun else not {"train", "stage"} & set(chart.config)


def _starts(chart: RunEvidence, options: list[StageOptions]) -> list[int | None]:
    """Step before each stage: as recorded where the stage was injected, else counted."""
    recorded = {
        facts["stage"]: one.step for one in chart.of("wiring") for facts in one.values.values() if "stage" in facts
    }
    starts: list[int | None] = []
    at: int | None = 0
    for one in options:
        at = recorded.get(one.name, at)
        starts.append(at)
        steps = _steps(chart, one)
        at = at + steps if at is not None and steps is not None else None
    return starts


def _steps(chart: RunEvidence, options: StageOptions) -> int | None:
    """Optimiser steps of a stage on one process; None where they depend on data of unknown size."""
    if options.steps is not None:
        return options.steps
    groups = chart.data.get("dataset", {}).get("splits", {}).get("train", 0)
    per_epoch = groups // options.batch_size
    return max(1, round((options.epochs or 0) * per_epoch)) if per_epoch else None
