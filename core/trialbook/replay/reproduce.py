"""A recorded run done once more, from its directory alone, and compared with what it recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialbook.config.numerics import numerics_of, prepare_cublas
from trialbook.config.settings import Settings
from trialbook.execution.peers import Peers
from trialbook.execution.progress import Progress
from trialbook.execution.run_services import RunServices
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook
from trialbook.registry.ranks import is_first_process
from trialbook.replay.environment_diff import Change, as_then, check_components, check_processes, find_changes
from trialbook.replay.noise import MOST, Noise
from trialbook.replay.record_diff import RecordMatch
from trialbook.replay.recorded_run import RecordedRun, read_recorded
from trialbook.replay.trial import Trial, verdict_of

if TYPE_CHECKING:
    from trialbook.engine.weight_diff import WeightMatch

#: Largest difference of two values that counts as none, as a share of the larger of the two.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Reproduction:
    """What became of a repetition.

    Args:
        recorded: the run that was repeated.
        records: its records beside those of the repetition.
        weights: its last weights beside those of the repetition; None where there are none to compare.
        tolerance: above which values are not equal.
        changes: what is other now than when the run was made.
        remarks: what else there is to say: of the record, and of how the repetition ended.
        noise: what several repetitions differ by; None where there was one only.
        kept: where the repetition lies, if it was kept.
    """

    recorded: RecordedRun
    records: RecordMatch
    weights: WeightMatch | None
    tolerance: float
    changes: tuple[Change, ...]
    remarks: tuple[str, ...]
    noise: Noise | None = None
    kept: Path | None = None

    @property
    def verdict(self) -> str:
        """``equal``, ``within tolerance``, ``within noise`` or ``not equal``."""
        return verdict_of(self.records, self.weights, self.noise)

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        return {
            "run": f"{self.recorded.spec.experiment}/{self.recorded.run.path.name}",
            "path": str(self.recorded.run.path), "status": self.recorded.status, "verdict": self.verdict,
            "tolerance": self.tolerance, "records": self.records.as_dict(),
            "weights": self.weights.as_dict() if self.weights else None,
            "noise": self.noise.as_dict() if self.noise else None,
            "changes": [vars(change) for change in self.changes], "remarks": list(self.remarks),
            "kept": None if self.kept is None else str(self.kept),
        }  # fmt: skip


class Reproducer:
    """Repeats recorded runs.

    Args:
        settings: of the workplace. Device and precision are those that a run recorded, where they are here.
        host, book: plugins and schemas of now.
        watcher: shows progress.
        say: told in a sentence each what is other now, before anything is computed.
    """

    def __init__(
        self, settings: Settings, host: PluginManager, book: SchemaBook, watcher: Progress, say: Callable[[str], Any]
    ) -> None:
        self.settings, self.host, self.book, self.watcher, self.say = settings, host, book, watcher, say

    def reproduce(
        self, text: str, *, tolerance: float = TOLERANCE, keep: bool = False, repetitions: int | None = None
    ) -> Reproduction | None:
        """Do a run again and compare; the repetition is kept if it differs, or if ``keep`` asks for it.

        Args:
            text: the run: a path, or what ``mlrun show`` understands.
            tolerance: largest difference of two values that counts as none.
            keep: also where it is equal.
            repetitions: at most; where the run differs from the first one, the others tell whether by more than they do among
                themselves. If left out 4 on a GPU and 1 on a CPU. Where the run is deterministic there is one.
        Returns:
            None in a process that only computes along.
        Raises:
            TrialbookError: the run cannot be repeated.
        """
        recorded = read_recorded(text, self.settings)
        check_processes(recorded)
        check_components(recorded, self.book)
        settings, changes = as_then(recorded, self.settings)
        deterministic = numerics_of(recorded.spec.config, settings.numerics).deterministic
        prepare_cublas([recorded.spec.config], settings.numerics)
        changes = [*find_changes(recorded, settings, self.host, self.book), *changes]
        for said in (*recorded.doubts, *map(str, changes)):
            self.say(said)
        usual = MOST if settings.device != "cpu" else 1
        services = RunServices(
            settings, self.host, self.book, self.watcher, peers := Peers(), plots=False, observed=False
        )
        trial = Trial(services, recorded, self.say, tolerance, 1 if deterministic else repetitions or usual)
        with _threads_restored(), peers:
            trial.run()
        if not is_first_process():
            return None
        remarks = [*recorded.doubts, *trial.remarks]
        if deterministic and trial.verdict == "not equal":
            remarks.append("the run is deterministic, so that no noise of the device can be the reason")
        found = Reproduction(
            recorded, trial.records, trial.weights, tolerance, (*changes, *trial.changes), tuple(remarks), trial.noise,
            trial.place(1) if keep or trial.verdict == "not equal" else None,
        )  # fmt: skip
        trial.tidy(keep=found.kept is not None)
        return found


@contextmanager
def _threads_restored() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)
