"""A configuration with all defaults filled in: what a run was, whatever later versions default to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trialbook.config.kinds import ARRAYS, NAMED, RESERVED, part_kind
from trialbook.config.variants import ComponentTable, component_tables, nested_tables
from trialbook.errors import TrialbookError
from trialbook.plugins.schema import SchemaBook


def with_defaults(data: Mapping[str, Any], book: SchemaBook) -> dict[str, Any]:
    """The resolved tables with every default that is not None.

    ``[[stage]]`` stays as it is, since what it does not say is ``[train]``'s; so do tables of unknown components.
    """
    filled: dict[str, Any] = {}
    for table in component_tables(data):
        content = _component(table, book)
        if table.kind in ARRAYS:
            filled.setdefault(table.kind, []).append(content)
        elif table.kind in NAMED:
            filled.setdefault(table.kind, {})[table.path[-1]] = content
        else:
            filled[table.kind] = content
    if data.get("train") or data.get("stage"):
        filled["train"] = _over_defaults(data.get("train", {}), book.core("train").defaults())
    if data.get("stage"):
        filled["stage"] = [dict(stage) for stage in data["stage"]]
    for name in ("evaluate", "checkpoint"):
        filled[name] = _over_defaults(data.get(name, {}), book.core(name).defaults())
    return filled


def _component(table: ComponentTable, book: SchemaBook) -> dict[str, Any]:
    try:
        schema = book.get(table.kind, table.use or "")
    except TrialbookError:
        return dict(table.content)
    reserved = {key: one["default"] for key, one in RESERVED[table.kind].items() if "default" in one}
    if len(table.path) > 2:  # a nested part: what belongs to the experiment is said of the outer one
        reserved = {}
    content = _over_defaults(table.content, {**reserved, **schema.defaults()})
    parts: Mapping[str, str] = schema.attributes.get("parts", {})
    for inner in nested_tables(table, parts):
        part, filled = str(inner.path[len(table.path)]), _component(inner, book)
        named = part_kind(parts[part])[1]
        content[part] = {**content[part], str(inner.path[-1]): filled} if named else filled
    return content


def _over_defaults(content: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {**{key: value for key, value in defaults.items() if value is not None}, **content}
