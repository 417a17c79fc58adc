"""The time and memory that training takes: what happens beside the steps does not count as time."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

_PROC = Path("/proc/self")
#: What Linux resets the high-water mark of a process's memory at.
_RESET_PEAK = "5"


class Clock:
    """Time, samples per second and peak memory of a stage; time inside ``paused`` does not count.

    Args:
        batch: samples of a step.
        device: whose memory counts.
        earlier: the clock of the stage before, in this process.
    """

    def __init__(self, batch: int, device: torch.device, earlier: Clock | None = None) -> None:
        self.batch, self.device = batch, device
        self.steps = 0
        self.before: float = earlier.total if earlier else 0.0
        self.total: float = self.before
        self.highest: int = max(earlier.highest if earlier else 0, peak_memory(device))
        reset_peak(device)
        self.since = time.perf_counter()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave this out of the training time; steps that a GPU has not finished yet are waited for and belong to it."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.total += time.perf_counter() - self.since
        yield
        self.since = time.perf_counter()

    def values(self) -> dict[str, float]:
        """Seconds of training in this process, samples per second of this stage, peak memory in bytes: of all, of the stage."""
        own, peak = self.total - self.before, peak_memory(self.device)
        self.highest = max(self.highest, peak)
        return {
            "train_seconds": self.total,
            "samples_per_second": self.steps * self.batch / own if own else 0.0,
            "peak_memory": float(self.highest),
            "stage_peak_memory": float(peak),
        }


def peak_memory(device: torch.device) -> int:
    """Largest memory in bytes since the peak was reset: of the GPU's allocator, or of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError, ValueError, StopIteration):
        lines = (_PROC / "status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def reset_peak(device: torch.device) -> None:
    """Let the peak begin at what is used now; where the system does not allow that, it resumes from the peak so far."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        (_PROC / "clear_refs").write_text(_RESET_PEAK)
