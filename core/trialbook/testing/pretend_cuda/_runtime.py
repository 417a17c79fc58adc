"""All else in a process that tells of a CUDA device: ``torch.cuda``, ``torch.Generator``, libraries that remember it."""

from __future__ import annotations

import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch

from trialbook.testing.pretend_cuda._attributes import replace
from trialbook.testing.pretend_cuda._dispatch import DispatchMode, is_ours
from trialbook.testing.pretend_cuda._tensor import CUDA, active

if TYPE_CHECKING:
    from trialbook.testing.pretend_cuda._device import PretendDevice

NAME = "pretend CUDA device"
_CAPABILITY = (9, 0)
_MEMORY = 80 * 2**30
_SYNC_MODES = {"default": 0, "warn": 1, "error": 2}

#: Modules that remember in a cache whether there is a device.
_REMEMBERING = ("transformers.utils.import_utils", "accelerate.utils.imports", "peft.import_utils")


def replace_runtime(stack: ExitStack, device: PretendDevice) -> None:
    """Replace it until the stack is closed."""
    _forget_devices(stack)
    for name, value in {**_fixed(), **_random(device)}.items():
        for module in (torch.cuda, torch.cuda.memory, torch.cuda.random):
            if name in vars(module) or module is torch.cuda:
                replace(stack, module, name, value)
    replace(stack, torch._C, "_cuda_getCurrentRawStream", _answering(0))  # libraries take it when they are imported
    for name, value in _accelerator().items():
        if hasattr(torch.accelerator, name):
            replace(stack, torch.accelerator, name, value)
    replace(stack, torch, "Generator", _generator_type(device))
    lifted = torch._C._only_lift_cpu_tensors()
    stack.callback(torch._C._set_only_lift_cpu_tensors, lifted)
    torch._C._set_only_lift_cpu_tensors(True)
    _follow_threads(stack, device)
    default = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    stack.callback(torch.set_default_device, None if default is None else default.device)


def _fixed() -> dict[str, Any]:
    """Answers that are always the same."""
    stream = _Stream()
    properties = SimpleNamespace(
        name=NAME, major=_CAPABILITY[0], minor=_CAPABILITY[1], total_memory=_MEMORY, multi_processor_count=1,
        is_integrated=False, is_multi_gpu_board=False, gcnArchName="", warp_size=32, max_threads_per_multi_processor=2048,
    )  # fmt: skip
    answers = {
        "is_available": True, "is_bf16_supported": True, "is_tf32_supported": True, "device_count": 1,
        "get_arch_list": ["sm_90"], "can_device_access_peer": False, "_is_in_bad_fork": False, "_exchange_device": 0,
        "_maybe_exchange_device": 0, "is_current_stream_capturing": False, "current_stream": stream,
        "default_stream": stream, "memory_allocated": 0, "max_memory_allocated": 0, "memory_reserved": 0,
        "max_memory_reserved": 0, "mem_get_info": (_MEMORY, _MEMORY), "memory_stats": defaultdict(int),
        "memory_summary": NAME, "utilization": 0, "empty_cache": None, "ipc_collect": None, "reset_peak_memory_stats": None,
        "reset_accumulated_memory_stats": None, "reset_max_memory_allocated": None, "reset_max_memory_cached": None,
        "set_per_process_memory_fraction": None, "set_stream": None,
    }  # fmt: skip
    beginning = {
        "current_device": 0, "get_device_name": NAME, "get_device_capability": _CAPABILITY, "init": None, "_lazy_init": None,
        "get_device_properties": properties,
    }  # fmt: skip
    found: dict[str, Any] = {name: _answering(value) for name, value in answers.items()}
    found |= {name: _beginning(value) for name, value in beginning.items()}
    found |= {"_initialized": False, "is_initialized": lambda: torch.cuda._initialized}
    found |= {"set_device": _set_device, "_lazy_call": lambda call, **kwargs: call()}
    found |= {"stream": lambda stream: nullcontext(), "synchronize": _synchronize, "Stream": _Stream, "Event": _Event}
    found |= {"get_sync_debug_mode": lambda: active().sync_debug_mode, "set_sync_debug_mode": _set_sync_debug_mode}
    return found


def _random(device: PretendDevice) -> dict[str, Any]:
    """The random numbers of the device: they continue by themselves, beside those of the CPU."""
    generator = device.generator
    return {
        "default_generators": (generator,), "initial_seed": generator.initial_seed,
        "manual_seed": generator.manual_seed, "manual_seed_all": generator.manual_seed,
        "seed": generator.seed, "seed_all": generator.seed,
        "get_rng_state": lambda device=None: generator.get_state(), "get_rng_state_all": lambda: [generator.get_state()],
        "set_rng_state": lambda state, device=None: generator.set_state(state),
        "set_rng_state_all": lambda states: generator.set_state(states[0]),
    }  # fmt: skip


def _accelerator() -> dict[str, Any]:
    answers = {
        "is_available": True, "device_count": 1, "current_device_index": 0, "set_device_index": None, "empty_cache": None,
        "memory_allocated": 0, "max_memory_allocated": 0, "memory_reserved": 0, "max_memory_reserved": 0,
        "reset_peak_memory_stats": None, "get_memory_info": (_MEMORY, _MEMORY), "current_stream": _Stream(),
        "current_accelerator": torch.device("cuda"),
    }  # fmt: skip
    return {name: _answering(value) for name, value in answers.items()} | {"synchronize": _synchronize}


def _answering(value: Any) -> Callable[..., Any]:
    return lambda *args, **kwargs: value


def _beginning(value: Any) -> Callable[..., Any]:
    """A function that initialises CUDA, as whatever touches the device does."""

    def answer(*args: Any, **kwargs: Any) -> Any:
        active().initialize()
        return value

    return answer


def _set_device(device: Any) -> None:
    active().initialize()
    is_ours(torch.device("cuda", device) if isinstance(device, int) else torch.device(device))


def _synchronize(device: Any = None) -> None:
    active().initialize()
    active().waits[active().occurrence("synchronize")] += 1


def _set_sync_debug_mode(mode: int | str) -> None:
    active().sync_debug_mode = _SYNC_MODES[mode] if isinstance(mode, str) else mode


class _Stream:
    """The only stream, on which all is done at once."""

    cuda_stream = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.device = CUDA

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *args: object) -> None:
        return None

    def synchronize(self) -> None:
        """Wait."""
        _synchronize()

    def query(self) -> bool:
        """All is done."""
        return True

    def is_capturing(self) -> bool:
        """No graph is ever captured."""
        return False

    def wait_stream(self, stream: Any) -> None:
        """Nothing to wait for."""

    wait_event = wait_stream

    def record_event(self, event: Any = None) -> _Event:
        """An event of now."""
        made: _Event = event or _Event()
        made.record()
        return made


class _Event:
    """A moment in time."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._at = 0.0

    def record(self, stream: Any = None) -> None:
        """Take the time."""
        self._at = time.perf_counter()

    def synchronize(self) -> None:
        """Wait."""
        _synchronize()

    def wait(self, stream: Any = None) -> None:
        """Nothing to wait for."""

    def query(self) -> bool:
        """It is over."""
        return True

    def elapsed_time(self, end: _Event) -> float:
        """Milliseconds until another event."""
        return (end._at - self._at) * 1000


def _generator_type(device: PretendDevice) -> type:
    """``torch.Generator`` that can be one of the device."""
    plain: Any = torch._C.Generator

    class Kind(type(plain)):  # type: ignore[misc]
        """Generators made before count as well."""

        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, plain)

    class Generator(plain, metaclass=Kind):  # type: ignore[misc]
        """A generator of random numbers of the host or of the device."""

        def __new__(cls, device: Any = "cpu") -> Any:
            home = torch.device(device)
            if home.type != "cuda":
                return plain(device=home)
            made = plain.__new__(cls)
            is_ours(home)
            active().compute.generators.add(made._cdata)
            active().kept.append(made)  # its address must not be given to another
            return made

        def __init__(self, device: Any = "cpu") -> None:
            pass

        @property
        def device(self) -> torch.device:
            return CUDA

    return Generator


def _forget_devices(stack: ExitStack) -> None:
    """Let libraries look for devices again, now and at the end."""

    def forget() -> None:
        for name in _REMEMBERING:
            for function in list(vars(sys.modules.get(name, SimpleNamespace())).values()):
                if callable(getattr(function, "cache_clear", None)):
                    function.cache_clear()

    forget()
    stack.callback(forget)
    before = {name: dict(state) for name, state in _library_states().items()}

    def restore() -> None:
        for name, state in _library_states().items():
            state.clear()
            state.update(before.get(name, {}))  # it may have been imported since

    stack.callback(restore)
    for state in _library_states().values():
        state.clear()


def _library_states() -> dict[str, dict[str, Any]]:
    """Return what libraries that are imported keep of the device for the whole process: accelerate and bitsandbytes."""
    states = {}
    if accelerate := sys.modules.get("accelerate.state"):
        names = ("PartialState", "AcceleratorState", "GradientState")
        states = {name: getattr(accelerate, name)._shared_state for name in names}
    if bitsandbytes := sys.modules.get("bitsandbytes.functional"):
        states["quantization maps"] = bitsandbytes.name2qmap
    return states


def _follow_threads(stack: ExitStack, device: PretendDevice) -> None:
    """Threads that are started while the device is on have it, too: torch keeps modes a thread."""
    start = threading.Thread.start

    def started(thread: threading.Thread) -> None:
        run = thread.run

        def within() -> None:
            with DispatchMode(device):
                run()

        thread.run = within  # type: ignore[method-assign]
        start(thread)

    replace(stack, threading.Thread, "start", started)
