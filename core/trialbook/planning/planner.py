"""From a checked file to its runs: ordered, hashed, pure data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trialbook.config.decision_options import GateOptions
from trialbook.config.experiment import Experiment
from trialbook.config.load import load_experiment
from trialbook.config.merge import leaves
from trialbook.config.runspec import Plan, RunSpec, canonical, run_id
from trialbook.config.settings import Settings
from trialbook.config.toml import KeyPath
from trialbook.config.variants import ComponentTable, component_tables, find_cycle, needed_first, nested_tables
from trialbook.errors import ErrorCollector, ExperimentErrors, Position, Problem, TrialbookError
from trialbook.planning.arms import PreparationCheck
from trialbook.planning.check import check_experiment
from trialbook.planning.decisions import DecisionCheck
from trialbook.planning.defaults import with_defaults
from trialbook.plugins.schema import SchemaBook


def make_plan(experiment: Experiment, book: SchemaBook, settings: Settings | None = None) -> Plan:
    """Check an experiment with its preparations and what else it needs, and lay out its runs.

    Args:
        experiment: a file as it was read.
        book: schemas of all components.
        settings: of the workplace that is to run it; left out where nothing is to be run.
    Raises:
        ExperimentErrors: the file, or one that it needs, has mistakes; the error has all of them.
    """
    return _Planner(book, settings).plan(experiment)


def plan_files(
    files: Sequence[Path], book: SchemaBook, *, profile: str | None = None, sets: Sequence[str] = (),
    settings: Settings | None = None,
) -> list[Plan]:  # fmt: skip
    """Check several files and lay them out, one that others need once and before them.

    Args:
        files: in the order in which they are done, as far as they do not need one another.
        book: schemas of components.
        profile: of one file: the profile that it is under; of several: of those that have it.
        sets: ``KEY=VALUE`` each, for one file.
        settings: as for ``make_plan``.
    Raises:
        TrialbookError: a profile that no file has, or ``sets`` for several files.
        ExperimentErrors: files have mistakes; the error has those of all.
    """
    if len(files) == 1:
        return [make_plan(load_experiment(files[0], profile=profile, sets=sets), book, settings)]
    if sets:
        raise TrialbookError("--set is for one file; these are several")
    planner, plans, problems = _Planner(book, settings), list[Plan](), dict[Problem, None]()
    for file in files:
        try:
            plans.append(planner.file(file, None, profile))
        except ExperimentErrors as error:
            problems.update(dict.fromkeys(error.problems))
    if problems:
        raise ExperimentErrors(problems)
    if profile is not None and all(plan.experiment.profile is None for plan in plans):
        raise TrialbookError(f"none of the files has a profile '{profile}'")
    return plans


class _Planner:
    """Lays out experiments, each behind those that it needs, and each file once."""

    def __init__(self, book: SchemaBook, settings: Settings | None) -> None:
        self.book, self.settings = book, settings
        self._plans: dict[Path, Plan] = {}
        self._under_way: list[Path] = []

    def plan(self, experiment: Experiment) -> Plan:
        """The plan of a file."""
        problems = ErrorCollector(experiment.file)
        PreparationCheck(experiment, problems).check()
        preparations, offered = experiment.preparations, dict[str, Plan]()
        self._under_way.append(experiment.file.resolve())
        for position, file in experiment.needed_files():
            with problems.gathered():
                plan = self.file(file, position, experiment.profile)
                offered[file.name] = plan
        wanted = {name: [need for need in one.needed if need in preparations] for name, one in preparations.items()}
        for name in [] if find_cycle(wanted) else needed_first(wanted):
            with problems.gathered(f"prepare.{name}"):
                offered[name] = self._lay_out(preparations[name], offered)
        with problems.gathered():
            own = self._lay_out(experiment, offered)
        self._under_way.pop()
        if problems:
            raise ExperimentErrors(problems)
        return own

    def file(self, file: Path, position: Position | None, profile: str | None) -> Plan:
        """The plan of a file, under the profile if it has it; ``position`` is where another one names it."""
        place = file.resolve()
        if place in self._under_way:
            chain = [*self._under_way[self._under_way.index(place) :], place]
            listed = " -> ".join(path.name for path in chain)
            raise ExperimentErrors([Problem.at(position, "", f"files need one another: {listed}")])
        if place not in self._plans:
            if not file.is_file():
                raise ExperimentErrors([Problem.at(position, "", f"'needs' names {file}, which is no file")])
            there = load_experiment(file)
            if profile in there.document.data.get("profile", {}):
                there = load_experiment(file, profile=profile)
            self._plans[place] = self.plan(there)
        return self._plans[place]

    def _lay_out(self, experiment: Experiment, offered: Mapping[str, Plan]) -> Plan:
        """The plan of one experiment or preparation, whose needs are laid out."""
        checked = check_experiment(experiment, self.book, self.settings)
        named = {Path(need).name: offered[Path(need).name] for need in experiment.needed if Path(need).name in offered}
        before = tuple(dict.fromkeys(plan for other in named.values() for plan in (*other.before, other)))
        problems = ErrorCollector(experiment.file)
        problems.extend(checked.problems)
        DecisionCheck(experiment, self.book, problems).check(checked, before)
        if problems:
            raise ExperimentErrors(problems)
        needs = {arm: experiment.needs(arm) for arm in experiment.arms}
        variants = [one for arm in needed_first(needs) for one in checked.variants if one.arm == arm]
        resolved = {
            one.label: (_plain(with_defaults(one.data, self.book)), source_hashes(one.data, self.book))
            for one in variants
        }
        info = replace(
            experiment.info(), arms=tuple(one.label for one in checked.variants),
            changes={name: [_dotted(path) for path in leaves(arm.data)] for name, arm in experiment.arms.items()},
            lower_is_better=tuple(checked.lower_is_better),
        )  # fmt: skip
        runs: list[RunSpec] = []
        for seed in () if experiment.decides_only else experiment.seeds:
            outer = _taken(experiment, named, seed)
            placed: dict[tuple[str, str], str] = {}  # arm and point -> directory, of this seed
            for one in variants:
                config, sources = resolved[one.label]
                inputs = outer | {need: placed[need, canonical(one.point)] for need in needs[one.arm]}
                spec = RunSpec(
                    experiment=experiment.name, arm=one.label, base_arm=one.arm, point=one.point, seed=seed, config=config,
                    sources=sources, id=run_id(config, seed, sources, inputs), inputs=inputs, info=info,
                    positions=one.document.positions,
                )  # fmt: skip
                placed[one.arm, canonical(one.point)] = spec.relative_path
                runs.append(spec)
        gates = tuple(GateOptions(**gate) for gate in experiment.gates)
        figures = {label: own for label, (_, own) in checked.figures.items()}
        return Plan(experiment, tuple(runs), gates, before, figures, checked.doubtful)


def _taken(experiment: Experiment, named: Mapping[str, Plan], seed: int) -> dict[str, str]:
    """The directories of the runs that every run with this seed needs: by name of a preparation or an experiment, with the arm
    behind it where there are several; those with the same seed, or with the only one.

    Raises:
        ExperimentErrors: a needed experiment has no run for the seed.
    """
    found = {}
    for need, plan in named.items():
        name = need.removesuffix(".toml") if need not in experiment.preparations else need
        labels = {run.arm for run in plan.runs}
        for label in labels:
            runs = {run.seed: run for run in plan.runs if run.arm == label}
            run = next(iter(runs.values())) if len(runs) == 1 else runs.get(seed)
            if run is None:
                seeds = ", ".join(map(str, runs))
                told = f"'{need}' is needed with seed {seed}, and has seeds {seeds}; give it the same, or one alone"
                raise ExperimentErrors([Problem.at(experiment.place("needs") or experiment.place("seeds"), "", told)])
            found[name if len(labels) == 1 else f"{name}/{label}"] = run.relative_path
    return found


def _dotted(path: KeyPath) -> str:
    return ".".join(map(str, path))


def source_hashes(config: Mapping[str, Any], book: SchemaBook) -> dict[str, str]:
    """Part name to the hash of its source; a part with other components in it has a hash of all of them."""
    return {table.part: _combined(_hashes(table, book)) for table in component_tables(config)}


def _hashes(table: ComponentTable, book: SchemaBook) -> list[str]:
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
