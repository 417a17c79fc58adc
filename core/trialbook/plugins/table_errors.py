"""A table against its JSON schema: every mistake in it, each as one phrase and with what was probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trialbook.errors import suggest

_NOUNS = {
    "integer": ("an integer", "integers"),
    "number": ("a number", "numbers"),
    "string": ("a string", "strings"),
    "boolean": ("true or false", "booleans"),
    "array": ("an array", "arrays"),
    "object": ("a table", "tables"),
}
_BOUNDS = {
    "minimum": "at least", "maximum": "at most", "exclusiveMinimum": "above", "exclusiveMaximum": "below",
}  # fmt: skip


@dataclass(frozen=True)
class SchemaError:
    """One mistake in a table.

    Args:
        path: keys and array indices from the table to the value that is wrong; empty for the table itself.
        message: what is wrong.
        suggestion: what was probably meant.
    """

    path: tuple[str | int, ...]
    message: str
    suggestion: str | None = None

    def __str__(self) -> str:
        return self.message + (f"; did you mean '{self.suggestion}'?" if self.suggestion else "")


def schema_problems(table: Mapping[str, Any], schema: Mapping[str, Any]) -> list[SchemaError]:
    """Every mistake of ``table`` by ``schema``, in the order of its keys."""
    import jsonschema  # late: a correct start-up needs none

    def is_integer(_: object, value: object) -> bool:  # the standard counts 1.0 as an integer
        return isinstance(value, int) and not isinstance(value, bool)

    checker = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", is_integer)
    checker = checker.redefine("array", lambda _, value: isinstance(value, list | tuple))
    validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, type_checker=checker)(schema)
    found = [problem for error in validator.iter_errors(table) for problem in _explain(error)]
    order: dict[str | int, int] = {key: place for place, key in enumerate(table)}
    return sorted(dict.fromkeys(found), key=lambda p: order.get(p.path[0], -1) if p.path else len(order))


def _explain(error: Any) -> Iterator[SchemaError]:
    path, value, schema = tuple(error.absolute_path), error.instance, error.schema
    if error.validator == "additionalProperties" and schema["additionalProperties"] is False:
        yield from _unknown_keys(path, value, schema)
    elif error.validator == "required":
        yield from _missing_keys(path, value, schema)
    elif error.validator in ("anyOf", "oneOf") and (branch := _meant_branch(error)):
        for inner in branch:
            yield from _explain(inner)
    else:
        name = _label(path)
        options = _choices(schema)
        if options and isinstance(value, str):
            yield SchemaError(path, f"{name} must be {describe(schema)}, not '{value}'", suggest(value, options))
        elif error.validator in _BOUNDS:
            bound = f"{_BOUNDS[error.validator]} {error.validator_value}"
            yield SchemaError(path, f"{name} must be {bound}, not {value!r}")
        elif error.validator in ("minItems", "maxItems"):
            yield SchemaError(path, f"{name} must be {describe(schema)}, not an array of {len(value)}")
        elif error.validator in ("type", "anyOf", "oneOf", "enum", "const"):
            yield SchemaError(path, f"{name} must be {describe(schema)}, not {describe_value(value)}")
        else:
            yield SchemaError(path, f"{name}: {error.message}")


def _unknown_keys(path: tuple[Any, ...], table: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[SchemaError]:
    known = schema.get("properties", {})
    free = [key for key in known if key not in table]
    for key in table:
        if key not in known:
            yield SchemaError((*path, key), f"unknown key '{key}'", suggest(key, free))


def _missing_keys(path: tuple[Any, ...], table: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[SchemaError]:
    """Keys that are missing, but for those that an unknown key was probably meant to be."""
    misspelt = {problem.suggestion for problem in _unknown_keys(path, table, schema)}
    for key in schema["required"]:
        if key not in table and key not in misspelt:
            yield SchemaError(path, f"missing key '{key}'")


def _meant_branch(error: Any) -> list[Any]:
    """The errors of the only alternative that has the value's own type; none if there is no such, or several."""
    branches: dict[int, list[Any]] = {}
    for inner in error.context:
        branches.setdefault(inner.schema_path[0], []).append(inner)
    fitting = [
        b for b in branches.values() if not any(e.validator in ("type", "enum", "const") and not e.path for e in b)
    ]
    return fitting[0] if len(fitting) == 1 else []


def _choices(schema: Mapping[str, Any]) -> list[str]:
    """The strings that a schema names one by one."""
    found = [value for value in schema.get("enum", [schema.get("const")]) if isinstance(value, str)]
    for branch in schema.get("anyOf", ()):
        found += _choices(branch)
    return found


def describe(schema: Mapping[str, Any], *, plural: bool = False) -> str:
    """Describe in words what a schema wants: ``an integer``, ``an array of 2 numbers``, ``one of 'mean', 'attention'``."""
    branches = [branch for branch in schema.get("anyOf", schema.get("oneOf", ())) if branch.get("type") != "null"]
    if branches:
        return _listed([describe(branch, plural=plural) for branch in branches])
    if "enum" in schema:
        return "one of " + ", ".join(map(describe_literal, schema["enum"]))
    if "const" in schema:
        return describe_literal(schema["const"])
    kind = schema.get("type", "")
    noun = _NOUNS.get(kind, ("a value", "values"))[plural]
    if kind == "array" and (items := _items(schema)):
        return f"{noun} of {items}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"{noun} of {describe(schema['additionalProperties'], plural=True)}"
    return noun


def _items(schema: Mapping[str, Any]) -> str:
    fixed = schema.get("prefixItems")
    if fixed:
        kinds = list(dict.fromkeys(describe(one, plural=True) for one in fixed))
        return f"{len(fixed)} {' and '.join(kinds)}"
    items = schema.get("items")
    if not isinstance(items, Mapping) or not items:
        return ""
    least, most = schema.get("minItems"), schema.get("maxItems")
    count = f"{least} " if least and least == most else ""
    return count + describe(items, plural=True)


def describe_value(value: object) -> str:
    """A value of a TOML file with its type: ``the string '64'``."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the string '{value}'"
    if isinstance(value, int | float):
        return f"the {'integer' if isinstance(value, int) else 'float'} {value}"
    if isinstance(value, list | tuple):
        return "an array"
    if isinstance(value, Mapping):
        return "a table"
    return f"the {type(value).__name__} {value}"


def describe_literal(value: object) -> str:
    """A value as it is written in a TOML file."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"'{value}'" if isinstance(value, str) else str(value)


def _listed(words: Iterable[str]) -> str:
    *some, last = dict.fromkeys(words)
    return f"{', '.join(some)} or {last}" if some else last


def _label(path: tuple[str | int, ...]) -> str:
    """``'betas'``, ``'betas[1]'``, ``'shape.width'``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return f"'{text}'"
