"""Recording: nothing is lost or written twice, whatever is killed, full or locked."""

from __future__ import annotations

import json
import math
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from trialbook.config.experiment_info import ExperimentInfo
from trialbook.config.runspec import RunSpec
from trialbook.contracts.files import read_lines
from trialbook.contracts.records import Artifact, Event, Facts, Record, Timing
from trialbook.registry.background import BackgroundFollower
from trialbook.registry.lock import RunLocked
from trialbook.registry.recorder import Recorder
from trialbook.registry.run_directory import RunDirectory
from trialbook.registry.summary import summarise

ENVIRONMENT = {
    "hardware": {"cpu": "x"},
    "git": {"commit": "a" * 40, "dirty": True, "untracked": []},
    "patch": "diff --git\n",
}
COMPONENTS = {
    "projector.image": {"plugin": "trialbook", "version": "0.1.0", "source": "abc", "target": "m:C", "commit": None}
}
WRITER = """
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from trialbook.config.experiment_info import ExperimentInfo
from trialbook.config.runspec import RunSpec
from trialbook.registry.recorder import Recorder
from trialbook.contracts.records import Record
spec = RunSpec(experiment="e", arm="a", base_arm="a", point={}, seed=0, config={}, sources={}, id="00000000")
with Recorder(Path(sys.argv[1]), Path(sys.argv[2])) as recorder:
    recorder.start(spec, {}, {})
    for step in range(10**9):
        recorder.add(Record(step, {f"m{i}": step / (i + 3) for i in range(10)}))
        print(step, flush=True)
"""
FULL_DISK = """
import resource, sys
from pathlib import Path
from trialbook.registry.recorder import Recorder
from trialbook.contracts.records import Record
with Recorder(Path(sys.argv[1]), None) as recorder:
    recorder.add(Record(0, {"m": 1.0}))
    size = (Path(sys.argv[1]) / "metrics.jsonl").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 7, resource.RLIM_INFINITY))
    try:
        recorder.add(Record(1, {"m": 2.0}))
    except OSError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    recorder.add(Record(2, {"m": 3.0}))
"""


def spec(**changes: Any) -> RunSpec:
    results = {"at1": "r@1", "loss": "loss", "none": "never"}
    values = {
        "experiment": "e", "arm": "a", "base_arm": "a", "point": {}, "seed": 0, "sources": {}, "id": "00000000",
        "config": {"train": {"lr": 0.1}}, "info": ExperimentInfo(question="Does it?", results=results, baseline="a"),
    }  # fmt: skip
    return RunSpec(**(values | changes))


@contextmanager
def started(tmp_path: Path, **options: Any) -> Iterator[Recorder]:
    with Recorder(tmp_path / "e" / "run", tmp_path / "registry.db", **options) as recorder:
        recorder.start(spec(), ENVIRONMENT, COMPONENTS)
        yield recorder


def points(tmp_path: Path) -> dict[tuple[int, str], float | None]:
    rows = sqlite3.connect(tmp_path / "registry.db").execute(
        "select step, metric, value from metric_points where kind = 'metric'"
    )
    return {(step, metric): value for step, metric, value in rows}


def in_files(run: RunDirectory) -> dict[tuple[int, str], float]:
    return {(line["step"], k): v for line in run.read_lines("metrics") for k, v in line["values"].items()}


def loss(step: int) -> Record:
    return Record(step, {"loss": 1 / (step + 3), "lr": 1e-3})


def events(run: RunDirectory, kind: str) -> list[dict[str, Any]]:
    return [line for line in run.read_lines("events") if line["kind"] == kind]


def test_a_finished_run_has_all_its_files(tmp_path: Path) -> None:
    with started(tmp_path) as recorder:
        recorder.describe({"dataset": {"fingerprint": "f", "splits": {"train": 9}}})
        recorder.describe({"parameters": {"projector.image": 12}})
        recorder.add(Record(0, {"r@1": 0.1}))
        for step in range(1, 4):
            recorder.add(loss(step))
            recorder.add(Timing(step, {"train_seconds": step * 0.5}))
        recorder.add(Record(3, {"r@1": 0.7}))
        recorder.finish({"extra": 1})
    run = recorder.run
    assert run.status() == "finished"
    assert run.patch.read_text() == ENVIRONMENT["patch"]
    assert "patch" not in run.read("env")
    assert run.read("components") == COMPONENTS
    assert run.read("data") == {
        "dataset": {"fingerprint": "f", "splits": {"train": 9}}, "parameters": {"projector.image": 12},
    }  # fmt: skip
    assert "[train]\nlr = 0.1" in run.config.read_text()
    assert RunSpec.from_json(run.read("run")) == spec()
    results = run.read("results")
    assert {k: v for k, v in results.items() if k not in ("metrics", "seconds")} == {
        "status": "finished", "at1_start": 0.1, "at1_end": 0.7, "loss_start": 1 / 4, "loss_end": 1 / 6, "extra": 1,
    }  # fmt: skip
    assert results["metrics"]["loss"] == {
        "first": 1 / 4, "last": 1 / 6, "min": 1 / 6, "max": 1 / 4, "min_step": 3, "max_step": 1,
        "first_step": 1, "last_step": 3, "count": 3, "not_finite": 0,
    }  # fmt: skip


def test_lines_hold_exact_values_and_only_what_is_reproducible(tmp_path: Path) -> None:
    values = {"a": 0.1 + 0.2, "b": math.nan, "c": -math.inf, "d": 5e-324, "ü": 1.0}
    with Recorder(tmp_path, None) as recorder:
        recorder.add(Record(7, values))
    line = recorder.run.lines("metrics").read_bytes()
    assert line == '{"step":7,"values":{"a":0.30000000000000004,"b":NaN,"c":-Infinity,"d":5e-324,"ü":1.0}}\n'.encode()


def test_the_registry_has_every_point_and_summary_when_the_run_is_closed(tmp_path: Path) -> None:
    draw = random.Random(0)
    with started(tmp_path) as recorder:
        for step in range(3000):
            recorder.add(Record(step, {f"m{i}": draw.gauss(0, 1) for i in range(10)}))
    assert points(tmp_path) == in_files(recorder.run)
    expected = summarise(recorder.run.read_lines("metrics"))
    database = sqlite3.connect(tmp_path / "registry.db")
    rows = database.execute(
        "select metric, first, last, min, max, min_step, max_step, first_step, last_step, count, not_finite from final_metrics"
    )
    assert {name: tuple(values) for name, *values in rows} == {name: one.row() for name, one in expected.items()}


def test_values_that_are_not_finite_are_marked_in_the_registry(tmp_path: Path) -> None:
    with started(tmp_path) as recorder:
        for step, value in enumerate((math.nan, 2.0, math.inf, 1.0, math.nan)):
            recorder.add(Record(step, {"m": value}))
    assert points(tmp_path) == {(0, "m"): None, (1, "m"): 2.0, (2, "m"): math.inf, (3, "m"): 1.0, (4, "m"): None}
    row = sqlite3.connect(tmp_path / "registry.db").execute(
        "select first, last, min, min_step, max, max_step, count, not_finite from final_metrics"
    )
    assert row.fetchone() == (None, None, 1.0, 3, 2.0, 1, 5, 3)


@pytest.mark.parametrize("checkpoint", [0, 3, 5])
def test_a_run_that_goes_on_writes_the_file_of_one_that_never_stopped(tmp_path: Path, checkpoint: int) -> None:
    with started(tmp_path / "whole") as whole:
        for step in range(9):
            whole.add(loss(step))
    with started(tmp_path) as killed:
        for step in range(5):
            killed.add(loss(step))
    with killed.run.lines("metrics").open("ab") as stream:
        stream.write(b'{"step":5,"val')  # the kill came in the middle of a line
    with started(tmp_path) as again:
        assert again.recorded == 5
        again.rewind(checkpoint)
        for step in range(checkpoint, 9):
            again.add(loss(step))
        assert again.recorded == 9
    assert again.run.lines("metrics").read_bytes() == whole.run.lines("metrics").read_bytes()
    assert points(tmp_path) == points(tmp_path / "whole")
    assert not events(again.run, "resume-diverged")


def test_where_a_record_comes_out_differently_the_rest_is_cut(tmp_path: Path) -> None:
    with started(tmp_path) as killed:
        for step in range(8):
            killed.add(loss(step))
    with started(tmp_path) as again:
        again.rewind(2)
        for step in range(2, 6):
            again.add(loss(step) if step < 4 else Record(step, {"loss": -1.0}))
        assert again.recorded == 6
    found = in_files(again.run)
    assert [found[step, "loss"] for step in range(6)] == [1 / 3, 1 / 4, 1 / 5, 1 / 6, -1.0, -1.0]
    assert points(tmp_path) == found
    (event,) = events(again.run, "resume-diverged")
    assert event["step"] == 4
    assert "4 records were cut" in event["message"]


def test_records_that_a_checkpoint_knows_and_the_file_does_not_are_reported(tmp_path: Path) -> None:
    with started(tmp_path) as recorder:
        recorder.add(loss(0))
        recorder.rewind(3)
        recorder.add(loss(3))
    assert "2 records" in events(recorder.run, "records-lost")[0]["message"]
    assert recorder.recorded == 2


def test_the_commit_of_components_of_the_working_copy_is_not_repeated_in_the_message(tmp_path: Path) -> None:
    for commit in "ab":
        around = {**ENVIRONMENT, "git": {**ENVIRONMENT["git"], "commit": commit * 40}}  # type: ignore[dict-item]
        own, foreign = ({**COMPONENTS["projector.image"], "commit": one * 40} for one in (commit, commit.upper()))
        with Recorder(tmp_path / "run", None) as recorder:
            recorder.start(spec(), around, {"projector.image": own, "loss.far": foreign})
    (event,) = events(recorder.run, "environment-changed")
    assert event["message"].endswith(": components.loss.far.commit, git.commit changed")
    assert "components.projector.image.commit" in event["data"]


def test_going_on_keeps_the_frozen_files_and_names_what_changed_around_it(tmp_path: Path) -> None:
    with started(tmp_path) as first:
        first.fail("Traceback …\nValueError: no")
    assert first.run.status() == "failed"
    assert first.run.error.read_text() == "Traceback …\nValueError: no\n"
    before = first.run.json("env").read_bytes()
    changed = {**ENVIRONMENT, "git": {"commit": "b" * 40, "dirty": True, "untracked": ["new.py"]}}
    with Recorder(first.run.path, tmp_path / "registry.db") as again:
        again.start(spec(), changed, COMPONENTS)
        assert again.run.status() == "running"
    assert again.run.status() == "killed"
    assert again.run.json("env").read_bytes() == before
    (event,) = events(again.run, "environment-changed")
    assert event["data"] == {"git.commit": ["a" * 40, "b" * 40]}
    assert "environment: git.commit changed" in event["message"]
    sessions = again.run.read("sessions")
    assert len(sessions) == 2
    assert sessions[1]["changed"] == event["data"]
    assert all(session["ended"] >= session["started"] for session in sessions)


def test_the_device_is_added_when_it_is_known_and_another_one_later_is_an_event(tmp_path: Path) -> None:
    def facts(name: str, index: int = 0, **compute: Any) -> dict[str, Any]:
        return {"device": {"type": "cuda", "name": name, "index": index, "visible": 1 + index}, "compute": compute}

    with started(tmp_path) as recorder:
        recorder.surround(facts("H200", deterministic=False))
    written = recorder.run.read("env")
    assert written == {
        **{key: value for key, value in ENVIRONMENT.items() if key != "patch"}, **facts("H200", deterministic=False)
    }  # fmt: skip
    documents = sqlite3.connect(tmp_path / "registry.db").execute("select body from document").fetchall()
    assert any('"H200"' in body for (body,) in documents)
    for now in (facts("H200", deterministic=False), facts("H200", index=3, deterministic=False)):
        with started(tmp_path) as recorder:
            recorder.surround(now)
        assert events(recorder.run, "environment-changed") == []  # one GPU is as good as another of its name
    with started(tmp_path) as recorder:
        recorder.surround(facts("A100", deterministic=True))
    (event,) = events(recorder.run, "environment-changed")
    assert event["data"] == {"device.name": ["H200", "A100"], "compute.deterministic": [False, True]}
    assert recorder.run.read("sessions")[-1]["changed"] == event["data"]
    assert recorder.run.read("env") == written


def test_a_run_of_before_devices_were_recorded_goes_on_without_a_word(tmp_path: Path) -> None:
    with started(tmp_path) as recorder:
        env = recorder.run.read("env")
        recorder.run.json("env").write_text(json.dumps({**env, "hardware": {**env["hardware"], "gpus": []}}))
    with started(tmp_path) as recorder:
        recorder.surround({"device": {"type": "cpu"}})
    assert events(recorder.run, "environment-changed") == []
    assert recorder.run.read("env")["device"] == {"type": "cpu"}


def test_going_on_with_other_data_is_an_event(tmp_path: Path) -> None:
    for fingerprint in ("a", "a", "b"):
        with started(tmp_path) as recorder:
            recorder.describe({"dataset": {"fingerprint": fingerprint}, "parameters": {"llm": 3}})
    (event,) = events(recorder.run, "data-changed")
    assert event["data"] == {"dataset.fingerprint": ["a", "b"]}


def test_what_a_run_finds_out_as_it_goes_is_no_change_of_its_data(tmp_path: Path) -> None:
    """As after a kill behind the extraction: the next process reads stored features, and sees no shapes of the encoder."""
    seen = ({"encoder": {"out": [4, 224]}, "projector": {"out": [4, 8]}}, {"projector": {"out": [4, 8]}})
    for session, shapes in enumerate(seen):
        with started(tmp_path) as recorder:
            recorder.describe({"dataset": {"fingerprint": "a"}})
            recorder.add(Facts(0, {"shapes": shapes, "flops": {"training": 2 + session}}))
            recorder.add(Artifact(0, "made.npz", lambda file, session=session: file.write_text(str(session))))
    assert events(recorder.run, "data-changed") == []
    data = recorder.run.read("data")
    assert (data["shapes"], data["flops"]["training"]) == (seen[0], 3)
    assert list(data["artifacts"]) == ["made.npz"]


def test_only_one_process_records_a_run(tmp_path: Path) -> None:
    with started(tmp_path) as recorder, pytest.raises(RunLocked):
        Recorder(recorder.run.path, None).__enter__()


def test_kill_9_loses_no_record_that_was_added(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "e" / "run"), str(tmp_path / "registry.db")]
    seen = 0
    for _ in range(3):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(300):
                seen = int(process.stdout.readline())
            process.kill()
            seen = max([seen, *map(int, process.stdout.read().split("\n")[:-1])])
        run = RunDirectory(tmp_path / "e" / "run")
        assert run.status() == "killed"
        steps = [line["step"] for line in run.read_lines("metrics")]
        last = len(steps) - 1 - steps[::-1].index(0)
        assert steps[last:][: seen + 1] == list(range(seen + 1))


def test_a_disk_that_is_full_leaves_no_half_line(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "is the disk full?" in done.stdout
    assert [line["step"] for line in read_lines(tmp_path / "metrics.jsonl")] == [0, 2]


def test_a_locked_registry_neither_kills_the_run_nor_loses_records(tmp_path: Path) -> None:
    with started(tmp_path):
        pass
    blocker = sqlite3.connect(tmp_path / "registry.db", isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    with started(tmp_path, patience=0.2) as recorder:
        for step in range(50):
            recorder.add(loss(step))
        recorder.finish({})
    assert len(events(recorder.run, "registry-behind")) == 1
    assert len(in_files(recorder.run)) == 100
    blocker.execute("ROLLBACK")
    assert points(tmp_path) == {}
    from trialbook.registry.sync import sync

    assert sync(tmp_path / "registry.db").updated == ["e/run"]
    assert points(tmp_path) == in_files(recorder.run)


def test_a_registry_that_is_unlocked_in_time_catches_up(tmp_path: Path) -> None:
    with started(tmp_path):
        pass
    blocker = sqlite3.connect(tmp_path / "registry.db", isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    with started(tmp_path, patience=5.0) as recorder:
        recorder.add(loss(0))
        blocker.execute("ROLLBACK")
    assert points(tmp_path) == in_files(recorder.run)


@pytest.mark.parametrize("trouble", ["no database", "a folder", "no folder can be made"])
def test_a_registry_that_cannot_be_one_is_reported_and_the_run_goes_on(tmp_path: Path, trouble: str) -> None:
    registry = tmp_path / "registry.db"
    if trouble == "no database":
        registry.write_bytes(b"this is no database, but it is long enough" * 100)
    elif trouble == "a folder":
        registry.mkdir()
    else:
        (tmp_path / "file").write_text("")
        registry = tmp_path / "file" / "registry.db"
    with Recorder(tmp_path / "e" / "run", registry, patience=0.1) as recorder:
        recorder.start(spec(), ENVIRONMENT, COMPONENTS)
        recorder.add(loss(0))
        recorder.finish({})
    assert recorder.run.status() == "finished"
    assert "mlrun registry sync" in events(recorder.run, "registry-behind")[0]["message"]


def test_a_warning_that_finds_no_room_is_left_out_and_the_registry_catches_up(tmp_path: Path) -> None:
    warned = []

    def warn(message: str) -> None:
        warned.append(message)
        folder.rmdir()  # now it can be made
        raise OSError("no space left")

    with started(tmp_path) as recorder:
        recorder.add(loss(0))
        folder = tmp_path / "elsewhere" / "registry.db"
        folder.mkdir(parents=True)
        follower = BackgroundFollower(folder, recorder.run, warn, patience=5.0)
        follower.close()
    assert len(warned) == 1
    assert points(folder.parent) == in_files(recorder.run)


def test_events_are_lines_with_their_data(tmp_path: Path) -> None:
    with Recorder(tmp_path, None) as recorder:
        recorder.add(Event(3, "dropped", "2 samples dropped", {"ids": [1, 2], "share": math.nan}))
    line = json.loads(recorder.run.lines("events").read_text())
    assert {key: line[key] for key in ("step", "kind", "message", "data")} == {
        "step": 3, "kind": "dropped", "message": "2 samples dropped", "data": {"ids": [1, 2], "share": None},
    }  # fmt: skip


def test_a_run_without_a_registry_is_recorded_all_the_same(tmp_path: Path) -> None:
    with Recorder(tmp_path / "run", None) as recorder:
        recorder.start(spec(), ENVIRONMENT, COMPONENTS)
        recorder.add(loss(0))
        recorder.finish({})
    assert recorder.run.status() == "finished"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
