"""Windows of smart-home logs, with captions of what is known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from trialbook import TrialbookError
from trialbook.contracts.data_files import find_files
from trialbook_plugins.captioners.sensor_templates import Style
from trialbook_plugins.datasets._event_logs import STATES, Log, read_log
from trialbook_plugins.datasets._event_set import EventOptions, EventSet, SplitBy
from trialbook_plugins.datasets._event_windows import Measure
from trialbook_plugins.datasets._paths import locate
from trialbook_plugins.datasets._sensor_windows import Sieve


class SensorEvents(EventSet):
    """Logs of a smart home as CASAS publishes them, cut into windows (``sensor``), with captions (``text``).

    A line is ``YYYY-MM-DD HH:MM:SS.ffffff SENSOR STATE``, between tabs or spaces, and where an activity begins or ends
    ``Activity begin`` or ``Activity end`` behind it (also ``Activity="begin"``); or, where no line says so, the activity of each
    event. An event is of the activity that began last and has not ended, ``Other`` if
    there is none; a window of that of most of its events. Windows without events are left out; they, and with ``skip_bad`` bad
    lines, are counted and listed in ``left_out``. What numbers stand for, and the scale of sensors that bring numbers, is taken
    from train. Captions are those of the captioner ``sensor-templates``.

    Annotations of a split, a value for each window: ``class`` (int64, place in ``class_names``), ``label``, ``recording`` and
    ``subject`` (the log's name), ``facts`` (``key``, ``activity`` but for ``Other``, ``resident``, ``start``, ``seconds``,
    ``events``, ``first_sensor``, ``last_sensor``, ``rooms`` where known).

    Args:
        data_root: folder that a relative ``root`` starts from.
        root: a log, or a folder of them, each of another resident or home.
        files: pattern of the logs in a folder.
        rooms: room of each sensor, or of sensors that fit a pattern (``"M01?"``).
        states: what sensors report beside numbers; the states that CASAS's logs have, if left out.
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
        seed: another seed deals differently.
        style: what captions tell.
        captions: texts for each window.
        skip_bad: leave out bad lines (torn, unknown states, times that go back, ends without a begin) and list them in
            ``left_out``, instead of stopping.
        allow_overlap: accept windows that stand in two splits.
    Raises:
        TrialbookError: an option is out of its range; on first reading: a line is bad (with file and line), no window is left, a
            split is empty, or a window of one split stands in another.

    Source: the logs of CASAS (Cook et al. 2013, "CASAS: a smart home in a box").
    """

    def __init__(
        self, data_root: Path | None = None, /, *, root: str, files: str = "*.txt", rooms: dict[str, str] | None = None,
        states: list[str] | None = None, by: Measure = "duration", window: float = 300, stride: float | None = None,
        activities: list[str] | None = None, split_by: SplitBy = "time", margin: float = 0, val: float = 0.1, test: float = 0.2,
        seed: int = 0, style: Style = "plain", captions: int = 1, skip_bad: bool = False, allow_overlap: bool = False,
    ) -> None:  # fmt: skip
        options = EventOptions(
            by, window, stride, activities, split_by, margin, val, test, seed, style, captions, allow_overlap
        )  # fmt: skip
        super().__init__(options, Sieve(skip_bad))
        self.root = locate(data_root, root)
        self.files = files
        self.rooms = rooms or {}
        self.states = frozenset(state.upper() for state in states or STATES)

    def room_map(self) -> Mapping[str, str]:
        """Sensor, or pattern of sensors, to its room."""
        return self.rooms

    def logs(self) -> Sequence[Log]:
        """The logs, in the order of their names.

        Raises:
            TrialbookError: there is none, one is empty, or a line is bad.
        """
        found = (
            [path for path in find_files(self.root, self.files) if path.is_file()]
            if self.root.is_dir()
            else [self.root]
        )
        if not found:
            raise TrialbookError(f"{self.root}: no file is called {self.files}")
        logs = [read_log(file, file.stem, self.states, self._sieve) for file in found]
        if empty := next((log for log in logs if not log.events), None):
            raise TrialbookError(f"{empty.source}: there is no event")
        return logs
