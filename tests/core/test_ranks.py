"""A run on two processes is the run on one with the whole batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXPERIMENT = """
name = "ranks"
[task]
use = "align"
dim = 8
[dataset]
use = "paired-latents"
train = 256
val = 64
test = 64
[encoder.image]
use = "identity"
[encoder.text]
use = "identity"
[projector.image]
use = "mlp"
hidden = 16
[projector.text]
use = "linear"
[[loss]]
use = "info-nce"
[[metric]]
use = "retrieval"
[[stage]]
name = "warm"
train = ["projector.image"]
steps = 6
[[stage]]
name = "all"
steps = 14
[train]
steps = 20
lr = 1e-2
log_every = 1
[checkpoint]
every = 5
"""


def _records(folder: Path, command: list[str], batch: int) -> list[dict[str, float]]:
    folder.mkdir()
    (folder / "ranks.toml").write_text(EXPERIMENT)
    paths = {"TRIALBOOK_RUNS": str(folder / "runs"), "TRIALBOOK_CACHE": str(folder.parent / "cache")}
    environment = {**os.environ, **paths, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    arguments = ["-m", "trialbook", "run", "ranks.toml", "--set", f"train.batch_size={batch}"]
    done = subprocess.run(
        [*command, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Shown is the last value") == 1
    (run,) = (path for path in (folder / "runs" / "ranks").iterdir() if path.is_dir())
    assert json.loads((run / "results.json").read_text())["status"] == "finished"
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_with_half_the_batch_give_the_records_of_one(tmp_path: Path) -> None:
    one = _records(tmp_path / "one", [sys.executable], 32)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0", "--standalone"]
    two = _records(tmp_path / "two", torchrun, 16)
    assert [record["step"] for record in one] == [record["step"] for record in two]
    for a, b in zip(one, two, strict=True):
        trained = {name: value for name, value in a["values"].items() if not name.startswith(("val/", "test/"))}
        assert {name: b["values"][name] for name in trained} == pytest.approx(trained, rel=2e-4, abs=2e-4)
