"""The training loop: plain, on accelerate, and exactly resumable.

A step is a function of the parameters, the optimiser's moments and (seed, step): the order of samples, the choice among
captions and dropout are drawn from seeds derived from these, so a checkpoint needs nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import AdamW

from trialbook.checkpoint import Checkpoint, CheckpointStore
from trialbook.contracts import Step, Trains, to_device
from trialbook.engine import optim, state
from trialbook.engine.clock import Clock
from trialbook.errors import TrialbookError
from trialbook.options import CheckpointOptions, EvaluateOptions, StageOptions
from trialbook.records import Event, Record, Timing, answer_name, curve_name
from trialbook.seeding import derive_seed, epoch_order, seed_numpy

_PLAIN = (DistributedType.NO, DistributedType.MULTI_GPU, DistributedType.MULTI_CPU)
"""Where the optimiser needs no wrapper of accelerate's, which looks for optional packages at every step."""


_MPS = torch.backends.mps.is_available()


@dataclass(frozen=True)
class StagePlan:
    """A stage with its place among all steps: it holds the steps ``start`` … ``stop - 1``."""

    options: StageOptions
    start: int
    stop: int
    per_epoch: int
    trained: tuple[str, ...]

    @property
    def steps(self) -> int:
        """Number of optimiser steps."""
        return self.stop - self.start


class _Forward(nn.Module):
    """The task's forward pass as a module, so that accelerate can wrap it (autocast, DDP)."""

    def __init__(self, task: Trains) -> None:
        super().__init__()
        self.parts = task.module()
        self._losses = task.losses

    def forward(self, batch: Any) -> dict[str, Tensor]:
        """Scalar losses of a batch."""
        return self._losses(batch)


class Training:
    """One training run, from a fresh start or from its newest checkpoint.

    Args:
        task: what is trained.
        stages: its stages, in order.
        seed: the run's seed.
        accelerator: device, precision and processes.
        checkpoints: where state is saved.
        evaluate: cadence of evaluations.
        checkpoint: cadence of checkpoints.
    Raises:
        TrialbookError: a stage trains nothing, or its batch is larger than its data.
    """

    def __init__(
        self, task: Trains, stages: list[StageOptions], *, seed: int, accelerator: Accelerator,
        checkpoints: CheckpointStore, evaluate: EvaluateOptions, checkpoint: CheckpointOptions,
    ) -> None:  # fmt: skip
        self.task, self.seed, self.accelerator = task, seed, accelerator
        self.checkpoints, self.evaluate, self.checkpoint = checkpoints, evaluate, checkpoint
        self.forward = _Forward(task)
        self.module = task.module()
        self.stages = _plan_stages(task, self.module, stages, accelerator.num_processes)
        self.total = self.stages[-1].stop
        self.trained = tuple(dict.fromkeys(name for stage in self.stages for name in stage.trained))
        self.step = 0
        self.records = 0
        self._moments: Mapping[str, Tensor] = {}
        self._order: tuple[tuple[str, int], NDArray[np.int64]] | None = None

    def restore(self, recorded: int) -> list[Event]:
        """Go back to the newest sound checkpoint, if there is one; ``records`` then says how many records it has seen.

        Args:
            recorded: records that the run has. A checkpoint that has seen more (the rest was lost with the power, say) is
                passed over, so that they are made again.
        """
        found, passed = self.checkpoints.latest(lambda state: _missing_records(state, recorded))
        self.accelerator.wait_for_everyone()
        events = [Event(found.step if found else 0, "checkpoint-broken", reason) for reason in passed]
        if found is None:
            return events
        state.load_model(self.module, found.tensors["model"], self.trained)
        self._moments = found.tensors.get("optimizer", {})
        self.step, self.records = found.step, int(found.state["records"])
        return [*events, *_resume_events(found)]

    def run(self) -> Iterator[Record | Timing | Event]:
        """Train to the end, evaluating on the way. Each record is taken before anything after it is computed."""
        for stage in self.stages:
            if self.step < stage.stop:
                yield from self._run_stage(stage)
        yield from self._count(self._evaluations(self.stages[-1]))

    def _run_stage(self, stage: StagePlan) -> Iterator[Record | Timing | Event]:
        optim.set_trainable(self.module, stage.trained)
        self.forward = self.accelerator.prepare(_Forward(self.task))  # anew: another stage trains other parameters
        optimizer = optim.make_optimizer(self.module, stage.trained, stage.options)
        if self.step > stage.start:
            state.load_optimizer(optimizer, self.module, self._moments)
        if self.accelerator.scaler is not None or self.accelerator.distributed_type not in _PLAIN:
            optimizer = self.accelerator.prepare(optimizer)
        clock = Clock(stage.options.batch_size * self.accelerator.num_processes, self.accelerator.device)
        while self.step < stage.stop:
            with clock.paused():
                yield from self._count(self._evaluations(stage))
            values = self._optimize(stage, optimizer)
            self.step += 1
            clock.steps += 1
            if values is not None:
                floats = {name: float(value) for name, value in values.items()}
                with clock.paused():
                    yield from self._count([Record(self.step, floats)])
                    yield Timing(self.step, clock.values())
                if bad := state.first_non_finite(floats):
                    raise TrialbookError(
                        f"'{bad}' is {floats[bad]} at step {self.step}; try a lower lr, clipping, or precision 'no'"
                    )
            if self._checkpoint_due(stage):
                with clock.paused():
                    self._save(optimizer)

    def _optimize(self, stage: StagePlan, optimizer: AdamW) -> dict[str, float | Tensor] | None:
        """One optimiser step; its values where they are due to be recorded."""
        options, local = stage.options, self.step - stage.start
        seed_step(self.seed, self.step, self.accelerator.process_index)
        rate = optim.learning_rate(options, local, stage.steps)
        optim.set_learning_rate(optimizer, rate)
        epoch, samples = self._samples(stage, local)
        sums: dict[str, Tensor] = {}
        parts = samples.reshape(options.accumulate, -1)
        for index, micro in enumerate(parts):
            batch = self.task.batch(micro, epoch, Step(self.step, options.name, self.seed))
            batch = to_device(batch, self.accelerator.device)
            if index + 1 < len(parts):
                with self.accelerator.no_sync(self.forward):
                    self._backward(batch, len(parts), sums)
            else:
                self._backward(batch, len(parts), sums)
        values: dict[str, float | Tensor] = {**sums, "lr": rate}
        if options.clip and self.accelerator.sync_gradients:
            learning = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            values["grad_norm"] = self.accelerator.clip_grad_norm_(learning, options.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        self.task.after_step()
        done = local + 1
        return values if done == 1 or done == stage.steps or done % options.log_every == 0 else None

    def _backward(self, batch: Any, micro_batches: int, sums: dict[str, Tensor]) -> None:
        losses = self.forward(batch)
        loss = losses["loss"] if micro_batches == 1 else losses["loss"] / micro_batches
        self.accelerator.backward(loss)
        for name, value in losses.items():
            share = value.detach() if micro_batches == 1 else value.detach() / micro_batches
            sums[name] = sums[name] + share if name in sums else share

    def _samples(self, stage: StagePlan, local: int) -> tuple[int, NDArray[np.int64]]:
        """Epoch and samples of a step on this process: a slice of the epoch's order."""
        size, ranks = stage.options.batch_size, self.accelerator.num_processes
        epoch, position = divmod(local, stage.per_epoch)
        key = (stage.options.name, epoch)
        if self._order is None or self._order[0] != key:
            order = epoch_order(derive_seed(self.seed, stage.options.name), epoch, self.task.size(stage.options.name))
            self._order = (key, order)
        start = position * size * ranks + self.accelerator.process_index * size
        return epoch, self._order[1][start : start + size]

    def _evaluations(self, stage: StagePlan) -> Iterator[Record]:
        """The evaluations that are due at this step: curves at their cadence, the answer at both ends."""
        options = self.evaluate
        same = options.final == options.split
        ends = self.step == self.total or (self.step == 0 and options.at_start)
        if ends or (options.every and self.step and self.step % options.every == 0):
            yield self._evaluate(options.split, [curve_name, *([answer_name] if ends and same else [])])
        if ends and not same:
            yield self._evaluate(options.final, [answer_name])

    def _evaluate(self, split: str, namings: Sequence[Callable[[str, str], str]]) -> Record:
        modes = {module: module.training for module in self.module.modules()}
        self.module.eval()
        seed_step(self.seed, self.step, split)
        with torch.no_grad(), self.accelerator.autocast():
            figures = self.task.evaluate(split)
        for module, mode in modes.items():
            module.training = mode
        if not figures:
            raise TrialbookError(f"the data has no split '{split}' to evaluate; name another in [evaluate]")
        return Record(
            self.step, {naming(split, name): float(value) for naming in namings for name, value in figures.items()}
        )

    def _checkpoint_due(self, stage: StagePlan) -> bool:
        every = self.checkpoint.every
        return self.step == stage.stop or bool(every and self.step % every == 0)

    def _save(self, optimizer: AdamW) -> None:
        if not self.accelerator.is_main_process:
            return
        tensors = {
            "model": state.model_tensors(self.module, self.trained),
            "optimizer": state.optimizer_tensors(getattr(optimizer, "optimizer", optimizer), self.module),
        }
        facts = {"records": self.records, "threads": torch.get_num_threads(), "torch": torch.__version__}
        self.checkpoints.save(self.step, tensors, facts)

    def _count(self, records: Iterable[Record]) -> Iterator[Record]:
        for record in records:
            self.records += 1
            yield record


def seed_step(seed: int, *place: str | int) -> None:
    """Seed Python, numpy and torch for one step or evaluation.

    ``torch.manual_seed`` would do, but where CUDA was never used it queues a call with its traceback each time, which takes
    most of a millisecond.
    """
    derived = derive_seed(seed, "step", *place)
    seed_numpy(derived)
    torch.default_generator.manual_seed(derived)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(derived)
    if _MPS:
        torch.mps.manual_seed(derived)


def _plan_stages(task: Trains, module: nn.Module, stages: list[StageOptions], ranks: int) -> list[StagePlan]:
    plans, start = [], 0
    for options in stages:
        size, samples = options.batch_size * ranks, task.size(options.name)
        per_epoch = samples // size
        if not per_epoch:
            raise TrialbookError(
                f"batch_size ({size} over all processes) is larger than the {samples} training samples"
            )
        steps = options.steps if options.steps is not None else max(1, round((options.epochs or 0) * per_epoch))
        trained = tuple(optim.trainable_names(module, options.train))
        plans.append(StagePlan(options, start, start + steps, per_epoch, trained))
        start += steps
    return plans


def _missing_records(state: Mapping[str, Any], recorded: int) -> str | None:
    """Why a run with so many records cannot go on from a checkpoint with this state, or None if it can."""
    seen = int(state["records"])
    return f"it has seen {seen} records, of which {seen - recorded} are lost" if seen > recorded else None


def _resume_events(found: Checkpoint) -> list[Event]:
    events = [Event(found.step, "resumed", f"went on from the checkpoint at step {found.step}")]
    for fact, now in (("threads", torch.get_num_threads()), ("torch", torch.__version__)):
        if (then := found.state.get(fact)) != now:
            message = f"{fact} was {then} and is {now}: from here on results may differ in the last bits"
            events.append(Event(found.step, "resume-inexact", message))
    return events
