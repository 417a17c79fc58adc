"""What ends one of two processes from outside, or the first alone, ends the other too."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import Ended, start_processes, wait_for
from small_align import align_file

from trialbook.contracts.files import read_lines
from trialbook.registry.run_directory import RunDirectory

pytestmark = pytest.mark.slow

LONG = align_file(head='name = "long"', train=64, steps=100_000, batch_size=16, more="log_every = 5")


def _run_of(folder: Path) -> RunDirectory:
    return RunDirectory(next((folder / "runs" / "long").glob("*-s0-*")))


def _under_way(folder: Path, records: int = 5) -> RunDirectory:
    """Wait until a run has more than so many records."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        files = list((folder / "runs").glob("long/*/metrics.jsonl"))
        if files and files[0].read_bytes().count(b"\n") > records:
            return _run_of(folder)
        time.sleep(0.02)
    raise AssertionError("the run did not begin")


def _ended(folder: Path, act: Callable[[list[subprocess.Popen[str]]], None]) -> tuple[list[Ended], float]:
    """How two processes end when something happens to them under way, and seconds until they had."""
    (folder / "long.toml").write_text(LONG)
    processes = start_processes(folder, 2, "run", "long.toml", "--no-plots")
    _under_way(folder)
    since = time.monotonic()
    act(processes)
    return wait_for(processes), time.monotonic() - since


def test_an_interrupt_of_the_first_ends_both_and_the_run_goes_on_another_time(tmp_path: Path) -> None:
    ended, seconds = _ended(tmp_path, lambda processes: processes[0].send_signal(signal.SIGINT))
    assert seconds < 10
    assert all(one.status not in (0, None) for one in ended)
    assert _run_of(tmp_path).status() == "killed"


def test_a_process_that_is_killed_ends_the_other_with_what_happened(tmp_path: Path) -> None:
    ended, seconds = _ended(tmp_path, lambda processes: processes[1].kill())
    assert seconds < 10
    assert ended[0].status == 1
    assert "another process of this run was killed" in ended[0].err
    assert "another process of this run was killed" in _run_of(tmp_path).error.read_text()


def test_the_first_process_killed_ends_the_other(tmp_path: Path) -> None:
    ended, seconds = _ended(tmp_path, lambda processes: processes[0].kill())
    assert seconds < 10
    assert ended[1].status not in (0, None)
    assert _run_of(tmp_path).status() == "killed"


def test_a_full_disk_ends_both_with_its_message(tmp_path: Path) -> None:
    def fill(processes: list[subprocess.Popen[str]]) -> None:
        resource.prlimit(processes[0].pid, resource.RLIMIT_FSIZE, (100, 100))

    ended, seconds = _ended(tmp_path, fill)
    assert seconds < 10
    assert [one.status for one in ended] == [1, 1]
    assert all("mlrun: OSError: " in one.err for one in ended)


def test_a_finding_that_stops_the_run_stops_both(tmp_path: Path) -> None:
    (tmp_path / "long.toml").write_text(LONG.replace("log_every = 5", "log_every = 5\nlr = 1e-30\n[doctor]\nevery = 5"))
    ended = wait_for(start_processes(tmp_path, 2, "run", "long.toml", "--no-plots", "--strict"))
    assert [one.status for one in ended] == [1, 1]
    assert all("mlrun: stopped by the doctor: " in one.err for one in ended)
    assert _run_of(tmp_path).error.read_text().startswith("stopped by the doctor: ")


def test_three_processes_that_were_killed_go_on_bit_for_bit(tmp_path: Path) -> None:
    """With two, sums of gradients have one order; with three it depends on how torch lays gradients out in buckets."""
    more = "log_every = 5\n[checkpoint]\nevery = 10"
    text = align_file(head='name = "long"', dim=64, train=96, steps=120, batch_size=16, more=more)
    text = text.replace('[projector.image]\nuse = "linear"', '[projector.image]\nuse = "mlp"\nhidden = 512')
    for place in ("whole", "killed"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "long.toml").write_text(text)
    whole = wait_for(start_processes(tmp_path / "whole", 3, "run", "long.toml", "--no-plots"))
    assert [one.status for one in whole] == [0, 0, 0]
    processes = start_processes(tmp_path / "killed", 3, "run", "long.toml", "--no-plots")
    _under_way(tmp_path / "killed", records=12)
    for process in processes:
        process.kill()
    wait_for(processes)
    again = wait_for(start_processes(tmp_path / "killed", 3, "run", "long.toml", "--no-plots"))
    assert [one.status for one in again] == [0, 0, 0]
    runs = [_run_of(tmp_path / place) for place in ("whole", "killed")]
    assert any(event["kind"] == "resumed" for event in read_lines(runs[1].lines("events")))
    assert runs[0].lines("metrics").read_bytes() == runs[1].lines("metrics").read_bytes()
    weights = [run.path / "checkpoints" / "step-00000120" / "model.safetensors" for run in runs]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_under_torchrun_a_run_is_that_of_two_processes_that_are_started_singly(tmp_path: Path) -> None:
    text = LONG.replace("steps = 100000", "steps = 20")
    for place in ("singly", "torchrun"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "long.toml").write_text(text)
    singly = wait_for(start_processes(tmp_path / "singly", 2, "run", "long.toml", "--no-plots"))
    assert [one.status for one in singly] == [0, 0]
    paths = {"TRIALBOOK_RUNS": str(tmp_path / "torchrun" / "runs"), "TRIALBOOK_CACHE": str(tmp_path / "cache")}
    around = {**os.environ, **paths, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    command = [*torchrun, "-m", "trialbook", "run", "long.toml", "--no-plots"]
    done = subprocess.run(command, cwd=tmp_path / "torchrun", env=around, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Shown is the last value") == 1
    one, two = (list(read_lines(_run_of(tmp_path / place).lines("metrics"))) for place in ("singly", "torchrun"))
    assert one == two
