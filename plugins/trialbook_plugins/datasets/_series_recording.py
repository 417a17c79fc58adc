"""A recording: named columns of readings with their times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from trialbook import TrialbookError


@dataclass(frozen=True, eq=False)
class Recording:
    """Samples that were taken one after the other, all of one activity.

    Args:
        values: [T, C], float32, finite.
        label: the activity.
        unit: name of the recording that it is (a part of).
        source: file, or file and line.
        subject: who was recorded; empty where that is not known.
        time: sorts recordings; empty where that is not known.
        split: the split that it comes with; empty where there is none.
        first: number of its first sample in the recording.
    """

    values: NDArray[np.float32]
    label: str
    unit: str
    source: str
    subject: str = ""
    time: str = ""
    split: str = ""
    first: int = 0


@dataclass(frozen=True)
class Fields:
    """Places of label, recording, subject, time and split: columns of a CSV file, arrays of an NPZ file; of files in folders,
    ``subject`` and ``time`` are regular expressions on the file's name. Times without an offset are of ``zone``."""

    label: str
    recording: str | None
    subject: str | None
    time: str | None
    split: str | None
    values: str
    channels: Sequence[str] | None
    zone: tzinfo


def find_zone(name: str) -> tzinfo:
    """The time zone of this name.

    Raises:
        TrialbookError: it is not known.
    """
    if name == "UTC":  # known where the system has no list of zones, too
        return timezone.utc
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise TrialbookError(
            f"timezone ({name}) is not known; zones are called UTC, Europe/Berlin, America/New_York"
        ) from error
