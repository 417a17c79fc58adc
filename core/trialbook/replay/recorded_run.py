"""A recorded run, read back from its directory alone, so that it can be done again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trialbook.config.experiment import Experiment
from trialbook.config.run_format import rename_config, rename_path
from trialbook.config.runspec import RunSpec, run_id
from trialbook.config.settings import Settings
from trialbook.config.toml import Document, read_toml
from trialbook.contracts.files import load_json
from trialbook.errors import TrialbookError
from trialbook.registry.query import open_index
from trialbook.registry.ranks import processes_of
from trialbook.registry.record_shapes import DOCUMENTS, MANIFEST
from trialbook.registry.run_directory import RunDirectory

#: What a run notes of itself when it resumed in other circumstances than those it started in.
_MIXED = ("environment-changed", "data-changed", "resume-inexact", "resume-diverged", "records-lost")


@dataclass(frozen=True)
class RecordedRun:
    """The record of how a run was made, from its directory.

    Args:
        run: its directory.
        spec: its configuration, seed and sources; positions are those of its ``config.toml``.
        status: ``finished``, ``failed`` or ``killed``.
        inputs: directories of the runs that it needs, by name.
        doubts: what there is to say of the record itself.
    """

    run: RunDirectory
    spec: RunSpec
    status: str
    inputs: Mapping[str, Path]
    doubts: tuple[str, ...] = ()

    @property
    def environment(self) -> dict[str, Any]:
        """The environment that it took place in."""
        return self.run.read("env") or {}

    @property
    def components(self) -> dict[str, dict[str, Any]]:
        """The components that its parts came from."""
        return self.run.read("components") or {}

    @property
    def processes(self) -> int:
        """The number of processes that did it together."""
        return processes_of(self.environment)

    @property
    def threads(self) -> int | None:
        """Threads that it computed with: those that a checkpoint notes, else those of its environment."""
        for path in sorted((self.run.path / "checkpoints").glob("step-*/manifest.json"), reverse=True):
            state = load_json(path, MANIFEST)["manifest"]["state"]
            if "threads" in state:
                return int(state["threads"])
        found: int | None = self.environment.get("hardware", {}).get("threads")
        return found

    @property
    def experiment(self) -> Experiment:
        """The experiment as far as the run knows it; its file may be gone."""
        info = self.spec.info
        tables = {"headline": info.headline, "results": info.results, "doctor": info.doctor}
        document = Document({key: value for key, value in tables.items() if value})
        return Experiment(Path(info.file), self.spec.experiment, info.question, document)


def read_recorded(text: str, settings: Settings) -> RecordedRun:
    """The recorded run that ``text`` means: a path, or what ``mlrun show`` understands.

    Raises:
        TrialbookError: there is no such run, it is running, has recorded nothing, or a run that it needs is gone,
            or a newer program recorded it.
    """
    run = find_run(text, settings)
    status = run.status()
    if status == "missing":
        raise TrialbookError(f"the registry remembers '{text}', but its directory {run.path} is gone")
    if status == "running":
        raise TrialbookError(f"{run.path.name} is running; wait for its end")
    run.check_readable()
    if next(run.read_lines("metrics"), None) is None:
        raise TrialbookError(f"{run.path.name} ({status}) has recorded nothing that could be repeated or loaded")
    spec, document = _read_spec(run)
    inputs = _inputs(run, spec)
    spec, doubts = _fitting(run, spec, document)
    if run.mapping() is not None:
        positions = {rename_path(path): position for path, position in spec.positions.items()}
        spec = replace(RunSpec.from_json(run.read("run")), config=rename_config(spec.config), positions=positions)
    for event in run.read_lines("events"):
        if event["kind"] in _MIXED:
            doubts.append(f"of the recorded run itself, at step {event['step']}: {event['message']}")
    return RecordedRun(run, spec, status, inputs, tuple(doubts))


def find_run(text: str, settings: Settings) -> RunDirectory:
    """The run that ``text`` means: a path, or what ``mlrun show`` understands.

    Raises:
        TrialbookError: there is no such run.
    """
    here = RunDirectory(Path(text).absolute())
    if here.is_run():
        return here
    with open_index(settings.registry) as index:
        return index.one(text).directory


def _read_spec(run: RunDirectory) -> tuple[RunSpec, Document | None]:
    """Read what the run was made from and its ``config.toml``, as they were written: the id is a hash of that."""
    spec = RunSpec.from_json(load_json(run.json("run"), DOCUMENTS["run"]))
    return spec, read_toml(run.config) if run.config.exists() else None


def _fitting(run: RunDirectory, spec: RunSpec, document: Document | None) -> tuple[RunSpec, list[str]]:
    """The configuration that gives the run its id; where none does, the likeliest, and a doubt."""
    written = [] if document is None else [replace(spec, config=document.data, positions=document.positions)]
    for one in (*written, spec):
        if run_id(one.config, one.seed, one.sources, one.inputs, one.data) == spec.id:
            return one, ["config.toml was edited; run.json is repeated"] if written and one is spec else []
    doubts = ["its configuration does not give its id: it was edited, or made by another version of trialbook"]
    if written and _plain(written[0].config) != _plain(spec.config):
        doubts.append("config.toml and run.json do not agree; config.toml is repeated")
    return (*written, spec)[0], doubts


def _inputs(run: RunDirectory, spec: RunSpec) -> dict[str, Path]:
    """Directories of the runs that the run needs, by name."""
    root = run.path.parent.parent
    for name, path in spec.inputs.items():
        if RunDirectory(root / path).status() != "finished":
            raise TrialbookError(
                f"{run.path.name} needs the run {path} ('{name}'), which is not finished in {root}; bring its directory "
                "back, or run the experiment again"
            )
    return {name: root / path for name, path in spec.inputs.items()}


def _plain(config: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(config, sort_keys=True, default=str))
