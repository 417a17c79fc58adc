"""One part in this process: ``python -m benchmarks.gpu.child PART FOLDER SECONDS [--rehearsal]``, as ``schedule`` starts it."""

from __future__ import annotations

import argparse
import faulthandler
import importlib.metadata
import os
import platform
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.gpu.bench import Bench, pretending
from benchmarks.gpu.catalogue import Part, choose
from benchmarks.gpu.rows import Rows
from benchmarks.gpu.workplace import CommandFailed, own_settings


def measure(part: Part, folder: Path, *, rehearsal: bool) -> Path:
    """Do a part here; returns the file of its rows."""
    rows = Rows(folder / "rows.jsonl", rehearsal=rehearsal)
    with own_settings(), pretending(rehearsal and part.pretend):
        device = "cuda" if part.pretend or not rehearsal else "cpu"
        module = importlib.import_module(f"benchmarks.gpu.{part.module}")
        try:
            module.measure(Bench(device, rehearsal, folder, rows, part.of))
        finally:
            rows.facts(facts(device))  # not before: it makes CUDA ready, which a run wants to do itself
    return rows.file


def facts(device: str) -> dict[str, Any]:
    """Describe what is measured with: versions, and the device."""
    import torch

    from trialbook.engine.compute import device_facts

    found: dict[str, Any] = {"python": platform.python_version(), "torch": torch.__version__}
    for name in ("transformers", "peft", "accelerate", "bitsandbytes"):
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found | {"device": device_facts(torch.device(device))}


def _end_with_parent() -> None:
    """End this process and its children when the one that started it is gone."""
    parent = os.getppid()

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=look, daemon=True).start()


def main() -> None:
    """Do the part; past its limit, print where it stands and end."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part")
    parser.add_argument("folder", type=Path)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--rehearsal", action="store_true")
    given = parser.parse_args()
    faulthandler.dump_traceback_later(given.seconds, exit=True, file=sys.stderr)
    _end_with_parent()
    (part,) = choose([given.part])
    try:
        measure(part, given.folder, rehearsal=given.rehearsal)
    except CommandFailed as error:  # a row says so, too
        sys.exit(str(error))


if __name__ == "__main__":
    main()
