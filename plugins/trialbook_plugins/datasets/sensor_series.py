"""Windows of multichannel series, with captions of what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trialbook import TrialbookError
from trialbook.contracts.datasets import LeftOut, Modality, Rows, content_hash
from trialbook_plugins.captioners.sensor_templates import Style
from trialbook_plugins.datasets._captioned import all_texts
from trialbook_plugins.datasets._paths import locate
from trialbook_plugins.datasets._sensor_text import caption_column, make_captioners
from trialbook_plugins.datasets._sensor_windows import Sieve, class_numbers
from trialbook_plugins.datasets._series_facts import Scaling, fit_scaling, series_facts
from trialbook_plugins.datasets._series_files import find_reader
from trialbook_plugins.datasets._series_recording import Fields, Recording, find_zone
from trialbook_plugins.datasets._series_windows import (
    Dealing,
    SplitBy,
    Window,
    cut_all,
    deal_windows,
    refuse_leaked_windows,
)
from trialbook_plugins.datasets._splits import (
    Column,
    Pool,
    PooledDataset,
    PoolSplit,
    refuse_overlap,
    shares_of,
    unknown_modality,
)


class SensorSeries(PooledDataset):
    """Recordings of several channels, cut into windows (``sensor``), with captions (``text``) of what is known of them.

    ``root`` is a folder with a folder of text files for each activity (a row a sample, a column a channel), ``.ts`` files (one,
    or a folder of them), a ``.csv`` or ``.tsv`` file with a header and a row a sample, or an ``.npz`` file with series [R, T, C].
    All windows of a recording, of copies of it, and with ``split_by = "subject"`` of a subject, stand in one split. The scale of
    the channels is fitted on train only. Bad rows stop the reading with file and line, or are left out and listed in
    ``left_out``. Captions are those of the captioner ``sensor-templates``.

    Annotations of a split, a value for each window: ``class`` (int64, place in ``class_names``), ``label``, ``recording``,
    ``subject`` where known, ``facts`` (``key``, ``activity``, ``samples``, ``axis``, ``movement``; ``seconds`` and ``subject``
    where known).

    Args:
        data_root: folder that a relative ``root`` starts from.
        root: where the recordings are.
        window: length of a window, in ``unit``; 0 takes every recording whole.
        stride: from one window's begin to the next's; the length of a window if left out. What is left behind the last whole
            window of a recording is not used.
        unit: of ``window`` and ``stride``; seconds need ``rate``.
        rate: samples a second.
        short: recordings shorter than a window are kept as they are, so that lengths differ, or dropped and listed.
        activities: only these, by the label that the data have; all if left out.
        normalise: put each channel on a scale: mean 0 and standard deviation 1, 0 to 1, or as recorded.
        split_by: what must not stand in two splits, dealt by a hash; ``"time"``: recordings (of a single one, its windows) in
            order of time, the last ones in test; ``"given"``: the splits that the data bring (``_TRAIN.ts``, ``_TEST.ts``,
            ``split``); val is then taken from train, recording by recording, where there is none.
        stratify: deal each activity by itself, so that every split has of each while there are enough recordings.
        val: share of val.
        test: share of test.
        seed: another seed deals differently.
        label: CSV column or NPZ array of the activity.
        recording: CSV column or NPZ array that names the recording; without, a CSV file is one, every NPZ row one.
        subject: CSV column or NPZ array of who was recorded; of text files a regular expression, whose first group is it.
        time: CSV column of the time (a number or ISO; it must ascend in a recording), NPZ array that sorts recordings; of text
            files a regular expression, whose first group sorts recordings.
        timezone: zone of ISO times without an offset, such as ``"Europe/Berlin"``.
        split: CSV column or NPZ array that says train, val or test.
        values: NPZ array of the series.
        channels: CSV columns of the channels (all others if left out); of other files the names of all channels.
        style: what captions tell.
        captions: texts for each window.
        skip_bad: leave out bad rows and list them in ``left_out``, instead of stopping.
        allow_overlap: accept splits that share content.
    Raises:
        TrialbookError: an option is out of its range; on first reading: a row is bad (torn, NaN, another number of channels), no
            window is left, a channel is constant over train, a split is empty, or a window of one split stands in another.
    """

    modalities = {"sensor": "series", "text": "text"}

    def __init__(
        self, data_root: Path | None = None, /, *, root: str, window: float = 0, stride: float | None = None,
        unit: Literal["samples", "seconds"] = "samples", rate: float | None = None, short: Literal["keep", "drop"] = "drop",
        activities: list[str] | None = None, normalise: Scaling = "zscore", split_by: SplitBy = "recording",
        stratify: bool = False, val: float = 0.1, test: float = 0.2, seed: int = 0, label: str = "label",
        recording: str | None = None, subject: str | None = None, time: str | None = None, timezone: str = "UTC",
        split: str | None = None,
        values: str = "series", channels: list[str] | None = None, style: Style = "label", captions: int = 1,
        skip_bad: bool = False, allow_overlap: bool = False,
    ) -> None:  # fmt: skip
        if rate is not None and rate <= 0:
            raise TrialbookError(f"rate ({rate}) must be above 0 samples a second")
        if unit == "seconds" and rate is None:
            raise TrialbookError("unit 'seconds' needs 'rate', the samples a second")
        per_unit = rate if unit == "seconds" and rate is not None else 1.0
        self.window = round(window * per_unit)
        self.stride = self.window if stride is None else round(stride * per_unit)
        if window < 0 or (window and self.window < 2) or (self.window and self.stride < 1):
            raise TrialbookError(f"window ({window}) must be at least 2 samples and stride ({stride}) at least 1")
        self.root = locate(data_root, root)
        self.rate = rate
        self.keep_short = short == "keep"
        self.activities = activities
        self.normalise: Scaling = normalise
        self.preparation = (normalise,)
        self.dealing = Dealing(split_by, shares_of(val, test), seed, stratify)
        self.allow_overlap = allow_overlap
        self._fields = Fields(label, recording, subject, time, split, values, channels, find_zone(timezone))
        self._captioners = make_captioners(style, captions)
        self._sieve = Sieve(skip_bad)

    def describe(self, modality: str) -> Modality:
        """Kind and shape of ``sensor`` or ``text``."""
        if modality == "text":
            return Modality("text", corpus=lambda: all_texts(self.splits()["train"], "text"))
        if modality != "sensor":
            raise unknown_modality(modality, tuple(self.modalities))
        lengths = {len(window.values) for window in self._windows}
        return Modality("series", (lengths.pop() if len(lengths) == 1 else 0, len(self.channel_names)))

    @property
    def left_out(self) -> Sequence[LeftOut]:
        """The rows that were left out, where they stood, and why."""
        assert self._windows  # they are read by then
        return self._sieve.left_out

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Activities in the order of their names."""
        return tuple(sorted({window.recording.label for window in self._windows}))

    @cached_property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the channels, as given, or "channel 1" and so on."""
        count = self._windows[0].values.shape[1]
        named = tuple(self._fields.channels or (f"channel {number}" for number in range(1, count + 1)))
        if len(named) != count:
            raise TrialbookError(f"channels names {len(named)}, but {self.root} has {count}")
        return named

    @cached_property
    def _recordings(self) -> list[Recording]:
        found = find_reader(self.root)(self.root, self._fields, self._sieve)
        labels = sorted({one.label for one in found})
        if not found:
            raise TrialbookError(f"{self.root}: there is no recording")
        if unknown := [name for name in self.activities or () if name not in labels]:
            raise TrialbookError(f"activities: there is no '{unknown[0]}' in {self.root}; it has {', '.join(labels)}")
        return [one for one in found if self.activities is None or one.label in self.activities]

    @cached_property
    def _windows(self) -> list[Window]:
        windows = cut_all(self._recordings, self.window, self.stride, self._sieve, keep_short=self.keep_short)
        if not windows:
            raise TrialbookError(f"{self.root}: no recording is as long as a window ({self.window} samples)")
        return windows

    def _cut(self) -> dict[str, PoolSplit]:
        dealt = deal_windows(self._windows, self.dealing, self._sieve)
        self._sieve.tell(self.root)
        pool = self._pool(dealt["train"])
        splits = {name: pool.split(name, groups) for name, groups in dealt.items()}
        if not self.allow_overlap:
            refuse_overlap(splits, ("sensor",), self.root)
            refuse_leaked_windows(self._windows, dealt, self.root)
        return splits

    def _pool(self, train: Rows) -> Pool:
        """All windows, with a scale and facts that are fitted on those of train."""
        values = [window.values for window in self._windows]
        recordings = [window.recording for window in self._windows]
        keys = [content_hash(one) for one in values]
        offset, factor = fit_scaling([values[i] for i in train], self.normalise, self.channel_names)
        labels: dict[str, Any] = {
            "label": [one.label for one in recordings],
            "recording": [one.unit for one in recordings],
        }
        if any(one.subject for one in recordings):
            labels["subject"] = [one.subject for one in recordings]
        facts = series_facts(values, train, self.channel_names, self.rate, labels, keys)
        labels |= {"class": class_numbers(labels["label"], self.class_names), "facts": facts}
        equal = len({len(one) for one in values}) == 1

        def read(rows: Rows) -> NDArray[np.float32] | list[NDArray[np.float32]]:
            scaled = [(values[row] - offset) * factor for row in rows]
            if wrong := [row for row, one in zip(rows, scaled, strict=True) if not np.isfinite(one).all()]:
                raise TrialbookError(
                    f"{recordings[wrong[0]].source}: numbers too large for float32 once they are normalised"
                )
            return np.stack(scaled) if equal else scaled

        sensor = Column(np.arange(len(values)), read, lambda: keys)
        return Pool(len(values), {"sensor": sensor, "text": caption_column(self._captioners, facts, sensor)}, labels)
