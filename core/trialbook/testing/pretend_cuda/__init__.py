"""A pretend CUDA device: tensors that compute on the CPU and claim to lie on ``cuda:0``, for tests on any machine.

    from trialbook.testing import pretend_cuda

    def test_my_loss_stays_on_the_device():
        with pretend_cuda() as device:
            loss = MyLoss().to("cuda")
            with device.phase("step"):
                loss(embeddings={"image": torch.randn(4, 8, device="cuda"), ...})["loss"].backward()
            assert not device.waits

While it is on, ``torch.cuda.is_available()`` is true, operations on tensors of two devices raise as CUDA's do (tensors of
no dimension on the CPU are taken where CUDA takes them), ``numpy()`` of a tensor on the device raises, and whatever makes
the host wait for the device, or copies to it, is counted with its place in the code. ``torch.autocast("cuda")`` casts what
it casts on CUDA. The device has a random number generator of its own. After the block the process is as it was before;
tensors made in it can no longer be used.

How it is done: the tensors are wrappers (``_tensor``), a dispatch mode sees all operations (``_mode``), autocast has kernels
of ours while the device is on (``_autocast``), and a few functions of ``torch.cuda``, ``torch.Tensor`` and others are
replaced (``_runtime``, ``_methods``).

Not imitated: speed, memory (all its numbers are 0), several devices, NCCL, streams that overlap, CUDA graphs, kernels and
their rounding, asserts on the device, numerical modes (TF32, deterministic algorithms), ``torch.compile``, sparse and nested
tensors, a plain number as a device (``torch.zeros(2, device=0)``), other processes.
"""

from __future__ import annotations

from trialbook.testing.pretend_cuda._context import error_place, pretend_cuda
from trialbook.testing.pretend_cuda._device import PretendDevice
from trialbook.testing.pretend_cuda._faults import DeviceFault, MixedDevices, NotOnHost
from trialbook.testing.pretend_cuda._places import Occurrence
from trialbook.testing.pretend_cuda._tensor import pretended

__all__ = [
    "DeviceFault", "MixedDevices", "NotOnHost", "Occurrence", "PretendDevice", "error_place", "pretend_cuda", "pretended",
]  # fmt: skip
