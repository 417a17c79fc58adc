"""Every mistake of an experiment file in one go, before a model or data is touched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod

from trialbook.config.experiment import Experiment
from trialbook.config.kinds import RESERVED
from trialbook.config.settings import Settings
from trialbook.config.structure import MOST_RUNS
from trialbook.config.toml import Document
from trialbook.config.variants import (
    ComponentTable,
    Variant,
    arm_document,
    component_tables,
    nested_tables,
    points,
    variant,
)
from trialbook.errors import ErrorCollector, Problem, TrialbookError
from trialbook.planning.arms import ArmCheck
from trialbook.planning.compatibility import CompatibilityCheck
from trialbook.planning.components import ComponentCheck, Judge, TableReport
from trialbook.planning.machine import check_precision
from trialbook.planning.references import ReferenceCheck
from trialbook.plugins.schema import SchemaBook


@dataclass(frozen=True)
class CheckedVariant:
    """A configuration, the metrics that it will record (None if not known), those better when lower, those of doubt and why."""

    variant: Variant
    figures: list[str] | None
    lower_is_better: list[str]
    doubtful: dict[str, str]


@dataclass(frozen=True)
class Checked:
    """The outcome of a check: all problems in order, the configurations of the file, and their arms and metrics by label."""

    problems: tuple[Problem, ...]
    variants: tuple[Variant, ...]
    lower_is_better: tuple[str, ...]
    figures: Mapping[str, tuple[str, list[str] | None]] = field(default_factory=dict)
    doubtful: Mapping[str, str] = field(default_factory=dict)


def check_experiment(experiment: Experiment, book: SchemaBook, settings: Settings | None = None) -> Checked:
    """Check a file under its profile, and, where none was chosen, under each of its profiles too.

    A component of another profile that cannot be loaded here (a package that is not installed) is left to the machine
    that runs this profile. Where ``settings`` of a workplace are given, it must be able to run the file.
    """
    problems = ErrorCollector(experiment.file)
    variants = _Check(experiment, Judge(book), problems, settings).check()
    figures = {one.variant.label: (one.variant.arm, one.figures) for one in variants}
    for alternative in experiment.alternatives:
        _Check(alternative, Judge(book, forgiving=True), problems).check()
    lower = sorted({name for one in variants for name in one.lower_is_better})
    doubtful = {pattern: why for one in variants for pattern, why in one.doubtful.items()}
    return Checked(tuple(problems), tuple(one.variant for one in variants), tuple(lower), figures, doubtful)


class _Check:
    """Checks one experiment under one profile."""

    def __init__(
        self, experiment: Experiment, judge: Judge, problems: ErrorCollector, settings: Settings | None = None
    ) -> None:
        self.experiment, self.judge, self.problems, self.settings = experiment, judge, problems, settings

    def check(self) -> list[CheckedVariant]:
        self.problems.extend(self.experiment.problems)
        self.problems.lost |= self.experiment.lost
        checked = [self.variant(one) for one in self.variants()]
        self.overridden()
        figures = {one.variant.label: (one.variant.arm, one.figures) for one in checked}
        ReferenceCheck(self.experiment, self.judge, self.problems, figures).check()
        ArmCheck(self.experiment, self.judge.book, self.problems).check([one.variant for one in checked])
        return checked

    def variants(self) -> Iterator[Variant]:
        """Arms times grid; keys of the grid that name nothing are reported and left out."""
        if self.experiment.decides_only or self.too_many():
            return
        documents = {arm: arm_document(self.experiment, arm) for arm in self.experiment.arms}
        known = {arm: set(self.keys_of(one)) for arm, one in documents.items()} if self.experiment.grid else {}
        grid = {key: values for key, values in self.experiment.grid.items() if self.grid_key(key, known)}
        for arm, document in documents.items():
            for point in points(grid):
                try:
                    yield variant(self.experiment, arm, document, point)
                except (TrialbookError, ValueError) as error:
                    self.problems.add(self.experiment.place("grid"), "grid", str(error))

    def too_many(self) -> bool:
        """Return whether the file asks for more runs than anybody means, which is reported."""
        one = self.experiment
        counts = {
            "arms": len(one.arms),
            "points of the grid": prod(map(len, one.grid.values())),
            "seeds": len(one.seeds),
        }
        if prod(counts.values()) <= MOST_RUNS:
            return False
        most = max(counts, key=lambda name: counts[name])
        key = {"arms": "arm", "points of the grid": "grid"}.get(most, most)
        told = " × ".join(f"{count:,} {name}" for name, count in counts.items() if count > 1)
        message = f"{told}: a file may have {MOST_RUNS:,} runs; take fewer {most}, or several files"
        self.problems.add(one.place(key), "" if key == "seeds" else key, message)
        return True

    def overridden(self) -> None:
        """Unknown names in what every arm, or every point of the grid, overrides: no configuration has them."""
        if len(self.experiment.arms) > MOST_RUNS:
            return
        for document in (self.experiment.base, *(arm_document(self.experiment, arm) for arm in self.experiment.arms)):
            scratch = ErrorCollector(self.experiment.file)
            ComponentCheck(TableReport(self.experiment, document, scratch), self.judge).check()
            self.problems.extend(problem for problem in scratch if problem.message.startswith("unknown"))

    def grid_key(self, key: str, known: dict[str, set[str]]) -> bool:
        """Check that a key of the grid is one of every arm, or lies in a table that one holds; return whether it is."""
        without = [arm for arm, keys in known.items() if not any(f"{key}.".startswith(f"{one}.") for one in keys)]
        if not without:
            return True
        place, everything = self.experiment.place("grid", key), set().union(*known.values())
        if len(without) == len(known):
            self.problems.add(place, "grid", f"'{key}' names nothing in the file", word=key, known=everything)
        else:
            arms = " and ".join(f"'{arm}'" for arm in without)
            self.problems.add(
                place, "grid", f"'{key}' names nothing in arm {arms}; the grid is gone through in every arm"
            )
        return False

    def keys_of(self, document: Document) -> Iterator[str]:
        """Dotted keys that the tables of a configuration know."""
        for table in component_tables(document.data):
            yield from self.keys_of_table(table)
        for name in ("train", "evaluate", "checkpoint"):
            yield from (f"{name}.{key}" for key in self.judge.book.core(name).json_schema["properties"])
        for index in range(len(document.data.get("stage", []))):
            yield from (f"stage.{index}.{key}" for key in self.judge.book.core("stage").json_schema["properties"])

    def keys_of_table(self, table: ComponentTable) -> Iterator[str]:
        """Dotted keys of a component's table and of those in it; as written, where the component is not known."""
        front = ".".join(str(part) for part in table.path)
        yield from (f"{front}.{key}" for key in (*RESERVED[table.kind], *table.content))
        try:
            schema = self.judge.book.get(table.kind, table.use or "")
        except TrialbookError:
            return
        yield from (f"{front}.{key}" for key in schema.json_schema["properties"])
        for inner in nested_tables(table, schema.attributes.get("parts", {})):
            yield from self.keys_of_table(inner)

    def variant(self, one: Variant) -> CheckedVariant:
        """Check one configuration."""
        report = TableReport(self.experiment, one.document, self.problems)
        tables = ComponentCheck(report, self.judge)
        tables.check()
        fit = CompatibilityCheck(tables, report)
        fit.check()
        if self.settings is not None and not {("train",), ("evaluate",)} & tables.unsound:
            check_precision(report, self.settings)
        return CheckedVariant(one, fit.figures(), fit.lower_is_better(), fit.doubts())
