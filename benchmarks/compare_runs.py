"""``mlrun compare`` over 1,000 and 10,000 runs against a bare click program, raw SQLite and MLflow where it is installed."""

from __future__ import annotations

import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._measure import BARE_CLICK, in_turn, process, ratio, save

METRICS = 10
MLFLOW_RUNS = 1000
#: What compare's means cost by hand: one query over the summaries.
RAW = """
import sqlite3, sys
question = "select arm, metric, count(*), avg(last) from final_metrics group by 1, 2"
print(len(sqlite3.connect(sys.argv[1]).execute(question).fetchall()))
"""
#: The same question to MLflow: all runs of an experiment with their last metrics.
MLFLOW = """
import sys
from mlflow import MlflowClient
print(len(MlflowClient(sys.argv[1]).search_runs([sys.argv[2]], max_results=50000)))
"""


def make_runs(root: Path, runs: int, records: int) -> None:
    """Directories of finished runs: ten arms, as many seeds as it takes, ten metrics."""
    draw = random.Random(0)
    moment = "2024-01-01T00:00:00.000+00:00"
    for index in range(runs):
        arm, seed = f"arm{index % 10}", index // 10
        folder = root / "bench" / f"{arm}-s{seed}-{index:08x}"
        folder.mkdir(parents=True)
        spec = {
            "experiment": "bench", "name": folder.name, "arm": arm, "base_arm": arm, "point": {}, "seed": seed,
            "id": f"{index:08x}", "baseline": "arm0", "config": {"train": {"lr": 1e-3}, "projector": {"image": {"use": arm}}},
        }  # fmt: skip
        documents: dict[str, Any] = {
            "run": spec, "env": {"git": {"commit": "c" * 40, "dirty": False}, "hardware": {"cpu": "any"}},
            "components": {"projector.image": {"target": f"module:{arm}", "source": arm}},
            "data": {"dataset": {"fingerprint": "f"}, "parameters": {"projector.image": 1000}},
            "sessions": [{"started": moment, "ended": moment}], "results": {"status": "finished"},
        }  # fmt: skip
        for name, content in documents.items():
            (folder / f"{name}.json").write_text(json.dumps(content))
        with (folder / "metrics.jsonl").open("w") as stream:
            for step in range(records):
                line = {"step": step, "values": {f"metric{m}": draw.random() for m in range(METRICS)}}
                stream.write(json.dumps(line) + "\n")


def measure(folder: Path, runs: int, records: int) -> list[dict[str, Any]]:
    """Rows for a registry of so many runs."""
    from trialbook.registry.sync import sync

    root = folder / str(runs)
    make_runs(root, runs, records)
    started = time.perf_counter()
    sync(root / "registry.db")
    synced = time.perf_counter() - started
    bare = folder / "bare.py"
    bare.write_text(BARE_CLICK)
    command = [sys.executable, "-m", "trialbook"]
    compiled = {"PYTHONDONTWRITEBYTECODE": ""}  # as installed: compiled once
    taken = in_turn({
        "bare": process([sys.executable, str(bare)]),
        "compare": process([*command, "compare", "bench", "--runs", str(root)], env=compiled),
        "ls": process([*command, "ls", "--runs", str(root)], env=compiled),
        "raw": process([sys.executable, "-c", RAW, str(root / "registry.db")]),
    }, rounds=11, warmup=2)  # fmt: skip
    size = f"{runs:,} runs × {METRICS} metrics × {records} points"
    small = runs <= 1000
    return [
        _row(
            f"mlrun compare / bare click program, {size}", ratio(taken, "compare", "bare"), "x", "<= 4" if small else ""
        ),
        _row(f"mlrun compare, {size}", statistics.median(taken["compare"]), "s", "" if small else "<= 2"),
        _row(f"mlrun ls, {runs:,} runs", statistics.median(taken["ls"]), "s"),
        _row(f"the means alone in raw SQL, {size}", statistics.median(taken["raw"]), "s"),
        _row(f"mlrun registry sync from nothing, {size}", runs * METRICS * records / synced, "points/s"),
    ]


def measure_mlflow(folder: Path) -> list[dict[str, Any]]:
    """A row for MLflow's SQLite store, or none where it is not installed."""
    try:
        from mlflow import MlflowClient
        from mlflow.entities import Metric
    except ImportError:
        return []
    address = f"sqlite:///{folder}/mlflow.db"
    client = MlflowClient(address)
    experiment = client.create_experiment("bench", artifact_location=str(folder))
    for index in range(MLFLOW_RUNS):
        run = client.create_run(experiment).info.run_id
        client.log_batch(run, [Metric(f"metric{m}", index / 7, 0, 0) for m in range(METRICS)])
    taken = in_turn({"mlflow": process([sys.executable, "-c", MLFLOW, address, experiment])}, rounds=3)
    return [
        _row(f"MLflow search_runs, {MLFLOW_RUNS:,} runs × {METRICS} metrics", statistics.median(taken["mlflow"]), "s")
    ]


def _row(what: str, value: float, unit: str, bound: str = "") -> dict[str, Any]:
    return {"what": what, "value": value, "unit": unit, "bound": bound}


def main() -> None:
    """Both sizes, then MLflow."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [*measure(folder, 1000, 100), *measure(folder, 10000, 20)]
        others = measure_mlflow(folder)
    note = "Whole processes, in turn. compare reads one summary row a run and metric, never the points."
    save("compare_runs", "Comparing runs", rows + others, note if others else f"{note} MLflow is not installed.")


if __name__ == "__main__":
    main()
