"""A recorded run with the weights of one of its checkpoints: for evaluation, for demonstration, for export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialbook.config.numerics import Numerics, numerics_of, prepare_cublas
from trialbook.config.runspec import RunSpec
from trialbook.config.settings import Settings
from trialbook.config.toml import Document, KeyPath
from trialbook.errors import Position, TrialbookError
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook
from trialbook.registry.ranks import world_size
from trialbook.registry.run_directory import RunDirectory
from trialbook.replay.environment_diff import check_components, find_changes, numerics_then
from trialbook.replay.recorded_run import RecordedRun, read_recorded
from trialbook.replay.weights import fill, find_checkpoint

if TYPE_CHECKING:
    from accelerate import Accelerator

    from trialbook.contracts import Task
    from trialbook.engine.checkpoint import Checkpoint
    from trialbook.replay.rebuild import Rebuilder


@dataclass(frozen=True, repr=False)
class LoadedRun:
    """A recorded run's task with the weights of a checkpoint, on the device and in evaluation mode.

    Args:
        run: its directory.
        spec: its configuration, with those tables replaced that were given in their place.
        task: set up, its trained parts filled.
        checkpoint: name of the checkpoint, or its path where it lies elsewhere.
        step: optimiser steps done when it was saved.
        remarks: what is other than when the run was made, what the checkpoint did not hold, of which step it is.
        builder: what made the parts.
        accelerator: device and precision.
        numerics: how the run's numbers are computed.
        replaced: whether other data than the run's own are there to be evaluated.
    """

    run: RunDirectory
    spec: RunSpec
    task: Task
    checkpoint: str
    step: int
    remarks: tuple[str, ...]
    builder: Rebuilder
    accelerator: Accelerator
    numerics: Numerics
    replaced: bool = False

    def __repr__(self) -> str:
        return f"{self.spec.experiment}/{self.run.path.name}  {self.checkpoint}"

    @property
    def config(self) -> Mapping[str, Any]:
        """The resolved configuration."""
        return self.spec.config

    @property
    def data(self) -> Any:
        """The data that can be evaluated: the run's own, or those given in their place."""
        return getattr(self.builder.dataset, "given", self.builder.dataset)

    @contextmanager
    def computing(self, *place: str | int) -> Iterator[None]:
        """Compute as training does in an evaluation: without gradients, in the run's precision, with its random numbers.

        Args:
            place: where the random numbers are taken from; the step and the split that is evaluated if left out.
        """
        import torch

        from trialbook.engine.compute import computing
        from trialbook.engine.seeding import seed_step

        with computing(self.numerics, self.accelerator.device.type), torch.no_grad(), self.accelerator.autocast():
            seed_step(self.spec.seed, *(place or (self.step,)))
            yield

    def evaluate(self, split: str) -> dict[str, float]:
        """Metrics of a split.

        Raises:
            TrialbookError: the task evaluates nothing there.
        """
        if self.replaced:
            self.builder.asked = split
        with self.computing(self.step, split):
            figures = self.task.evaluate(split)  # type: ignore[attr-defined]
        if not figures:
            raise TrialbookError(f"the task gives no metrics of the split '{split}'")
        return {name: float(value) for name, value in figures.items()}

    def shown(self, split: str) -> Mapping[str, Any]:
        """Return what the last evaluation showed, if it was of ``split``; see ``trialbook.contracts.SupportsEvidence``."""
        from trialbook.contracts import SupportsEvidence

        return self.task.shown(split) if isinstance(self.task, SupportsEvidence) else {}


def load_weights(
    text: str, settings: Settings, host: PluginManager, book: SchemaBook, *, dataset: Mapping[str, Any] | None = None,
    checkpoint: str | None = None, tables: Mapping[str, Any] | None = None,
    positions: Mapping[KeyPath, Position] | None = None,
) -> LoadedRun:  # fmt: skip
    """Build a recorded run's task again and put a checkpoint's weights into it.

    Args:
        text: the run: a path, or what ``mlrun show`` understands; or the path of one of its checkpoints.
        settings: of the workplace; its device is taken, the precision is the run's.
        host, book: the plugins of now.
        dataset: a ``[dataset]`` table to be evaluated in place of the run's own data.
        checkpoint: ``step-N``, or the path of a checkpoint; the newest sound one if left out.
        tables: other tables in place of the run's, by kind: ``metric``, ``evaluate``.
        positions: where the keys of the given tables were written.
    Raises:
        TrialbookError: there is no such run or checkpoint, a component of it is gone, or the checkpoint does not hold all
            that was trained; or several processes are at work.
    """
    from trialbook.engine.compute import computing

    if world_size() > 1:
        raise TrialbookError("a recorded run is loaded by one process; start this command without torchrun")
    run_text, checkpoint = split_checkpoint(text, checkpoint)
    recorded = read_recorded(run_text, settings)
    then = replace(settings, **numerics_then(recorded.environment, settings))
    numerics = numerics_of(recorded.spec.config, then.numerics)
    prepare_cublas([recorded.spec.config], then.numerics)
    name, found, remarks = find_checkpoint(recorded, checkpoint)
    given = {**(tables or {}), **({} if dataset is None else {"dataset": dict(dataset)})}
    spec = _with_tables(recorded.spec, given, positions or {})
    _check(recorded, spec, given, book)
    kept = {kind: table for kind, table in recorded.spec.config.items() if kind not in given}
    same = replace(recorded, spec=replace(recorded.spec, config=kept))
    remarks += [*recorded.doubts, *map(str, find_changes(same, settings, host, book))]
    accelerator, more = _accelerator(recorded, settings, numerics.precision)
    own = _with_tables(recorded.spec, {kind: t for kind, t in given.items() if kind != "dataset"}, positions or {})
    with computing(numerics, settings.device):
        builder, task = _build(recorded, own, None if dataset is None else spec, settings, book, accelerator, found)
    remarks += [
        *more,
        *builder.remarks,
        *fill(recorded.run.path.name, recorded.spec, builder.lineage, task, found),
        *_data_remarks(recorded, builder),
    ]
    builder.place_all()
    task.module().to(accelerator.device).eval()  # type: ignore[attr-defined]
    return LoadedRun(
        recorded.run, spec, task, name, found.step, tuple(remarks), builder, accelerator, numerics, dataset is not None
    )


def split_checkpoint(text: str, checkpoint: str | None = None) -> tuple[str, str | None]:
    """The run and the checkpoint that ``text`` means: it may be the path of a checkpoint.

    Raises:
        TrialbookError: the checkpoint lies in no run, or another one is named as well.
    """
    here = Path(text).absolute()
    if not (here / "manifest.json").is_file():
        return text, checkpoint
    if not RunDirectory(here.parent.parent).is_run():
        raise TrialbookError(f"{text} is a checkpoint of no run: it must lie in its run's folder 'checkpoints'")
    if checkpoint is not None:
        raise TrialbookError(f"{text} is a checkpoint itself; leave '{checkpoint}' out")
    return str(here.parent.parent), str(here)


def _with_tables(spec: RunSpec, given: Mapping[str, Any], positions: Mapping[KeyPath, Position]) -> RunSpec:
    """The same with other tables; keys of theirs that have no position were given on the command line."""
    config = {**spec.config, **given}
    places = {at: place for at, place in spec.positions.items() if at[0] not in given}
    places |= {(kind,): Position(None, 0) for kind in given}
    return replace(spec, config=config, positions={**places, **positions})


def _check(recorded: RecordedRun, spec: RunSpec, given: Mapping[str, Any], book: SchemaBook) -> None:
    """Check that all components are there and take their options; those given by the user are looked at first."""
    for kind, table in given.items():
        for one in table if isinstance(table, list) else [table]:
            if "use" in one:
                book.get(kind, one["use"])
    document = Document(dict(spec.config), dict(spec.positions))
    about = replace(recorded, spec=replace(spec, config=document.data, positions=document.positions))
    check_components(about, book)


def _accelerator(recorded: RecordedRun, settings: Settings, precision: str) -> tuple[Accelerator, list[str]]:
    """Device and precision, and what of it is not as it was."""
    import torch

    from trialbook.engine.execute import available_device, make_accelerator

    if settings.threads:
        torch.set_num_threads(settings.threads)
    device = available_device(settings.device)
    remarks = []
    if precision == "fp16" and device != "cuda":
        remarks.append(f"precision: fp16 then, no (float32) now, as '{device}' has no fp16")
        precision = "no"
    if recorded.threads not in (None, torch.get_num_threads()):
        remarks.append(f"threads: {recorded.threads} then, {torch.get_num_threads()} now")
    return make_accelerator(device, precision), remarks


def _build(
    recorded: RecordedRun, own: RunSpec, other: RunSpec | None, settings: Settings, book: SchemaBook,
    accelerator: Accelerator, found: Checkpoint,
) -> tuple[Rebuilder, Task]:  # fmt: skip
    from trialbook.contracts import Trainable
    from trialbook.engine.builder import BuildContext
    from trialbook.replay.rebuild import Rebuilder

    context = replace(BuildContext.of(settings, book), device=accelerator.device, processes=recorded.processes)
    data = recorded.run.read("data") or {}
    builder = Rebuilder(
        own, context, recorded.inputs, other=other, held=tuple(found.tensors["model"]),
        taken={one["part"]: int(one["loaded"]) for one in data.get("lineage", ())},
    )  # fmt: skip
    task = builder.task()
    if not isinstance(task, Trainable):
        raise TrialbookError(f"the task of {recorded.run.path.name} has no trained parts to load")
    return builder, task


def _data_remarks(recorded: RecordedRun, builder: Rebuilder) -> Iterator[str]:
    """Yield remarks on what has changed in the data, and in earlier runs that parts started from."""
    data = recorded.run.read("data") or {}
    then = data.get("dataset", {}).get("fingerprint")
    if builder.own is not None and then not in (None, builder.own.fingerprint):
        yield f"the run's data have changed: fingerprint {then[:12]} then, {builder.own.fingerprint[:12]} now"
    before = {one["part"]: (one["id"], one["step"]) for one in data.get("lineage", ())}
    for one in builder.lineage:
        if before.get(one.part, (one.id, one.step)) != (one.id, one.step):
            yield f"{one.part} started from another state of {one.run} then than it would now"
