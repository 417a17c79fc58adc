"""How long training takes and how much memory: what happens beside the steps does not count."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Clock:
    """Samples per second of training; what happens inside ``paused`` does not count."""

    def __init__(self, batch: int, device: torch.device) -> None:
        self.batch, self.device = batch, device
        self.steps = 0
        self.total = 0.0
        self.since = time.perf_counter()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave this out of the training time."""
        self.total += time.perf_counter() - self.since
        yield
        self.since = time.perf_counter()

    def values(self) -> dict[str, float]:
        """Seconds of training in this process, samples per second, peak memory in bytes."""
        return {
            "train_seconds": self.total,
            "samples_per_second": self.steps * self.batch / self.total if self.total else 0.0,
            "peak_memory": float(peak_memory(self.device)),
        }


def peak_memory(device: torch.device) -> int:
    """Largest memory so far in bytes: of the GPU's allocator, or of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
