"""Run every benchmark and write the page: ``python -m benchmarks.all``; ``--page`` writes the page from the results there are.

That on a GPU is run where there is one.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks._measure import RESULTS
from benchmarks.gpu import report

SUBJECTS = (
    "startup", "engine_step", "feature_store", "extraction", "recording", "compare_runs", "doctor", "probes", "pretend_device",
)  # fmt: skip


def write_page() -> Path:
    """``benchmarks/README.md`` from ``results/*.json``."""
    lines = [
        "# Benchmarks", "",
        "Each metric is a median; each ratio was measured side by side, in turn, in one run on one machine. Made by",
        "`python -m benchmarks.all` from the repository's root; one script a subject, its result as JSON in `results/`.", "",
    ]  # fmt: skip
    for name in SUBJECTS:
        if (result := _result(name)) is not None:
            lines += _section(name, result)
    lines += report.section(_result("gpu"))
    page = RESULTS.parent / "README.md"
    page.write_text("\n".join(lines))
    return page


def _table(cells: list[list[str]]) -> list[str]:
    if not cells:
        return []
    heading, *rows = (f"| {' | '.join(row)} |" for row in cells)
    return [heading, f"|{'---|' * len(cells[0])}", *rows, ""]


def _result(name: str) -> dict[str, Any] | None:
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else None


def _section(name: str, result: Mapping[str, Any]) -> list[str]:
    """The section of a subject."""
    table = ["| what | value | bound |", "|---|---:|---|"]
    table += [f"| {row['what']} | {row['value']:,.4g} {row['unit']} | {row['bound']} |" for row in result["rows"]]
    note = [result["note"], ""] if result["note"] else []
    machine = result["machine"]
    told = f"{machine['cpus']} cores, {machine['machine']}, Python {machine['python']}."
    more = _table(result.get("table", []))
    return [f"## {result['title']}", "", f"`python -m benchmarks.{name}`", "", *table, "", *note, *more, told, ""]


def main() -> None:
    """All subjects, or only the page."""
    if "--page" not in sys.argv[1:]:
        for name in SUBJECTS:
            importlib.import_module(f"benchmarks.{name}").main()
        subprocess.run([sys.executable, "-m", "benchmarks.gpu"], check=False)  # without a GPU it says so; the page, too
    print(write_page())


if __name__ == "__main__":
    main()
