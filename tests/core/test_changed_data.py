"""Finished runs count as long as the files that they read are what they were, and the files that were edited are named."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import trialbook
from trialbook.api.app import open_app
from trialbook.api.plan import make_plans
from trialbook.config.runspec import RunSpec, run_id
from trialbook.contracts.data_files import NotedFiles, find_files, note_files, noting_files
from trialbook.errors import TrialbookError
from trialbook.registry import data_files
from trialbook.registry.changed_data import describe_changed
from trialbook.registry.data_files import DataFiles
from trialbook.registry.run_directory import RunDirectory


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "pictures").mkdir(parents=True)
    for number in range(3):
        (folder / "pictures" / f"{number}.png").write_bytes(bytes([number]) * 9)
    (folder / "captions.csv").write_text("0.png,a dog\n")
    return folder


@pytest.fixture
def finished(tmp_path: Path, data: Path) -> RunDirectory:
    """A finished run that read a table, three pictures, and noted one that was not there."""
    return _record(tmp_path, data, "one")


def _record(tmp_path: Path, data: Path, name: str) -> RunDirectory:
    run = RunDirectory(tmp_path / "runs" / "exp" / name)
    run.path.mkdir(parents=True)
    with noting_files() as noted:
        note_files([data / "captions.csv", data / "absent.png"])
        note_files(find_files(data / "pictures", "*.png"))
    DataFiles(tmp_path / "runs").write(run, noted)
    return run


def _changed(tmp_path: Path, run: RunDirectory) -> list[str]:
    return [Path(path).name for path in DataFiles(tmp_path / "runs").changed(run)]


def _touch(file: Path) -> None:
    os.utime(file, ns=(1, file.stat().st_mtime_ns + 10**9))


EDITS: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "nothing": (lambda data: None, []),
    "touched": (lambda data: [_touch(file) for file in data.rglob("*.*")], []),
    "written again as it was": (lambda data: _write(data / "captions.csv", "0.png,a dog\n"), []),
    "a caption of equal length": (lambda data: _write(data / "captions.csv", "0.png,a cat\n"), ["captions.csv"]),
    "two pictures exchanged": (lambda data: _exchange(data / "pictures"), ["0.png", "1.png"]),
    "a picture gone": (lambda data: (data / "pictures" / "2.png").unlink(), ["2.png", "*.png"]),
    "a picture more": (lambda data: (data / "pictures" / "3.png").write_bytes(b"3"), ["*.png"]),
    "an absent picture has come": (lambda data: (data / "absent.png").write_bytes(b"3"), ["absent.png"]),
    "a table become a FIFO": (lambda data: _fifo(data / "captions.csv"), ["captions.csv"]),
    "all gone, as on another machine": (lambda data: shutil.rmtree(data), []),
}


def _write(file: Path, text: str) -> None:
    file.write_text(text)
    _touch(file)


def _exchange(folder: Path) -> None:
    (folder / "0.png").rename(folder / "x")
    (folder / "1.png").rename(folder / "0.png")
    (folder / "x").rename(folder / "1.png")
    _touch(folder / "0.png")  # written so quickly, both have one time perhaps
    _touch(folder / "1.png")
    _touch(folder / "1.png")


def _fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize("edit", EDITS)
def test_files_that_were_edited_are_named_and_no_others(
    tmp_path: Path, data: Path, finished: RunDirectory, edit: str
) -> None:
    change, expected = EDITS[edit]
    change(data)
    assert sorted(_changed(tmp_path, finished)) == sorted(expected)


def test_files_are_read_where_size_or_time_differ_and_once_for_all_runs(
    tmp_path: Path, data: Path, finished: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, read = _record(tmp_path, data, "other"), list[str]()
    plain = data_files._regular
    monkeypatch.setattr(data_files, "_regular", lambda path, flags: read.append(path) or plain(path, flags))
    assert (_changed(tmp_path, finished), read) == ([], [])
    for file in data.rglob("*.*"):
        os.utime(file, ns=(1, 10**9))
    files = DataFiles(tmp_path / "runs")
    monkeypatch.setattr(data_files, "_JUST_NOW", -1)  # as if the files had not been changed just now
    assert (files.changed(finished), files.changed(other), len(read)) == ({}, {}, 4)
    assert (_changed(tmp_path, finished), len(read)) == ([], 4)  # another process remembers
    (tmp_path / "runs" / ".data_files" / "hashes.db").write_bytes(b"no database at all" * 99)
    assert (_changed(tmp_path, finished), len(read)) == ([], 8)
    assert (_changed(tmp_path, finished), len(read)) == ([], 8)


def test_of_more_than_is_hashed_size_and_time_tell(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = max((file for file in data.rglob("*.*")), key=lambda file: file.stat().st_size)
    monkeypatch.setattr(data_files, "MOST_HASHED", sum(file.stat().st_size for file in data.rglob("*.*")) - 1)
    read, plain = list[str](), data_files._regular
    monkeypatch.setattr(data_files, "_regular", lambda path, flags: read.append(path) or plain(path, flags))
    run = _record(tmp_path, data, "large")
    assert read
    assert str(large) not in read
    assert _changed(tmp_path, run) == []
    for file in data.rglob("*.*"):
        os.utime(file, ns=(1, 10**9))
    assert _changed(tmp_path, run) == [large.name]
    assert str(large) not in read


def test_a_list_of_many_files_is_looked_through_quickly(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    noted = NotedFiles()
    for number in range(2000):
        (folder / str(number)).touch()
        noted.files[str(folder / str(number))] = (0, (folder / str(number)).stat().st_mtime_ns)
    runs = [RunDirectory(tmp_path / "runs" / "exp" / str(number)) for number in range(5)]
    for run in runs:
        run.path.mkdir(parents=True)
    files = DataFiles(tmp_path / "runs")
    for run in runs:
        files.write(run, noted)
    assert len(list((tmp_path / "runs" / ".data_files").glob("*.json"))) == 1
    files, started = DataFiles(tmp_path / "runs"), time.perf_counter()
    assert not any(files.changed(run) for run in runs)
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize(
    "content", ["[]", "null", "{", '{"list": 3}', '{"list": "../../x"}', '{"list": "ab"}', "\0" * 40, "[" * 100_000]
)
def test_a_record_that_is_damaged_or_strange_says_nothing(
    tmp_path: Path, finished: RunDirectory, data: Path, content: str
) -> None:
    (data / "captions.csv").write_text("edited")
    finished.json("files").write_text(content)
    assert _changed(tmp_path, finished) == []
    (finished.path.parents[1] / ".data_files" / "ab.json").write_text(content)
    finished.json("files").write_text('{"list": "ab"}')
    assert _changed(tmp_path, finished) == []


def test_files_below_another_data_root_are_looked_for_there(tmp_path: Path, data: Path) -> None:
    run = RunDirectory(tmp_path / "runs" / "exp" / "one")
    run.path.mkdir(parents=True)
    with noting_files() as noted:
        note_files([data / "captions.csv", *find_files(data / "pictures", "*.png")])
    DataFiles(tmp_path / "runs", data).write(run, noted)
    other = shutil.copytree(data, tmp_path / "other")
    assert DataFiles(tmp_path / "runs", other).changed(run) == {}
    _write(other / "captions.csv", "0.png,a cat\n")
    (other / "pictures" / "3.png").touch()
    changed = DataFiles(tmp_path / "runs", other).changed(run)
    assert list(changed) == [str(other / "captions.csv"), str(other / "pictures" / "*.png")]
    assert DataFiles(tmp_path / "runs", data).changed(run) == DataFiles(tmp_path / "runs").changed(run) == {}


def test_a_file_that_was_edited_while_it_was_read_counts_as_edited(tmp_path: Path, data: Path) -> None:
    run = RunDirectory(tmp_path / "runs" / "exp" / "one")
    run.path.mkdir(parents=True)
    with noting_files() as noted:
        note_files([data / "captions.csv"])
    _write(data / "captions.csv", "0.png,a cat\n")
    DataFiles(tmp_path / "runs").write(run, noted)
    assert _changed(tmp_path, run) == ["captions.csv"]


# --- whole experiments ------------------------------------------------------------------------------------------------

EXPERIMENT = """
name = "edited"
seeds = [0]
[prepare.sample.task]
use = "sample"
[prepare.sample.dataset]
use = "embeddings"
file = "all.npz"
modalities = { image = "image", text = "text" }
[task]
use = "align"
dim = 4
[dataset]
use = "samples"
modalities = { image = "sample", text = "sample" }
[encoder.image]
use = "identity"
frozen = true
[encoder.text]
use = "identity"
frozen = true
[projector.image]
use = "linear"
[projector.text]
use = "linear"
[[loss]]
use = "info-nce"
[[metric]]
use = "retrieval"
k = [1]
[train]
steps = 2
batch_size = 8
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("TRIALBOOK_RUNS", "TRIALBOOK_DATA"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "runner.toml").write_text('data_root = "."\ndevice = "cpu"\n')
    (tmp_path / "edited.toml").write_text(EXPERIMENT)
    _save(tmp_path, 0)
    return tmp_path


def _save(place: Path, number: int) -> None:
    """The data of this number, at a time of its own."""
    random = np.random.default_rng(number)
    arrays = {name: random.standard_normal((40, 6)).astype(np.float32) for name in ("image", "text")}
    np.savez(place / "all.npz", **arrays)
    os.utime(place / "all.npz", ns=(1, (number + 1) * 10**9))


def _run() -> list[tuple[str, str]]:
    outcomes = trialbook.run("edited.toml", plots=False).outcomes
    assert [one.message for one in outcomes if one.message] == []
    return [(one.state, one.spec.relative_path) for one in outcomes]


def _sentences() -> list[str]:
    (plan,) = make_plans([Path("edited.toml")], open_app(), None, [])
    return [text for one in (*plan.before, plan) if (text := describe_changed(one, Path("runs")))]


def test_data_that_were_edited_are_run_again_with_all_that_follows_and_nothing_is_lost(place: Path) -> None:
    first = _run()
    assert [state for state, _ in first] == ["finished", "finished"]
    _save(place, 1)
    assert [str(place / "all.npz") in text for text in _sentences()] == [True]
    assert str(place / "all.npz") in "".join(trialbook.check("edited.toml").notes)
    with pytest.raises(TrialbookError, match="no run of"):
        trialbook.compare("edited.toml")
    second = _run()
    assert [state for state, _ in second] == ["finished", "finished"]
    assert not {path for _, path in first} & {path for _, path in second}
    assert (_sentences(), trialbook.check("edited.toml").notes) == ([], ())
    recorded = RunSpec.from_json(RunDirectory(place / "runs" / second[0][1]).read("run"))
    assert recorded.data
    assert recorded.id == run_id(recorded.config, recorded.seed, recorded.sources, recorded.inputs, recorded.data)
    assert _run() == [("kept", path) for _, path in second]
    _save(place, 0)  # the first data are back, and with them the first runs
    os.utime(place / "all.npz")
    assert _run() == [("kept", path) for _, path in first]
    assert not [note for note in trialbook.compare("edited.toml").notes if "all.npz" in note]
    assert [note for note in trialbook.compare("prepare.sample").notes if "all.npz" in note]  # the newer runs


def test_what_a_step_made_is_made_again_where_it_was_edited(place: Path) -> None:
    first = _run()
    sample = place / "runs" / first[0][1]
    file = sample / "artifacts" / "samples.json"
    file.write_text(file.read_text().replace('"train": 32', '"train": 31'))
    os.utime(file, ns=(1, sample.joinpath("results.json").stat().st_mtime_ns + 10**9))
    assert [str(file) in text for text in _sentences()] == [True]
    second = _run()
    assert [state for state, _ in second] == ["finished", "finished"]
    assert not {path for _, path in first} & {path for _, path in second}
