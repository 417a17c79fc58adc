"""Repeating one recorded run as often as it takes to say whether the same comes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialbook.execution.run_services import RunServices
from trialbook.registry.run_directory import RunDirectory
from trialbook.replay.environment_diff import Change
from trialbook.replay.noise import Noise, TensorGaps, measure_noise
from trialbook.replay.record_diff import VERDICTS, RecordMatch, match_records
from trialbook.replay.recorded_run import RecordedRun
from trialbook.replay.rerun import FOLDER, Repetition, remove_repetition

if TYPE_CHECKING:
    from trialbook.engine.weight_diff import WeightMatch


def verdict_of(records: RecordMatch, weights: WeightMatch | None, noise: Noise | None) -> str:
    """``equal``, ``within tolerance``, ``within noise`` or ``not equal``."""
    unseen = weights is not None and weights.verdict == "not equal" and noise is not None and not noise.tensors
    if noise is not None:
        return "not equal" if noise.beyond or unseen else "within noise"
    return max([records.verdict, *([weights.verdict] if weights else [])], key=VERDICTS.index)


@dataclass
class Trial:
    """The repetitions of a run, and what they say.

    Args:
        services: under which it is repeated.
        recorded: the run.
        say: told what there is to say on the way.
        tolerance: largest difference of two values that counts as none.
        most: how many repetitions there may be.

    Attributes:
        done: how many there are.
        records, weights: of the run beside those of the first repetition.
        noise: what the repetitions differ by, where there are several.
        remarks: how repetitions ended, what was not compared.
        changes: what they found to be other than when the run was made.
    """

    services: RunServices
    recorded: RecordedRun
    say: Callable[[str], Any]
    tolerance: float
    most: int
    done: int = 0
    records: RecordMatch = field(default_factory=RecordMatch)
    weights: WeightMatch | None = None
    noise: Noise | None = None
    remarks: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """As far as it is known."""
        return verdict_of(self.records, self.weights, self.noise)

    def run(self) -> None:
        """Repeat until the run is equal or within the noise, or more repetitions would change nothing, or there are enough."""
        self._repeat()
        whole = self.recorded.status == "finished"
        self.records = match_records(self._lines(0), self._lines(1), tolerance=self.tolerance, whole=whole)
        self.weights, unseen = _match_weights(self.recorded.run.path, self.place(1), self.tolerance)
        self.remarks += filter(None, [unseen])
        while self.verdict == "not equal" and self.done < self.most and not (self.noise and self.noise.settled):
            self.say(f"the run differs: repetition {self.done + 1} of at most {self.most}, to measure the noise")
            self._repeat()
            self.noise = measure_noise(
                self._lines(0), [self._lines(number) for number in range(1, self.done + 1)], tolerance=self.tolerance,
                whole=whole, tensors=self._tensors() if self.weights else None,
            )  # fmt: skip
        self.services.peers.meet()  # others may still read what the first process removes

    def place(self, number: int) -> Path:
        """Return the directory of a repetition, counted from 1; 0 is the run itself."""
        own = self.recorded.run.path
        first = self.services.settings.runs / FOLDER / self.recorded.spec.experiment / own.name
        return own if number == 0 else first if number == 1 else first.with_name(f"{first.name}-{number}")

    def tidy(self, *, keep: bool) -> None:
        """Remove the repetitions; where they are kept, those of an earlier trial alone."""
        first = self.place(1)
        kept = {self.place(number) for number in range(1, self.done + 1)} if keep else set()
        for place in {first, *first.parent.glob(f"{first.name}-[0-9]*")} - kept:
            remove_repetition(place, self.services.settings.runs)

    def _repeat(self) -> None:
        anew = replace(self.services)  # nothing of a repetition's parts is kept for the next
        repetition = Repetition(anew, self.recorded, self.place(self.done + 1), self.say)
        remark = repetition.repeat()
        self.services.peers.meet()  # until the first process has written all of it
        self.remarks += [one for one in [remark] if one and one not in self.remarks]
        self.changes += [one for one in repetition.changes if one not in self.changes]
        self.done += 1

    def _tensors(self) -> TensorGaps | None:
        """Measure how far the newest weights that all have are apart."""
        from trialbook.engine.weight_diff import tensor_gaps

        places = [self.place(number) for number in range(self.done + 1)]
        common = max(set.intersection(*map(_checkpoints, places)), default=None)
        if common is None:
            return None
        own, *others = (place / "checkpoints" / common for place in places)
        among = [tensor_gaps(*pair) for pair in combinations(others, 2)]
        return TensorGaps(int(common.removeprefix("step-")), [tensor_gaps(own, other) for other in others], among)

    def _lines(self, number: int) -> Path:
        return RunDirectory(self.place(number)).lines("metrics")


def _checkpoints(run: Path) -> set[str]:
    """Names of a run's checkpoints."""
    return {path.name for path in (run / "checkpoints").glob("step-*")}


def _match_weights(recorded: Path, repeated: Path, tolerance: float) -> tuple[WeightMatch | None, str]:
    """The newest checkpoints that both have, compared; or why they were not."""
    from trialbook.engine.checkpoint import CHECKPOINT_ERRORS
    from trialbook.engine.weight_diff import match_weights

    own = _checkpoints(recorded)
    if not own:
        return None, ""
    common = max(own & _checkpoints(repeated), default=None)
    if common is None:
        return None, "weights were not compared: no checkpoint of the run has a counterpart"
    try:
        return match_weights(recorded / "checkpoints" / common, repeated / "checkpoints" / common, tolerance), ""
    except CHECKPOINT_ERRORS as error:
        return None, f"weights were not compared: a checkpoint is broken ({common}: {error})"
