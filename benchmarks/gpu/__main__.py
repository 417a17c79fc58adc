"""Everything that can only be known on a GPU: ``python -m benchmarks.gpu``, at most nine minutes, without a network.

Parts run in the order of their worth, each in a process of its own with a limit; the result is written after each, and
what stands there stays whatever ends the rest. Nothing is downloaded: checkpoints have real sizes and random weights.
``--cpu-rehearsal`` does the same with everything small, on a pretend device or the CPU, so that nothing fails for a slip.

Exit status: 0 all as expected, 1 not, 2 there is no GPU that torch can use.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from benchmarks._measure import RESULTS
from benchmarks.gpu import report
from benchmarks.gpu.catalogue import Part, choose
from benchmarks.gpu.schedule import Result, Schedule, python

_BUDGET = 540
"""Seconds."""
_PATIENCE = 10
"""Factor on the limits in a rehearsal, where time says nothing."""
_CORES_A_PART = 4
"""Cores for each of the parts that run beside one another."""


def main(words: Sequence[str] | None = None) -> bool:
    """Run the parts; returns whether all is as expected."""
    given = _parser().parse_args(words)
    try:
        parts = choose(given.parts or ())
    except ValueError as error:
        sys.exit(str(error))
    if not given.cpu_rehearsal and not _gpu():
        print(
            "there is no GPU that torch can use here; --cpu-rehearsal tries everything out without one", file=sys.stderr
        )
        sys.exit(2)
    signal.signal(signal.SIGTERM, _stop)
    with tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True) as folder:
        out = given.out or (Path(folder) / "gpu.json" if given.cpu_rehearsal else RESULTS / "gpu.json")
        as_expected, told = run(parts, Path(folder), out, given)
    print(told)
    return as_expected


def run(parts: Sequence[Part], folder: Path, out: Path, given: argparse.Namespace) -> tuple[bool, str]:
    """Run parts below ``folder`` and write what comes of them to ``out`` as they end."""
    started, results = time.monotonic(), list[Result]()

    def command(part: Part, place: Path, seconds: float) -> list[str]:
        more = ["--rehearsal"] if given.cpu_rehearsal else []
        return python("-m", "benchmarks.gpu.child", part.name, str(place), str(seconds), *more)

    found: dict[str, Any] = {"parts": []}
    patience = _PATIENCE if given.cpu_rehearsal else 1
    for result in Schedule(parts, command, folder, given.budget * patience, given.jobs, patience).results():
        results.append(result)
        found = report.write(results, out, rehearsal=given.cpu_rehearsal, seconds=time.monotonic() - started)
        print("\n".join(report.lines(found["parts"][-1])), flush=True)
    as_expected, told = report.summary(found["parts"])
    return as_expected, f"{told}\n{out}  ({time.monotonic() - started:.0f} s)"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--parts", nargs="+", metavar="PART", help="these alone, e.g. experiments or adapters/lora")
    parser.add_argument("--budget", type=float, default=_BUDGET, help="seconds for all of it; %(default)s")
    parser.add_argument("--jobs", type=int, default=max(1, min(4, (os.cpu_count() or 1) // _CORES_A_PART)),
                        help="parts beside one another where speed does not count; %(default)s here")  # fmt: skip
    parser.add_argument("--out", type=Path, help="file of the result; that of the page if left out")
    parser.add_argument("--cpu-rehearsal", action="store_true", help="everything small, without a GPU")
    return parser


def _gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _stop(*_: object) -> NoReturn:
    """End as if from the keyboard, so that processes are ended too."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
