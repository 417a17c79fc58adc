"""A run that is killed at any moment goes on with the same command, to the same bits."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

EXPERIMENT = """
name = "kill"
seeds = [0]
[task]
use = "align"
dim = 16
[dataset]
use = "scenes"
train = 256
val = 32
test = 32
[encoder.image]
use = "patches"
frozen = true
[encoder.text]
use = "text-transformer"
width = 16
depth = 1
heads = 2
dropout = 0.1
[projector.image]
use = "mlp"
pool = "attention"
[projector.text]
use = "linear"
[[loss]]
use = "info-nce"
[[metric]]
use = "retrieval"
[train]
steps = 240
batch_size = 32
accumulate = 2
lr = 1e-3
log_every = 3
[evaluate]
every = 40
[checkpoint]
every = 15
"""


def _environment(folder: Path) -> dict[str, str]:
    paths = {"TRIALBOOK_RUNS": str(folder / "runs"), "TRIALBOOK_CACHE": str(folder / "cache")}
    return {
        **os.environ,
        **paths,
        "OMP_NUM_THREADS": "1",
    }  # threads that wait for one another are slow on a busy machine


def _start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "trialbook", "run", "kill.toml"]
    return subprocess.Popen(
        command, cwd=folder, env=_environment(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _run_directory(folder: Path) -> Path:
    return next((folder / "runs" / "kill").glob("*/config.toml")).parent


def _weights(folder: Path) -> dict[str, bytes]:
    newest = max((_run_directory(folder) / "checkpoints").glob("step-*"))
    return {path.name: path.read_bytes() for path in newest.glob("*.safetensors")}


def _run_to_the_end(folder: Path) -> tuple[float, float]:
    """Seconds until the first record, and in all."""
    started, first = time.monotonic(), None
    process = _start(folder)
    while process.poll() is None:
        if first is None and any(file.stat().st_size for file in folder.glob("runs/kill/*/metrics.jsonl")):
            first = time.monotonic() - started
        time.sleep(0.02)
    assert process.returncode == 0, process.communicate()[0]
    assert first is not None
    return first, time.monotonic() - started


def _lines(folder: Path) -> int:
    """Records in the file of the run; 0 where it has not begun."""
    return sum(file.read_bytes().count(b"\n") for file in folder.glob("runs/kill/*/metrics.jsonl"))


def _kill_until_done(folder: Path, kills: int, before: float, lines: int, seed: int) -> int:
    """Kill the run at random moments, some before its first record, go on each time; the kills that met it alive.

    Moments are counted in records, since time is worth more or less as other work on the machine comes and goes.
    """
    rng, met = random.Random(seed), 0
    for _ in range(kills):
        known = _lines(folder)
        process = _start(folder)
        if rng.random() < 0.25:
            deadline, wanted = time.monotonic() + before * rng.uniform(0.2, 0.9), known + lines // kills
        else:
            deadline, wanted = time.monotonic() + 600, known + round(lines / kills * rng.uniform(0, 0.9))
        while process.poll() is None and time.monotonic() < deadline and _lines(folder) < max(wanted, 1):
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.05))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            met += 1
        process.communicate()
    _run_to_the_end(folder)
    return met


def _compare_kills(tmp_path: Path, kills: int) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
        (folder / "kill.toml").write_text(EXPERIMENT.replace("steps = 240", f"steps = {160 + 80 * kills}"))
    _run_to_the_end(whole)  # this fills the cache of schemas as well
    shutil.copytree(whole / "cache", broken / "cache")
    shutil.rmtree(whole / "runs")
    before, _ = _run_to_the_end(whole)
    assert _kill_until_done(broken, kills, before, _lines(whole), seed=kills) > kills * 0.7
    name = _run_directory(whole).name
    assert _run_directory(broken).name == name
    records = [(folder / "runs" / "kill" / name / "metrics.jsonl").read_bytes() for folder in (whole, broken)]
    assert records[0] == records[1]
    assert records[0].count(b"\n") == len(set(records[0].splitlines()))
    assert _weights(whole) == _weights(broken)


def test_a_run_killed_a_few_times_gives_the_same_records_and_weights(tmp_path: Path) -> None:
    _compare_kills(tmp_path, kills=3)


@pytest.mark.slow
def test_a_run_killed_twenty_times_gives_the_same_records_and_weights(tmp_path: Path) -> None:
    _compare_kills(tmp_path, kills=20)
