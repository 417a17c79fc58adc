"""A damaged file ends what needs it, with the file and the line; nothing else."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_align import align_file

import trialbook_plugins.plugin
from trialbook.config.load import load_experiment
from trialbook.config.runspec import Plan
from trialbook.config.settings import Settings
from trialbook.contracts.files import DEEPEST, UnreadableFile, read_json, read_lines
from trialbook.contracts.records import Event, Item, Record
from trialbook.engine.warm_start import find_origin
from trialbook.execution.launcher import Launcher
from trialbook.execution.progress import PlainProgress
from trialbook.planning.planner import make_plan
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook
from trialbook.registry.lock import RunLock, is_locked
from trialbook.registry.recorder import Recorder
from trialbook.registry.run_directory import RunDirectory
from trialbook.reports.pages.write import PageOptions, write_run_pages

NOBODY = 999_999_999  # no process has such an id


@pytest.fixture
def launcher(tmp_path: Path) -> Launcher:
    """Runs experiments in a folder, and prints lines."""
    host = PluginManager.from_modules({"trialbook": trialbook_plugins.plugin})
    settings = Settings(root=tmp_path, runs=tmp_path / "runs", data_root=None, cache=tmp_path / "cache")
    return Launcher(settings, host, SchemaBook(host, settings.cache), PlainProgress(print), plots=False)


@pytest.fixture
def plan(launcher: Launcher) -> Plan:
    """Two runs."""
    file = launcher.settings.root / "small.toml"
    file.write_text(align_file(head='name = "small"\nseeds = [0, 1]', train=64, val=32, test=32, steps=2))
    return make_plan(load_experiment(file), launcher.book)


def begin(launcher: Launcher, plan: Plan, place: int, *, finish: bool) -> RunDirectory:
    """Record a run of the plan without doing it."""
    spec = plan.runs[place]
    with Recorder(launcher.directory_of(spec), None) as recorder:
        recorder.start(spec, {"versions": {}}, {})
        for step in range(3):
            recorder.add(Record(step, {"loss": 1.0 / (step + 1)}))
        if finish:
            recorder.finish({})
    return recorder.run


def contents(run: RunDirectory) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file() and path.name != "lock"}


def _pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("env.json", lambda file: file.write_text("[]")),
        ("env.json", lambda file: file.write_bytes(bytes(40))),
        ("run.json", lambda file: file.write_text("null")),
        ("run.json", lambda file: file.write_text(file.read_text().replace('"seed": 0', f'"seed": {2**64}'))),
        ("sessions.json", lambda file: file.write_text("{}")),
        ("data.json", lambda file: file.write_text("[" * 5000)),
        ("metrics.jsonl:2", lambda file: file.write_bytes(file.read_bytes().replace(b'"step":1', b'"step":"x"'))),
        ("events.jsonl:1", lambda file: file.write_bytes(bytes(9) + b"\n")),
        ("stats.jsonl", _pipe),
    ],
)
def test_a_damaged_unfinished_run_ends_alone(
    launcher: Launcher, plan: Plan, name: str, damage: Callable[[Path], Any]
) -> None:
    run = begin(launcher, plan, 0, finish=False)
    begin(launcher, plan, 1, finish=True)
    damage(run.path / name.partition(":")[0])
    before = contents(run)
    outcomes = launcher.mlrun_launch(plan)
    assert [one.state for one in outcomes] == ["failed", "kept"]
    assert str(run.path / name) in outcomes[0].message
    assert "mlrun rm" in outcomes[0].message
    assert contents(run) == before
    assert not is_locked(run.lock)


def test_a_finished_run_whose_results_are_damaged_is_not_kept_in_silence(launcher: Launcher, plan: Plan) -> None:
    run = begin(launcher, plan, 0, finish=True)
    begin(launcher, plan, 1, finish=True)
    run.json("results").write_text("{")
    outcomes = launcher.mlrun_launch(plan)
    assert [one.state for one in outcomes] == ["failed", "kept"]
    assert str(run.json("results")) in outcomes[0].message


def test_a_finished_run_whose_page_cannot_be_written_is_finished(
    launcher: Launcher, plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, add = plan.runs[0], Recorder.add

    def full(self: Recorder, item: Item) -> bool:
        if isinstance(item, Event) and item.kind == "page-incomplete":
            raise OSError(errno.ENOSPC, "No space left on device")
        return add(self, item)

    monkeypatch.setattr(Recorder, "add", full)
    (launcher.directory_of(spec) / "report.md").mkdir(parents=True)
    outcome = launcher.run(spec)
    assert (outcome.state, outcome.message) == ("finished", "")
    assert RunDirectory(launcher.directory_of(spec)).status() == "finished"
    assert "report" in next(line for line in capsys.readouterr().out.splitlines() if "could not be written" in line)


def test_what_killed_processes_left_half_written_is_deleted_by_who_holds_the_lock(tmp_path: Path) -> None:
    for folder in ("arrays", "artifacts", "checkpoints/.writing-00000004"):
        (tmp_path / folder).mkdir(parents=True)
    dead = [f".run.json.{NOBODY}", f"arrays/.test.safetensors.{NOBODY}", f"artifacts/.{NOBODY}.embeddings.npz"]
    kept = [f".findings.json.{os.getpid()}", ".hidden", ".v1.5.notes", "run.json"]
    for name in (*dead, *kept):
        (tmp_path / name).write_text("half")
    lock = RunLock(tmp_path / "lock")
    lock.acquire()
    lock.release()
    assert not any((tmp_path / name).exists() for name in (*dead, "checkpoints/.writing-00000004"))
    assert all((tmp_path / name).exists() for name in kept)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b'{"step": 0, "values": {"loss": 1.0}}\n[]\n', 2),
        (b'{"step": 0, "values": []}\n', 1),
        (b'{"step": -1, "values": {}}\n', 1),
        (b'{"step": 100000000000000000000000, "values": {}}\n', 1),
        (b'{"step": 0, "values": {"loss": "x"}}\n', 1),
        (b'{"step": 0, "values": {"loss": 1' + b"0" * 400 + b"}}\n", 1),
        (b'{"step": 0, "values": {"\\ud800": 1.0}}\n', 1),
        (b'{"step": 0, "values": {"\xff": 1.0}}\n', 1),
        (bytes(8) + b"\n", 1),
        (b"\n", 1),
    ],
)
def test_a_record_line_of_another_shape_is_named(tmp_path: Path, content: bytes, line: int) -> None:
    run = RunDirectory(tmp_path)
    run.lines("metrics").write_bytes(content)
    with pytest.raises(UnreadableFile) as caught:
        list(run.read_lines("metrics"))
    assert (caught.value.file, caught.value.line) == (run.lines("metrics"), line)


def test_numbers_of_any_size_that_are_floats_are_read(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.lines("metrics").write_text(
        f'{{"step": 0, "values": {{"a": {10**23}, "b": 3, "c": null, "d": NaN, "e": true}}}}\n'
    )
    ((values),) = (line["values"] for line in run.read_lines("metrics"))
    assert repr(values) == "{'a': 1e+23, 'b': 3, 'c': None, 'd': nan, 'e': True}"


def test_what_is_nested_deeper_than_any_record_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("[" * DEEPEST + "]" * DEEPEST)
    assert read_json(file) is not None
    for depth in (DEEPEST + 1, 100_000):
        file.write_text("[" * depth + "]" * depth)
        with pytest.raises(UnreadableFile):
            read_json(file)


@pytest.mark.parametrize(
    "make", [os.mkfifo, Path.mkdir, lambda file: file.symlink_to("/dev/zero"), lambda file: file.symlink_to(file)]
)
def test_what_is_no_file_is_never_opened(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    make(tmp_path / "lock")
    assert not is_locked(tmp_path / "lock")
    for reader in (read_json, lambda file: list(read_lines(file)), lambda file: RunLock(file).acquire()):
        with pytest.raises(UnreadableFile):
            reader(tmp_path / "lock")


def test_a_part_starts_from_a_run_though_another_is_damaged(launcher: Launcher, plan: Plan) -> None:
    runs = launcher.settings.runs
    sound, damaged = begin(launcher, plan, 0, finish=True), begin(launcher, plan, 1, finish=True)
    damaged.json("run").write_text("[]")
    assert find_origin("small", runs, {}, 0).run == sound
    sound.json("run").write_text("7")
    with pytest.raises(UnreadableFile):
        find_origin("small", runs, {}, 0)


def test_a_page_of_a_damaged_run_says_which_file_it_is(launcher: Launcher, plan: Plan) -> None:
    run = begin(launcher, plan, 0, finish=True)
    run.json("findings").write_text(json.dumps([{"check": "a", "severity": "loud", "component": "", "message": ""}]))
    written = write_run_pages(run, PageOptions(plots=False))
    assert written.files == ()
    assert str(run.json("findings")) in written.problems[0]
