"""One run's work, whatever its task does: train, measure, or both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, GradientAccumulationPlugin

from trialbook.config.options import CheckpointOptions, DoctorOptions, EvaluateOptions, stages_of
from trialbook.contracts import Measurable, SupportsNotes, Task, Trainable
from trialbook.contracts.distributed import gathering
from trialbook.contracts.records import Event, Facts, Item, Measured, Record
from trialbook.engine.checkpoint import CheckpointStore
from trialbook.engine.group import PLAIN, join_group, refuse_what_is_not_built
from trialbook.engine.instrumentation import Monitor, PartView
from trialbook.engine.seeding import seed_step
from trialbook.engine.trainer import Trainer
from trialbook.engine.warm_start import Lineage
from trialbook.errors import TrialbookError
from trialbook.registry.ranks import world_size

#: How gradients of several processes are averaged. Parameters without a gradient are looked for in every step: a batch may leave
#: parts out (conversations without images), which would leave the others waiting; and without it torch lays its buckets out again
#: behind the first step, so that three processes or more would not resume bit for bit. It costs below 1% of a step. Buffers are
#: shared where they matter, before evaluations and checkpoints.
_PARALLEL = DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)


@dataclass(frozen=True)
class Start:
    """The point at which a run continues.

    Args:
        records: number of records that stand.
        step: optimiser steps done.
        total: optimiser steps of the whole run; 0 where nothing is trained.
        events: what there is to say about it.
    """

    records: int
    step: int = 0
    total: int = 0
    events: tuple[Event, ...] = ()


def available_device(device: str) -> str:
    """The device that a setting names; ``auto`` takes CUDA where there is a CUDA device, and the CPU elsewhere."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def make_accelerator(device: str, precision: str) -> Accelerator:
    """An Accelerator for one run; runs that follow one another in a process may differ in precision.

    Args:
        device: as ``runner.toml`` has it.
        precision: ``no``, ``bf16`` or ``fp16``.
    Raises:
        TrialbookError: the device is not there, or cannot compute in this precision.
    """
    device = available_device(device)
    if device == "cuda" and not torch.cuda.is_available():
        raise TrialbookError("device 'cuda' is set, but torch sees no CUDA device here")
    if precision == "fp16" and (device == "cpu" or not torch.cuda.is_available()):
        raise TrialbookError("precision 'fp16' needs a CUDA device; 'bf16' and 'no' work on a CPU")
    refuse_what_is_not_built()
    AcceleratorState._reset_state()  # accelerate keeps one precision a process otherwise
    join_group(device)
    once = GradientAccumulationPlugin(num_steps=1)  # accelerate would divide losses by what its launcher was told
    found = Accelerator(
        cpu=device == "cpu", mixed_precision=precision, kwargs_handlers=[_PARALLEL], gradient_accumulation_plugin=once
    )
    if found.num_processes != world_size() or found.distributed_type not in PLAIN:
        raise TrialbookError(
            f"accelerate sees {found.num_processes} processes ({found.distributed_type.value}) where {world_size()} were "
            "started: several are supported on CUDA and on CPUs, started by torchrun"
        )
    return found


def execute(
    task: Task, config: dict[str, Any], *, seed: int, accelerator: Accelerator, checkpoints: Path,
    recorded: Callable[[], int], begin: Callable[[Start], None], parts: Sequence[PartView] = (),
    doctor: DoctorOptions | None = None, lineage: Sequence[Lineage] = (), safe_point: Callable[[], None] = lambda: None,
) -> Iterator[Item]:  # fmt: skip
    """Do the work of a run whose task is set up.

    Args:
        task: implements ``Trainable``, ``Measurable`` or both.
        config: the resolved configuration, for the core's own tables.
        seed: the run's seed.
        accelerator: device and precision.
        checkpoints: directory of the run's checkpoints.
        recorded: tells how many whole records stand in the file, those of an earlier process included.
        begin: told where the run continues, before the first record, and again where measuring skips what is measured.
        parts: all parts that were made, for the doctor.
        doctor: how closely the doctor looks; not at all if left out.
        lineage: what parts took over from earlier runs.
        safe_point: called between steps; what it raises ends the run, which can be resumed.
    Raises:
        TrialbookError: the task does neither, or its options do not fit it.
    """
    trained = steps = 0
    if isinstance(task, Trainable):
        cadence = CheckpointOptions(**config.get("checkpoint", {}))
        training = Trainer(
            task, stages_of(config), seed=seed, accelerator=accelerator,
            checkpoints=CheckpointStore(checkpoints, cadence.keep_last),
            evaluate=EvaluateOptions(**config.get("evaluate", {})), checkpoint=cadence,
            monitor=Monitor(task.module(), parts, doctor.every if doctor else 0),
            taken=[name for one in lineage for name in one.loaded], safe_point=safe_point,
        )  # fmt: skip
        events = training.restore(recorded())
        begin(Start(training.records, training.step, training.total, tuple(events)))
        if lineage and not training.step:
            yield Facts(0, {"lineage": [one.as_dict() for one in lineage]})
            yield from (Event(0, "started-from", str(one)) for one in lineage)
        yield from _notes(task, parts)
        yield from training.run()
        trained, steps = training.records, training.total
    elif not isinstance(task, Measurable):
        raise TrialbookError(f"task {type(task).__name__} neither trains nor measures; see docs/plugins.md")
    if isinstance(task, Measurable):
        done = max(0, recorded() - trained)
        if done or not trained:
            begin(Start(trained + done, steps, steps))
        if not trained:
            yield from _notes(task, parts)
        yield from _measure(task, seed, done)


def _notes(task: object, parts: Sequence[PartView]) -> Iterator[Event | Facts]:
    """Yield the notes of the task and its parts."""
    for one in (task, *(part.module for part in parts)):
        if isinstance(one, SupportsNotes):
            yield from one.notes()


def _measure(task: Measurable, seed: int, done: int) -> Iterator[Measured]:
    task.measured(done)
    items = iter(task.measurements())
    while True:
        seed_step(seed, "measure", done)
        with torch.no_grad(), gathering("own"):
            item = next(items, None)
        if item is None:
            return
        done += isinstance(item, Record)
        yield item
