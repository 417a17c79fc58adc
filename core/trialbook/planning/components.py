"""Every table of a resolved configuration against its schema: the components' and core's own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from trialbook.config.experiment import Experiment
from trialbook.config.kinds import RESERVED
from trialbook.config.merge import position_of
from trialbook.config.numerics import OF_EVALUATION
from trialbook.config.options import CORE_TABLES, stages_of
from trialbook.config.toml import Document, KeyPath
from trialbook.config.variants import ComponentTable, component_tables, nested_tables
from trialbook.errors import ErrorCollector, Position, TrialbookError, suggest
from trialbook.plugins.manager import AmbiguousComponent, UnknownComponent
from trialbook.plugins.schema import ComponentSchema, SchemaBook, table_problems
from trialbook.plugins.table_errors import SchemaError

#: Keys of the experiment that a component within another cannot have for itself.
_OF_THE_WHOLE = ("frozen", "from", "weight", "name")


@dataclass
class Judge:
    """Judges tables by their schemas, equal tables of several arms once.

    Args:
        book: schemas of all components.
        forgiving: leave components out that are offered but cannot be loaded here.
    """

    book: SchemaBook
    forgiving: bool = False
    _known: dict[str, list[SchemaError]] = field(default_factory=dict)

    def problems(self, content: Mapping[str, Any], schema: ComponentSchema) -> list[SchemaError]:
        """Mistakes in the keys of a table."""
        key = json.dumps([schema.target, schema.kind, content], default=repr)
        if key not in self._known:
            self._known[key] = table_problems(content, schema, RESERVED.get(schema.kind, {}))
        return self._known[key]


class ComponentCheck:
    """Checks the tables of one configuration.

    Args:
        report: takes the problems.
        judge: judges single tables.

    Attributes:
        schemas: path of each component's table, nested ones included, to its schema, where it has a usable one.
        unsound: paths of the tables with a mistake in them.
    """

    def __init__(self, report: TableReport, judge: Judge) -> None:
        self.report, self.judge = report, judge
        self.data = report.document.data
        self.schemas: dict[KeyPath, ComponentSchema] = {}
        self.unsound: set[KeyPath] = set()

    def check(self) -> None:
        """Check all tables."""
        for table in component_tables(self.data):
            self.component(table)
        for name in CORE_TABLES:
            tables = self.data.get(name, {})
            if isinstance(tables, list):
                for index, content in enumerate(tables):
                    self.core((name, index), name, content)
            elif name in self.data:
                self.core((name,), name, tables)
        self.values_of_core()

    def component(self, table: ComponentTable) -> None:
        """A component's table, and the tables of components in it."""
        if table.use is None:
            self.without_use(table)
            return
        schema = self.find(table, table.use)
        if schema is None:
            self.unsound.add(table.path)
            return
        self.schemas[table.path] = schema
        self.keys(table.path, table.content, schema)
        for inner in nested_tables(table, schema.attributes.get("parts", {})):
            self.said_outside(inner, table)
            self.component(inner)

    def said_outside(self, inner: ComponentTable, outer: ComponentTable) -> None:
        """Keys of the experiment in the table of a nested component: they are said of the outer one, whose part it is."""
        place = ".".join(str(level) for level in outer.path if not isinstance(level, int))
        for key in [key for key in inner.content if key in _OF_THE_WHOLE and key in RESERVED[inner.kind]]:
            self.unsound.add(inner.path)
            self.report.add(inner.path, (key,), f"'{key}' is said of the whole part: write it in [{place}]")

    def core(self, path: KeyPath, name: str, content: Mapping[str, Any]) -> None:
        """One of core's own tables."""
        self.keys(path, content, self.judge.book.core(name))

    def keys(self, path: KeyPath, content: Mapping[str, Any], schema: ComponentSchema) -> None:
        """Unknown keys, wrong types, missing keys; a misspelt ``use`` alone, as the rest may fit what was meant."""
        found = [_explained(problem, schema) for problem in self.judge.problems(content, schema)]
        for problem in [problem for problem in found if problem.suggestion == "use"] or found:
            self.unsound.add(path)
            self.report.add_suggested(path, problem.path, problem.message, problem.suggestion)

    def without_use(self, table: ComponentTable) -> None:
        """A table that names no component."""
        self.unsound.add(table.path)
        choice = f"; {self.offer(table.kind)}"
        meant = next((key for key in table.content if suggest(key, ["use"])), None)
        if "use" in table.content:
            self.report.add(table.path, ("use",), f"'use' must be a component's name{choice}")
        elif meant is not None:
            self.report.add(table.path, (meant,), f"unknown key '{meant}'", word=meant, known=["use"])
        else:
            self.report.add(table.path, (), f"missing key 'use'{choice}")

    def find(self, table: ComponentTable, use: str) -> ComponentSchema | None:
        """The schema of the component that the table names."""
        message, suggestion = "", None
        try:
            return self.judge.book.get(table.kind, use)
        except (UnknownComponent, AmbiguousComponent) as error:
            message, suggestion = error.message, error.suggestion
        except TrialbookError as error:
            if self.judge.forgiving:
                return None
            message = str(error)
        if suggestion is None and message.startswith("unknown"):
            message += f"; {self.offer(table.kind)}; is the plugin that offers it installed?"
        self.report.add_suggested(table.path, ("use",), message, suggestion)
        return None

    def offer(self, kind: str) -> str:
        """The components of a kind, in words."""
        names = sorted(one.name for one in self.judge.book.host.components(kind))
        return f"there are {', '.join(names)}" if names else "no plugin offers one"

    def values_of_core(self) -> None:
        """Check what types cannot say of core's tables: their constructors check it."""
        train = self.data.get("train", {})
        stages = self.data.get("stage", [])
        if "train" in self.data and not stages:
            self.value_check(("train",), train, lambda one: stages_of({"train": one}))
        for index, stage in enumerate(stages):
            if ("train",) not in self.unsound:
                self.value_check(
                    ("stage", index), {**train, **stage}, partial(_stage, inherited=set(train) - set(stage))
                )
        if not any(path[0] in ("train", "stage") for path in self.unsound) and stages:
            self.value_check(("stage",), {}, lambda _: stages_of({"train": train, "stage": stages}))
        for name in ("evaluate", "checkpoint"):
            self.value_check((name,), self.data.get(name, {}), partial(_made, CORE_TABLES[name]))
        for key in [key for key in OF_EVALUATION if key in self.data.get("evaluate", {})] if train or stages else []:
            self.report.add(
                ("evaluate",), (key,), f"'{key}' holds for the whole run, which trains: write it in [train]"
            )

    def value_check(self, path: KeyPath, content: Mapping[str, Any], construct: Callable[[Any], object]) -> None:
        """Report what a constructor says, at the keys that it names."""
        if path in self.unsound or "train" in self.report.problems.lost:
            return
        for key, message in value_problems(content, construct):
            self.unsound.add(path)
            inherited = key is not None and (*path, key) not in self.report.document.positions
            table = ("train",) if inherited and path[0] == "stage" else path
            self.report.add(table, (key,) if key else (), message)


def _stage(content: Mapping[str, Any], *, inherited: Collection[str]) -> object:
    """A stage of its own keys and those of ``[train]``."""
    return stages_of({
        "train": {key: value for key, value in content.items() if key in inherited},
        "stage": [{key: value for key, value in content.items() if key not in inherited}],
    })  # fmt: skip


def _made(table: type, content: Mapping[str, Any]) -> object:
    return table(**content)


def value_problems(
    content: Mapping[str, Any], construct: Callable[[Mapping[str, Any]], object]
) -> Iterator[tuple[str | None, str]]:
    """All that a constructor says of a table, one after the other: a key that it complains of is left out the next time.

    Args:
        content: the table, whose keys and types are right.
        construct: makes the object from it, and raises a TrialbookError for a value out of its range.
    Yields:
        The key that is named, None where none is, and what is said.
    """
    whole = content
    while True:
        try:
            construct(content)
        except TypeError:
            if content is whole:
                raise
            return  # what was left out is required: nothing more can be said
        except TrialbookError as error:
            key = named_key(str(error), content)
            if key is not None or content is whole:
                yield key, str(error)
            if key is None:
                return
            kept = {name: value for name, value in content.items() if name != key}
            content = (
                {**kept, key: 1} if key in ("steps", "epochs") and content[key] != 1 else kept
            )  # one of the two must be there
        else:
            return


def _explained(problem: SchemaError, schema: ComponentSchema) -> SchemaError:
    """The problem; an unknown key with the nearest of all keys, given ones too (arms lay tables over one another)."""
    if len(problem.path) != 1 or not problem.message.startswith("unknown key"):
        return problem
    own = [*schema.json_schema["properties"], *schema.attributes.get("parts", {})]
    hint = suggest(str(problem.path[0]), [*own, *RESERVED.get(schema.kind, {})])
    there = "" if hint else f"; '{schema.name}' knows {', '.join(own) or 'none'}"
    return SchemaError(problem.path, problem.message + there, hint)


def named_key(message: str, content: Mapping[str, Any]) -> str | None:
    """The first of a table's keys that a message names: ``'lr' (…)`` or ``accumulate (3) …``."""
    for quoted, bare in re.findall(r"'(\w+)'|(\w+) \(", message):
        if (quoted or bare) in content:
            return str(quoted or bare)
    return None


@dataclass(frozen=True)
class TableReport:
    """Takes the problems of one resolved configuration.

    Args:
        experiment: the file.
        document: the configuration, with positions.
        problems: the problems of the whole file, where a mistake that several arms inherit counts once.
    """

    experiment: Experiment
    document: Document
    problems: ErrorCollector

    def add(
        self, table: KeyPath, key: KeyPath, message: str, *, word: str | None = None, known: Iterable[str] = ()
    ) -> None:
        """Note a mistake in ``table`` at ``key`` (empty: the table itself); ``word`` stands for one of ``known``."""
        self.add_suggested(table, key, message, suggest(word, known) if word is not None else None)

    def add_suggested(self, table: KeyPath, key: KeyPath, message: str, suggestion: str | None) -> None:
        """Note a mistake with a suggestion that is known already."""
        place = position_of(self.document, (*table, *key))
        self.problems.add_suggested(place, self._written_name(table, key, place), message, suggestion)

    def _written_name(self, table: KeyPath, key: KeyPath, place: Position | None) -> str:
        """Name of the table as it stands at ``place``: that of an arm, a profile or the grid has more in front."""
        written = self.experiment.document.positions
        profile = ("profile", self.experiment.profile or "")
        arms = [("arm", name) for name in self.experiment.arms]
        origins: list[KeyPath] = [*((*profile, *arm) for arm in arms), profile, *arms, ()]
        for origin in origins:
            for depth in range(len(key), -1, -1):
                if place is not None and written.get((*origin, *table, *key[:depth])) == place:
                    return dotted((*origin, *table))
        if any(at[0] == "grid" and where == place for at, where in written.items()):
            return "grid"
        return dotted(table)


def dotted(path: KeyPath) -> str:
    """A path as it stands in a table's header, without the numbers of array elements."""
    return ".".join(str(part) for part in path if isinstance(part, str))
