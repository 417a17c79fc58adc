"""Generated logs of a small home, with the truth behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from trialbook import TrialbookError
from trialbook_plugins.captioners.sensor_templates import Style
from trialbook_plugins.datasets._event_logs import Log, LogEvent, write_log
from trialbook_plugins.datasets._event_set import EventOptions, EventSet, SplitBy
from trialbook_plugins.datasets._event_windows import Measure
from trialbook_plugins.datasets._home import SENSOR_ROOMS, Noise, Stay, live, sense
from trialbook_plugins.datasets._sensor_windows import Sieve


class SmartHome(EventSet):
    """Generated logs of a small home, in which residents live one at a time, cut into windows as ``sensor-events`` does.

    Seven rooms with motion sensors, a front door and two thermometers. Each resident has hours, a pace and habits of their own
    and follows a daily routine of nine activities; what is between them is ``Other``. Sensors miss some events and raise false
    alarms. ``truth`` says where each resident was and what they did, and ``export`` writes the logs as CASAS does, for
    ``sensor-events`` to read.

    Annotations of a split and facts are those of ``sensor-events``.

    Args:
        residents: how many, each with a log.
        days: of every log.
        missed: share of the events that sensors miss.
        false_alarms: of motion sensors, an hour.
        by: windows last some time, or hold a number of events.
        window: length of a window, in seconds or events.
        stride: from one window's begin to the next's; the length of a window if left out. What is left behind the last whole
            window is not used.
        activities: only windows of these; all, ``Other`` among them, if left out.
        split_by: in order of time, each log by itself, the last windows in test; by days, which windows then do not cross; or by
            residents (logs); the latter two are dealt by a hash.
        margin: seconds behind each boundary in time that no split has.
        val: share of val.
        test: share of test.
        seed: another seed makes other residents and deals differently.
        style: what captions tell.
        captions: texts for each window.
    Raises:
        TrialbookError: an option is out of its range, or a split is empty.
    """

    def __init__(
        self, *, residents: int = 2, days: int = 14, missed: float = 0.05, false_alarms: float = 0.5, by: Measure = "duration",
        window: float = 300, stride: float | None = None, activities: list[str] | None = None, split_by: SplitBy = "day",
        margin: float = 0, val: float = 0.1, test: float = 0.2, seed: int = 0, style: Style = "plain", captions: int = 1,
    ) -> None:  # fmt: skip
        if residents < 1 or days < 1:
            raise TrialbookError(f"residents ({residents}) and days ({days}) must be at least 1")
        if not 0 <= missed < 1 or false_alarms < 0:
            raise TrialbookError(
                f"missed ({missed}) must be from 0 to below 1, false_alarms ({false_alarms}) not below 0"
            )
        options = EventOptions(
            by, window, stride, activities, split_by, margin, val, test, seed, style, captions, False
        )
        super().__init__(options, Sieve(skip_bad=False))
        self.residents = residents
        self.days = days
        self.noise = Noise(missed, false_alarms)
        self.seed = seed

    def room_map(self) -> Mapping[str, str]:
        """Sensor to its room."""
        return SENSOR_ROOMS

    @cached_property
    def truth(self) -> Mapping[str, Sequence[Stay]]:
        """Name of each resident to their stays, in order of time and without a gap."""
        return {
            f"resident{number + 1}": live(np.random.default_rng([self.seed, number, 0]), self.days)
            for number in range(self.residents)
        }

    def logs(self) -> Sequence[Log]:
        """A log for each resident."""
        return [
            Log(name, f"generated log of {name}", events, range(1, len(events) + 1))
            for name, events in self._events.items()
        ]

    def export(self, folder: Path) -> list[Path]:
        """Write a log for each resident, as CASAS publishes them, into an existing folder; returns the files."""
        files = []
        for name, events in self._events.items():
            files.append(folder / f"{name}.txt")
            write_log(files[-1], events)
        return files

    @cached_property
    def _events(self) -> dict[str, list[LogEvent]]:
        return {
            name: sense(np.random.default_rng([self.seed, number, 1]), stays, self.noise)
            for number, (name, stays) in enumerate(self.truth.items())
        }
