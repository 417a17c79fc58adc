"""Windows of sensor data as tokens: patches of series, events of logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trialbook import TrialbookError
from trialbook.contracts import Reconstruction
from trialbook.contracts.datasets import Modality, Raw
from trialbook_plugins.datasets.events import EventWindow

_TIME_FEATURES = 4
_LONG = 10.0
"""A logarithm of seconds (1 + s) that is long: a few hours."""


class SeriesRows(NamedTuple):
    """Prepared series: values [B, N P, C], 0 behind the end of a row, and how many samples each row has [B], on the CPU."""

    values: Tensor
    lengths: NDArray[np.int64]


class EventRows(NamedTuple):
    """Prepared events, all [B, L] and 0 behind the end of a row: sensors, states, values, times [B, L, 4]; which are events, on
    the CPU."""

    sensor: Tensor
    state: Tensor
    value: Tensor
    times: Tensor
    real: NDArray[np.bool_]


class Reconstructor(nn.Module):
    """Vectors in the place of hidden tokens, and linear maps from tokens to what was hidden.

    Args:
        width: D, of the tokens.
        sizes: name of what is predicted to its number of values or classes.
    """

    def __init__(self, width: int, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.token = nn.Parameter(0.02 * torch.randn(width))
        self.heads = nn.ModuleDict({name: nn.Linear(width, size) for name, size in sizes.items()})


class SeriesTokens(nn.Module):
    """Patches of series, flattened sample by sample and mapped by one linear layer.

    Args:
        modality: of kind ``series``.
        width: D, of the tokens.
        patch: P, samples of a patch; the last one of a row is filled up with 0.
        max_length: patches of a row at most; longer rows are cut.
    """

    def __init__(self, modality: Modality, width: int, patch: int, max_length: int) -> None:
        super().__init__()
        if patch < 1:
            raise TrialbookError(f"patch ({patch}) must be at least 1")
        length, self.channels = modality.shape
        self.patch, self.longest = patch, patch * max_length
        self.count = min(-(-length // patch), max_length)  # 0 where lengths differ
        self.embedding = nn.Linear(patch * self.channels, width)
        nn.init.xavier_uniform_(self.embedding.weight)
        nn.init.zeros_(self.embedding.bias)

    def prepare(self, raw: Raw) -> SeriesRows:
        """Rows [T, C] of any lengths."""
        rows = [np.asarray(row, dtype=np.float32)[: self.longest] for row in raw]
        if wrong := [row.shape for row in rows if row.ndim != 2 or row.shape[1] != self.channels or not len(row)]:
            raise TrialbookError(f"a series must be [T, {self.channels}] with T above 0, not {list(wrong[0])}")
        lengths = np.array([len(row) for row in rows])
        count = -(-int(lengths.max()) // self.patch)
        values = np.zeros((len(rows), count * self.patch, self.channels), dtype=np.float32)
        for place, row in enumerate(rows):
            values[place, : len(row)] = row
        return SeriesRows(torch.from_numpy(values), lengths)

    def mask(self, rows: SeriesRows) -> Tensor:
        """Return which patches hold a sample: [B, N], on the CPU."""
        starts = self.patch * np.arange(rows.values.shape[1] // self.patch)
        return torch.from_numpy(starts < rows.lengths[:, None])

    def forward(self, rows: SeriesRows) -> tuple[Tensor, Tensor | None]:
        """Tokens [B, N, D]; nothing is told of hidden patches but their place."""
        tokens: Tensor = self.embedding(self.patches(rows.values))
        return tokens, None

    def patches(self, values: Tensor) -> Tensor:
        """[B, N P, C] -> [B, N, P C]."""
        return values.reshape(len(values), -1, self.patch * self.channels)

    def sizes(self) -> dict[str, int]:
        """Return what is predicted of a hidden patch: all its values."""
        return {"patch": self.patch * self.channels}

    def reconstructions(self, rows: SeriesRows, predicted: Mapping[str, Tensor]) -> dict[str, Reconstruction]:
        """Values of every patch beside those predicted; samples behind the end of a row do not count."""
        real = torch.from_numpy(np.arange(rows.values.shape[1]) < rows.lengths[:, None])
        real = real[..., None].expand(rows.values.shape)
        return {"patch": Reconstruction(predicted["patch"], self.patches(rows.values), self.patches(real))}


class EventTokens(nn.Module):
    """Events as the sum of vectors of sensor, state, value and times.

    Args:
        modality: of kind ``events``; its levels are sensors and states.
        width: D, of the tokens.
        max_length: events of a row at most; longer rows are cut.
    """

    def __init__(self, modality: Modality, width: int, max_length: int) -> None:
        super().__init__()
        if len(modality.levels) != 2:
            raise TrialbookError("a modality of kind 'events' must name sensors and states in its levels")
        self.longest = max_length
        self.count = 0
        sensors, states = map(len, modality.levels)
        self.sensors = nn.Embedding(sensors, width)
        self.states = nn.Embedding(states, width)
        self.value = nn.Parameter(torch.empty(width))
        self.times = nn.Linear(_TIME_FEATURES, width)
        for weight in (self.sensors.weight, self.states.weight, self.value):
            nn.init.normal_(weight, std=width**-0.5)

    def prepare(self, raw: Raw) -> EventRows:
        """Windows of any numbers of events."""
        windows: Sequence[EventWindow] = [EventWindow(*(part[: self.longest] for part in window)) for window in raw]
        if any(not len(window.sensor) for window in windows):
            raise TrialbookError("a window without any event cannot be encoded: leave it out")
        return EventRows(
            sensor=_padded([window.sensor for window in windows]),
            state=_padded([window.state for window in windows]),
            value=_padded([window.value for window in windows]),
            times=_padded([_times(window) for window in windows]),
            real=_padded([np.ones(len(window.sensor), dtype=bool) for window in windows]).numpy(),
        )

    def mask(self, rows: EventRows) -> Tensor:
        """Return which are events: [B, L], on the CPU."""
        return torch.from_numpy(rows.real)

    def forward(self, rows: EventRows) -> tuple[Tensor, Tensor]:
        """Return what happened [B, L, D], and when: of hidden events only the latter is told."""
        what = self.sensors(rows.sensor) + self.states(rows.state) + rows.value[..., None] * self.value
        return what, self.times(rows.times)

    def sizes(self) -> dict[str, int]:
        """Return what is predicted of a hidden event: its sensor and its state."""
        return {"sensor": self.sensors.num_embeddings, "state": self.states.num_embeddings}

    def reconstructions(self, rows: EventRows, predicted: Mapping[str, Tensor]) -> dict[str, Reconstruction]:
        """Sensor and state of every event beside the logits of those predicted."""
        return {
            "sensor": Reconstruction(predicted["sensor"], rows.sensor),
            "state": Reconstruction(predicted["state"], rows.state),
        }


def _times(window: EventWindow) -> Any:
    """Return when the events of a window happened, in numbers around 1: [L, 4]."""
    seconds, gap = (np.log1p(part)[:, None] / _LONG for part in (window.seconds, window.gap))
    return np.concatenate([seconds, gap, window.clock], axis=1)


def _padded(parts: Sequence[Any]) -> Tensor:
    """Arrays [L, ...] of any L as one [B, L, ...], filled up with 0."""
    return nn.utils.rnn.pad_sequence([torch.from_numpy(np.ascontiguousarray(part)) for part in parts], batch_first=True)
