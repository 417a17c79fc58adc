"""One run as pure data: all that it is made from, hashed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from trialbook.config.decision_options import GateOptions
from trialbook.config.experiment import Experiment
from trialbook.config.experiment_info import ExperimentInfo
from trialbook.config.run_format import FORMAT
from trialbook.config.toml import KeyPath
from trialbook.errors import Position, TrialbookError, suggest

_ID_LENGTH = 8


@dataclass(frozen=True)
class RunSpec:
    """One arm at one point of the grid with one seed: all that a run is made from, as pure data.

    Args:
        experiment: name of the experiment.
        arm: label: the arm, with its point of the grid if there is one (``mlp,lr=0.001``).
        base_arm: name of the arm in the file.
        point: dotted key of the grid to its value here.
        seed: the run's seed.
        config: the resolved tables with all defaults, without anything that is None.
        sources: part name to the hash of its component's source.
        id: 8 hex digits of a hash over configuration, seed, sources, the ids of the runs that it needs, and ``data``.
        inputs: what it needs by name (an arm, a preparation, another experiment) to that run's directory below that of all runs.
        data: hash of files of the data that are others than those of the run that was first made so; empty for that one.
        outdated: the files; empty in what is read from a record.
        earlier: directory that an earlier version of the program recorded it in, below that of all runs; empty for other runs.
        info: what the experiment says of itself: question, baseline, gates … No part of the id.
        positions: where each key was written; not kept in JSON.
    """

    experiment: str
    arm: str
    base_arm: str
    point: Mapping[str, Any]
    seed: int
    config: Mapping[str, Any]
    sources: Mapping[str, str]
    id: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    data: str = ""
    outdated: tuple[str, ...] = field(default=(), compare=False)
    earlier: str = field(default="", compare=False)
    info: ExperimentInfo = field(default_factory=ExperimentInfo, compare=False, repr=False)
    positions: Mapping[KeyPath, Position] = field(default_factory=dict, compare=False, repr=False)

    def __hash__(self) -> int:
        return hash((self.experiment, self.arm, self.seed, self.id))

    @property
    def name(self) -> str:
        """``<arm>-s<seed>-<id>``, safe as a file name."""
        if self.earlier:
            return self.earlier.rpartition("/")[2]
        safe = re.sub(r"[^\w.,=+-]+", "_", self.arm, flags=re.ASCII).lstrip(".-")[:100]
        return f"{safe}-s{self.seed}-{self.id}"

    @property
    def relative_path(self) -> str:
        """Its directory below that of all runs."""
        return self.earlier or f"{self.experiment}/{self.name}"

    def to_json(self) -> dict[str, Any]:
        """JSON-able data; what the experiment says of itself stands beside the run's own keys."""
        return {
            "format": FORMAT, "name": self.name, **self.info.to_json(),
            "experiment": self.experiment, "arm": self.arm, "base_arm": self.base_arm,
            "point": dict(self.point), "seed": self.seed, "id": self.id, "inputs": dict(self.inputs),
            "sources": dict(self.sources), **({"data": self.data} if self.data else {}), "config": dict(self.config),
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RunSpec:
        """The run that ``to_json`` wrote, without positions."""
        own = ("experiment", "arm", "base_arm", "point", "seed", "config", "sources", "id")
        info = ExperimentInfo.from_json(data)
        spec = cls(
            **{key: data[key] for key in own}, inputs=data.get("inputs", {}), data=data.get("data", ""), info=info
        )
        renamed = data.get("name", spec.name) != spec.name
        return replace(spec, earlier=f"{spec.experiment}/{data['name']}") if renamed else spec


def run_id(
    config: Mapping[str, Any], seed: int, sources: Mapping[str, str], inputs: Mapping[str, str], data: str = ""
) -> str:
    """The id of a run; ``inputs`` are the directories of the runs that it needs, which end with their ids, by name."""
    ids = {name: path.rpartition("-")[2] for name, path in inputs.items()}
    text = canonical([config, seed, sources, ids, *([data] if data else [])])
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_LENGTH]


def canonical(value: Any) -> str:
    """Data as JSON that is the same for equal data."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)


@dataclass(frozen=True, eq=False)
class Plan:
    """All runs of an experiment, in the order in which they are done.

    Args:
        experiment: the file.
        runs: all arms with the first seed, then all with the next; a run stands behind those that it needs.
        gates: thresholds that the conclusion must pass.
        figures: label of an arm to the names of what its runs record, None where they are not known.
        before: the plans of its preparations and of the experiments that it needs, and of those that these need, in the order in
            which they are done.
        doubtful: patterns of metrics that no conclusion may stand on, and why.
    """

    experiment: Experiment
    runs: tuple[RunSpec, ...]
    gates: tuple[GateOptions, ...] = ()
    before: tuple[Plan, ...] = ()
    figures: Mapping[str, Sequence[str] | None] = field(default_factory=dict)
    doubtful: Mapping[str, str] = field(default_factory=dict)

    def variants(self) -> tuple[RunSpec, ...]:
        """One run of every arm and point: that with the first seed."""
        first: dict[str, RunSpec] = {}
        for run in self.runs:
            first.setdefault(run.arm, run)
        return tuple(first.values())

    def inputs_of(self, run: RunSpec) -> dict[str, RunSpec]:
        """The runs of this plan that ``run`` needs, by arm: those of its seed and point."""
        paths = {other.relative_path: other for other in self.runs}
        return {name: paths[path] for name, path in run.inputs.items() if path in paths}

    def only(self, arms: Sequence[str]) -> Plan:
        """The plan of these arms (or labels) and of all that they need.

        Raises:
            TrialbookError: there is no such arm.
        """
        known = {name for run in self.runs for name in (run.arm, run.base_arm)}
        for arm in arms:
            if arm not in known:
                hint = suggest(arm, known)
                raise TrialbookError(f"there is no arm '{arm}'" + (f"; did you mean '{hint}'?" if hint else ""))
        kept: set[RunSpec] = set()
        for run in reversed(self.runs):
            if run in kept or {run.arm, run.base_arm} & set(arms):
                kept |= {run, *self.inputs_of(run).values()}
        return replace(self, runs=tuple(run for run in self.runs if run in kept))


@dataclass(frozen=True)
class Outcome:
    """The end of a run of a plan: ``kept`` (it was finished before), ``finished``, ``failed`` or ``busy``."""

    spec: RunSpec
    state: str
    message: str = ""
