"""The search for leaks: data to be evaluated that a run, or an earlier run its parts started from, was trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from trialbook.config.runspec import RunSpec
from trialbook.contracts.datasets import find_overlaps, modalities_of
from trialbook.errors import TrialbookError
from trialbook.registry.run_directory import RunDirectory

if TYPE_CHECKING:
    from trialbook.replay.load import LoadedRun


@dataclass(frozen=True)
class Leak:
    """Content of an evaluated split that was trained on.

    Args:
        run: whose train split, as ``experiment/name``.
        modality: of the rows.
        rows: rows of the evaluated split that stand there; ``of``: of how many.
    """

    run: str
    modality: str
    rows: int
    of: int

    def __str__(self) -> str:
        return f"{self.rows:,} of the {self.of:,} rows of '{self.modality}' stand in the train split of {self.run}"


def find_leaks(loaded: LoadedRun, split: str) -> tuple[list[Leak], list[str]]:
    """Every overlap of a split with what was trained on, by content hash; and what there is to say of the search."""
    run = f"{loaded.spec.experiment}/{loaded.run.path.name}"
    builder, remarks, leaks = loaded.builder, list[str](), list[Leak]()

    def look(name: str, trained: Any, table: Mapping[str, Any]) -> None:
        own = modalities_of(trained, table)
        common = [one for one in modalities_of(loaded.data, loaded.spec.config["dataset"]) if one in own]
        leaks.extend(_between(name, trained, loaded.data, split, common))

    if split == "train" and not loaded.replaced:
        remarks.append("these are the data that it was trained on")
    elif builder.own is not None:
        look(run, builder.own, builder.spec.config["dataset"])
    for name, facts in _earlier(loaded):
        try:
            dataset, table = _dataset_of(facts, loaded)
            if dataset is not None:
                look(name, dataset, table)
        except (TrialbookError, OSError, KeyError, TypeError) as error:
            remarks.append(f"overlaps with the data of {name}, which parts started from, are unknown: {error}")
    return leaks, remarks


def _between(run: str, trained: Any, data: Any, split: str, modalities: Sequence[str]) -> Iterator[Leak]:
    there, part = trained.splits().get("train"), data.splits()[split]
    for one in find_overlaps({"train": there, "": part}, modalities) if there is not None else ():
        yield Leak(run, one.modality, one.rows, len(part.content(one.modality)))


def _earlier(loaded: LoadedRun) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name and ``run.json`` of the runs that parts started from, those that these started from included."""
    runs = loaded.builder.workshop.runs
    waiting = [str(one.run) for one in loaded.builder.lineage]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop(0)
        if name in seen:
            continue
        seen.add(name)
        run = RunDirectory(runs / name)
        waiting += [one["run"] for one in (run.read("data") or {}).get("lineage", ())]
        yield name, run.read("run") or {}


def _dataset_of(facts: Mapping[str, Any], loaded: LoadedRun) -> tuple[Any, Mapping[str, Any]]:
    """The data of an earlier run and their table; None where it had none, or those of the run itself."""
    from trialbook.engine.builder import RunBuilder

    spec = RunSpec.from_json(facts)
    table = spec.config.get("dataset")
    if table is None or table == loaded.builder.spec.config.get("dataset"):
        return None, {}
    return RunBuilder(replace(spec, config={"dataset": table}), loaded.builder.workshop).make("dataset"), table
