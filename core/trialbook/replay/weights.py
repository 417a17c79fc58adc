"""Choosing one of a recorded run's checkpoints, and putting its weights into the parts made again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialbook.config.runspec import RunSpec
from trialbook.errors import TrialbookError
from trialbook.replay.recorded_run import RecordedRun

if TYPE_CHECKING:
    from trialbook.engine.checkpoint import Checkpoint
    from trialbook.engine.warm_start import Lineage

#: Names that a message lists at most.
_MOST_NAMES = 6


def find_checkpoint(recorded: RecordedRun, wanted: str | None) -> tuple[str, Checkpoint, list[str]]:
    """Name and content of a checkpoint, and what there is to say of it.

    Args:
        recorded: the run.
        wanted: ``step-N``, or a path; the newest sound one if left out.
    Raises:
        TrialbookError: there is none, or it is broken.
    """
    from trialbook.engine.checkpoint import CHECKPOINT_ERRORS, CheckpointStore, read_checkpoint

    store = CheckpointStore(recorded.run.path / "checkpoints")
    there = {path.name: path for path in store.paths()}
    run = recorded.run.path.name
    if wanted is None:
        found, passed = store.latest()
        if found is None:
            why = f"no sound checkpoint ({passed[0]})" if passed else "no checkpoint, so there are no weights to load"
            raise TrialbookError(f"{run} ({recorded.status}) has {why}")
        name, broken = f"step-{found.step:08d}", [f"a broken checkpoint was passed over: {one}" for one in passed]
        return name, found, [*broken, *_step_remark(recorded, found.step)]
    number = wanted.removeprefix("step-")
    path = there.get(f"step-{int(number):08d}") if number.isdigit() else Path(wanted)
    if path is None or not (path / "manifest.json").is_file():
        held = ", ".join(f"step-{int(one.removeprefix('step-'))}" for one in sorted(there)) or "none"
        raise TrialbookError(f"there is no checkpoint '{wanted}' of {run}; it has {held}")
    try:
        found = read_checkpoint(path)
    except CHECKPOINT_ERRORS as error:
        raise TrialbookError(f"checkpoint {path} is broken: {error}") from error
    inside = path.absolute().parent == store.directory.absolute()
    return path.name if inside else str(path), found, _step_remark(recorded, found.step)


def _step_remark(recorded: RecordedRun, step: int) -> list[str]:
    """Return a remark if the weights are not those of the end of a finished run."""
    last = max(int(line["step"]) for line in recorded.run.read_lines("metrics"))
    if recorded.status == "finished" and step == last:
        return []
    return [f"the run is {recorded.status}, its last record of step {last}; the weights are those of step {step}"]


def fill(run: str, spec: RunSpec, lineage: Sequence[Lineage], task: Any, found: Checkpoint) -> list[str]:
    """Put a checkpoint's weights into a task's module, and say what of it the checkpoint did not hold.

    Args:
        run: its name.
        spec: what it was made from.
        lineage: what its parts took over from earlier runs.
        task: set up; none of its stages was begun.
        found: the checkpoint.
    Raises:
        TrialbookError: something that was trained or taken over is not in the checkpoint, or it holds what the module has not.
    """
    from trialbook.config.options import stages_of
    from trialbook.engine.optim import trainable_names
    from trialbook.engine.state import load_model, model_tensors

    module, tensors = task.module(), found.tensors["model"]
    names = list(module.state_dict())
    trained = {name for stage in stages_of(dict(spec.config)) for name in trainable_names(module, stage.train)}
    taken = {name for one in lineage for name in one.loaded if name in names}
    needed = model_tensors(module, sorted(trained | taken))
    missing, unknown = sorted(set(needed) - set(tensors)), sorted(set(tensors) - set(names))
    if missing or unknown:
        said = [f"it does not hold {_listed(missing)}, which the run trained or kept"] if missing else []
        said += [f"it holds {_listed(unknown)}, which the run's parts have not"] if unknown else []
        raise TrialbookError(f"the checkpoint of step {found.step} does not fit {run}: {'; '.join(said)}")
    try:
        load_model(module, tensors, sorted(trained))
    except RuntimeError as error:  # a shape differs
        reason = " ".join(str(error).split())
        raise TrialbookError(f"the checkpoint of step {found.step} does not fit {run}: {reason}") from error
    state = module.state_dict()
    held = {state[name].data_ptr() for name in tensors}  # a tensor that is tied to another one stands there once
    made = [name for name in names if name not in tensors and state[name].data_ptr() not in held]
    if not made:
        return []
    parts = sorted({".".join(name.split(".")[:2]) for name in made})
    return [f"not in the checkpoint, as they are not trained, and made as at the run's start: {_listed(parts)}"]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more
