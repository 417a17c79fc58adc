"""The pace of a loop that is not ours to stop and start: told of its steps, this times the later ones and looks at the last."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.idle import Idle
from trialbook.engine.trainer import Trainer


class Pace:
    """Times steps without a wait between them.

    Args:
        bench: whose device.
        total: steps of the loop; the first half is warm-up, then steps are timed, in the last sixth the device is watched.

    Attributes:
        seconds: mean of a step.
        idle: share of the time in which the device was idle; None if it was not watched to the end.
    """

    def __init__(self, bench: Bench, total: int) -> None:
        self.bench, self.total = bench, total
        self.first, self.last = total // 2, total - max(1, total // 6)
        self.seconds, self.idle = float("nan"), float("nan")

    def before(self, step: int) -> None:
        """Step ``step`` (from 0) begins, or all are done."""
        if step == self.first:
            self.bench.wait()
            self._since = time.perf_counter()
        if step == self.last:
            self.bench.wait()
            self.seconds = (time.perf_counter() - self._since) / (self.last - self.first)
            self._idle = Idle()
            self._idle.start()
        if step == self.total:
            self.bench.wait()
            self.idle = self._idle.stop()


@contextmanager
def steps_of_runs(pace: Pace) -> Iterator[None]:
    """Within the block, a run of this program tells of its steps."""
    optimize = Trainer._optimize

    def told(training: Trainer, *given: Any) -> Any:
        pace.before(training.step)
        values = optimize(training, *given)
        if training.step + 1 == pace.total:
            pace.before(pace.total)
        return values

    with mock.patch.object(Trainer, "_optimize", told):
        yield
