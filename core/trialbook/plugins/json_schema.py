"""The JSON Schema of a whole experiment file, so that editors complete and check it.

Arms, profiles and files that extend others hold parts of tables; therefore no key of a component is required here, and
a table without ``use`` may have any key of its kind. ``mlrun check`` judges the merged whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trialbook.config.kinds import ARRAYS, KINDS, NAMED, RESERVED, part_kind
from trialbook.config.options import CORE_TABLES

if TYPE_CHECKING:
    from trialbook.plugins.schema import ComponentSchema, SchemaBook

_TEXT = {"type": "string", "minLength": 1}
_TEXTS = {"type": "array", "items": {"type": "string"}}
_TOP: dict[str, dict[str, Any]] = {
    "name": {**_TEXT, "description": "what its runs are filed under; the file's name if left out"},
    "question": {**_TEXT, "description": "what the experiment is to answer; the file's opening comment if left out"},
    "extends": {"anyOf": [_TEXT, _TEXTS], "description": "files that this one extends, relative to it"},
    "seeds": {
        "type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "uniqueItems": True,
        "default": [0], "description": "one run of every arm for each seed",
    },
    "baseline": {**_TEXT, "description": "the arm that the others are compared with"},
    "needs": {
        **_TEXTS,
        "description": "preparations of the file (all if left out), or other files, whose runs are inputs of this one's",
    },
    "headline": {**_TEXTS, "description": "metrics that a comparison shows first"},
    "trackers": {**_TEXTS, "description": "trackers that are told of its runs, in place of those of runner.toml"},
}  # fmt: skip
_RESULTS = {"type": "object", "additionalProperties": _TEXT, "description": "names in results.json and their metrics"}
_GRID = {
    "type": "object",
    "additionalProperties": {"type": "array", "minItems": 1},
    "description": 'dotted key, in quotes, to the values that it goes through: "train.lr" = [1e-3, 1e-4]',
}


def experiment_json_schema(book: SchemaBook) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of an experiment file, covering every installed component that can be loaded."""
    by_kind: dict[str, dict[str, ComponentSchema]] = {kind: {} for kind in KINDS}
    for schema in book.all():
        by_kind[schema.kind][f"{schema.plugin}:{schema.name}"] = schema
    definitions: dict[str, Any] = {}
    for kind, schemas in by_kind.items():
        definitions.update({f"{kind}/{full}": _component(kind, full, schemas) for full in schemas})
        definitions[kind] = _choice(kind, schemas)
    definitions.update({f"core/{table}": _core(book, table) for table in CORE_TABLES})
    tables = {kind: _placed(kind) for kind in KINDS} | {table: _placed_core(table) for table in CORE_TABLES}
    outer = {"results": _RESULTS, "grid": _GRID}
    definitions["arm"] = _arm(tables)
    arms = {"type": "object", "additionalProperties": {"$ref": "#/$defs/arm"}, "description": "[arm.NAME]: a variant"}
    definitions["prepare"] = _preparation(definitions["arm"])
    preparations = {
        "type": "object",
        "additionalProperties": {"$ref": "#/$defs/prepare"},
        "description": "[prepare.NAME]: what is prepared before, as a run of its own",
    }
    inner_top = {key: value for key, value in _TOP.items() if key != "extends"}
    definitions["profile"] = _closed({**inner_top, **tables, **outer, "arm": arms, "prepare": preparations})
    profiles = {
        "type": "object",
        "additionalProperties": {"$ref": "#/$defs/profile"},
        "description": "[profile.NAME]: tables merged over the file by --profile NAME",
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "trialbook experiment",
        **_closed({**_TOP, **tables, **outer, "arm": arms, "prepare": preparations, "profile": profiles}),
        "$defs": definitions,
    }


def _component(kind: str, full: str, schemas: dict[str, ComponentSchema]) -> dict[str, Any]:
    """Table of one component; ``use`` is its name, or its full name where the bare one is taken twice."""
    schema = schemas[full]
    alone = sum(other.name == schema.name for other in schemas.values()) == 1
    names = [schema.name, full] if alone else [full]
    summary = schema.doc.partition("\n\n")[0].replace("\n", " ")
    properties = {**RESERVED[kind], **schema.json_schema["properties"], **_parts(schema)}
    use = {"enum": names, "description": summary}
    return {"description": summary, **_closed({**properties, "use": use}), "required": ["use"]}


def _parts(schema: ComponentSchema) -> dict[str, Any]:
    """Nested components: a table, or a name where all defaults will do; or tables of them, each under a name."""
    found: dict[str, Any] = {}
    for part, declared in schema.attributes.get("parts", {}).items():
        kind, named = part_kind(declared)
        one = {"anyOf": [{"$ref": f"#/$defs/{kind}"}, _TEXT]}
        found[part] = {"type": "object", "additionalProperties": one} if named else one
    return found


def _choice(kind: str, schemas: dict[str, ComponentSchema]) -> dict[str, Any]:
    """A table of ``kind``: one of its components, or a part of a table."""
    keys = set(RESERVED[kind]) - {"use"}
    for schema in schemas.values():
        keys |= {*schema.json_schema["properties"], *schema.attributes.get("parts", {})}
    part: dict[str, Any] = {"type": "object", "propertyNames": {"enum": sorted(keys)} if keys else False}
    return {"anyOf": [*({"$ref": f"#/$defs/{_pointer(f'{kind}/{full}')}"} for full in schemas), part]}


def _placed(kind: str) -> dict[str, Any]:
    reference = {"$ref": f"#/$defs/{kind}"}
    if kind in ARRAYS:
        return {"type": "array", "items": reference, "description": f"[[{kind}]]"}
    if kind in NAMED:
        return {"type": "object", "additionalProperties": reference, "description": f"[{kind}.NAME]"}
    return {**reference, "description": f"[{kind}]"}


def _core(book: SchemaBook, table: str) -> dict[str, Any]:
    schema = book.core(table)
    required = schema.json_schema["required"] if table in ("gate", "claim", "manual_score") else []
    return {**schema.json_schema, "required": required, "description": schema.doc.partition("\n")[0]}


def _placed_core(table: str) -> dict[str, Any]:
    reference = {"$ref": f"#/$defs/{_pointer(f'core/{table}')}"}
    several = {"type": "array", "items": reference}
    if table == "external_baseline":
        return {"type": "object", "additionalProperties": reference, "description": "[external_baseline.NAME]"}
    if table in ("claim", "decision"):
        return {"anyOf": [reference, several]}
    return several if table in ("stage", "gate", "manual_score") else reference


def _arm(tables: dict[str, Any]) -> dict[str, Any]:
    needs = {**_TEXTS, "description": "arms whose runs of the same seed are inputs of this arm's"}
    whole = ("doctor", "gate", "claim", "decision", "manual_score", "external_baseline")
    return _closed({**{key: value for key, value in tables.items() if key not in whole}, "needs": needs})


def _preparation(arm: dict[str, Any]) -> dict[str, Any]:
    needs = {**_TEXTS, "description": "preparations whose runs are its inputs; all that stand before it if left out"}
    return _closed({**arm["properties"], "needs": needs, "seeds": _TOP["seeds"]})


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _pointer(name: str) -> str:
    """A name as a part of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")
