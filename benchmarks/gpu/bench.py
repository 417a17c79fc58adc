"""The working context of a part of the benchmark: its device, its folder, its rows."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu.rows import Rows


@dataclass(frozen=True)
class Bench:
    """Given to a part.

    Args:
        device: that is measured: ``cuda``, or in a rehearsal ``cpu``.
        rehearsal: everything is small: the code is tried out, not the device.
        folder: of this part, empty at first.
        rows: take what is found.
        of: what the part is asked for, where its module does several things.
    """

    device: str
    rehearsal: bool
    folder: Path
    rows: Rows
    of: str = ""

    def size(self, real: Any, small: Any) -> Any:
        """Return what is used on a GPU, or in a rehearsal."""
        return small if self.rehearsal else real

    def wait(self) -> None:
        """Wait until the device has done what it was given."""
        if self.device == "cuda":
            import torch

            torch.cuda.synchronize()

    def timed(self, program: Callable[[], Any]) -> float:
        """Seconds of a program, with all that it gave the device to do."""
        self.wait()
        started = time.perf_counter()
        program()
        self.wait()
        return time.perf_counter() - started

    def free(self) -> None:
        """Give back what nothing holds any more."""
        gc.collect()
        if self.device == "cuda":
            import torch

            torch.cuda.empty_cache()

    def allocated(self) -> float:
        """MiB of tensors on the device; 0 where it does not count them."""
        if self.device != "cuda":
            return 0.0
        import torch

        return torch.cuda.memory_allocated() / 2**20


@contextmanager
def pretending(wanted: bool) -> Iterator[None]:
    """Let the process have a pretend CUDA device, if it is wanted."""
    if not wanted:
        yield
        return
    import bitsandbytes  # noqa: F401  before: it takes functions of CUDA, where there is a device, when it is imported

    from trialbook.testing.pretend_cuda import pretend_cuda

    with pretend_cuda():
        yield


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def autocast(bench: Bench, precision: str) -> Any:
    """Autocast to ``bf16`` or ``fp16``; nothing for ``no``."""
    import torch

    formats = {"bf16": torch.bfloat16, "fp16": torch.float16}
    return torch.autocast(bench.device, formats[precision]) if precision in formats else nullcontext()
