"""Checks of a configuration against the machine that it would run on, without torch."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

from trialbook.config.numerics import numerics_of
from trialbook.config.settings import Settings
from trialbook.config.toml import read_toml
from trialbook.errors import Position
from trialbook.planning.components import TableReport


def check_precision(report: TableReport, settings: Settings) -> None:
    """Refuse ``fp16`` where the run would compute on a CPU.

    A workplace whose ``device`` is ``"cuda"`` is meant for machines that have one, wherever the check is made.
    """
    data = report.document.data
    asked = numerics_of(data, settings.numerics).precision
    if asked != "fp16" or settings.device == "cuda" or (settings.device == "auto" and not lacks_cuda()):
        return
    where = "the device of runner.toml is 'cpu'" if settings.device != "auto" else "this machine has none"
    told = f"precision 'fp16' needs a CUDA device, and {where}; 'bf16' and 'no' work on a CPU"
    if settings.device == "auto":
        told += '; to check for another machine, write device = "cuda" in runner.toml'
    if data.get("train", {}).get("precision", "auto") != "auto":
        report.add(("train",), ("precision",), told)
    elif settings.file is not None:
        place = read_toml(settings.file).positions.get(("precision",), Position(settings.file, 0))
        report.problems.add(place, "", told)


@cache
def lacks_cuda() -> bool:
    """Return whether torch would see no CUDA device here; False where only torch itself can tell (ROCm)."""
    if "torch" in sys.modules:
        import torch

        return not torch.cuda.is_available()
    from importlib import metadata  # late: it is slow to import

    try:
        build = metadata.version("torch").partition("+")[2]
    except metadata.PackageNotFoundError:
        return False
    if build.startswith("rocm"):
        return False
    if build == "cpu" or os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return True
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1" if os.name == "posix" else "nvml.dll")
        count = ctypes.c_uint()
        return library.nvmlInit_v2() != 0 or library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0 or not count.value
    except (OSError, AttributeError):
        return True
