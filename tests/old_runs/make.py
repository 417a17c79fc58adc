"""Made the runs in this folder, with the code before the move of all modules, at revision a095e52.

    git worktree add /tmp/before a095e52
    PYTHONPATH=/tmp/before/core:/tmp/before/plugins:tests/helpers python tests/old_runs/make.py

``experiments/`` was run, one run was killed with SIGKILL, answers were tagged and evaluated again; ``runs.tar.xz`` is what was
left, and ``recorded/`` what the commands of that revision print of it. Both stay as they are: they stand for the runs that people
have. The script is kept to tell how they came about; the commands in ``old_run_commands`` had the names of that revision then.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from old_run_commands import COMMANDS

import trialbook
from old_runs import ARCHIVE, EXPERIMENTS, RECORDED, ask, enter, record_of, unpack

REVISION = "a095e52"
FINISHED = ("alignment", "sweep", "instruct", "probing", "sensors")
#: Runs whose checkpoint is kept: to be repeated, evaluated and exported.
WITH_WEIGHTS = ("alignment/mlp-s0-*", "sensors/main-s0-*", "instruct/mlp-s0-*", "killed/*")
#: What pages are made of again, and what other runs can be made from again.
NOT_KEPT = (".features", "*/report.html", "*/plots", "*/*/report.html", "*/*/plots", "*/*/artifacts/embeddings.npz")
#: Records after which the run is killed: behind its second checkpoint, long before its end.
RECORDS = 25


def main() -> None:
    """Make the archive, then record what commands print of it."""
    here = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=Path(trialbook.__file__).parent, text=True)
    if not here.startswith(REVISION):
        sys.exit(f"the old runs are made by revision {REVISION}, this is {here.strip()}")
    with tempfile.TemporaryDirectory() as made, tempfile.TemporaryDirectory() as unpacked:
        make_runs(Path(made))
        pack(Path(made) / "runs")
        record(Path(unpacked))


def make_runs(folder: Path) -> None:
    """Run all experiments in ``folder``, and do with the runs what people do with them."""
    shutil.copytree(EXPERIMENTS, folder, dirs_exist_ok=True)
    for name in FINISHED:
        mlrun(folder, "run", f"{name}.toml")
    mlrun(folder, "run", "broken.toml", status=1)
    kill(folder)
    mlrun(folder, "decide", "decision.toml")
    mlrun(folder, "eval", "instruct/mlp-s0", "--split", "val", "--name", "again")
    (answers,) = folder.glob("runs/instruct/mlp-s0-*/predictions.jsonl")
    wrong = next(
        one for one in map(json.loads, answers.open()) if one["answerable"] and one["prediction"] not in one["answers"]
    )
    mlrun(folder, "failures", "instruct/mlp-s0", "--tag", f"{wrong['id']}=reading")


def mlrun(folder: Path, *words: str, status: int = 0) -> None:
    """Call the command."""
    assert subprocess.run([sys.executable, "-m", "trialbook", *words], cwd=folder, check=False).returncode == status


def kill(folder: Path) -> None:
    """Kill a run in the middle, between two checkpoints."""
    process = subprocess.Popen([sys.executable, "-m", "trialbook", "run", "killed.toml"], cwd=folder)
    while sum(file.read_bytes().count(b"\n") for file in folder.glob("runs/killed/*/metrics.jsonl")) < RECORDS:
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()


def pack(runs: Path) -> None:
    """Delete what is large and can be made again, make the registry anew, and write the archive."""
    kept = {place for pattern in WITH_WEIGHTS for place in runs.glob(f"{pattern}/checkpoints")}
    for place in [
        *(one for pattern in NOT_KEPT for one in runs.glob(pattern)),
        *set(runs.glob("*/*/checkpoints")) - kept,
    ]:
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    origin = json.loads(next(runs.glob("*/*/components.json")).read_text())["task"]["installed_from"]
    for file in [*runs.rglob("*.json"), *runs.rglob("*.md")]:
        file.write_text(file.read_text(encoding="utf-8").replace(origin, "file:///home/user/mlrun"), encoding="utf-8")
    for file in all_files(runs):  # an archive keeps whole seconds, and the registry knows files by their times
        os.utime(file, times=(moment := int(file.stat().st_mtime), moment))
    for file in runs.glob("registry.db*"):
        file.unlink()
    mlrun(runs.parent, "registry", "sync")
    with sqlite3.connect(runs / "registry.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("VACUUM")
    connection.close()
    with tarfile.open(ARCHIVE, "w:xz", preset=9) as archive:
        archive.add(runs, "runs", filter=anonymous)


def all_files(folder: Path) -> Iterator[Path]:
    """Every file below a folder."""
    return (path for path in folder.rglob("*") if path.is_file())


def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """A member of the archive that belongs to nobody."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def record(folder: Path) -> None:
    """Write down what every command prints in an unpacked workplace."""
    shutil.rmtree(RECORDED, ignore_errors=True)
    RECORDED.mkdir()
    with enter(unpack(folder, renamed=False)):
        for name, command in COMMANDS.items():
            record_of(name).write_text(ask(command, folder), encoding="utf-8")


if __name__ == "__main__":
    main()
