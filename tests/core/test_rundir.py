"""A run's directory: torn lines, whole files, locks, status."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trialbook.contracts.files import read_json, read_lines, to_json, write_whole
from trialbook.errors import TrialbookError
from trialbook.registry import lock as runlock
from trialbook.registry import run_directory as rundir
from trialbook.registry.lock import RunLock, RunLocked, is_locked
from trialbook.registry.run_directory import RunDirectory, find_runs
from trialbook.registry.run_files import cut_torn_line

HOLD = """
import sys, time
from pathlib import Path
from trialbook.registry.lock import RunLock
RunLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("content", "kept"),
    [(b"", b""), (b"a\n", b"a\n"), (b"a\nb", b"a\n"), (b"torn", b""), (b"a\n" + b"x" * 200_000, b"a\n")],
)
def test_a_torn_last_line_is_cut(tmp_path: Path, content: bytes, kept: bytes) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(content)
    assert cut_torn_line(file) == len(content) - len(kept)
    assert file.read_bytes() == kept


def test_a_file_that_is_not_there_has_no_torn_line(tmp_path: Path) -> None:
    assert cut_torn_line(tmp_path / "none") == 0
    assert list(read_lines(tmp_path / "none")) == []
    assert read_json(tmp_path / "none") is None


def test_a_torn_last_line_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"a":1}\n{"a":')
    assert list(read_lines(tmp_path / "x.jsonl")) == [{"a": 1}]


def test_a_file_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(TrialbookError, match=r"run\.json is not valid JSON"):
        read_json(tmp_path / "run.json")


def test_json_has_null_for_what_is_not_finite() -> None:
    assert json.loads(to_json({"a": math.nan, "b": [math.inf, 1.5], 3: (Path("x"),)})) == {
        "a": None, "b": [None, 1.5], "3": ["x"],
    }  # fmt: skip


def test_a_file_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "results.json"
    write_whole(file, "old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rundir.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(file, "new and longer")
    assert file.read_text() == "old"


def test_runs_are_found_and_other_folders_are_not(tmp_path: Path) -> None:
    for name in ("exp/b", "exp/a", "exp/notes", ".features/x"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("exp/b", "exp/a", ".features/x"):
        (tmp_path / name / "run.json").write_text("{}")
    assert list(find_runs(tmp_path)) == [tmp_path / "exp/a", tmp_path / "exp/b"]
    assert list(find_runs(tmp_path / "none")) == []


def test_status_is_what_the_directory_shows(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert run.status() == "missing"
    run.json("run").write_text("{}")
    assert run.status() == "killed"
    lock = RunLock(run.lock)
    lock.acquire()
    assert run.status() == "running"
    lock.release()
    run.error.write_text("no")
    assert run.status() == "failed"
    run.json("results").write_text("{}")
    assert run.status() == "finished"


def test_a_lock_is_held_once_and_given_back(tmp_path: Path) -> None:
    first, second = RunLock(tmp_path / "lock"), RunLock(tmp_path / "lock")
    first.acquire()
    with pytest.raises(RunLocked, match=f"in use by process {os.getpid()}"):
        second.acquire()
    first.release()
    first.release()
    second.acquire()
    second.release()
    assert not is_locked(tmp_path / "lock")


def test_looking_at_a_lock_does_not_take_it(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "lock")
    (tmp_path / "lock").touch()
    assert not is_locked(tmp_path / "lock")
    RunLock(tmp_path / "lock").acquire()


def _hold(file: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(file)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_killed_process_holds_no_lock(tmp_path: Path) -> None:
    with _hold(tmp_path / "lock") as process:
        assert is_locked(tmp_path / "lock")
        process.kill()
    assert not is_locked(tmp_path / "lock")


def test_without_locks_in_the_file_system_pid_and_start_time_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "lock"
    with _hold(file) as process:
        monkeypatch.setattr(runlock, "_try_lock", lambda handle, exclusive: None)
        assert is_locked(file)
        with pytest.raises(RunLocked):
            RunLock(file).acquire()
        held = json.loads(file.read_text())
        file.write_text(json.dumps(held | {"started": "another process had this id before"}))
        assert not is_locked(file)
        file.write_text(json.dumps(held | {"host": "elsewhere"}))
        assert not is_locked(file)
        file.write_text(json.dumps(held))
        process.kill()
        process.wait()
        assert not is_locked(file)
        RunLock(file).acquire()
