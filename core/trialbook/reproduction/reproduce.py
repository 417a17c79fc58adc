"""A recorded run done once more, from its directory alone, and compared with what it recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialbook.host import PluginHost
from trialbook.progress import Watcher
from trialbook.ranks import is_first_process
from trialbook.reproduction.circumstances import Change, as_then, check_components, check_processes, find_changes
from trialbook.reproduction.recorded import RecordedRun, read_recorded
from trialbook.reproduction.recordmatch import VERDICTS, RecordMatch, match_records
from trialbook.reproduction.repetition import FOLDER, Repetition, remove_repetition
from trialbook.rundir import RunDirectory
from trialbook.schema import SchemaBook
from trialbook.settings import Settings

if TYPE_CHECKING:
    from trialbook.engine.weightmatch import WeightMatch

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
        kept: where the repetition lies, if it was kept.
    """

    recorded: RecordedRun
    records: RecordMatch
    weights: WeightMatch | None
    tolerance: float
    changes: tuple[Change, ...]
    remarks: tuple[str, ...]
    kept: Path | None = None

    @property
    def verdict(self) -> str:
        """``equal``, ``within tolerance`` or ``not equal``: the worse of records and weights."""
        verdicts = [self.records.verdict, *([self.weights.verdict] if self.weights else [])]
        return max(verdicts, key=VERDICTS.index)

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        return {
            "run": f"{self.recorded.spec.experiment}/{self.recorded.run.path.name}",
            "path": str(self.recorded.run.path), "status": self.recorded.status, "verdict": self.verdict,
            "tolerance": self.tolerance, "records": self.records.as_dict(),
            "weights": self.weights.as_dict() if self.weights else None,
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
        self, settings: Settings, host: PluginHost, book: SchemaBook, watcher: Watcher, say: Callable[[str], Any]
    ) -> None:
        self.settings, self.host, self.book, self.watcher, self.say = settings, host, book, watcher, say

    def reproduce(self, text: str, *, tolerance: float = TOLERANCE, keep: bool = False) -> Reproduction | None:
        """Do a run again and compare; the repetition is kept if it differs, or if ``keep`` asks for it.

        Returns:
            None in a process that only computes along.
        Raises:
            TrialbookError: the run cannot be repeated.
        """
        recorded = read_recorded(text, self.settings)
        check_processes(recorded)
        check_components(recorded, self.book)
        settings, changes = as_then(recorded, self.settings)
        changes = [*find_changes(recorded, settings, self.host, self.book), *changes]
        for said in (*recorded.doubts, *map(str, changes)):
            self.say(said)
        place = self.settings.runs / FOLDER / recorded.spec.experiment / recorded.run.path.name
        repetition = Repetition(settings, self.host, self.book, self.watcher, recorded, place, self.say)
        with _threads_restored():
            remark = repetition.repeat()
        if not is_first_process():
            return None
        whole = recorded.status == "finished"
        files = (recorded.run.lines("metrics"), RunDirectory(place).lines("metrics"))
        records = match_records(*files, tolerance=tolerance, whole=whole)
        weights, unseen = _match_weights(recorded.run.path, place, tolerance)
        changes += repetition.changes
        remarks = tuple(filter(None, (*recorded.doubts, remark, unseen)))
        found = Reproduction(recorded, records, weights, tolerance, tuple(changes), remarks)
        if keep or found.verdict == VERDICTS[-1]:
            return replace(found, kept=place)
        remove_repetition(place, self.settings.runs)
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


def _match_weights(recorded: Path, repeated: Path, tolerance: float) -> tuple[WeightMatch | None, str]:
    """The newest checkpoints that both have, compared; or why they were not."""
    from trialbook.engine.weightmatch import match_weights

    steps = [{path.name for path in (run / "checkpoints").glob("step-*")} for run in (recorded, repeated)]
    if not steps[0]:
        return None, ""
    common = max(steps[0] & steps[1], default=None)
    if common is None:
        return None, "weights were not compared: no checkpoint of the run has a counterpart"
    try:
        return match_weights(recorded / "checkpoints" / common, repeated / "checkpoints" / common, tolerance), ""
    except (OSError, ValueError, KeyError, TypeError) as error:
        return None, f"weights were not compared: a checkpoint is broken ({common}: {error})"
