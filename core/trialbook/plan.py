"""From a checked file to its runs: ordered, hashed, pure data."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trialbook.checking.check import check_experiment
from trialbook.defaults import with_defaults
from trialbook.errors import Position, ProblemsError, TrialbookError
from trialbook.experiment import Experiment
from trialbook.merge import leaves
from trialbook.options import GateOptions
from trialbook.schema import SchemaBook
from trialbook.toml import KeyPath
from trialbook.variants import Table, component_tables, needed_first, nested_tables
from trialbook.words import closest

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
        id: 8 hex digits of a hash over configuration, seed, sources and the ids of the runs that it needs.
        needs: arms whose runs with the same seed (and point) are inputs of this one.
        about: what the experiment says of itself: question, baseline, gates … No part of the id.
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
    needs: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    positions: Mapping[KeyPath, Position] = field(default_factory=dict, compare=False, repr=False)

    def __hash__(self) -> int:
        return hash((self.experiment, self.arm, self.seed, self.id))

    @property
    def name(self) -> str:
        """``<arm>-s<seed>-<id>``, safe as a file name."""
        safe = re.sub(r"[^\w.,=+-]+", "_", self.arm, flags=re.ASCII).lstrip(".-")[:100]
        return f"{safe}-s{self.seed}-{self.id}"

    @property
    def relative_path(self) -> str:
        """Its directory below that of all runs."""
        return f"{self.experiment}/{self.name}"

    def to_json(self) -> dict[str, Any]:
        """JSON-able data; what the experiment says of itself stands beside the run's own keys."""
        return {
            **self.about,
            "experiment": self.experiment, "name": self.name, "arm": self.arm, "base_arm": self.base_arm,
            "point": dict(self.point), "seed": self.seed, "id": self.id, "needs": list(self.needs),
            "sources": dict(self.sources), "config": dict(self.config),
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RunSpec:
        """The run that ``to_json`` wrote, without positions."""
        own = ("experiment", "arm", "base_arm", "point", "seed", "config", "sources", "id")
        about = {key: value for key, value in data.items() if key not in (*own, "name", "needs")}
        return cls(**{key: data[key] for key in own}, needs=tuple(data["needs"]), about=about)

    def write_config(self, path: Path) -> None:
        """Write the configuration as TOML."""
        import tomli_w  # late: plans are made more often than written

        path.write_text(tomli_w.dumps(dict(self.config)), encoding="utf-8")


def read_config(path: Path) -> dict[str, Any]:
    """The configuration that ``RunSpec.write_config`` wrote."""
    from trialbook.toml import parse_toml

    return parse_toml(path.read_text(encoding="utf-8"), path).data


@dataclass(frozen=True)
class Plan:
    """All runs of an experiment, in the order in which they are done.

    Args:
        experiment: the file.
        runs: all arms with the first seed, then all with the next; a run stands behind those that it needs.
        gates: thresholds that the conclusion must pass.
    """

    experiment: Experiment
    runs: tuple[RunSpec, ...]
    gates: tuple[GateOptions, ...] = ()

    def variants(self) -> tuple[RunSpec, ...]:
        """One run of every arm and point: that with the first seed."""
        first: dict[str, RunSpec] = {}
        for run in self.runs:
            first.setdefault(run.arm, run)
        return tuple(first.values())

    def inputs_of(self, run: RunSpec) -> dict[str, RunSpec]:
        """The runs that ``run`` needs, by arm: those of its seed and point."""
        found = {}
        for other in self.runs:
            if other.base_arm in run.needs and other.seed == run.seed and other.point == run.point:
                found[other.base_arm] = other
        return found

    def only(self, arms: Sequence[str]) -> Plan:
        """The plan of these arms (or labels) and of all that they need.

        Raises:
            TrialbookError: there is no such arm.
        """
        known = {name for run in self.runs for name in (run.arm, run.base_arm)}
        for arm in arms:
            if arm not in known:
                hint = closest(arm, known)
                raise TrialbookError(f"there is no arm '{arm}'" + (f"; did you mean '{hint}'?" if hint else ""))
        kept: set[RunSpec] = set()
        for run in reversed(self.runs):
            if run in kept or {run.arm, run.base_arm} & set(arms):
                kept |= {run, *self.inputs_of(run).values()}
        return replace(self, runs=tuple(run for run in self.runs if run in kept))


def make_plan(experiment: Experiment, book: SchemaBook) -> Plan:
    """Check an experiment and lay out its runs.

    Raises:
        ProblemsError: the file has mistakes; the error has all of them.
    """
    checked = check_experiment(experiment, book)
    if checked.problems:
        raise ProblemsError(checked.problems)
    needs = {arm: experiment.needs(arm) for arm in experiment.arms}
    variants = [one for arm in needed_first(needs) for one in checked.variants if one.arm == arm]
    resolved = {one.label: (_plain(with_defaults(one.data, book)), source_hashes(one.data, book)) for one in variants}
    about = {
        **experiment.describe(),
        "arms": [one.label for one in checked.variants],
        "changes": {name: [_dotted(path) for path in leaves(arm.data)] for name, arm in experiment.arms.items()},
        "lower_is_better": list(checked.lower_is_better),
    }
    runs: list[RunSpec] = []
    for seed in experiment.seeds:
        ids: dict[tuple[str, str], str] = {}  # arm and point -> id, of this seed
        for one in variants:
            config, sources = resolved[one.label]
            inputs = {need: ids[need, _canonical(one.point)] for need in needs[one.arm]}
            identity = run_id(config, seed, sources, inputs)
            ids[one.arm, _canonical(one.point)] = identity
            runs.append(RunSpec(
                experiment=experiment.name, arm=one.label, base_arm=one.arm, point=one.point, seed=seed, config=config,
                sources=sources, id=identity, needs=needs[one.arm], about=about, positions=one.document.positions,
            ))  # fmt: skip
    return Plan(experiment, tuple(runs), tuple(GateOptions(**gate) for gate in experiment.gates))


def _dotted(path: KeyPath) -> str:
    return ".".join(map(str, path))


def run_id(config: Mapping[str, Any], seed: int, sources: Mapping[str, str], inputs: Mapping[str, str]) -> str:
    """The id of a run; ``inputs`` are those of the runs that it needs, by arm."""
    text = _canonical([config, seed, sources, inputs])
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_LENGTH]


def source_hashes(config: Mapping[str, Any], book: SchemaBook) -> dict[str, str]:
    """Part name to the hash of its source; a part with other components in it has a hash of all of them."""
    return {table.part: _combined(_hashes(table, book)) for table in component_tables(config)}


def _hashes(table: Table, book: SchemaBook) -> list[str]:
    schema = book.get(table.kind, table.use or "")
    hashes = [schema.source]
    for inner in nested_tables(table, schema.attributes.get("parts", {})):
        hashes += _hashes(inner, book)
    return hashes


def _combined(hashes: Iterable[str]) -> str:
    first, *rest = hashes
    return hashlib.sha256("\n".join((first, *rest)).encode()).hexdigest() if rest else first


def _plain(value: Any) -> Any:
    """Data that TOML and JSON can hold: without None, tuples as arrays."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items() if one is not None}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
