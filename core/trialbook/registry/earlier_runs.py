"""Runs of a plan that an earlier version of the program recorded: they are kept, not done again.

The id of a run is a hash over sources, too, and an earlier version had others. So its runs are known by what they were asked
for: experiment, arm, point of the grid, seed, configuration, and the same of the runs that they need.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trialbook.config.run_format import earlier_name
from trialbook.config.runspec import Plan, RunSpec, canonical, run_id
from trialbook.errors import TrialbookError
from trialbook.planning.defaults import with_defaults
from trialbook.plugins.schema import SchemaBook
from trialbook.registry.replaced_runs import ReplacedRuns
from trialbook.registry.run_directory import RunDirectory

#: Status of runs that are kept, the best last: of several equal runs it stands for all. A failed one is done again.
_KEPT = ("killed", "running", "finished")


def keep_earlier_runs(plans: Sequence[Plan], runs: Path, book: SchemaBook) -> list[Plan]:
    """The plans, with runs that an earlier version recorded in place of equal ones that this version has not recorded.

    Args:
        plans: as they were laid out; those that they need are among them or stand in their ``before``.
        runs: directory of all runs.
        book: schemas of components, for defaults that the earlier version did not have.
    """
    keeper = _Keeper(runs, book)
    return [keeper.plan(one) for one in plans]


def describe_earlier(plan: Plan, runs: Path) -> str:
    """A sentence on the finished runs of a plan that an earlier version recorded; empty where there are none."""
    kept = [one.earlier for one in plan.runs if one.earlier and RunDirectory(runs / one.earlier).status() == "finished"]
    if not kept:
        return ""
    some = f"{len(kept)} run{'s' * (len(kept) > 1)} of {plan.experiment.name}"
    return (
        f"{some}: recorded by an earlier version of trialbook, and kept; to run again, delete with 'mlrun rm {kept[0]}"
        f"{' …' * (len(kept) > 1)}' or give the experiment another name"
    )


@dataclass(frozen=True)
class _Earlier:
    """A run directory of an earlier version.

    Args:
        run: the directory.
        facts: content of its ``run.json`` under the names of now.
        key: by which equal runs are known.
    """

    run: RunDirectory
    facts: Mapping[str, Any]
    key: str

    @property
    def rank(self) -> tuple[int, float]:
        """Sorts the best last, of equals the newest."""
        return _KEPT.index(self.run.status()), self.run.json("run").stat().st_mtime


class _Keeper(ReplacedRuns):
    def __init__(self, runs: Path, book: SchemaBook) -> None:
        super().__init__()
        self.runs, self.book = runs, book
        self._earlier: dict[str, dict[str, _Earlier]] = {}
        self._keys: dict[str, str] = {}

    def spec(self, spec: RunSpec, inputs: dict[str, str]) -> RunSpec:
        """A run, or the earlier one that is equal."""
        planned, needed = spec.relative_path, {name: self._keys.get(path, path) for name, path in spec.inputs.items()}
        key = self._keys[planned] = _key(spec.experiment, spec.base_arm, spec.point, spec.seed, spec.config, needed)
        if inputs != spec.inputs:
            spec = replace(spec, inputs=inputs, id=run_id(spec.config, spec.seed, spec.sources, inputs, spec.data))
        if not RunDirectory(self.runs / spec.relative_path).is_run() and (found := self.earlier(spec).get(key)):
            path = found.run.path.relative_to(self.runs).as_posix()
            spec = replace(spec, id=found.facts["id"], inputs=found.facts.get("inputs", {}), earlier=path)
        return spec

    def earlier(self, spec: RunSpec) -> dict[str, _Earlier]:
        """The runs of earlier versions that are filed under the experiment of a run, by key."""
        if spec.experiment not in self._earlier:
            folders = [name for name in (spec.experiment, earlier_name(spec.experiment)) if (self.runs / name).is_dir()]
            paths = [f"{name}/{path.name}" for name in folders for path in (self.runs / name).iterdir()]
            found = [one for path in paths if (one := self._read(path))]
            self._earlier[spec.experiment] = {one.key: one for one in sorted(found, key=lambda one: one.rank)}
        return self._earlier[spec.experiment]

    def _read(self, path: str) -> _Earlier | None:
        """The run of an earlier version in a directory, if there is one that can be kept."""
        run = RunDirectory(self.runs / path)
        if not run.is_run():
            return None
        try:
            if run.mapping() is None or run.status() not in _KEPT:
                return None
            facts = run.read("run")
            return _Earlier(run, facts, self._key_of(facts))
        except (
            TrialbookError,
            KeyError,
            TypeError,
            ValueError,
            RecursionError,
        ):  # 'registry sync' reports what is damaged
            return None

    def _key_of(self, facts: Mapping[str, Any]) -> str:
        inputs = {name: (path, self._read(path)) for name, path in facts.get("inputs", {}).items()}
        needed = {name: one.key if one else path for name, (path, one) in inputs.items()}
        config = with_defaults(facts["config"], self.book)
        return _key(facts["experiment"], facts["base_arm"], facts["point"], facts["seed"], config, needed)


def _key(
    experiment: str, arm: str, point: Mapping[str, Any], seed: int, config: Mapping[str, Any], needed: Mapping[str, str]
) -> str:
    return canonical([earlier_name(experiment), arm, point, seed, config, needed])
