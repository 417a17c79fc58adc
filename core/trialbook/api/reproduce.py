"""``trialbook.reproduce``: do a recorded run again and say whether the same comes out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialbook.api.app import app_of, open_app
from trialbook.api.run import Run

if TYPE_CHECKING:
    from trialbook.execution.progress import Progress
    from trialbook.replay.reproduction import Reproduction


def reproduce(
    run: Run | Path | str, *, tolerance: float = 1e-5, keep: bool = False, repetitions: int | None = None,
    progress: bool | Progress = False, say: Callable[[str], Any] | None = None, root: Path | str | None = None,
    runs: Path | str | None = None,
) -> Reproduction | None:  # fmt: skip
    """Do a recorded run again, from its directory alone, and compare records and last weights.

    Args:
        run: its name or the beginning of one, its id, or its path.
        tolerance: largest difference of two values that counts as none, as a share of the larger of the two.
        keep: keep the repetition even if the run is equal.
        repetitions: at most, to measure the device's noise; 4 on a GPU and 1 on a CPU if None.
        progress: show progress on the standard error; or what is told of it, as for ``run``.
        say: told in a sentence each what is other now, before anything is computed; it is in ``changes``, too.
        root: folder in which or above which ``runner.toml`` lies; the working directory if None.
        runs: another directory of runs than ``runner.toml`` names.
    Returns:
        The comparison: ``verdict`` is ``equal``, ``within tolerance``, ``within noise`` or ``not equal``. None in a process
        of several that only computes along.
    Raises:
        TrialbookError: there is no such run, or it cannot be repeated.
    """
    from trialbook.execution.progress import progress_of
    from trialbook.replay.reproduce import Reproducer

    app = app_of(run.settings) if isinstance(run, Run) else open_app(runs, root)
    text = str(run.path) if isinstance(run, Run) else str(run)
    reproducer = Reproducer(app.settings, app.host, app.book, progress_of(progress), say or (lambda _: None))
    return reproducer.reproduce(text, tolerance=tolerance, keep=keep, repetitions=repetitions)
