"""A recorded run done once more, from its directory alone, and compared with what it recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from trialbook.config.numerics import numerics_of, prepare_cublas
from trialbook.config.settings import Settings
from trialbook.execution.peers import Peers
from trialbook.execution.progress import Progress
from trialbook.execution.run_services import RunServices
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook
from trialbook.registry.ranks import is_first_process
from trialbook.replay.environment_diff import as_then, check_components, check_processes, find_changes
from trialbook.replay.noise import MOST
from trialbook.replay.recorded_run import read_recorded
from trialbook.replay.reproduction import Reproduction
from trialbook.replay.trial import Trial

#: Largest difference of two values that counts as none, as a share of the larger of the two.
TOLERANCE = 1e-5


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
