"""Run shipped experiments and write what they measured into their heads: ``python -m benchmarks.shipped [NAME …]``, or all.

An experiment runs in a directory of its own, from nothing, with the data that ``TRIALBOOK_DATA`` names, and whatever it needs
before it. What a change makes of the results is then seen in the files, beside the question that they answer.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import trialbook
from trialbook.api.comparison import ExperimentComparison
from trialbook.reports.tables import show_duration, show_number

FOLDER = Path(__file__).parents[1] / "experiments"
#: How the measured part of a head begins; it ends with the head.
BEGINNING = "# Measured by benchmarks.shipped"


def files() -> dict[str, Path]:
    """Experiments that have runs of their own to compare, by name: ``linear_vs_mlp``, ``spatial/llava_next``."""
    found = {str(file.relative_to(FOLDER).with_suffix("")): file for file in sorted(FOLDER.rglob("*.toml"))}
    return {name: file for name, file in found.items() if "common/" not in name and trialbook.plan(file).runs}


def measure(file: Path, runs: Path) -> list[str]:
    """Run an experiment; the lines of its results.

    Raises:
        TrialbookError: it has mistakes, or a run of it failed.
    """
    started = time.perf_counter()
    trialbook.run(file, runs=runs, plots=False, progress=True).raise_for_failures()
    took = show_duration(time.perf_counter() - started)
    found = trialbook.compare(file, runs=runs)
    seeds = max((row.estimate.n for row in found.rows if row.estimate), default=0)
    over = f"mean and 95% interval over {seeds} seeds" if seeds > 1 else "one seed"
    return [f"{BEGINNING}: {over}, {took} on {os.cpu_count()} cores.", *(f"#   {line}" for line in results(found))]


def results(found: ExperimentComparison) -> Iterator[str]:
    """A line for each metric and arm with its verdict, and for each gate."""
    for row in found.rows:
        if row.estimate is None:
            yield f"{row.metric}  {row.arm}: not recorded"
            continue
        mean, low, high = (
            None if value is None else show_number(value)
            for value in (row.estimate.mean, row.estimate.low, row.estimate.high)
        )
        verdict = f"; {row.verdict}" if row.verdict not in (None, "baseline") else ""
        yield f"{row.metric}  {row.arm}: {mean}{f' [{low}, {high}]' if low is not None else ''}{verdict}"
    for gate in found.gates:
        yield f"gate {gate.metric} {gate.bound}  {gate.arm}: {gate.verdict or 'not recorded'}"


def write_head(file: Path, measured: Sequence[str]) -> None:
    """Put the lines at the end of the comment that a file begins with, in place of those of an earlier time."""
    lines = file.read_text(encoding="utf-8").splitlines()
    end = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    start = next((number for number, line in enumerate(lines[:end]) if line.startswith(BEGINNING)), end)
    head = lines[:start] if start < end else [*lines[:end], "#"]
    file.write_text("\n".join([*head, *measured, *lines[end:]]) + "\n", encoding="utf-8")


def main(names: Sequence[str]) -> None:
    """Measure the experiments of these names, or all."""
    every = files()
    for name in names or every:
        with tempfile.TemporaryDirectory() as folder:
            measured = measure(every[name], Path(folder))
        write_head(every[name], measured)
        print("\n".join([name, *measured]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
