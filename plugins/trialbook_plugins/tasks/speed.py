"""Task ``speed``: how long encoders take for an image and how much memory, beside one another."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trialbook import TrialbookError
from trialbook.contracts import CPU, Builder, counting_operations, to_device
from trialbook.contracts.records import Event, Facts, Record, Timing

from ._peak import peak_growth, wait_for


class Speed:
    """Seconds, operations and peak memory of encoders on the same images, each also as a ratio to a baseline.

    Encoders take turns, another one first in each round, so that a machine that slows down slows all of them.
    ``<encoder>/seconds`` is
    the median over rounds of a pass over an image, preparation included; ``…/ratio`` the median of the ratios within
    rounds, with a 95% interval. ``<encoder>/memory`` is its weights in bytes and what a pass takes beyond them at its peak. No
    repetition reproduces such values: they stand in ``timing.jsonl``, which ``mlrun reproduce`` does not compare, and
    gates may stand on
    them. What does repeat is recorded as metrics: ``…/tokens`` and ``…/parameters``, and ``…/operations`` of an image in matrix
    products, convolutions and attention (a multiplication and an addition count as two) with their ``ratio``, which is exact: its
    interval is rounding.

    Args:
        device: where it is measured: that of the run.
        modality: what the encoders read.
        baseline: name of the encoder that ratios are taken to; the first if left out.
        batch: images of a pass.
        rounds: how often each encoder is timed.
        warm_up: rounds before that are not counted.

    Raises:
        TrialbookError: an option is out of its range, there is no encoder or no such baseline, or too few images.

    Source: interleaved measurement and medians, as usual in benchmarking; no paper fixes it.
    """

    takes = {"dataset": "one", "encoder": "many"}
    provides = ()
    produces = (
        "*/seconds", "*/seconds/ratio", "*/seconds/ratio/low", "*/seconds/ratio/high", "*/memory", "*/memory/ratio", "*/tokens",
        "*/parameters", "*/operations", "*/operations/ratio", "*/operations/ratio/low", "*/operations/ratio/high",
    )  # fmt: skip
    lower_is_better = produces

    def __init__(
        self, builder: Builder, device: torch.device = CPU, /, *, modality: str = "image", baseline: str | None = None,
        batch: int = 1, rounds: int = 20, warm_up: int = 2,
    ) -> None:  # fmt: skip
        for name, value, least in (("batch", batch, 1), ("rounds", rounds, 3), ("warm_up", warm_up, 0)):
            if value < least:
                raise TrialbookError(f"{name} ({value}) must be at least {least}")
        self._builder, self.modality, self.baseline = builder, modality, baseline
        self.batch, self.rounds, self.warm_up, self._device = batch, rounds, warm_up, device
        self._done = 0

    def setup(self) -> None:
        """Make data and encoders."""
        builder = self._builder
        self.dataset = builder.make("dataset")
        names = builder.names("encoder")
        self.baseline = self.baseline or next(iter(names), None)
        if self.baseline not in names:
            raise TrialbookError(
                f"baseline ('{self.baseline}') is no encoder of the file; there are {', '.join(names) or 'none'}"
            )
        described = self.dataset.describe(self.modality)
        self.encoders: dict[str, Any] = {name: builder.make("encoder", name, modality=described) for name in names}
        for encoder in self.encoders.values():
            encoder.to(self._device).requires_grad_(False).eval()
        split = next(iter(self.dataset.splits().values()))
        if len(split.groups(self.modality)) < self.batch:
            raise TrialbookError(
                f"batch ({self.batch}) is more than the {len(split.groups(self.modality))} rows of '{self.modality}'"
            )
        self._raw = split.read(self.modality, np.arange(self.batch))

    def measured(self, done: int) -> None:
        """So many records are there already."""
        self._done = done

    def measurements(self) -> Iterator[Record | Timing | Facts | Event]:
        """Yield what repeats, a record for each encoder; then what does not."""
        yield Facts(
            0, {"speed": {"device": _describe(self._device), "batch": self.batch, "threads": torch.get_num_threads()}}
        )
        left = list(self.encoders)[self._done :]
        base = self._counted(str(self.baseline))[1] if left else 1
        for name in left:
            tokens, operations = self._counted(name)
            ratio = operations / max(base, 1)
            yield Record(0, {
                f"{name}/tokens": tokens, f"{name}/parameters": _count(self.encoders[name]),
                f"{name}/operations": operations / self.batch, f"{name}/operations/ratio": ratio,
                f"{name}/operations/ratio/low": math.nextafter(ratio, -math.inf),
                f"{name}/operations/ratio/high": math.nextafter(ratio, math.inf),
            })  # fmt: skip
        yield Timing(0, self._seconds())
        yield from self._memories()

    def _pass(self, encoder: nn.Module) -> Any:
        with torch.no_grad():
            return encoder(to_device(encoder.prepare(self._raw), self._device))  # type: ignore[operator]

    def _counted(self, name: str) -> tuple[int, int]:
        """Tokens of an image, and operations of a pass over the batch."""
        with counting_operations(self._device) as counter:
            tokens = self._pass(self.encoders[name]).tokens
        return int(tokens.shape[1]), int(counter.get_total_flops())

    def _seconds(self) -> dict[str, float]:
        """Seconds of an image, and their ratios to the baseline's."""
        names = list(self.encoders)
        taken: dict[str, list[float]] = {name: [] for name in names}
        for number in range(self.warm_up + self.rounds):
            shift = number % len(names)
            for name in names[shift:] + names[:shift]:
                seconds = self._timed(self.encoders[name]) / self.batch
                if number >= self.warm_up:
                    taken[name].append(seconds)
        base = np.array(taken[str(self.baseline)])
        figures: dict[str, float] = {}
        for name in names:
            figures[f"{name}/seconds"] = float(np.median(taken[name]))
            middle, low, high = _median_interval(np.array(taken[name]) / base)
            figures |= {
                f"{name}/seconds/ratio": middle,
                f"{name}/seconds/ratio/low": low,
                f"{name}/seconds/ratio/high": high,
            }
        return figures

    def _timed(self, encoder: nn.Module) -> float:
        wait_for(self._device)
        start = time.perf_counter()
        self._pass(encoder)
        wait_for(self._device)
        return time.perf_counter() - start

    def _memories(self) -> Iterator[Timing | Event]:
        """Bytes of each encoder, and their ratios to the baseline's, where the device counts them."""
        memory = {name: self._memory(encoder) for name, encoder in self.encoders.items()}
        counted = {name: float(value) for name, value in memory.items() if value is not None}
        if not counted:
            what = f"a device of type '{self._device.type}' counts no peak of memory: there are no metrics of it"
            yield Event(0, "memory-not-counted", what)
            return
        least = max(counted[str(self.baseline)], 1.0)
        yield Timing(0, {f"{name}/memory": value for name, value in counted.items()})
        yield Timing(0, {f"{name}/memory/ratio": value / least for name, value in counted.items()})

    def _memory(self, encoder: nn.Module) -> int | None:
        """Bytes of its weights, and of the tensors that a pass holds beyond them; None where the latter are not counted."""
        held = sum(one.nbytes for one in (*encoder.parameters(), *encoder.buffers()))
        growth = peak_growth(lambda: self._pass(encoder), self._device)
        return None if growth is None else held + growth


def _median_interval(values: NDArray[np.float64], replicates: int = 1000) -> tuple[float, float, float]:
    """Median and its 95% percentile bootstrap."""
    drawn = np.random.default_rng(0).integers(len(values), size=(replicates, len(values)))
    low, high = np.quantile(np.median(values[drawn], axis=1), [0.025, 0.975])
    return float(np.median(values)), float(low), float(high)


def _count(encoder: nn.Module) -> int:
    return sum(one.numel() for one in encoder.parameters())


def _describe(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
