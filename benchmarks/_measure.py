"""Measuring side by side: whole processes or functions in turn, medians and ratios, results as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"

#: A program of one click command that does nothing: what a command line cannot do without.
BARE_CLICK = """
import click
@click.command()
@click.option("--name", default="x", help="A name.")
def cli(name):
    "A program that does nothing."
cli()
"""


def in_turn(programs: Mapping[str, Callable[[], float]], rounds: int, warmup: int = 1) -> dict[str, list[float]]:
    """Seconds of each program, taken in turn, ``rounds`` times, after ``warmup`` rounds that do not count.

    Each program returns the seconds that it took, so that it can leave its preparation out.
    """
    taken: dict[str, list[float]] = {name: [] for name in programs}
    for index in range(rounds + warmup):
        for name, program in programs.items():
            seconds = program()
            if index >= warmup:
                taken[name].append(seconds)
    return taken


def process(
    command: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Callable[[], float]:
    """A program for ``in_turn``: one whole process, which must succeed."""

    def run() -> float:
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, cwd=cwd, env={**os.environ, **(env or {})})
        return time.perf_counter() - started

    return run


def ratio(taken: Mapping[str, Sequence[float]], a: str, b: str) -> float:
    """Median over the rounds of the time of ``a`` over the time of ``b``."""
    return statistics.median(x / y for x, y in zip(taken[a], taken[b], strict=True))


def save(
    name: str, title: str, rows: Sequence[Mapping[str, Any]], note: str = "", table: Sequence[Sequence[str]] = ()
) -> dict[str, Any]:
    """Write ``results/<name>.json`` and print it.

    Args:
        name: of the benchmark's module.
        title: of its part of the page.
        rows: of ``what``, ``value``, ``unit``, ``bound`` (text, may be empty).
        note: a sentence below.
        table: cells of a table below, the heading first.
    """
    result = {
        "name": name, "title": title, "note": note, "rows": [dict(row) for row in rows],
        "table": [list(row) for row in table],
        "machine": {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()},
    }  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    print(f"# {title}")
    for row in rows:
        bound = f"   (bound: {row['bound']})" if row.get("bound") else ""
        print(f"{row['what']:<70} {row['value']:>12.4g} {row['unit']}{bound}")
    for cells in table:
        print(" | ".join(cells))
    sys.stdout.flush()
    return result
