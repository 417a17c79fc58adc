"""The constructor is the schema: reads the signature and the docstring of a class, with pydantic's help.

Positional-only parameters are injected by core; keyword-only ones are the keys of the TOML table. This module is imported
only when a schema is not cached or a component is made, since pydantic and the component's own imports are slow.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
import typing
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Any

import pydantic
from pydantic_core import PydanticSerializationError, to_jsonable_python
from typing_extensions import NotRequired, Required, TypedDict

from trialbook.errors import TrialbookError

#: Class attributes that a schema carries, for checks that must not import the class.
ATTRIBUTES = (
    "accepts",
    "counted",
    "doubtful",
    "doubtful_when",
    "lower_is_better",
    "modalities",
    "needs",
    "parts",
    "produces",
    "provides",
    "reads",
    "takes",
)
#: Methods of a task that trains, and of one that measures, as ``trialbook.contracts`` has them.
_TRAINS, _MEASURES = ("module", "size", "batch", "losses", "evaluate", "after_step"), ("measurements", "measured")
#: Options that count something of which there must be one; where 0 is their default, it means that something is off.
_COUNTED = frozenset({
    "dim", "dims", "width", "heads", "head_dim", "hidden", "patch", "size", "sizes", "latents", "queries", "rank", "max_length",
    "max_new_tokens", "batch", "batch_size", "chunk", "window", "stride", "objects", "k", "channels", "vocabulary",
})  # fmt: skip
_ENTRY = re.compile(r"(\w+)(?: \([^)]*\))?: *(.*)")


def load_target(target: str) -> type:
    """Import the class of ``"package.module:Class"``.

    Raises:
        TrialbookError: the module cannot be imported (and what to install, where a package is missing), or has no such
            class.
    """
    module, _, attribute = target.partition(":")
    try:
        found: Any = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        own = missing == module.partition(".")[0]
        hint = f"there is no module '{error.name}'" if own else f"it needs the package '{missing}'; install it"
        raise TrialbookError(f"'{target}' cannot be loaded: {hint}") from error
    except AttributeError as error:
        raise TrialbookError(f"'{target}' cannot be loaded: {error}") from error
    except Exception as error:
        raise TrialbookError(f"'{target}' cannot be loaded: {type(error).__name__}: {error}") from error
    if not inspect.isclass(found):
        raise TrialbookError(f"'{target}' is not a class; a component is a class whose constructor is its schema")
    return found


def describe_class(cls: type) -> dict[str, Any]:
    """Return what a schema holds of a class: json_schema, injected, injected_optional, attributes, doc.

    Raises:
        TrialbookError: the constructor breaks a rule: ``**kwargs``, a parameter that is neither positional-only nor
            keyword-only, one without a type, or a type that a TOML file cannot hold.
    """
    parameters = _parameters(cls)
    injected = [p for p in parameters if p.kind is p.POSITIONAL_ONLY]
    attributes = {name: _plain(getattr(cls, name)) for name in ATTRIBUTES if _is_plain(getattr(cls, name, None))}
    for part in attributes.get("parts", ()):
        if part not in [p.name for p in injected]:
            raise TrialbookError(f"'{_name(cls)}' names the part '{part}', which is no positional-only parameter of it")
    if "takes" in attributes and (trains := _trains(cls)) is not None:
        attributes["trains"] = trains
    return {
        "json_schema": _json_schema(cls, [p for p in parameters if p.kind is p.KEYWORD_ONLY]),
        "injected": [p.name for p in injected if p.default is p.empty],
        "injected_optional": [p.name for p in injected if p.default is not p.empty],
        "attributes": attributes,
        "doc": inspect.getdoc(cls) or "",
    }


def _trains(cls: type) -> bool | None:
    """Return whether a task has parameters to optimise; None where its methods do not say."""
    if all(callable(getattr(cls, name, None)) for name in _TRAINS):
        return True
    return False if all(callable(getattr(cls, name, None)) for name in _MEASURES) else None


def _at_least_one(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of an option that counts: its whole numbers begin at 1, unless its default or description speaks of 0."""
    default = schema.get("default")
    if (isinstance(default, int) and default < 1) or re.search(r"\b0\b", schema.get("description", "")):
        return schema
    if schema.get("type") == "integer" and not {"minimum", "exclusiveMinimum"} & schema.keys():
        return {**schema, "minimum": 1}
    if isinstance(schema.get("items"), dict):
        return {**schema, "items": _at_least_one(schema["items"])}
    if "anyOf" in schema:
        return {**schema, "anyOf": [_at_least_one(branch) for branch in schema["anyOf"]]}
    return schema


def documented(doc: str) -> dict[str, str]:
    """Parameter name to text, from the ``Args:`` section of a docstring."""
    texts: dict[str, str] = {}
    inside, indent, name = False, 0, ""
    for line in inspect.cleandoc(doc).splitlines():
        text, depth = line.strip(), len(line) - len(line.lstrip())
        if depth == 0:
            inside, name, indent = text in ("Args:", "Arguments:") or (inside and not text), "", 0
        elif inside and text:
            indent = indent or depth
            entry = _ENTRY.match(text) if depth == indent else None
            if entry:
                name, texts[entry[1]] = entry[1], entry[2]
            elif name:
                texts[name] += f" {text}"
    return texts


def validate(cls: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as the constructor wants them (an array becomes a tuple, a string a path).

    Raises:
        pydantic.ValidationError: an option is unknown, missing or of another type.
    """
    text = json.dumps(dict(options), default=str)
    valid: dict[str, Any] = _adapter(cls).validate_json(text, strict=True)
    return valid


@cache
def _adapter(cls: type) -> pydantic.TypeAdapter[Any]:
    options = [p for p in _parameters(cls) if p.kind is p.KEYWORD_ONLY]
    return _make_adapter(cls, options)


def _make_adapter(cls: type, options: list[inspect.Parameter]) -> pydantic.TypeAdapter[Any]:
    """A typed dictionary of the options; keys left out stay out, so that the constructor's own defaults hold."""
    hints, fields = _hints(cls, options), {}
    for p in options:
        fields[p.name] = Required[hints[p.name]] if p.default is p.empty else NotRequired[hints[p.name]]
    make: Any = TypedDict  # a type checker wants it spelt out
    table = make(cls.__name__, fields)
    table.__pydantic_config__ = pydantic.ConfigDict(extra="forbid")
    try:
        return pydantic.TypeAdapter(table)
    except pydantic.PydanticUserError as error:
        raise TrialbookError(_untomlable(cls, options, hints, error)) from error


def _json_schema(cls: type, options: list[inspect.Parameter]) -> dict[str, Any]:
    adapter = _make_adapter(cls, options)
    try:
        schema = adapter.json_schema()
    except pydantic.PydanticUserError as error:
        raise TrialbookError(_untomlable(cls, options, _hints(cls, options), error)) from error
    texts = documented(inspect.getdoc(_constructor(cls)) or "") | documented(inspect.getdoc(cls) or "")
    properties = _tidy(schema.get("properties", {}), schema.get("$defs", {}), ())
    for p in options:
        if p.default is not p.empty:
            properties[p.name]["default"] = _default(cls, p)
        if p.name in texts:
            properties[p.name]["description"] = texts[p.name]
        if p.name in _COUNTED and not cls.__module__.startswith(
            "trialbook.config."
        ):  # core's tables have their own checks
            properties[p.name] = _at_least_one(properties[p.name])
    required = [p.name for p in options if p.default is p.empty]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _parameters(cls: type) -> list[inspect.Parameter]:
    """Parameters of the constructor without ``self``: all are positional-only or keyword-only, and the latter typed."""
    owner = next(base for base in cls.__mro__ if "__init__" in vars(base))
    if owner is object or owner.__module__.startswith(("typing", "torch.nn.modules.module")):
        return []
    parameters = list(inspect.signature(cls).parameters.values())
    for p in parameters:
        if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
            raise TrialbookError(f"'{_name(cls)}' takes '{p}': name every option, so that a misspelt one is found")
        if p.kind is p.POSITIONAL_OR_KEYWORD:
            raise TrialbookError(
                f"parameter '{p.name}' of '{_name(cls)}' must stand before '/' (injected by the task) or after '*' (a key)"
            )
        if p.kind is p.KEYWORD_ONLY and p.annotation is p.empty:
            raise TrialbookError(f"parameter '{p.name}' of '{_name(cls)}' has no type")
    return parameters


def _hints(cls: type, options: list[inspect.Parameter]) -> dict[str, Any]:
    """Types of the options. Those of injected parameters are not resolved: they may exist for type checkers alone."""
    if dataclasses.is_dataclass(cls):
        return typing.get_type_hints(cls, include_extras=True)
    scope = getattr(_constructor(cls), "__globals__", vars(sys.modules[cls.__module__]))
    holder = type("Options", (), {"__annotations__": {p.name: p.annotation for p in options}})
    try:
        return typing.get_type_hints(holder, globalns=scope, include_extras=True)
    except NameError as error:
        raise TrialbookError(f"a type of '{_name(cls)}' cannot be resolved: {error}; import it at run time") from error


def _default(cls: type, parameter: inspect.Parameter) -> Any:
    value = parameter.default
    if dataclasses.is_dataclass(cls):
        field = next(f for f in dataclasses.fields(cls) if f.name == parameter.name)
        if field.default_factory is not dataclasses.MISSING:
            factory: Callable[[], Any] = field.default_factory
            value = factory()
    try:
        return to_jsonable_python(value)
    except PydanticSerializationError as error:
        raise TrialbookError(
            f"the default of '{parameter.name}' of '{_name(cls)}' is no TOML value: {value!r}"
        ) from error


def _untomlable(cls: type, options: list[inspect.Parameter], hints: Mapping[str, Any], error: Exception) -> str:
    """Name the parameter whose type pydantic refuses."""
    for p in options:
        try:
            pydantic.TypeAdapter(hints[p.name]).json_schema()
        except pydantic.PydanticUserError:
            return f"parameter '{p.name}' of '{_name(cls)}' is of a type that a TOML file cannot hold: {p.annotation}"
    return f"the constructor of '{_name(cls)}' cannot be read: {error}"


def _tidy(schema: Any, definitions: Mapping[str, Any], inside: tuple[str, ...]) -> Any:
    """The schema with references replaced by what they refer to, and without pydantic's titles."""
    if isinstance(schema, list):
        return [_tidy(one, definitions, inside) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name in inside:
            raise TrialbookError(f"the type '{name}' contains itself, which a TOML table cannot")
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return {**_tidy(definitions[name], definitions, (*inside, name)), **_tidy(rest, definitions, inside)}
    return {
        key: _tidy(value, definitions, inside)
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str))
    }


def _plain(value: Any) -> Any:
    """Tuples as lists and mappings as dicts."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple | list) else value


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(one) for key, one in value.items())
    return all(map(_is_plain, value)) if isinstance(value, tuple | list) else isinstance(value, str | int | float)


def _constructor(cls: Any) -> Any:
    return cls.__init__


def _name(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"
