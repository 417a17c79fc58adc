"""The findings of a part of the benchmark, row by row, each with what is expected of it."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

_BOUND = re.compile(r"(<=|>=|<|>|=) (-?[\d.e+-]+)")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt, "=": operator.eq,
}  # fmt: skip


class Rows:
    """Appends rows to a file as they are made, so that those of a part that is killed are there.

    Args:
        file: of JSON lines.
        rehearsal: speeds and memory are measured and not judged.
    """

    def __init__(self, file: Path, *, rehearsal: bool = False) -> None:
        self.file, self.rehearsal = file, rehearsal

    def add(
        self, what: str, value: float, unit: str = "", bound: str = "", *, note: str = "", at_size: bool = False
    ) -> None:  # fmt: skip
        """A metric.

        Args:
            what: it is.
            value: in ``unit``.
            unit: of it.
            bound: what is expected, e.g. ``"<= 5"``; nothing if empty.
            note: what else there is to say.
            at_size: the bound is one for a GPU and real sizes: it is not judged in a rehearsal.
        """
        judged = bool(bound) and not (at_size and self.rehearsal)
        passed = holds(value, bound) if judged else None
        self._append({"what": what, "value": value, "unit": unit, "bound": bound, "passed": passed, "note": note})

    def check(self, what: str, passed: bool, note: str = "") -> None:
        """Something that must be so."""
        self._append({"what": what, "value": passed, "unit": "", "bound": "yes", "passed": passed, "note": note})

    def facts(self, values: Mapping[str, Any]) -> None:
        """Record what was used; no row."""
        self._append({"facts": dict(values)})

    def _append(self, line: Mapping[str, Any]) -> None:
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")


def read_rows(file: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows and facts of a file, without a last line that was cut off."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.is_file() else []
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    facts = {key: value for line in found if "facts" in line for key, value in line["facts"].items()}
    return [line for line in found if "facts" not in line], facts


def holds(value: float, bound: str) -> bool:
    """Return whether a value keeps a bound such as ``"<= 5"``; NaN keeps none.

    Raises:
        ValueError: it is none.
    """
    found = _BOUND.fullmatch(bound)
    if found is None:
        raise ValueError(f"{bound!r} is no bound")
    return _COMPARE[found[1]](value, float(found[2]))


def show(value: float | bool | None) -> str:
    """A value for people; None, which JSON has for what is not finite, as ``not finite``."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "not finite" if value is None else f"{value:,.4g}"


def verdict(row: Mapping[str, Any]) -> str:
    """``passed``, ``FAILED``, or nothing where nothing was judged."""
    return {True: "passed", False: "FAILED", None: ""}[row["passed"]]


def failures(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """List what was expected and is not so."""
    return [str(row["what"]) for row in rows if row["passed"] is False]
