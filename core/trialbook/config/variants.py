"""Arms times grid: the configurations that a file asks for, each resolved and with its positions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from trialbook.config.experiment import Experiment
from trialbook.config.kinds import ARRAYS, KINDS, NAMED, part_kind
from trialbook.config.merge import assign, overlay
from trialbook.config.toml import Document, KeyPath, parse_key
from trialbook.errors import Position


@dataclass(frozen=True)
class Variant:
    """An arm at a point of the grid.

    Args:
        arm: name of the arm.
        label: the arm with its point, short: ``mlp,lr=0.001``.
        point: dotted key of the grid to the value that it has here.
        document: the resolved tables as written, without defaults.
    """

    arm: str
    label: str
    point: Mapping[str, Any]
    document: Document

    @property
    def data(self) -> dict[str, Any]:
        """The resolved tables."""
        return self.document.data


@dataclass(frozen=True)
class ComponentTable:
    """A component's table in a resolved configuration.

    Args:
        kind: component kind.
        path: where it stands: ``("projector", "image")``, ``("loss", 0)``, ``("loss", 0, "of")``.
        content: its keys, ``use`` and other reserved ones included.
    """

    kind: str
    path: KeyPath
    content: Mapping[str, Any]

    @property
    def use(self) -> str | None:
        """The name after ``use =``, if it is one."""
        use = self.content.get("use")
        return use if isinstance(use, str) and use else None

    @property
    def name(self) -> str:
        """Modality or given name of the part; of an array's table its name in records."""
        last = self.path[-1]
        if self.kind in ARRAYS or not isinstance(last, str):
            return str(self.content.get("name", self.use))
        return last

    @property
    def part(self) -> str:
        """Name of the part as patterns and records have it: ``projector.image``, ``loss.info-nce``, ``llm``."""
        return self.kind if len(self.path) == 1 else f"{self.kind}.{self.name}"


def component_tables(data: Mapping[str, Any]) -> Iterator[ComponentTable]:
    """All tables of components, in the order of the kinds and then of the file; nested ones stand inside theirs."""
    for kind in KINDS:
        tables = data.get(kind, {})
        if kind in ARRAYS:
            yield from (ComponentTable(kind, (kind, index), table) for index, table in enumerate(tables))
        elif kind in NAMED:
            yield from (ComponentTable(kind, (kind, name), table) for name, table in tables.items())
        elif kind in data:
            yield ComponentTable(kind, (kind,), tables)


def nested_tables(table: ComponentTable, parts: Mapping[str, str]) -> Iterator[ComponentTable]:
    """The tables of nested components; a name alone stands for a table with that ``use``.

    Args:
        table: the outer component's.
        parts: of the outer component's schema: key to ``KIND``, or to ``KIND.*`` where it holds tables with names.
    """
    for part, declared in parts.items():
        kind, named = part_kind(declared)
        held, path = table.content.get(part), (*table.path, part)
        if named:
            found = {(*path, name): one for name, one in held.items()} if isinstance(held, dict) else {}
        else:
            found = {path: held}
        for at, content in found.items():
            inner = {"use": content} if isinstance(content, str) else content
            if isinstance(inner, dict):
                yield ComponentTable(kind, at, inner)


def arm_document(experiment: Experiment, arm: str) -> Document:
    """The base with an arm merged over it."""
    return overlay(experiment.base, experiment.arms[arm])


def points(grid: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    """Every combination of the grid's values, the last key changing fastest; one empty point where there is no grid."""
    for values in product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def variant(experiment: Experiment, arm: str, document: Document, point: Mapping[str, Any]) -> Variant:
    """The arm's document with the values of a point set.

    Raises:
        TrialbookError: a key of the point leads through a value that is no table.
    """
    for key in sorted(point, key=lambda key: not key.endswith("use")):  # another component first, then its keys
        document = assign(document, parse_key(key), point[key], grid_place(experiment, key, point[key]))
    return Variant(arm, label(arm, point), point, document)


def grid_place(experiment: Experiment, key: str, value: Any) -> Position:
    """Return where a value of the grid was written."""
    index = experiment.grid[key].index(value)
    return experiment.place("grid", key, index) or experiment.place("grid", key) or Position(None, 0)


def label(arm: str, point: Mapping[str, Any]) -> str:
    """Short name of an arm at a point: of each key the last part, or as much as tells it from the others."""
    short = {key: key.rpartition(".")[2] for key in point}
    unique = {key: name if list(short.values()).count(name) == 1 else key for key, name in short.items()}
    return ",".join([arm, *(f"{unique[key]}={_text(value)}" for key, value in point.items())])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), default=str)


def find_cycle(needs: Mapping[str, Sequence[str]]) -> list[str]:
    """Names that need one another, the first again at the end; empty where there are none."""
    done: set[str] = set()

    def follow(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        for need in needs.get(name, ()) if name not in done else ():
            if found := follow(need, [*path, name]):
                return found
        done.add(name)
        return []

    return next((found for name in needs if (found := follow(name, []))), [])


def needed_first(needs: Mapping[str, Sequence[str]]) -> list[str]:
    """The names, each behind those that it needs and else in their order; there must be no cycle."""
    order: dict[str, None] = {}

    def place(name: str) -> None:
        if name not in order:
            for need in needs[name]:
                place(need)
            order[name] = None

    for name in needs:
        place(name)
    return list(order)
