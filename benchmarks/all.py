"""Run every benchmark and write the page: ``python -m benchmarks.all``; ``--page`` writes the page from the results there are."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from benchmarks._measure import RESULTS

SUBJECTS = (
    "startup", "engine_step", "feature_store", "extraction", "recording", "compare_runs", "doctor", "probes", "pretend_device",
)  # fmt: skip


def write_page() -> Path:
    """``benchmarks/README.md`` from ``results/*.json``."""
    lines = [
        "# Benchmarks", "",
        "Each figure is a median; each ratio was measured side by side, in turn, in one run on one machine. Made by",
        "`python -m benchmarks.all` from the repository's root; one script a subject, its result as JSON in `results/`.", "",
    ]  # fmt: skip
    for name in SUBJECTS:
        file = RESULTS / f"{name}.json"
        if not file.exists():
            continue
        result = json.loads(file.read_text())
        lines += [
            f"## {result['title']}",
            "",
            f"`python -m benchmarks.{name}`",
            "",
            "| what | value | bound |",
            "|---|---:|---|",
        ]
        lines += [f"| {row['what']} | {row['value']:,.4g} {row['unit']} | {row['bound']} |" for row in result["rows"]]
        lines += ["", *([result["note"], ""] if result["note"] else []), *_table(result.get("table", []))]
        machine = result["machine"]
        lines += [f"{machine['cpus']} cores, {machine['machine']}, Python {machine['python']}.", ""]
    page = RESULTS.parent / "README.md"
    page.write_text("\n".join(lines))
    return page


def _table(cells: list[list[str]]) -> list[str]:
    if not cells:
        return []
    heading, *rows = (f"| {' | '.join(row)} |" for row in cells)
    return [heading, f"|{'---|' * len(cells[0])}", *rows, ""]


def main() -> None:
    """All subjects, or only the page."""
    if "--page" not in sys.argv[1:]:
        for name in SUBJECTS:
            importlib.import_module(f"benchmarks.{name}").main()
    print(write_page())


if __name__ == "__main__":
    main()
