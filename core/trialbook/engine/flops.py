"""The cost of training: floating-point operations, counted on one real batch before the first step; what each stage trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from trialbook.contracts import counting_operations, device_of
from trialbook.engine import optim
from trialbook.engine.stages import StagePlan


def count_flops(
    module: nn.Module, stages: Sequence[StagePlan], losses: Callable[[StagePlan], Mapping[str, Tensor]]
) -> dict[str, Any]:
    """Operations of matrix products, convolutions and attention (a multiplication and an addition count as two).

    What is read from the feature store costs nothing here. Buffers and gradients are as before afterwards.

    Args:
        module: what is trained.
        stages: all stages; each is counted with the parameters that it trains.
        losses: the forward pass of a stage's first micro-batch.
    Returns:
        ``forward_per_sample`` and ``forward_backward_per_sample``, means over the samples of all stages, ``training``, the
        whole of training, and ``stages``, the whole of each.
    """
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    forward = samples = 0.0
    wholes: list[float] = []
    for stage in stages:
        optim.set_trainable(module, stage.trained)
        micro = stage.options.batch_size // stage.options.accumulate
        with counting_operations(device_of(module)) as counter:
            made: Any = losses(stage)["loss"]
            ahead = counter.get_total_flops()
            made.backward()
            both = counter.get_total_flops()
        seen = stage.steps * stage.options.batch_size
        forward, samples = forward + ahead / micro * seen, samples + seen
        wholes.append(both / micro * seen)
    module.zero_grad(set_to_none=True)
    for name, buffer in module.named_buffers():
        buffer.copy_(buffers[name])
    return {
        "forward_per_sample": forward / samples, "forward_backward_per_sample": sum(wholes) / samples,
        "training": sum(wholes), "stages": wholes,
    }  # fmt: skip


def flops_of_all(counts: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """Operations of all processes, from what each has counted: sums, and means over their samples; None where one has not."""
    known = [one for one in counts if one is not None]
    if len(known) < len(counts):
        return None
    if len(known) == 1:
        return dict(known[0])
    means = {key: sum(one[key] for one in known) / len(known) for key in known[0] if key.endswith("_per_sample")}
    stages = [sum(stage) for stage in zip(*(one["stages"] for one in known), strict=True)]
    return {**means, "training": sum(one["training"] for one in known), "stages": stages}


def cost_of_all(clocks: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Time and memory of all processes, from the clock of each.

    Returns:
        ``train_seconds`` and rate are those of the first, which the others keep step with; memory is that of the process that
        needs most. For several there are ``device_seconds``, the sum over them, and the ``peak_memory/<rank>`` of each.
    """
    if len(clocks) == 1:
        return dict(clocks[0])
    peaks = {key: max(one[key] for one in clocks) for key in ("peak_memory", "stage_peak_memory")}
    each = {f"peak_memory/{rank}": one["peak_memory"] for rank, one in enumerate(clocks)}
    return {**clocks[0], **peaks, "device_seconds": sum(one["train_seconds"] for one in clocks), **each}


def describe_stages(
    module: nn.Module, parts: Mapping[str, nn.Module], stages: Sequence[StagePlan], processes: int
) -> dict[str, Any]:
    """Describe what each stage trains.

    Args:
        module: what is trained.
        parts: part name to module; a part may stand outside of ``module``.
        stages: all stages.
        processes: number of them.
    Returns:
        ``trained``: part to the number of its parameters that any stage trains; ``stages``: name, the steps ``start`` to
        ``stop``, samples of a step over all processes, and ``trained`` of each.
    """
    numbers = dict(module.named_parameters())

    def trained(names: Sequence[str]) -> dict[str, int]:
        learning = {id(numbers[name]) for name in names}
        counts = {part: sum(p.numel() for p in own.parameters() if id(p) in learning) for part, own in parts.items()}
        return {part: count for part, count in counts.items() if count}

    told = [
        {
            "name": stage.options.name, "start": stage.start, "stop": stage.stop,
            "batch": stage.options.batch_size * processes, "trained": trained(stage.trained),
        }
        for stage in stages
    ]  # fmt: skip
    return {"trained": trained([name for stage in stages for name in stage.trained]), "stages": told}


@contextmanager
def seeing_shapes(parts: Mapping[str, nn.Module]) -> Iterator[dict[str, dict[str, list[int]]]]:
    """Part to the shapes of what it is given (``in``) and gives (``out``) in its first pass, without the batch axis."""
    seen: dict[str, dict[str, list[int]]] = {}

    def watch(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            ends = {"in": inputs[0] if inputs else None, "out": output[0] if isinstance(output, tuple) else output}
            shapes = {end: list(value.shape[1:]) for end, value in ends.items() if _is_batch(value)}
            seen.setdefault(name, shapes)

        return hook

    handles = [module.register_forward_hook(watch(name)) for name, module in parts.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _is_batch(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim > 1
