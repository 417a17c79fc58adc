"""The training loop: plain, on accelerate, and exactly resumable.

A step is a function of the parameters, the optimiser's moments and (seed, step): the order of samples, the choice among
captions and dropout are drawn from seeds derived from these, so a checkpoint needs nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import AdamW

from trialbook.config.options import CheckpointOptions, EvaluateOptions, StageOptions
from trialbook.contracts import Step, SupportsWeights, Trainable, to_device
from trialbook.contracts.distributed import everyone, gathering
from trialbook.contracts.records import Event, Facts, Item, ModuleStats, Record, Timing, answer_name, curve_name
from trialbook.engine import optim, state
from trialbook.engine.checkpoint import CheckpointStore
from trialbook.engine.flops import cost_of_all, count_flops, describe_stages, flops_of_all, seeing_shapes
from trialbook.engine.group import mean_of_all, share_buffers, wrapped
from trialbook.engine.guard import UpdateGuard, non_finite_names
from trialbook.engine.instrumentation import Monitor
from trialbook.engine.nonfinite import locate, told_place
from trialbook.engine.oom import is_out_of_memory
from trialbook.engine.seeding import seed_step
from trialbook.engine.stages import SampleOrder, StagePlan, plan_stages
from trialbook.engine.timing import Clock
from trialbook.errors import TrialbookError


class _Forward(nn.Module):
    """The task's forward pass as a module, so that accelerate can wrap it (autocast, DDP)."""

    def __init__(self, task: Trainable) -> None:
        super().__init__()
        self.parts = task.module()
        self._losses = task.losses

    def forward(self, batch: Any) -> dict[str, Tensor]:
        """Scalar losses of a batch."""
        return self._losses(batch)


class Trainer:
    """One training run, from a fresh start or from its newest checkpoint.

    Args:
        task: what is trained.
        stages: its stages, in order.
        seed: the run's seed.
        accelerator: device, precision and processes.
        checkpoints: where state is saved.
        evaluate: cadence of evaluations.
        checkpoint: cadence of checkpoints.
        monitor: looks inside the parts; none does if left out.
        taken: names of tensors that came from an earlier run; checkpoints hold those within the module as well.
        safe_point: called before every step.
    Raises:
        TrialbookError: a stage trains nothing, or its batch is larger than its data.
    """

    def __init__(
        self, task: Trainable, stages: list[StageOptions], *, seed: int, accelerator: Accelerator,
        checkpoints: CheckpointStore, evaluate: EvaluateOptions, checkpoint: CheckpointOptions,
        monitor: Monitor | None = None, taken: Sequence[str] = (), safe_point: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.task, self.seed, self.accelerator = task, seed, accelerator
        self.checkpoints, self.evaluate, self.checkpoint = checkpoints, evaluate, checkpoint
        self.module = task.module().to(
            accelerator.device
        )  # before anything is computed, the count of operations included
        self._safe_point = safe_point
        self.forward = _Forward(task)
        self.monitor = monitor or Monitor(self.module)
        self.stages = plan_stages(task, self.module, stages, accelerator.num_processes)
        self._samples = SampleOrder(task, seed, accelerator.process_index, accelerator.num_processes)
        self.total = self.stages[-1].stop
        self.trained = tuple(dict.fromkeys(name for stage in self.stages for name in stage.trained))
        within = set(self.module.state_dict())
        self._saved = tuple(dict.fromkeys([*self.trained, *(name for name in taken if name in within)]))
        self.step = 0
        self.records = 0
        self._clock: Clock | None = None
        self._moments: Mapping[str, Tensor] = {}
        self._guard = UpdateGuard(
            accelerator.device, scaled=accelerator.scaler is not None, ranks=accelerator.num_processes
        )
        self._buffers_told = False

    def restore(self, recorded: int) -> list[Event]:
        """Go back to the newest sound checkpoint, if there is one; ``records`` then says how many records it has seen.

        Args:
            recorded: records that the run has. A checkpoint that has seen more (the rest was lost with the power, say) is
                passed over, so that they are made again.
        """
        found, passed = self.checkpoints.latest(lambda facts: state.missing_records(facts, recorded))
        state.check_agreement(everyone(found.step if found else None))
        events = [Event(found.step if found else 0, "checkpoint-broken", reason) for reason in passed]
        if found is None:
            return events
        state.check_processes(found, self.accelerator.num_processes)
        state.load_model(self.module, found.tensors["model"], self._saved)
        self._moments = found.tensors.get("optimizer", {})
        if self.accelerator.scaler is not None and "scaler" in found.state:
            self.accelerator.scaler.load_state_dict(found.state["scaler"])
        self.step, self.records = found.step, int(found.state["records"])
        return [*events, *state.resume_events(found)]

    def run(self) -> Iterator[Item]:
        """Train to the end, evaluating on the way. Each record is taken before anything after it is computed."""
        if self.step == 0:
            yield from self._prepare()
        for stage in self.stages:
            if self.step < stage.stop:
                yield from self._run_stage(stage)
        yield from self._evaluations(self.stages[-1])
        yield from self.monitor.frozen(self.step, self.trained)

    def _prepare(self) -> Iterator[Item]:
        """Yield what is found out before the first step."""
        yield from self.monitor.frozen(0, self.trained)
        modules = {part.name: part.module for part in self.monitor.parts}
        yield Facts(0, describe_stages(self.module, modules, self.stages, self.accelerator.num_processes))
        if self.monitor.every:
            flops: dict[str, Any] | None = None
            try:
                with self.accelerator.autocast(), gathering("stand-in"), seeing_shapes(modules) as shapes:
                    flops = count_flops(self.module, self.stages, self._first_losses)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self.module.zero_grad(set_to_none=True)  # training itself may still fit
            if (counted := flops_of_all(everyone(flops))) is None:
                told = "memory ran out while operations were counted, so their number is unknown"
                yield Event(0, "operations-not-counted", told)
            else:
                yield Facts(0, {"flops": counted, "shapes": shapes})

    def _first_losses(self, stage: StagePlan) -> Mapping[str, Tensor]:
        epoch, samples = self._samples.at(stage, 0)
        micro = samples[: len(samples) // stage.options.accumulate]
        seed_step(self.seed, stage.start, self.accelerator.process_index)
        return self.task.losses(self._batch(micro, epoch, stage))

    def _run_stage(self, stage: StagePlan) -> Iterator[Item]:
        optim.set_trainable(self.module, stage.trained)
        if self._clock is not None:
            self.accelerator.free_memory()  # the optimiser and the wrapped module of the stage before
        self.forward = wrapped(self.accelerator, _Forward(self.task))  # again: another stage trains other parameters
        optimizer = optim.make_optimizer(self.module, stage.trained, stage.options)
        if self.step > stage.start:
            state.load_optimizer(optimizer, self.module, self._moments)
        self._moments = {}
        yield from self.monitor.wiring(self.step, stage.options.name, optimizer)
        samples = stage.options.batch_size * self.accelerator.num_processes
        clock = self._clock = Clock(samples, self.accelerator.device, self._clock)
        while self.step < stage.stop:
            self._safe_point()
            if self._evaluation_due():
                with clock.paused():
                    yield from self._evaluations(stage)
            values = self._optimize(stage, optimizer)
            self.step += 1
            clock.steps += 1
            if self.monitor.due(self.step - 1 - stage.start, stage.steps):
                yield from self.monitor.after_update(self.step, optimizer)
            if values is not None:
                floats = {name: float(value) for name, value in values.items()}
                with clock.paused():
                    yield self._counted(Record(self.step, floats))
                    yield Timing(self.step, cost_of_all(everyone(clock.values())))
                yield from self._check_finite(stage, floats)
            if self._checkpoint_due(stage):
                with clock.paused():
                    yield from self._check_finite(stage, {})
                    yield from self._share_buffers()
                    self._save(optimizer)

    def _optimize(self, stage: StagePlan, optimizer: AdamW) -> dict[str, float | Tensor] | None:
        """One optimiser step; its values where they are due to be recorded, or are not finite."""
        options, local = stage.options, self.step - stage.start
        seed_step(self.seed, self.step, self.accelerator.process_index)
        rate = optim.learning_rate(options, local, stage.steps)
        optim.set_learning_rate(optimizer, rate)
        looked_at = self.monitor.due(local, stage.steps)
        epoch, samples = self._samples.at(stage, local)
        sums: dict[str, Tensor] = {}
        micro_batches = samples.reshape(options.accumulate, -1)
        shares = self._shares(micro_batches, epoch, stage)
        for index, (micro, share) in enumerate(zip(micro_batches, shares, strict=True)):
            batch = self._batch(micro, epoch, stage)
            if index + 1 < len(micro_batches):
                with self.accelerator.no_sync(self.forward):
                    self._backward(batch, share, sums)
            else:
                with self.monitor.watching() if looked_at else nullcontext():
                    self._backward(batch, share, sums)
        if self.accelerator.num_processes > 1:
            sums = mean_of_all(sums)  # each process has the losses of its own samples
        values: dict[str, float | Tensor] = {**sums, "lr": rate}
        scaler = self.accelerator.scaler
        if scaler is not None:
            scaler.unscale_(optimizer)
        if looked_at:
            self.monitor.before_update(optimizer)
        norm = optim.clip_gradients(optimizer, options.max_grad_norm)
        if options.max_grad_norm:
            values["grad_norm"] = norm
        spoilt = self._guard.refuses(optimizer, {"grad_norm": norm, **values})
        if scaler is not None:
            scaler.step(optimizer)
            scaler.update()
        elif not spoilt:
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        self.task.after_step()
        done = local + 1
        return values if spoilt or done == 1 or done == stage.steps or done % options.log_every == 0 else None

    def _batch(self, samples: NDArray[np.int64], epoch: int, stage: StagePlan) -> Any:
        batch = self.task.batch(samples, epoch, Step(self.step, stage.options.name, self.seed))
        return to_device(batch, self.accelerator.device)

    def _shares(self, micro_batches: NDArray[np.int64], epoch: int, stage: StagePlan) -> Sequence[float | Tensor]:
        """Return each micro-batch's share of the step, the same for all or as the task weighs them; 1 a process in the mean."""
        if not isinstance(self.task, SupportsWeights) or (
            len(micro_batches) == 1 and self.accelerator.num_processes == 1
        ):
            return [1 / len(micro_batches)] * len(micro_batches)
        at = Step(self.step, stage.options.name, self.seed)
        weights = [self.task.weigh(micro, epoch, at) for micro in micro_batches]
        total: float | Tensor = sum(weights)
        if self.accelerator.num_processes > 1:  # gradients are averaged over processes
            own = torch.tensor(total, dtype=torch.float64, device=self.accelerator.device)
            total = self.accelerator.reduce(own, "mean")
        return [weight / total for weight in weights]

    def _backward(self, batch: Any, share: float | Tensor, sums: dict[str, Tensor]) -> None:
        losses, whole = self.forward(batch), isinstance(share, float) and share == 1
        self.accelerator.backward(losses["loss"] if whole else losses["loss"] * share)
        for name, value in losses.items():
            own = value.detach() if whole else value.detach() * share
            sums[name] = sums[name] + own if name in sums else own

    def _check_finite(self, stage: StagePlan, recorded: Mapping[str, float]) -> Iterator[Item]:
        """Stop a run whose loss or gradient was not finite, naming the step and the module.

        Args:
            stage: the stage of the last step.
            recorded: values of the last step, if they are known.
        Raises:
            TrialbookError: it was.
        """
        bad = self._guard.first_bad(self.step)
        if bad is not None:
            yield from self._not_finite(stage, bad.step, bad.name, bad.value)
        elif name := state.first_non_finite(recorded, gradient=self._guard.immediate):
            yield from self._not_finite(stage, self.step - 1, name, recorded[name])

    def _not_finite(self, stage: StagePlan, at: int, name: str, value: float) -> Iterator[Item]:
        """Go through step ``at`` (from 0) again to find the module, and stop.

        Raises:
            TrialbookError: always.
        """
        failed: dict[str, Any] = {"module": "", "how": "vanished"}
        epoch, samples = self._samples.at(stage, at - stage.start)
        for micro in samples.reshape(stage.options.accumulate, -1):
            batch = to_device(
                self.task.batch(micro, epoch, Step(at, stage.options.name, self.seed)), self.accelerator.device
            )

            def losses(batch: Any = batch) -> Mapping[str, Tensor]:
                seed_step(self.seed, at, self.accelerator.process_index)
                with self.accelerator.autocast(), gathering("stand-in"):
                    return self.task.losses(batch)

            failed = locate(self.module, losses, batch)
            if failed["how"] != "vanished":
                break
        yield ModuleStats(at + 1, "failure", {"step": at + 1, "name": name, "value": str(value), **failed})
        told = f"'{name}' is {value} at step {at + 1}{told_place(failed)}"
        raise TrialbookError(f"{told}; try a lower lr, clipping, or precision 'no'")

    def _evaluation_due(self) -> bool:
        """An evaluation stands before the next step."""
        options = self.evaluate
        return (self.step == 0 and options.at_start) or bool(options.every and self.step % options.every == 0)

    def _evaluations(self, stage: StagePlan) -> Iterator[Item]:
        """The evaluations that are due at this step: curves at their cadence, the answer at both ends."""
        options = self.evaluate
        same = options.final == options.split
        ends = self.step == self.total or (self.step == 0 and options.at_start)
        if ends or (options.every and self.step and self.step % options.every == 0):
            yield from self._evaluate(options.split, [curve_name, *([answer_name] if ends and same else [])])
        if ends and not same:
            yield from self._evaluate(options.final, [answer_name])

    def _evaluate(self, split: str, namings: Sequence[Callable[[str, str], str]]) -> Iterator[Item]:
        modes = {module: module.training for module in self.module.modules()}
        self.module.eval()
        seed_step(self.seed, self.step, split)
        yield from self._share_buffers()
        with torch.no_grad(), self.accelerator.autocast(), gathering("own"):
            figures = self.task.evaluate(split)
        for module, mode in modes.items():
            module.training = mode
        if not figures:
            raise TrialbookError(f"the data has no split '{split}' to evaluate; name another in [evaluate]")
        values = {naming(split, name): float(value) for naming in namings for name, value in figures.items()}
        yield self._counted(Record(self.step, values))
        with torch.no_grad():
            last = self.step == self.total and split == self.evaluate.final
            yield from self.monitor.evaluated(self.step, split, self.task, keep=last)

    def _share_buffers(self) -> Iterator[Event]:
        """Let all processes have the buffers of the first, which a checkpoint holds; say once where they are not the same."""
        if self.accelerator.num_processes == 1:
            return
        differed, told = share_buffers(self.module), self._buffers_told
        self._buffers_told = told or bool(differed)
        if differed and not told:
            message = (
                f"{len(differed)} buffers ({differed[0]}, …) are not the same on all processes: statistics of rows, such as "
                "those of batch normalisation, are those of the first process's share of each batch"
            )
            yield Event(self.step, "buffers-differ", message, {"buffers": differed})

    def _checkpoint_due(self, stage: StagePlan) -> bool:
        every = self.checkpoint.every
        return self.step == stage.stop or bool(every and self.step % every == 0)

    def _save(self, optimizer: AdamW) -> None:
        if not self.accelerator.is_main_process:
            return
        tensors = {
            "model": state.model_tensors(self.module, self._saved),
            "optimizer": state.optimizer_tensors(optimizer, self.module),
        }
        if wrong := non_finite_names(tensors, set(self.trained)):
            raise TrialbookError(f"'{wrong[0]}' is not finite after step {self.step}, so no checkpoint was saved")
        facts = {
            "records": self.records, "threads": torch.get_num_threads(), "torch": torch.__version__,
            "processes": self.accelerator.num_processes,
        }  # fmt: skip
        if self.accelerator.scaler is not None:
            facts["scaler"] = self.accelerator.scaler.state_dict()
        self.checkpoints.save(self.step, tensors, facts)

    def _counted(self, record: Record) -> Record:
        self.records += 1
        return record
