"""The selection of runs for a comparison, and their groups: experiments, files, runs, conditions, keys."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialbook.errors import TrialbookError, suggest
from trialbook.registry.changed_data import describe_changed
from trialbook.registry.query import Registry, Run

if TYPE_CHECKING:
    from trialbook.config.runspec import Plan

_CONDITION = re.compile(r"\s*([^<>=!]+?)\s*(<=|>=|!=|==|=|<|>)\s*(.*?)\s*", re.DOTALL)
_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b, "==": lambda a, b: a == b, "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
}  # fmt: skip
#: Facts of a run that can be named like keys of its configuration.
FACTS = ("experiment", "name", "arm", "base_arm", "seed", "status", "id", "commit", "host")


@dataclass(frozen=True)
class Condition:
    """``key operator value``, for instance ``train.lr<=1e-3`` or ``arm=mlp``."""

    key: str
    operator: str
    value: Any

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read a condition; a value that is JSON counts as such, anything else is text.

        Raises:
            TrialbookError: it is none.
        """
        found = _CONDITION.fullmatch(text)
        if not found:
            raise TrialbookError(f"'{text}' is no condition; write KEY=VALUE, or != < <= > >= between them")
        try:
            value = json.loads(found[3])
        except ValueError:
            value = found[3]
        return cls(found[1], found[2], value)

    def holds(self, value: Any) -> bool:
        """Return whether a run's value meets it; what cannot be compared does not."""
        if isinstance(value, str) != isinstance(self.value, str):
            value, wanted = str(value), str(self.value)
            return _TESTS[self.operator](value, wanted) if self.operator in ("=", "==", "!=") else False
        try:
            return _TESTS[self.operator](value, self.value)
        except TypeError:
            return False


class Facts:
    """Values of runs by key: a fact of the run, a key of its place in the grid, or of its configuration.

    Args:
        registry: where the documents are.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._flat: dict[int, dict[str, Any]] = {}
        self._numbered: dict[int, dict[str, Any]] = {}

    def config(self, run: Run) -> dict[str, Any]:
        """The run's configuration under dotted keys."""
        if run.config not in self._flat:
            self._flat[run.config] = flatten(self._registry.document(run.config))
        return self._flat[run.config]

    def numbered(self, run: Run) -> dict[str, Any]:
        """The same with the elements of arrays counted from 0, as grids and ``--set`` have it."""
        if run.config not in self._numbered:
            self._numbered[run.config] = flatten(self._registry.document(run.config), named=False)
        return self._numbered[run.config]

    def value(self, run: Run, key: str) -> Any:
        """The value of ``key``; None where the run has none."""
        if key in ("commit", "host"):
            around = self._registry.document(run.environment)
            return (around.get("git", {}) if key == "commit" else around.get("hardware", {})).get(key)
        if key in FACTS:
            return run.hash if key == "id" else getattr(run, key)
        config = self.config(run)
        return config[key] if key in config else self.numbered(run).get(key, run.point.get(key))

    def known(self, runs: Iterable[Run]) -> set[str]:
        """Every key that some of the runs has."""
        different = {run.config: run for run in runs}.values()
        return {*FACTS, *(key for run in different for key in (*self.config(run), *self.numbered(run), *run.point))}


def flatten(value: Any, prefix: str = "", *, named: bool = True) -> dict[str, Any]:
    """Nested tables as dotted keys.

    A table of an array is known by its ``name`` or ``use``, where that is unique in it and ``named`` asks for it, else by
    its number.
    """
    if isinstance(value, Mapping):
        items = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        names = [str(item.get("name") or item.get("use") or index) for index, item in enumerate(value)]
        unique = [named and names.count(name) == 1 for name in names]
        items = [(names[i] if unique[i] else str(i), item) for i, item in enumerate(value)]
    else:
        return {prefix.rstrip("."): value}
    found: dict[str, Any] = {}
    for key, item in items:
        found |= flatten(item, f"{prefix}{key}.", named=named)
    return found


def select_runs(registry: Registry, names: Sequence[str], conditions: Sequence[Condition], facts: Facts) -> list[Run]:
    """The runs that ``names`` mean and that meet all conditions, oldest first.

    Args:
        registry: where the runs are.
        names: experiments, experiment files, or runs; none means the experiment with the newest run.
        conditions: on keys that at least one of the runs has.
        facts: of the same registry.
    Raises:
        TrialbookError: a name means nothing, no run has a condition's key, or nothing is left.
    """
    experiments = registry.experiments()
    if not experiments:
        raise TrialbookError("the registry has no runs yet; 'mlrun run FILE' makes some")
    found: dict[int, Run] = {}
    for name in names or experiments[-1:]:
        found |= {run.id: run for run in named_runs(registry, name)}
    runs = filter_runs(list(found.values()), conditions, facts)
    if not runs:
        raise TrialbookError("no run meets the conditions; 'mlrun ls' lists all runs")
    return runs


def filter_runs(runs: list[Run], conditions: Sequence[Condition], facts: Facts) -> list[Run]:
    """Those of the runs that meet all conditions.

    Raises:
        TrialbookError: no run has a condition's key.
    """
    for condition in conditions:
        check_key(condition.key, facts.known(runs))
        runs = [run for run in runs if condition.holds(facts.value(run, condition.key))]
    return runs


def of_plan(runs: Sequence[Run], plan: Plan, root: Path) -> list[Run]:
    """Those of an experiment's runs that the plan asks for as it stands; ``root`` is the directory of all runs.

    Raises:
        TrialbookError: there is none.
    """
    names = {spec.name for spec in plan.runs}
    if kept := [run for run in runs if run.name in names]:
        return kept
    name = plan.experiment.name
    if edited := describe_changed(plan, root):
        raise TrialbookError(f"{edited}; 'mlrun compare {name}' shows those")
    raise TrialbookError(
        f"no run of {plan.experiment.file.name} as it stands is recorded, only {len(runs)} of other configurations, sources or "
        f"data; 'mlrun run' makes them, 'mlrun compare {name}' shows those"
    )


def check_key(key: str, known: Iterable[str]) -> None:
    """Raise a TrialbookError with a suggestion where ``key`` is none of ``known``."""
    known = set(known)
    if key not in known:
        hint = suggest(key, known)
        raise TrialbookError(f"no run has the key '{key}'" + (f"; did you mean '{hint}'?" if hint else ""))


def named_runs(registry: Registry, name: str) -> list[Run]:
    """The runs that a name means: of an experiment, an experiment file, or a run.

    Raises:
        TrialbookError: it means nothing, or no run of the file is recorded.
    """
    experiments = registry.experiments()
    if name in experiments:
        return registry.runs(experiment=name)
    if name.endswith(".toml") and Path(name).is_file():
        wanted = experiment_name(Path(name))
        if wanted not in experiments:
            raise never_run(wanted, Path(name))
        return registry.runs(experiment=wanted)
    if found := registry.find(name):
        return found
    if Path(name).exists():
        what = "a folder" if Path(name).is_dir() else "no experiment file (*.toml)"
        raise TrialbookError(f"'{name}' is {what}; name an experiment file, an experiment or a run")
    hint = suggest(name, experiments)
    raise TrialbookError(f"'{name}' is no experiment, file or run" + (f"; did you mean '{hint}'?" if hint else ""))


def never_run(experiment: str, file: Path) -> TrialbookError:
    """Return what to say of an experiment file without any recorded run."""
    return TrialbookError(f"no run of '{experiment}' is recorded yet; 'mlrun run {file}' makes some")


def experiment_name(file: Path) -> str:
    """Return the name that an experiment file's runs are filed under: its ``name``, or the file's.

    Raises:
        TrialbookError: the file cannot be read as TOML.
    """
    from trialbook.config.toml import read_toml  # late: comparing by name reads no TOML

    name = read_toml(file).data.get("name", file.stem)
    return str(name)
