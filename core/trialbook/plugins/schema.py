"""Schemas of components, from their constructors: made once, cached by source hash, checked without importing torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trialbook._version import __version__
from trialbook.config.kinds import FROM, part_kind
from trialbook.config.options import CORE_TABLES
from trialbook.config.renamed import KEYS
from trialbook.errors import TrialbookError
from trialbook.plugins.manager import PluginManager, Registered
from trialbook.plugins.provenance import source_hash
from trialbook.plugins.table_errors import SchemaError, schema_problems


@dataclass(frozen=True)
class ComponentSchema:
    """The schema of a component: what an experiment file may say of it, and what it needs from the others.

    Args:
        kind: component kind, or ``"core"`` for a table of core.
        name: name after ``use =``, or of the table.
        target: ``"package.module:Class"``.
        plugin: name of the plugin that offers it.
        source: hash of its source.
        json_schema: of the keyword-only parameters, with descriptions and defaults; nothing else is allowed.
        injected: required positional-only parameters.
        injected_optional: positional-only parameters with a default.
        attributes: class attributes that checks need (``needs``, ``produces``, ``takes`` …), tuples as lists.
        doc: the docstring.
    """

    kind: str
    name: str
    target: str
    plugin: str
    source: str
    json_schema: dict[str, Any]
    injected: tuple[str, ...] = ()
    injected_optional: tuple[str, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    doc: str = ""

    def defaults(self) -> dict[str, Any]:
        """Key to default, of the keys that have one; None for those that are off unless given."""
        properties = self.json_schema["properties"]
        return {key: schema["default"] for key, schema in properties.items() if "default" in schema}


class SchemaBook:
    """Schemas of all components that ``host`` knows, kept in ``cache``.

    Args:
        host: the plugins.
        cache: cache folder; one that is missing, broken or not writable costs time, nothing else.
    """

    def __init__(self, host: PluginManager, cache: Path) -> None:
        self.host = host
        self._folder = cache / "schemas"
        self._read: dict[tuple[str, str, str], ComponentSchema] = {}
        self._version = ""

    def get(self, kind: str, name: str) -> ComponentSchema:
        """The schema of a component.

        Raises:
            UnknownComponent, AmbiguousComponent: as ``PluginManager.find``.
            TrialbookError: the component cannot be loaded, or its constructor breaks a rule.
        """
        return self.of(self.host.find(kind, name))

    def of(self, registered: Registered) -> ComponentSchema:
        """The schema of a component that was found already; raises TrialbookError as ``get`` does."""
        return self._schema(registered.kind, registered.name, registered.target, registered.plugin.name)

    def core(self, table: str) -> ComponentSchema:
        """The schema of one of core's own tables (``train``, ``stage``, ``evaluate`` …)."""
        cls = CORE_TABLES[table]
        schema = self._schema("core", table, f"{cls.__module__}:{cls.__qualname__}", "trialbook")
        if table not in ("train", "stage"):
            return schema
        own = schema.json_schema
        return replace(schema, json_schema={**own, "properties": {**own["properties"], "from": FROM}})

    def all(self) -> list[ComponentSchema]:
        """Schemas of all components that can be loaded; those that cannot are left out (``get`` says why)."""
        schemas = []
        for registered in self.host.components():
            with contextlib.suppress(TrialbookError):
                schemas.append(self.of(registered))
        return schemas

    def _schema(self, kind: str, name: str, target: str, plugin: str) -> ComponentSchema:
        key = (kind, plugin, name)
        if key not in self._read:
            source = source_hash(target)
            file = self._folder / f"{self._address(target, source)}.json"
            described = _load(file)
            if described is None:
                from trialbook.plugins.signature import (  # late: imports the component and pydantic
                    describe_class,
                    load_target,
                )

                described = describe_class(load_target(target))
                _store(file, described)
            injected = {name: tuple(described[name]) for name in ("injected", "injected_optional")}
            self._read[key] = ComponentSchema(kind, name, target, plugin, source, **{**described, **injected})
        return self._read[key]

    def _address(self, target: str, source: str) -> str:
        """Name of the cache file: of all that the schema depends on."""
        if not self._version:
            from importlib import metadata  # late: it is slow to import

            python = ".".join(map(str, sys.version_info[:2]))
            pydantic = metadata.version("pydantic")
            self._version = "\0".join((__version__, python, pydantic, source_hash("trialbook.plugins.signature")))
        return hashlib.sha256(f"{target}\0{source}\0{self._version}".encode()).hexdigest()[:32]


def table_problems(
    table: Mapping[str, Any], schema: ComponentSchema, reserved: Mapping[str, dict[str, Any]] | None = None
) -> list[SchemaError]:
    """Every mistake in a component's table, in the order of its keys; missing keys come last.

    Args:
        table: the table as it was read, with or without reserved keys.
        schema: of the component that it uses.
        reserved: keys that belong to the experiment with their JSON schemas: ``RESERVED[kind]``.
    """
    parts: Mapping[str, str] = schema.attributes.get("parts", {})
    one: dict[str, Any] = {"anyOf": [{"type": "object"}, {"type": "string"}]}
    several = {"type": "object", "additionalProperties": one}
    nested = {name: several if part_kind(declared)[1] else one for name, declared in parts.items()}
    needed = [name for name in parts if name in schema.injected]
    own = schema.json_schema
    whole = {
        **own,
        "properties": {**own["properties"], **nested, **(reserved or {})},
        "required": [*own["required"], *needed],
    }
    return [_with_new_name(problem, schema) for problem in schema_problems(table, whole)]


def _with_new_name(problem: SchemaError, schema: ComponentSchema) -> SchemaError:
    """The same, or what became of a key that earlier versions had."""
    place = schema.name if schema.kind == "core" else f"{schema.kind} {schema.name}"
    known = schema.json_schema["properties"]
    told = KEYS.get((place, str(problem.path[0]))) if problem.path and problem.path[0] not in known else None
    return SchemaError(problem.path, told) if told else problem


def construct(cls: type, injected: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    """Call a component's constructor with checked options.

    Args:
        cls: the component.
        injected: values of positional-only parameters by name; those that the constructor does not have are ignored.
        options: values of keyword-only parameters.
    Raises:
        TrialbookError: an option is unknown, missing or of a wrong type, or a required injected value was not given; the
            constructor's own errors pass through.
    """
    from pydantic import ValidationError  # late: slow to import

    from trialbook.plugins.signature import describe_class, validate

    try:
        values = validate(cls, options)
    except ValidationError as error:
        problems = schema_problems(options, describe_class(cls)["json_schema"])
        raise TrialbookError("; ".join(map(str, problems)) or _pydantic_says(error)) from None
    return cls(*_positional(cls, injected), **values)


def _positional(cls: type, injected: Mapping[str, Any]) -> list[Any]:
    """Injected values in the order of the parameters; the default of an optional one that is not given."""
    import inspect

    values = []
    parameters = [p for p in inspect.signature(cls).parameters.values() if p.kind is p.POSITIONAL_ONLY]
    for p in parameters:
        if p.name not in injected and p.default is p.empty:
            raise TrialbookError(f"'{cls.__name__}' needs '{p.name}', which was not given")
        values.append(injected.get(p.name, p.default))
    return values


def _pydantic_says(error: Any) -> str:
    return "; ".join(f"'{'.'.join(map(str, one['loc']))}': {one['msg']}" for one in error.errors(include_url=False))


def _load(file: Path) -> dict[str, Any] | None:
    """A cached description, or None where there is none that can be used."""
    try:
        described: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    expected = {"json_schema", "injected", "injected_optional", "attributes", "doc"}
    return described if isinstance(described, dict) and set(described) == expected else None


def _store(file: Path, described: Mapping[str, Any]) -> None:
    """Write and rename, so that no reader sees half a file; a cache that cannot be written is none."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent, suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump(described, out)
        Path(temporary).replace(file)
