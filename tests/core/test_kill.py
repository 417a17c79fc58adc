"""A run that is killed at any moment continues with the same command, to the same bits."""

from __future__ import annotations

from pathlib import Path

import pytest
from kills import compare_kills

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


def _compare_kills(tmp_path: Path, kills: int) -> None:
    compare_kills(tmp_path, "kill", EXPERIMENT.replace("steps = 240", f"steps = {60 + 40 * kills}"), kills)


def test_a_run_killed_a_few_times_gives_the_same_records_and_weights(tmp_path: Path) -> None:
    _compare_kills(tmp_path, kills=3)


@pytest.mark.slow
def test_a_run_killed_twenty_times_gives_the_same_records_and_weights(tmp_path: Path) -> None:
    _compare_kills(tmp_path, kills=20)
