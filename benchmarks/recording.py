"""Recording 100,000 points (10 metrics a step), the registry included, against raw SQLite and MLflow where it is installed."""

from __future__ import annotations

import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks._measure import in_turn, save

STEPS, METRICS = 10_000, 10
NAMES = [f"metric{m}" for m in range(METRICS)]
MLFLOW_STEPS = 500
#: Records as fast as it can and says after every record that it is added; it is killed in the middle.
VICTIM = """
import os, sys
from pathlib import Path
from benchmarks.recording import record_steps
record_steps(Path(sys.argv[1]), 10**9, lambda step: os.write(1, b"%d\\n" % step))
"""


def record_steps(root: Path, steps: int, added: Callable[[int], Any] | None = None) -> None:
    """A run of so many steps; ``added`` is told of each record once ``add`` has returned."""
    from trialbook.config.runspec import RunSpec
    from trialbook.contracts.records import Record
    from trialbook.registry.recorder import Recorder

    spec = RunSpec(experiment="b", arm="a", base_arm="a", point={}, seed=0, config={}, sources={}, id="00000000")
    with Recorder(root / spec.relative_path, root / "registry.db") as recorder:
        recorder.start(spec, {}, {})
        for step in range(steps):
            recorder.add(Record(step, dict.fromkeys(NAMES, step / 7)))
            if added is not None:
                added(step)


def ours(folder: Path) -> float:
    """Seconds from the first record until run directory and registry have all of them."""
    from trialbook.registry.connection import open_registry

    root = folder / "ours"
    shutil.rmtree(root, ignore_errors=True)
    open_registry(root / "registry.db").close()
    started = time.perf_counter()
    record_steps(root, STEPS)
    seconds = time.perf_counter() - started
    count = sqlite3.connect(root / "registry.db").execute("select count(*) from point").fetchone()[0]
    if count != STEPS * METRICS:
        raise AssertionError(f"{count} points in the registry")
    return seconds


def raw(folder: Path, *, commit_every: int) -> float:
    """Seconds for the same points straight into SQLite (WAL, one table), committed every so many steps."""
    file = folder / "raw.db"
    for old in folder.glob("raw.db*"):
        old.unlink()
    database = sqlite3.connect(file, isolation_level=None)
    database.execute("pragma journal_mode = wal")
    database.execute("pragma synchronous = normal")
    database.execute("create table point (step int, metric int, value real, primary key (step, metric)) without rowid")
    started = time.perf_counter()
    for step in range(STEPS):
        if step % commit_every == 0:
            database.execute("begin")
        database.executemany("insert into point values (?, ?, ?)", [(step, m, step / 7) for m in range(METRICS)])
        if (step + 1) % commit_every == 0 or step + 1 == STEPS:
            database.execute("commit")
    seconds = time.perf_counter() - started
    database.close()
    return seconds


def mlflow_seconds(folder: Path) -> float | None:
    """Seconds that MLflow's SQLite store takes for as many points, from a shorter run; None where it is not installed."""
    try:
        from mlflow import MlflowClient
        from mlflow.entities import Metric
    except ImportError:
        return None
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    run = client.create_run(client.create_experiment("bench", artifact_location=str(folder))).info.run_id
    client.log_batch(run, [Metric(name, 0.0, 0, 0) for name in NAMES])
    started = time.perf_counter()
    for step in range(1, MLFLOW_STEPS + 1):
        client.log_batch(run, [Metric(name, step / 7, 0, step) for name in NAMES])
    return (time.perf_counter() - started) * STEPS / MLFLOW_STEPS


def lost_to_kill(folder: Path, kills: int = 5) -> int:
    """Records that ``add`` had returned for and that are not in the file after ``kill -9``."""
    from trialbook.contracts.files import read_lines

    lost = 0
    for index in range(kills):
        root = folder / f"kill{index}"
        victim = subprocess.Popen([sys.executable, "-c", VICTIM, str(root)], stdout=subprocess.PIPE, text=True)
        if victim.stdout is None:
            raise AssertionError
        lines = [victim.stdout.readline() for _ in range(200 * (index + 1))]
        victim.kill()
        lines += victim.stdout.read().splitlines(keepends=True)
        said = [int(line) for line in lines if line.endswith("\n")]
        victim.wait()
        (file,) = root.glob("b/*/metrics.jsonl")
        lost += max(0, said[-1] + 1 - sum(1 for _ in read_lines(file)))
    return lost


def main() -> None:
    """All in turn; medians."""
    points = STEPS * METRICS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        taken = in_turn({
            "ours": lambda: ours(folder),
            "raw": lambda: raw(folder, commit_every=1000),
            "raw, each step": lambda: raw(folder, commit_every=1),
        }, rounds=7)  # fmt: skip
        mlflow = mlflow_seconds(folder)
        lost = lost_to_kill(folder)
    rate = {key: points / statistics.median(seconds) for key, seconds in taken.items()}
    rows = [
        {"what": "recorder: run directory and registry", "value": rate["ours"], "unit": "points/s", "bound": ">= 100,000"},
        {"what": "raw SQLite, a commit every 1,000 steps", "value": rate["raw"], "unit": "points/s", "bound": ""},
        {"what": "raw SQLite, a commit every step", "value": rate["raw, each step"], "unit": "points/s", "bound": ""},
        {"what": "records lost to kill -9 after add returned", "value": lost, "unit": "records", "bound": "0"},
    ]  # fmt: skip
    if mlflow is not None:
        rows.append(
            {"what": "MLflow log_batch, a call a step", "value": points / mlflow, "unit": "points/s", "bound": ""}
        )
    note = f"{points:,} points, {METRICS} metrics a step; from the first record until everything is in both places."
    save("recording", "Recording", rows, note if mlflow is not None else f"{note} MLflow is not installed.")


if __name__ == "__main__":
    main()
