"""The outline of an experiment file: which keys and tables may stand at its top, in an arm, in a profile."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from trialbook.config.kinds import ARRAYS, KINDS, NAMED
from trialbook.config.merge import leaves, without
from trialbook.config.renamed import TABLES
from trialbook.config.toml import Document, KeyPath
from trialbook.errors import ErrorCollector, printable, suggest

#: Tables of which there may be several, in an array.
_ARRAYS = (*ARRAYS, "stage", "gate", "manual_score")
#: Tables of which there may be one or, in an array, several.
_EITHER = ("claim", "decision")

#: Tables that make up a run's configuration.
CONFIGURATION = (*KINDS, "train", "stage", "evaluate", "checkpoint")
#: Tables that hold several tables named by the writer: its name, and an example of one.
_HOLDERS = {
    "arm": "[arm.NAME]",
    "prepare": "[prepare.NAME]",
    "profile": "[profile.NAME]",
    "external_baseline": "[external_baseline.NAME]",
    **{kind: f"[{kind}.NAME]" for kind in NAMED},
}


#: Most runs of a file, and so most seeds and points of its grid; most bytes of a name.
MOST_RUNS, LONGEST_NAME = 10_000, 200


def is_plain_name(value: Any) -> str | None:
    """Return what can name an arm, a metric or a gate; the checks below answer alike."""
    if not isinstance(value, str):
        return "must be a string"
    if not value.strip():
        return "is empty: give it a name"
    if (size := len(value.encode("utf-8", "replace"))) > LONGEST_NAME:
        return f"has {size:,} bytes; a name may have {LONGEST_NAME}"
    if value.startswith("="):
        return "begins with '=', which spreadsheets read as a formula: choose another name"
    return "holds control characters: choose another name" if printable(value) != value or "\n" in value else None


def is_text(value: Any) -> str | None:
    """None for a string that is not empty; else what is expected. The checks below answer alike."""
    return None if isinstance(value, str) and value else "must be a string"


def is_name(value: Any) -> str | None:
    """Return what can name a directory."""
    if isinstance(value, str) and (complaint := is_plain_name(value)):
        return complaint
    fits = isinstance(value, str) and re.fullmatch(r"\w[\w.=+ -]*", value)
    return None if fits else "must be a string of letters, digits, '_', '.' and '-': it names a directory"


def is_texts(value: Any) -> str | None:
    """An array of strings."""
    return None if isinstance(value, list) and all(isinstance(v, str) for v in value) else "must be an array of strings"


def is_text_or_texts(value: Any) -> str | None:
    """A string or an array of strings."""
    return None if isinstance(value, str) or is_texts(value) is None else "must be a string or an array of strings"


#: Largest seed: the registry and torch's generators hold numbers of 64 bits with a sign.
LARGEST_SEED = 2**63 - 1


def is_seeds(value: Any) -> str | None:
    """Different whole numbers from 0, at least one."""
    whole = isinstance(value, list) and all(isinstance(seed, int) and not isinstance(seed, bool) for seed in value)
    if not whole or any(seed < 0 for seed in value):
        return "must be an array of whole numbers from 0, as in [0, 1, 2]"
    if any(seed > LARGEST_SEED for seed in value):
        return f"has a seed above {LARGEST_SEED}: take smaller ones"
    if not value:
        return "is empty: give at least one seed"
    return None if len(set(value)) == len(value) else "has the same seed twice"


#: Keys at the top of a file -> check of the value.
TOP_KEYS: dict[str, Callable[[Any], str | None]] = {
    "name": is_name, "question": is_text, "extends": is_text_or_texts, "seeds": is_seeds, "baseline": is_text,
    "headline": is_texts, "needs": is_texts, "trackers": is_texts,
}  # fmt: skip
_FILE = (
    *TOP_KEYS, *CONFIGURATION, "doctor", "gate", "manual_score", "external_baseline", "claim", "decision", "results", "grid",
    "arm", "prepare", "profile",
)  # fmt: skip
_PROFILE = tuple(key for key in _FILE if key not in ("extends", "profile"))
_ARM = (*CONFIGURATION, "needs")
_PREPARE = (*_ARM, "seeds")
_LEVELS = {"arm": (_ARM, "an arm"), "prepare": (_PREPARE, "a preparation"), "profile": (_PROFILE, "a profile")}


def drop_misplaced(document: Document, problems: ErrorCollector) -> Document:
    """Report what stands where nothing of that name or shape may stand, and return the document without it."""
    for path in _Outline(document, problems).misplaced():
        document = without(document, path)
    return document


class _Outline:
    """Walks the upper levels of a document and collects the paths that have no place in it."""

    def __init__(self, document: Document, problems: ErrorCollector) -> None:
        self.document, self.problems = document, problems
        self.bad: list[KeyPath] = []

    def misplaced(self) -> list[KeyPath]:
        self.level((), self.document.data, _FILE)
        return self.bad

    def level(self, at: KeyPath, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
        """The file itself, an arm or a profile: only ``known`` may stand there."""
        for key, value in table.items():
            path = (*at, key)
            if key not in known:
                self.unknown(path, value, known)
            elif key in TOP_KEYS:
                if complaint := TOP_KEYS[key](value):
                    self.report(path, at, f"'{key}' {complaint}")
            else:
                self.table(path, key, value)

    def unknown(self, path: KeyPath, value: Any, known: tuple[str, ...]) -> None:
        """Something that may not stand here, or nowhere."""
        key = str(path[-1])
        what = (
            f"table [{key}]"
            if isinstance(value, dict)
            else f"table [[{key}]]"
            if _are_tables(value)
            else f"key '{key}'"
        )
        if key in TABLES:
            self.report(path, path[:-1], f"{what} is now {what.replace(key, TABLES[key])}")
        elif key in _FILE:
            holder = next(name for keys, name in _LEVELS.values() if keys is known)
            self.report(path, path[:-1], f"{what} cannot stand in {holder}: it belongs to the whole file")
        else:
            tables, keys = (
                [name for name in known if name not in TOP_KEYS],
                [name for name in known if name in TOP_KEYS],
            )
            first, second = (keys, tables) if what.startswith("key") else (tables, keys)
            self.report(path, path[:-1], f"unknown {what}", suggest(key, first) or suggest(key, second))

    def table(self, path: KeyPath, key: str, value: Any) -> None:
        """A table, array of tables or table of tables, by its name."""
        if key in _ARRAYS:
            if value != [] and not _are_tables(value):
                self.report(path, path, f"there may be several of it: write [[{key}]]")
        elif key in _EITHER:
            if value != [] and not isinstance(value, dict) and not _are_tables(value):
                self.report(path, path[:-1], f"'{key}' is a table: write [{key}], or [[{key}]] above each of several")
        elif not isinstance(value, dict):
            self.report(path, path, f"is one table: write {_HOLDERS.get(key, f'[{key}]')}")
        elif key in _HOLDERS:
            for name, inner in value.items():
                complaint = (is_name if key == "prepare" else is_plain_name)(name)
                if complaint:
                    self.report((*path, name), path, f"the name {_shown(name)} {complaint}")
                else:
                    self.inner((*path, name), key, inner)
        elif key == "results":
            for name, metric in value.items():
                if complaint := is_plain_name(name):
                    self.report((*path, name), path, f"the name {_shown(name)} {complaint}")
                elif complaint := is_text(metric):
                    self.report((*path, name), path, f"'{name}' {complaint}: the name of a metric")
        elif key == "grid":
            for name, values in value.items():
                self.grid_key((*path, name), values)

        if key in _ARRAYS or key in _EITHER:
            for place, one in [(path, value)] if isinstance(value, dict) else _numbered(path, value):
                self.names(place, one)

    def names(self, path: KeyPath, table: Mapping[str, Any]) -> None:
        """The name of a table of an array, and those that it gives to candidates."""
        candidates = table.get("candidates")
        named: list[tuple[KeyPath, str]] = [(("name",), table["name"])] if isinstance(table.get("name"), str) else []
        named += [(("candidates", one), one) for one in candidates] if isinstance(candidates, dict) else []
        for key, name in named:
            if complaint := is_plain_name(name):
                self.report((*path, *key), path, f"the name {_shown(name)} {complaint}")

    def inner(self, path: KeyPath, key: str, value: Any) -> None:
        """One of the named tables of a kind, an arm or a profile."""
        if not isinstance(value, dict):
            self.report(
                path, path[:-1], f"'{path[-1]}' stands outside of a named table: write {_HOLDERS[key]} above it"
            )
        elif key in _LEVELS:
            self.level(path, value, _LEVELS[key][0])

    def grid_key(self, path: KeyPath, values: Any) -> None:
        """A key of the grid, dotted and in quotes, and the values that it goes through."""
        key, twice = path[-1], None
        if isinstance(values, dict):
            inner = next((".".join(map(str, (key, *leaf))) for leaf in leaves(values)), key)
            self.report(path, path[:-1], f'a dotted key stands in quotes here: "{inner}" = […]')
        elif not isinstance(values, list) or not values:
            self.report(path, path[:-1], f"'{key}' must be an array of at least one value to go through")
        elif len(values) > MOST_RUNS:
            self.report(
                path, path[:-1], f"'{key}' goes through {len(values):,} values; a file may have {MOST_RUNS:,} runs"
            )
        else:
            twice = next((value for n, value in enumerate(values) if value in values[:n]), None)
        if twice is not None:
            self.report(path, path[:-1], f"'{key}' has the value {twice!r} twice")

    def report(self, path: KeyPath, table: KeyPath, message: str, suggestion: str | None = None) -> None:
        """Note the problem, and that ``path`` is to be left out."""
        name = ".".join(part for part in table if isinstance(part, str))
        self.problems.add_suggested(self.document.positions.get(path), name, message, suggestion)
        self.problems.lost.update([suggestion] if suggestion else [str(part) for part in path])
        self.bad.append(path)


def _numbered(path: KeyPath, value: Any) -> list[tuple[KeyPath, Mapping[str, Any]]]:
    """The tables of an array, each with its path; none where it is no array of tables."""
    return [((*path, number), one) for number, one in enumerate(value)] if _are_tables(value) else []


def _shown(name: str) -> str:
    """A name in a message, in quotes; a long one by its beginning."""
    text = printable(name.replace("\n", "\\n"))
    return f"'{text}'" if len(text) <= 60 else f"'{text[:59]}…'"


def _are_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)
