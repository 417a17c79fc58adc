"""The results of the benchmark: as JSON after every part, as lines for people, as a section of the page of benchmarks."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.gpu.rows import failures, show, verdict
from benchmarks.gpu.schedule import Result
from trialbook.contracts.files import to_json, write_whole

TITLE = "On a GPU"
COMMAND = "`python -m benchmarks.gpu`"


def as_json(results: Sequence[Result], *, rehearsal: bool, seconds: float) -> dict[str, Any]:
    """All that there is so far."""
    facts = {key: value for result in results for key, value in result.facts.items()}
    return {
        "name": "gpu", "title": TITLE, "rehearsal": rehearsal, "seconds": seconds,
        "machine": {"cpus": os.cpu_count(), "machine": platform.machine(), **facts},
        "parts": [
            {
                "name": one.part.name, "title": one.part.title, "state": one.state, "seconds": one.seconds,
                "rows": one.rows, "said": one.said,
            }
            for one in results
        ],
    }  # fmt: skip


def write(results: Sequence[Result], file: Path, *, rehearsal: bool, seconds: float) -> dict[str, Any]:
    """Replace the file as a whole, so that whatever ends the benchmark leaves what was found until then."""
    found = as_json(results, rehearsal=rehearsal, seconds=seconds)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, to_json(found, indent=1) + "\n")
    return found


def lines(part: Mapping[str, Any]) -> list[str]:
    """A part for people."""
    told = [f"## {part['name']}: {part['state']} in {part['seconds']:.0f} s"]
    for row in part["rows"]:
        bound = f"  (expected: {row['bound']})" if row["bound"] else ""
        told.append(f"  {verdict(row):<6} {row['what']:<86} {show(row['value']):>10} {row['unit']}{bound}")
        told += [f"         {row['note']}"] if row["note"] and row["passed"] is False else []
    return [*told, *(f"  | {line}" for line in part["said"].splitlines())]


def summary(parts: Iterable[Mapping[str, Any]]) -> tuple[bool, str]:
    """Return whether all is as expected, and what is not."""
    wrong = [f"{part['name']}: {part['state']}" for part in parts if part["state"] != "done"]
    wrong += [f"{part['name']}: {what}" for part in parts for what in failures(part["rows"])]
    return (True, "all as expected") if not wrong else (False, "\n".join(["not as expected:", *wrong]))


def section(found: Mapping[str, Any] | None) -> list[str]:
    """The section of the page; that it was not run, where there is no result."""
    head = [f"## {TITLE}", "", COMMAND, ""]
    if found is None:
        return [*head, "Not run: no GPU was at hand.", ""]
    body: list[str] = []
    for title, parts in groupby(found["parts"], key=lambda part: part["title"]):
        body += [f"### {title}", "", *_table(list(parts)), ""]
    machine = found["machine"]
    versions = ", ".join(f"{key} {machine[key]}" for key in ("torch", "transformers", "peft") if key in machine)
    device = machine.get("device", {})
    named = [
        device.get("name", "no GPU"),
        *(f"{key} {device[key]}" for key in ("driver", "cuda", "cudnn") if device.get(key)),
    ]
    told = f"{', '.join(named)}; {machine['cpus']} cores, Python {machine.get('python', '?')}, {versions}."
    return [*head, *body, told, ""]


def _table(parts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rows of parts that belong together, and what became of those that were not done."""
    rows = [row for part in parts for row in part["rows"]]
    table = ["| what | value | expected | |", "|---|---:|---|---|"]
    table += [
        f"| {row['what']} | {show(row['value'])} {row['unit']} | {row['bound']} | {verdict(row)} |" for row in rows
    ]
    undone = [
        f"{part['name']}: {part['state']} after {part['seconds']:.0f} s." for part in parts if part["state"] != "done"
    ]
    return [*(table if rows else ()), *(["", *undone] if undone else ())]
