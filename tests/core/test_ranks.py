"""A run on two processes: it is the run on one with the whole batch, and what goes wrong on one process ends both."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from processes import Ended, install, run_processes
from safetensors.torch import load_file
from torch import Tensor

from trialbook.contracts.files import read_json, read_lines
from trialbook.registry.lock import RunLock
from trialbook.registry.query import open_index
from trialbook.registry.ranks import processes_of
from trialbook.registry.run_directory import RunDirectory

PLUGIN = '''
"""A projector that trains oddly, and fails where it is told to."""
import os
import torch
from torch import nn
from trialbook.errors import TrialbookError
from trialbook.plugins.hookspec import Component, hookimpl

@hookimpl
def mlrun_projectors():
    return [Component("stumbling", "stumbling_parts:Stumbling", "Linear; fails where it is told to.")]

class Stumbling(nn.Module):
    """Linear, with a parameter that is never used and one that only the second process uses."""
    keeps_tokens = True

    def __init__(self, dim_in: int, dim_out: int, /, *, fails: str = "nowhere") -> None:
        super().__init__()
        self.fails, self.calls = fails, 0
        self.linear = nn.Linear(dim_in, dim_out)
        self.never = nn.Parameter(torch.ones(3))
        self.sometimes = nn.Parameter(torch.ones(()))

    def forward(self, tokens, mask=None):
        second = os.environ.get("RANK") == "1"
        self.calls += self.training
        if self.fails == "everywhere" and self.calls > 4:
            raise TrialbookError("nobody can do this")
        if self.fails == "once" and self.calls > 13 and second and os.environ.get("STUMBLES"):
            raise ValueError("the second process stumbled")
        found = self.linear(tokens)
        return found * self.sometimes if second and self.fails in ("once", "never") else found
'''
EXPERIMENT = """
name = "together"
baseline = "good"
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
use = "stumbling"
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
keep_last = 9
[arm.everywhere.projector.image]
fails = "everywhere"
[arm.good]
[arm.whole.projector.image]
fails = "never"
[arm.broken.projector.image]
fails = "once"
"""


class Course(NamedTuple):
    """What came of the commands.

    Args:
        folder: holds ``one``, ``two``, and ``before``: the runs of ``two`` between its two commands.
        alone: how ``good`` ended on one process with twice the batch.
        stumbled: how all arms ended on two processes, one of which fails.
        at: when both had ended, in seconds since 1970.
        again: the same once more, where none fails but the run of ``everywhere`` is in use.
    """

    folder: Path
    alone: list[Ended]
    stumbled: list[Ended]
    at: float
    again: list[Ended]

    def run(self, arm: str, place: str = "two/runs") -> RunDirectory:
        return RunDirectory(next((self.folder / place / "together").glob(f"{arm}-s0-*")))

    def records(self, arm: str, place: str = "two/runs") -> list[dict[str, Any]]:
        return list(read_lines(self.run(arm, place).lines("metrics")))

    def weights(self, arm: str, step: int) -> dict[str, Tensor]:
        return load_file(self.run(arm).path / "checkpoints" / f"step-{step:08d}" / "model.safetensors")


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Course:
    """The commands are shared, as each process takes seconds to start."""
    folder = tmp_path_factory.mktemp("ranks")
    site = install(folder / "site", "stumbling", PLUGIN)
    for place in ("one", "two"):
        (folder / place).mkdir()
        (folder / place / "together.toml").write_text(EXPERIMENT)
    command = ("run", "together.toml", "--no-plots", "--set")
    alone = run_processes(folder / "one", 1, *command, "train.batch_size=32", "--arm", "good", site=site)
    stumbled = run_processes(folder / "two", 2, *command, "train.batch_size=16", site=site, STUMBLES="1")
    at = time.time()
    shutil.copytree(folder / "two" / "runs", folder / "before")
    (used,) = (folder / "two" / "runs" / "together").glob("everywhere-s0-*")
    lock = RunLock(RunDirectory(used).lock)
    lock.acquire()
    again = run_processes(folder / "two", 2, *command, "train.batch_size=16", site=site)
    lock.release()
    return Course(folder, alone, stumbled, at, again)


def test_two_processes_with_half_the_batch_give_the_records_of_one(course: Course) -> None:
    one, two = course.records("good", "one/runs"), course.records("good")
    assert course.alone[0].status == 0
    assert [record["step"] for record in one] == [record["step"] for record in two]
    for a, b in zip(one, two, strict=True):
        assert b["values"] == pytest.approx(a["values"], rel=2e-4, abs=2e-4)


def test_losses_of_a_split_do_not_depend_on_the_number_of_processes(course: Course) -> None:
    """Before the first step the weights are equal; every process holds all rows, so that none is its own negative."""
    for one, two in zip(course.records("good", "one/runs")[:2], course.records("good")[:2], strict=True):
        assert one["step"] == 0
        assert any(name.endswith("/loss") for name in one["values"])
        assert one["values"] == two["values"]


def test_an_error_on_all_processes_ends_its_run_and_no_other(course: Course) -> None:
    assert course.run("everywhere", "before").error.read_text() == "nobody can do this\n"
    assert course.stumbled[0].err.count("nobody can do this") >= 1
    for arm in ("good", "whole"):
        assert course.run(arm, "before").status() == "finished"


def test_an_error_on_one_process_ends_all_within_seconds_with_its_message(course: Course) -> None:
    run = course.run("broken", "before")
    assert [one.status for one in course.stumbled] == [1, 1]
    assert all("mlrun: process 1: ValueError: the second process stumbled" in one.err for one in course.stumbled)
    assert run.error_of(1).read_text().endswith("\nValueError: the second process stumbled\n")
    assert not run.error_of(0).exists()
    assert course.at - run.error_of(1).stat().st_mtime < 10
    with open_index(course.folder / "before" / "registry.db") as index:
        recorded = index.one(run.path.name)
    assert recorded.status == "failed"
    assert recorded.error == run.error.read_text() == f"process 1:\n{run.error_of(1).read_text()}"


def test_what_two_processes_began_two_go_on_with_bit_for_bit(course: Course) -> None:
    events = [event["message"] for event in read_lines(course.run("broken").lines("events"))]
    assert events == ["resumed from the checkpoint at step 10"]
    assert course.run("broken").errors_of_processes() == []
    metrics = [course.run(arm).lines("metrics").read_bytes() for arm in ("whole", "broken")]
    assert metrics[0] == metrics[1]
    torch.testing.assert_close(course.weights("broken", 20), course.weights("whole", 20), rtol=0, atol=0)


def test_a_run_in_use_is_passed_over_by_all_processes(course: Course) -> None:
    assert [one.status for one in course.again] == [1, 1]
    assert "is in use by process" in course.again[0].err
    assert course.run("everywhere").error.read_text() == "nobody can do this\n"
    assert course.run("broken").status() == "finished"


def test_parameters_that_a_process_or_none_uses_stop_nothing(course: Course) -> None:
    trained = course.weights("whole", 20)
    assert trained["projector.image.never"].tolist() == [1, 1, 1]
    assert trained["projector.image.sometimes"].item() != 1


def test_cost_is_that_of_all_processes(course: Course) -> None:
    """Each of two counts half the samples, but the logits of the whole batch; so FLOPs are a little above those of one."""
    one, two = (read_json(course.run("good", place).json("data")) for place in ("one/runs", "two/runs"))
    assert one["flops"]["training"] < two["flops"]["training"] < 1.5 * one["flops"]["training"]
    assert sum(two["flops"]["stages"]) == two["flops"]["training"]
    assert [stage["batch"] for stage in two["stages"]] == [32, 32]
    last = list(read_lines(course.run("good").lines("timing")))[-1]["values"]
    assert last["device_seconds"] == pytest.approx(2 * last["train_seconds"], rel=0.5)
    assert last["peak_memory"] == max(last["peak_memory/0"], last["peak_memory/1"])
    assert processes_of(read_json(course.run("good").json("env"))) == 2
