"""The block in which the pretend device is on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from trialbook.testing.pretend_cuda import _tensor
from trialbook.testing.pretend_cuda._autocast import casting
from trialbook.testing.pretend_cuda._device import PretendDevice
from trialbook.testing.pretend_cuda._dispatch import Computer, DispatchMode
from trialbook.testing.pretend_cuda._methods import replace_methods
from trialbook.testing.pretend_cuda._places import place_of_error, plugin_packages
from trialbook.testing.pretend_cuda._runtime import replace_runtime


@contextmanager
def pretend_cuda(packages: Sequence[str] = ()) -> Iterator[PretendDevice]:
    """Let this process have a CUDA device within the block; see the module's docstring for what is imitated.

    Threads that are started through ``threading`` within the block have it, too.

    Args:
        packages: names of installed packages whose code counts as one's own; see ``PretendDevice``.
    Raises:
        RuntimeError: a pretend device is on already.
    """
    if _tensor.pretended() is not None:
        raise RuntimeError("a pretend CUDA device is on already; one block is enough")
    device = PretendDevice(packages)
    device.compute = Computer(device, device.generator)
    with ExitStack() as stack:
        _tensor.set_active(device)
        stack.callback(_tensor.set_active, None)
        replace_methods(stack)
        replace_runtime(stack, device)
        stack.enter_context(casting())
        stack.enter_context(DispatchMode(device))
        yield device


def error_place(error: BaseException) -> str:
    """``file:line function`` of the innermost first-party or plugin code that an error came from."""
    return place_of_error(error, plugin_packages())
