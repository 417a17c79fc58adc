"""Peak memory of a piece of work, and its end."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

_EVENT = "[memory]"  # name of an allocation in a trace


def wait_for(device: torch.device) -> None:
    """Wait until a device has done all that it was given; a CPU has."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def peak_growth(work: Callable[[], object], device: torch.device) -> int | None:
    """Bytes of tensors that ``work`` holds at most beyond what was there: as a CUDA device's allocator or the CPU's profiler
    counts them; None for devices that count no peak (Apple's MPS)."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    if device.type != "cpu":
        return None
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        work()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        trace.export_chrome_trace(str(file))
        events = [one for one in json.loads(file.read_text())["traceEvents"] if one.get("name") == _EVENT]
    held = peak = 0
    for event in sorted(events, key=lambda one: one["ts"]):
        held += event["args"]["Bytes"]  # below 0 where memory is given back
        peak = max(peak, held)
    return peak
