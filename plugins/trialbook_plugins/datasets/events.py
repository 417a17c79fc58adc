"""Windows of event streams: what datasets with a modality of kind ``events`` read, for encoders of any plugin.

Rows of kind ``events`` are a list of :class:`EventWindow`, one for each row, of any lengths from 1. The modality's ``levels``
are the names of sensors and of states that the numbers in a window stand for; number 0 is one that train does not have.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Name of level 0 of sensors and states: what the train split does not have.
UNSEEN = "(unseen)"
#: Name of the state of an event that brings a number.
NUMBER = "(number)"


class EventWindow(NamedTuple):
    """Events of one window, in order of time.

    Args:
        sensor: int64 [L], places in the modality's ``levels[0]``.
        state: int64 [L], places in the modality's ``levels[1]``.
        value: float32 [L], the number that the event brings, standardised by its sensor's in train; 0 where it brings none.
        seconds: float32 [L], since the window began.
        gap: float32 [L], seconds since the event before in the window; 0 for the first.
        clock: float32 [L, 2], sine and cosine of the time of day.
    """

    sensor: NDArray[np.int64]
    state: NDArray[np.int64]
    value: NDArray[np.float32]
    seconds: NDArray[np.float32]
    gap: NDArray[np.float32]
    clock: NDArray[np.float32]
