"""The computing of this process: torch's flags, set for a run and put back after it; the device it computes on.

The flags are those of the whole process. Runs that follow one another in it may ask for different ones, so each begins from
flags that are all set, and leaves the process as it found it.
"""

from __future__ import annotations

import ctypes
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from trialbook.config.numerics import CUBLAS_REPEATS, CUBLAS_VARIABLE, Numerics
from trialbook.engine.execute import available_device
from trialbook.errors import TrialbookError

if TYPE_CHECKING:
    from accelerate import Accelerator

#: Kernels of scaled dot-product attention that torch chooses among.
_ATTENTION = ("flash", "mem_efficient", "cudnn", "math")
_NOT_DETERMINISTIC = re.compile(r"(\S+) does not have a deterministic implementation")


@contextmanager
def computing(numerics: Numerics, device: str) -> Iterator[None]:
    """Compute as a run asks for, and after it as before.

    CUDA is initialised on entering, so that the first seed of the run reaches its generators.

    Args:
        numerics: what the run asks for; its ``precision`` is the accelerator's to set.
        device: as ``runner.toml`` has it.
    Raises:
        TrialbookError: the run is deterministic, and cuBLAS cannot be any more, or something inside has no deterministic
            implementation.
    """
    device = available_device(device)
    if device == "cuda" and torch.cuda.is_available():
        if numerics.deterministic:
            _make_cublas_repeat()
        torch.cuda.init()  # type: ignore[no-untyped-call]
    before = _Flags()
    try:
        _set_flags(numerics)
        yield
    except RuntimeError as error:
        if found := _NOT_DETERMINISTIC.search(str(error)):
            told = f"'deterministic' is set, and {found[1]} of torch has no deterministic implementation on '{device}'"
            raise TrialbookError(f"{told}: leave it out, or use other components") from error
        raise
    finally:
        before.restore()


def compute_facts(accelerator: Accelerator) -> dict[str, Any]:
    """Describe for ``env.json`` how and on what a run computes, as it is at this moment: ``compute`` and ``device``."""
    matmul, convolution = _tf32()
    return {
        "device": device_facts(accelerator.device),
        "compute": {
            "processes": accelerator.num_processes,
            "precision": accelerator.mixed_precision,
            "matmul_precision": _matmul_precision(),
            "matmul_tf32": matmul,
            "cudnn_tf32": convolution,
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "attention": [name for name in _ATTENTION if getattr(torch.backends.cuda, f"{name}_sdp_enabled")()],
        },
    }


def device_facts(device: torch.device) -> dict[str, Any]:
    """Describe a device: its type, and of a CUDA device index, name, bytes of memory, capability, versions, number of devices."""
    if device.type != "cuda":
        return {"type": device.type}
    index = torch.cuda.current_device() if device.index is None else device.index
    found = torch.cuda.get_device_properties(index)
    return {
        "type": "cuda", "index": index, "name": found.name, "memory": found.total_memory,
        "capability": f"{found.major}.{found.minor}", "cuda": torch.version.cuda, "cudnn": _cudnn_version(),
        "driver": driver_version(), "visible": torch.cuda.device_count(),
    }  # fmt: skip


def driver_version() -> str | None:
    """Version of NVIDIA's driver, as its management library has it; None where there is none."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    if nvml.nvmlInit_v2() != 0:
        return None
    text = ctypes.create_string_buffer(96)
    failed = nvml.nvmlSystemGetDriverVersion(text, len(text))
    nvml.nvmlShutdown()
    return None if failed else text.value.decode()


def _cudnn_version() -> int | None:
    found: int | None = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return found


def _make_cublas_repeat() -> None:
    """Ask cuBLAS for the same results each time, as long as it can be asked."""
    value = os.environ.get(CUBLAS_VARIABLE)
    if value in CUBLAS_REPEATS:
        return
    if value is not None:
        raise TrialbookError(
            f"{CUBLAS_VARIABLE} is '{value}', and a deterministic run needs {' or '.join(map(repr, CUBLAS_REPEATS))}: unset it"
        )
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        raise TrialbookError(
            f"CUDA is in use already, and a deterministic run needs {CUBLAS_VARIABLE}='{CUBLAS_REPEATS[0]}' before that: "
            "set it before Python starts"
        )
    os.environ[CUBLAS_VARIABLE] = CUBLAS_REPEATS[0]


def _set_flags(numerics: Numerics) -> None:
    torch.use_deterministic_algorithms(numerics.deterministic)
    torch.backends.cudnn.deterministic = numerics.deterministic
    torch.backends.cudnn.benchmark = numerics.cudnn_benchmark
    tf32 = numerics.matmul_precision != "highest"
    with _without_advice():
        torch.set_float32_matmul_precision(numerics.matmul_precision)
        torch.backends.cudnn.allow_tf32 = tf32
    for switch in _switches()[2:]:  # they fall back on those above them, which someone may have set
        if (switch.fp32_precision == "tf32") != tf32:
            switch.fp32_precision = "tf32" if tf32 else "ieee"


class _Flags:
    """The flags as they are when this is made, to be put back."""

    def __init__(self) -> None:
        self.deterministic = torch.are_deterministic_algorithms_enabled()
        self.warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
        self.cudnn = (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark)
        self.matmul_precision, self.cudnn_tf32 = _matmul_precision(), _cudnn_tf32()
        self.switches = [switch.fp32_precision for switch in _switches()]

    def restore(self) -> None:
        """Put them back."""
        torch.use_deterministic_algorithms(self.deterministic, warn_only=self.warn_only)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = self.cudnn
        with _without_advice():
            if self.matmul_precision is not None:
                torch.set_float32_matmul_precision(self.matmul_precision)
            if self.cudnn_tf32 is not None:
                torch.backends.cudnn.allow_tf32 = self.cudnn_tf32
        for switch, value in zip(_switches(), self.switches, strict=True):
            if switch.fp32_precision != value:
                switch.fp32_precision = value


# --- products in float32 -------------------------------------------------------------------------------------------
#
# torch 2.9 brought a switch for each kind of product. Reading the older flags raises an error where a switch says another
# thing, so the older ones are set here, which set the switches as well: libraries read either.


def _switches() -> list[Any]:
    """The switches of torch 2.9 that the older flags stand for; none in older versions."""
    if not hasattr(torch.backends.cudnn, "conv"):
        return []
    backends: Any = torch.backends
    return [backends.cuda.matmul, backends.mkldnn.matmul, backends.cudnn.conv, backends.cudnn.rnn]


def _tf32() -> tuple[bool, bool]:
    """Return whether TF32 is allowed in products of matrices, and in convolutions."""
    if found := _switches():
        return found[0].fp32_precision == "tf32", found[2].fp32_precision == "tf32"
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


def _matmul_precision() -> str | None:
    """The older flag; None where a switch says another thing."""
    with _without_advice():
        try:
            return torch.get_float32_matmul_precision()
        except RuntimeError:
            return None


def _cudnn_tf32() -> bool | None:
    """The older flag; None where the switches say another thing."""
    with _without_advice():
        try:
            return torch.backends.cudnn.allow_tf32
        except RuntimeError:
            return None


@contextmanager
def _without_advice() -> Iterator[None]:
    """Leave out torch 2.9's advice to use its switches alone."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Please use the new API settings")
        yield
