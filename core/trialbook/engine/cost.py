"""Floating-point operations of training, counted on one real batch before the first step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from trialbook.engine import optim
from trialbook.engine.stages import StagePlan


def count_flops(
    module: nn.Module, stages: Sequence[StagePlan], losses: Callable[[StagePlan], Mapping[str, Tensor]]
) -> dict[str, float]:
    """Operations of matrix products, convolutions and attention (a multiplication and an addition count as two).

    What is read from the feature store costs nothing here. Buffers and gradients are as before afterwards.

    Args:
        module: what is trained.
        stages: all stages; each is counted with the parameters that it trains.
        losses: the forward pass of a stage's first micro-batch.
    Returns:
        ``forward_per_sample`` and ``forward_backward_per_sample``, means over the samples of all stages, and ``training``, the
        whole of training.
    """
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    forward = whole = samples = 0.0
    for stage in stages:
        optim.set_trainable(module, stage.trained)
        micro = stage.options.batch_size // stage.options.accumulate
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            made: Any = losses(stage)["loss"]
            ahead = counter.get_total_flops()
            made.backward()
            both = counter.get_total_flops()
        seen = stage.steps * stage.options.batch_size
        forward, whole, samples = forward + ahead / micro * seen, whole + both / micro * seen, samples + seen
    module.zero_grad(set_to_none=True)
    for name, buffer in module.named_buffers():
        buffer.copy_(buffers[name])
    return {
        "forward_per_sample": forward / samples, "forward_backward_per_sample": whole / samples, "training": whole,
    }  # fmt: skip
