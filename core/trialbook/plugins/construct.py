"""Making a component from its table: nested ones first, errors with the file and line of the key that they name."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trialbook.config.kinds import part_kind
from trialbook.config.toml import KeyPath
from trialbook.config.variants import ComponentTable, nested_tables
from trialbook.errors import ExperimentErrors, Position, Problem, TrialbookError
from trialbook.plugins.schema import ComponentSchema, SchemaBook, construct

#: Keys of a component's table that belong to the experiment.
RESERVED = ("use", "frozen", "from", "weight", "name", "id")


@dataclass(frozen=True)
class ComponentFactory:
    """Makes components of one file.

    Args:
        book: schemas of all components.
        file: what is named where a key has no place of its own.
        positions: where each key was written.
        offered: what every component may ask for: ``data_root``, ``seed`` and more.
    """

    book: SchemaBook
    file: str
    positions: Mapping[KeyPath, Position]
    offered: Mapping[str, Any]

    def construct(self, table: ComponentTable, injected: Mapping[str, Any]) -> Any:
        """The component of a table, with ``injected`` for its positional-only parameters.

        Raises:
            ExperimentErrors: a constructor refuses a value; with file and line.
            TrialbookError: the component wants what nobody offers.
        """
        schema = self.book.get(table.kind, table.use or "")
        parts: Mapping[str, str] = schema.attributes.get("parts", {})
        options = {key: value for key, value in component_options(table.content).items() if key not in parts}
        offered = {
            **self.offered,
            **injected,
            **self._parts(table, parts, self._for_parts(table, schema, injected, options)),
        }
        if missing := [name for name in schema.injected if name not in offered]:
            raise TrialbookError(
                f"{table.kind} '{schema.name}' wants '{missing[0]}', which the task does not offer (it offers "
                f"{', '.join(injected)})"
            )
        handed = {name: offered[name] for name in (*schema.injected, *schema.injected_optional) if name in offered}
        with self.located(table.path, options):
            return construct(_import(schema), handed, options)

    def located(self, path: KeyPath, options: Mapping[str, Any]) -> Located:
        """A context in which errors are those of the table at ``path``."""
        named = {key: value for key, value in options.items() if key == "from" or key not in RESERVED}
        return Located(self.file, self.positions, path, named)

    def _for_parts(
        self, table: ComponentTable, schema: ComponentSchema, injected: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return what components nested in this one are offered: what it is offered itself, unless its class says otherwise."""
        change = getattr(_import(schema), "offered_to_parts", None) if schema.attributes.get("parts") else None
        if change is None:
            return injected
        with self.located(table.path, options):
            changed: Mapping[str, Any] = change(injected, options)
        return changed

    def _parts(self, table: ComponentTable, parts: Mapping[str, str], injected: Mapping[str, Any]) -> dict[str, Any]:
        """Nested components by the parameter that takes them; those that have names as a mapping."""
        made: dict[str, Any] = {}
        depth = len(table.path)
        for inner in nested_tables(table, parts):
            part = str(inner.path[depth])
            if part_kind(parts[part])[1]:
                made.setdefault(part, {})[inner.path[-1]] = self.construct(inner, injected)
            else:
                made[part] = self.construct(inner, injected)
        return made


class Located:
    """Turns errors of a component into problems with file and line: those of the key that the message names."""

    def __init__(
        self, file: str, positions: Mapping[KeyPath, Position], path: KeyPath, options: Mapping[str, Any]
    ) -> None:
        self.file, self.positions, self.path, self.options = file, positions, path, options

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, ExperimentErrors) or not isinstance(error, TrialbookError | ValueError):
            return
        if isinstance(error, ValueError) and kind is not ValueError:
            return  # a subclass (UnicodeDecodeError, …) is no value check: let its traceback be seen
        named = [key for key in self.options if re.search(rf"(?<![\w-]){re.escape(str(key))}(?![\w-])", str(error))]
        paths: list[KeyPath] = [*((*self.path, key) for key in (*named, "use")), self.path]
        place = next((self.positions[path] for path in paths if path in self.positions), None)
        file = str(place.file) if place and place.file else "--set" if place else self.file
        table = ".".join(str(level) for level in self.path if not isinstance(level, int))
        raise ExperimentErrors([Problem(file, place.line if place else 0, table, str(error))]) from error


def component_options(table: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that belong to the component."""
    return {key: value for key, value in table.items() if key not in RESERVED}


def _import(schema: ComponentSchema) -> type:
    module, _, name = schema.target.partition(":")
    found: type = getattr(importlib.import_module(module), name)
    return found
