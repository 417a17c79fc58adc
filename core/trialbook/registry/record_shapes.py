"""The shapes of what a run directory holds: of each file what must be there, and of what kind.

A shape is a function that returns a value which is as it should be, and raises ``ValueError`` for any other. Keys that no shape
names are of other versions or of plugins, and stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NoReturn

from trialbook.config.kinds import ARRAYS, KINDS, NAMED
from trialbook.contracts.findings import SEVERITIES

Shape = Callable[[Any], Any]
#: Whole numbers that every part of the program can hold, the registry included: 64 bits with a sign.
LARGEST = 2**63 - 1


def text(value: Any) -> str:
    """A string."""
    return value if isinstance(value, str) else _refuse(value, "a string")


def name(value: Any) -> str:
    """A string that can be the name of a folder."""
    found = text(value)
    good = found not in ("", ".", "..") and not {"/", "\0"} & set(found)
    return found if good else _refuse(value, "the name of a folder")


def path(value: Any) -> str:
    """A string that can be a path, or is empty."""
    found = text(value)
    return found if "\0" not in found else _refuse(value, "a path")


def flag(value: Any) -> bool:
    """True or false."""
    return value if isinstance(value, bool) else _refuse(value, "true or false")


def whole(value: Any) -> int:
    """A whole number from 0, of 64 bits with a sign."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LARGEST:
        _refuse(value, f"a whole number from 0 to {LARGEST}")
    return value


def number(value: Any) -> float | int:
    """A number; a whole one of more than 64 bits becomes a float."""
    if not isinstance(value, int | float):
        _refuse(value, "a number")
    return value if isinstance(value, float) or -LARGEST <= value <= LARGEST else float(value)


def moment(value: Any) -> str:
    """A time in ISO 8601 with its zone, from 1970 on."""
    found = text(value)
    try:
        when = datetime.fromisoformat(found)
    except ValueError:
        _refuse(value, "a time in ISO 8601")
    return found if when.tzinfo is not None and 1970 <= when.year < 9999 else _refuse(value, "a time with its zone")


def or_none(shape: Shape) -> Shape:
    """The shape, or null."""
    return lambda value: value if value is None else shape(value)


def array(shape: Shape) -> Shape:
    """An array of it."""

    def check(value: Any) -> list[Any]:
        if not isinstance(value, list):
            _refuse(value, "an array")
        return [_inside(shape, one, place) for place, one in enumerate(value)]

    return check


def mapping(shape: Shape) -> Shape:
    """A table with any keys, all of whose values have the shape."""

    def check(value: Any) -> dict[str, Any]:
        return {key: _inside(shape, one, key) for key, one in table()(value).items()}

    return check


def table(required: Mapping[str, Shape] | None = None, optional: Mapping[str, Shape] | None = None) -> Shape:
    """A table with these keys; an optional one may be missing."""
    needed = dict(required or {})
    known = {**(optional or {}), **needed}

    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            _refuse(value, "a table")
        for key in needed:
            if key not in value:
                raise ValueError(f"'{key}' is missing")
        return {key: _inside(known[key], one, key) if key in known else one for key, one in value.items()}

    return check


def _inside(shape: Shape, value: Any, place: str | int) -> Any:
    try:
        return shape(value)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def _refuse(value: Any, wanted: str) -> NoReturn:
    shown = repr(value)
    raise ValueError(f"{shown if len(shown) <= 40 else shown[:39] + '…'} is not {wanted}")


def _config(value: Any) -> dict[str, Any]:
    """The resolved tables of an experiment file."""
    kinds = {
        kind: array(table()) if kind in ARRAYS else mapping(table()) if kind in NAMED else table() for kind in KINDS
    }
    others = {key: table() for key in ("train", "evaluate", "checkpoint")}
    found: dict[str, Any] = table({}, {**kinds, **others, "stage": array(table())})(value)
    for kind in ARRAYS:
        for one in found.get(kind) or ():
            if not isinstance(one.get("use", ""), str) or not isinstance(one.get("name", ""), str):
                raise ValueError(f"{kind}: 'use' and 'name' must be strings")
    return found


def _factor(value: Any) -> list[Any]:
    if (
        not isinstance(value, list)
        or len(value) != 2
        or not isinstance(value[0], str)
        or not isinstance(value[1], list)
    ):
        _refuse(value, "a key and its levels")
    return value


def point_line(value: Any) -> dict[str, Any]:
    """A line of ``metrics.jsonl`` or ``timing.jsonl``: ``step``, and ``values`` by name; null stands for NaN."""
    if not isinstance(value, dict) or not isinstance(values := value.get("values"), dict):
        _refuse(value, "a table with a table 'values'")
    _inside(whole, value.get("step"), "step")
    if all(type(one) is float for one in values.values()):
        return value
    return {**value, "values": mapping(or_none(number))(values)}


def findings(value: Any) -> list[dict[str, Any]]:
    """``findings.json``, under the names of now or of format 1."""
    strings = dict.fromkeys(("component", "part", "message", "what", "advice"), text)
    one = table({"check": text, "severity": text}, {**strings, "evidence": table(), "step": whole})
    found: list[dict[str, Any]] = array(one)(value)
    for each in found:
        if each["severity"] not in SEVERITIES or any(each.get(a, each.get(b)) is None for a, b in _OLD_FINDING):
            _refuse(each, "a finding")
    return found


_OLD_FINDING = (("component", "part"), ("message", "what"))
_SIZES = mapping(whole)
_SUMMARY = table(
    dict.fromkeys(("count", "not_finite", "first_step", "last_step"), whole),
    dict.fromkeys(("first", "last", "min", "max"), or_none(number))
    | dict.fromkeys(("min_step", "max_step"), or_none(whole)),
)
_SESSION = table({"started": moment}, {"ended": or_none(moment), "host": text, "killed": flag, "changed": table()})
_OVERLAP = table(dict.fromkeys(("modality", "first", "second"), text) | {"count": whole})
_STAGE = table({"name": text, "start": whole, "stop": whole, "batch": whole, "trained": _SIZES})
_FLOPS = table({}, {
    **dict.fromkeys(("training", "forward_per_sample", "forward_backward_per_sample"), or_none(number)),
    "stages": array(or_none(number)),
})  # fmt: skip
_STRINGS = array(text)


def _processes(value: Any) -> str:
    if not isinstance(value, str) or not value.isascii() or not value.isdigit():
        _refuse(value, "a number of processes")
    return value


def _device(value: Any) -> dict[str, Any]:
    """The device of a run; empty where it was not known."""
    found: dict[str, Any] = (table({"type": text}, {"memory": number}) if value else table())(value)
    return found


#: ``run.json`` of any format, as far as a version that cannot read the rest must know it.
RUN_OF_ANY_FORMAT = table({}, {"format": whole})

#: Name of a JSON file of a run to its shape.
DOCUMENTS: dict[str, Shape] = {
    "run": table(
        {
            "experiment": name, "arm": text, "base_arm": text, "point": table(), "seed": whole, "config": _config,
            "sources": mapping(text), "id": name,
        },
        {
            "name": name, "format": whole, "question": text, "file": path, "profile": or_none(name), "seeds": array(whole),
            "baseline": or_none(text), "headline": _STRINGS, "results": mapping(text), "gates": array(table()),
            "external_baseline": mapping(table()), "published": mapping(table()), "doctor": table(),
            "factors": array(_factor), "claims": array(table()), "arms": _STRINGS, "changes": or_none(mapping(_STRINGS)),
            "lower_is_better": _STRINGS, "inputs": mapping(path),
        },
    ),
    "env": table({}, {
        "hardware": table({}, {"gpus": _STRINGS, "threads": whole}), "platform": table(), "versions": table(),
        "git": table({}, {"commit": or_none(text)}), "settings": table(), "variables": table({}, {"WORLD_SIZE": _processes}),
        "device": _device, "compute": table({}, {"processes": whole}),
    }),
    "components": mapping(table()),
    "data": table({}, {
        "parameters": _SIZES, "frozen": _STRINGS, "trained": _SIZES, "stages": array(_STAGE), "flops": _FLOPS,
        "overlaps": array(lambda one: one if isinstance(one, str) else _OVERLAP(one)),
        "dataset": table({}, {"fingerprint": text, "splits": _SIZES}), "artifacts": table(),
        "lineage": array(table({"part": text, "run": text, "id": text, "step": whole, "loaded": whole})),
        "shapes": mapping(table({}, {"in": array(whole), "out": array(whole)})),
    }),
    "sessions": array(_SESSION),
    "findings": findings,
    "results": table({}, {"seconds": or_none(number), "metrics": mapping(_SUMMARY), "parameters": _SIZES}),
    "tags": mapping(mapping(table({"tag": text, "prediction": text}))),
}  # fmt: skip

#: Name of a file of lines to the shape of one.
LINES: dict[str, Shape] = {
    "metrics": point_line,
    "timing": point_line,
    "stats": table({"step": whole, "kind": text, "values": table()}, {"split": or_none(text)}),
    "events": table({"step": whole, "kind": text, "message": text, "time": text}, {"data": or_none(table())}),
    "predictions": table(
        {"id": text, "question": text, "prediction": text, "answers": _STRINGS},
        {"answerable": flag, "abstained": flag, "confidence": or_none(number), "source": text, "kind": text, "images": _STRINGS,
         "tokens": whole, "stopped": flag, "texts": _STRINGS},
    ),
}  # fmt: skip

#: A file in ``evaluations/``.
EVALUATION = table({}, {
    "figures": mapping(or_none(number)), "recorded": mapping(or_none(number)), "differing": _STRINGS, "split": text,
    "checkpoint": table({}, {"step": whole}), "data": table({}, {"own": flag, "table": table()}), "answers": whole,
})  # fmt: skip

#: ``manifest.json`` of a checkpoint.
MANIFEST = table({
    "manifest": table({"step": whole, "state": table({}, {"threads": whole}), "sha256": mapping(text)}), "sha256": text,
})  # fmt: skip
