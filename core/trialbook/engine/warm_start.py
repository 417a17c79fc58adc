"""Starting parts from an earlier run's checkpoint, and saying what was found there and what was not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from trialbook.config.run_format import NewerFormat
from trialbook.contracts.files import UnreadableFile
from trialbook.engine.checkpoint import CHECKPOINT_ERRORS, CheckpointStore, read_checkpoint
from trialbook.errors import TrialbookError, suggest
from trialbook.registry.run_directory import RunDirectory, find_runs

#: Names that a message lists at most.
_MOST_NAMES = 4


@dataclass(frozen=True)
class Lineage:
    """The state that a part took over from an earlier run.

    Args:
        part: as the file names it: ``projector.image``.
        run: the earlier run as ``experiment/name``; id: its id; step: of the checkpoint.
        loaded: names of the tensors taken over, within the trained module: ``projector.image.…``.
        missing: parameters of the part that can learn and that the checkpoint did not hold: they are as they were made.
        unused: tensors of the part in the checkpoint that it has no place for.
    """

    part: str
    run: str
    id: str
    step: int
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For the record; numbers of tensors in place of their names, but for those that were not found."""
        return {
            "part": self.part, "run": self.run, "id": self.id, "step": self.step, "loaded": len(self.loaded),
            "missing": list(self.missing), "unused": list(self.unused),
        }  # fmt: skip

    def __str__(self) -> str:
        said = f"{self.part} starts from {self.run}, step {self.step}: {len(self.loaded)} tensors"
        if self.missing:
            said += f"; not found there: {_listed(self.missing)}"
        return f"{said}; found there and not used: {_listed(self.unused)}" if self.unused else said


@dataclass
class Origin:
    """An earlier run that parts start from, with its newest sound checkpoint.

    Args:
        run: its directory.
        checkpoint: the checkpoint's directory, where one was named; else the newest is taken.
    """

    run: RunDirectory
    checkpoint: Path | None = None

    @cached_property
    def step(self) -> int:
        """The checkpoint's step."""
        return self._read[0]

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """Tensors of the model by name."""
        return self._read[1]

    @cached_property
    def _read(self) -> tuple[int, Mapping[str, Tensor]]:
        if self.checkpoint is not None:
            try:
                found = read_checkpoint(self.checkpoint)
            except CHECKPOINT_ERRORS as error:
                raise TrialbookError(f"checkpoint {self.checkpoint} is broken: {error}") from error
            return found.step, found.tensors["model"]
        newest, passed = CheckpointStore(self.run.path / "checkpoints").latest()
        if newest is None:
            why = f": {passed[0]}" if passed else ""
            raise TrialbookError(f"run {self.run.path.name} has no checkpoint to start from{why}")
        return newest.step, newest.tensors["model"]


def find_origin(text: str, runs: Path, inputs: Mapping[str, Path], seed: int) -> Origin:
    """The run that ``from = "…"`` means.

    Args:
        text: an arm that this run needs, ``EXPERIMENT`` or ``EXPERIMENT/ARM`` (the finished run of the same seed, or of the only
            seed), ``EXPERIMENT/RUN``, or a path of a run or of one of its checkpoints.
        runs: directory of all runs.
        inputs: directories of the runs that this run needs, by arm.
        seed: of the run that starts.
    Raises:
        TrialbookError: there is no such run, it is not finished, or several are meant.
    """
    if text in inputs:
        return Origin(RunDirectory(inputs[text]))
    path = Path(text).expanduser()
    for here in (path, runs / text):
        if RunDirectory(here).is_run():
            return Origin(RunDirectory(here))
        if (here / "manifest.json").is_file() and RunDirectory(here.parent.parent).is_run():
            return Origin(RunDirectory(here.parent.parent), here)
    experiment, _, arm = text.partition("/")
    every, damaged = _recorded(runs, experiment)
    found = [(one, facts) for one, facts in every if facts["experiment"] == experiment]
    if not found:
        if damaged is not None:
            raise damaged
        known = sorted({str(facts["experiment"]) for _, facts in every})
        near = suggest(experiment, [*known, *inputs])
        raise TrialbookError(
            f"from = '{text}': no run of '{experiment}' is in {runs}"
            + (f"; did you mean '{near}'?" if near else "; run it first")
        )
    finished = [(one, facts) for one, facts in found if RunDirectory(one).status() == "finished"]
    fitting = [(one, facts) for one, facts in finished if not arm or arm in (facts["arm"], facts["base_arm"])]
    same = [(one, facts) for one, facts in fitting if facts["seed"] == seed]
    if not same and len({facts["seed"] for _, facts in fitting}) == 1:
        same = fitting
    arms = sorted({str(facts["arm"]) for _, facts in finished})
    if not same:
        has = f"it has {', '.join(arms)}, seeds {', '.join(str(s) for s in sorted({f['seed'] for _, f in finished}))}"
        raise TrialbookError(
            f"from = '{text}': no finished run with seed {seed}; {has if arms else 'none is finished'}"
        )
    if len({facts["arm"] for _, facts in same}) > 1:
        raise TrialbookError(f"from = '{text}' may mean several arms: {', '.join(arms)}; say '{experiment}/{arms[0]}'")
    newest = max(same, key=lambda one: RunDirectory(one[0]).json("results").stat().st_mtime)
    return Origin(RunDirectory(newest[0]))


def _recorded(runs: Path, experiment: str) -> tuple[list[tuple[Path, dict[str, Any]]], UnreadableFile | None]:
    """Every run that can be read, with its ``run.json``, and what is wrong with one of the experiment that cannot."""
    found, damaged = [], None
    for one in find_runs(runs):
        try:
            if (facts := RunDirectory(one).read("run")) is not None:
                found.append((one, facts))
        except NewerFormat:
            continue
        except UnreadableFile as error:
            damaged = error if one.parent.name == experiment else damaged
    return found, damaged


def start_part(part: str, module: nn.Module, origin: Origin, *, demanded: bool) -> Lineage:
    """Give a part the tensors that an earlier run's checkpoint holds of it.

    A module whose tensors may have other names in checkpoints (those of an adapted layer, say) has ``aliases() -> Mapping[str,
    str]``: such a name to its own.

    Args:
        part: as the file names it; tensors of the checkpoint are named ``<part>.<name>``.
        module: the part.
        origin: where from.
        demanded: the part itself was said to start from there, so that finding nothing is an error.
    Raises:
        TrialbookError: nothing of the part is in the checkpoint, or a tensor has another shape.
    """
    own = module.state_dict()
    learning = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    aliases: Mapping[str, str] = module.aliases() if hasattr(module, "aliases") else {}  # type: ignore[operator]
    offered = {name[len(part) + 1 :]: t for name, t in origin.tensors.items() if name.startswith(f"{part}.")}
    if not offered and demanded:
        held = sorted({".".join(name.split(".")[:2]) for name in origin.tensors})
        raise TrialbookError(
            f"'{part}' cannot start from {origin.run.path.name}: its checkpoint holds nothing of it (it holds {', '.join(held)})"
        )
    taken: dict[str, Tensor] = {}
    for name, tensor in offered.items():
        at = name if name in own else aliases.get(name, "")
        if at not in own:
            continue
        if own[at].shape != tensor.shape:
            sizes = f"'{name}' is {_shape(tensor)} there and {_shape(own[at])} here"
            raise TrialbookError(f"'{part}' cannot start from {origin.run.path.name}: {sizes}")
        taken[at] = tensor
    module.load_state_dict(taken, strict=False)
    facts = origin.run.read("run") or {}
    unused = tuple(name for name in offered if name not in taken and aliases.get(name, "") not in taken)
    return Lineage(
        part, f"{facts.get('experiment', '')}/{origin.run.path.name}", str(facts.get("id", "")), origin.step,
        tuple(f"{part}.{name}" for name in taken), tuple(sorted(learning - set(taken))), unused,
    )  # fmt: skip


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a number"


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more
