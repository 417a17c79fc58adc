"""Ctrl-C once and twice, and imports that no two threads do at once."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from small_align import align_file

from trialbook.cli.main import cli
from trialbook.contracts.records import Item, Record
from trialbook.contracts.trackers import TrackedRun
from trialbook.execution import interrupt, progress
from trialbook.execution.interrupt import Interrupt
from trialbook.execution.trackers import Follower
from trialbook.registry import background
from trialbook.registry.background import BackgroundFollower
from trialbook.registry.run_directory import RunDirectory

FILE = align_file(
    head="# Does it end?\nseeds = [0]", train=16, val=4, test=4, steps=12, batch_size=8,
    more="log_every = 1\n[checkpoint]\nevery = 4",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_waits_for_a_safe_point_between_steps_and_is_raised_at_once_elsewhere() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupt():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
    with pytest.raises(KeyboardInterrupt), Interrupt() as elsewhere:
        press()
    raised = []
    with Interrupt() as stepping:
        stepping.safe_point()
        for reaches_one in (True, False):  # the end of the last step is a safe point too
            try:
                with stepping.stepping():
                    press() if reaches_one else None
                    raised.append("not yet")
                    stepping.safe_point() if reaches_one else None
            except KeyboardInterrupt:
                raised.append("now")
    assert (raised, elsewhere.asked) == (["not yet", "now"] * 2, True)
    assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL  # the process is about to end


def test_a_second_ctrl_c_ends_the_process_at_once(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(interrupt.os, "_exit", ended.append)
    with suppress(KeyboardInterrupt), Interrupt() as one, one.stepping():
        press()
        assert ended == []
        press()
    assert ended == [130]
    assert "Ctrl-C again" in capfd.readouterr().err


def test_an_interrupted_run_says_how_to_resume_and_does_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Presses(progress.NullProgress):
        at = 6
        seen: list[int] = []

        def item(self, spec: object, item: Item) -> None:
            if isinstance(item, Record):
                self.seen.append(item.step)
                if item.step == self.at:
                    press()

    file = tmp_path / "ends.toml"
    file.write_text(FILE)

    def run(folder: str, watcher: progress.Progress) -> Any:
        monkeypatch.setattr(progress, "choose_progress", lambda echo: watcher)
        return CliRunner().invoke(cli, ["run", str(file), "--no-plots", "--runs", str(tmp_path / folder)])

    done = run("broken", Presses())
    assert done.exit_code == 130
    assert "resumes" in done.stderr
    assert Presses.seen[-1] == 6  # the step is whole, and no other began
    assert run("broken", progress.NullProgress()).exit_code == 0
    assert run("whole", progress.NullProgress()).exit_code == 0
    records = [next((tmp_path / folder).rglob("metrics.jsonl")).read_bytes() for folder in ("broken", "whole")]
    assert records[0] == records[1]


class Imports:
    """Notes on which thread modules of these names are imported first."""

    def __init__(self, *names: str) -> None:
        self.names, self.found = names, dict[str, bool]()

    def find_spec(self, name: str, *_: object) -> None:
        if name in self.names:
            self.found[name] = threading.current_thread() is threading.main_thread()


def test_what_the_registry_imports_is_imported_before_its_thread_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Imports("sqlite_utils")
    for name in [name for name in sys.modules if name.partition(".")[0] == "sqlite_utils"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [seen, *sys.meta_path])
    run = RunDirectory(tmp_path / "e" / "run")
    run.path.mkdir(parents=True)
    BackgroundFollower(tmp_path / "registry.db", run, lambda _: None, patience=0.0).close()
    assert seen.found == {"sqlite_utils": True}


def test_a_registry_that_hangs_ends_with_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free, said = threading.Event(), list[str]()
    monkeypatch.setattr(background, "_HANGS", 0.1)

    def hang(*_: object, **__: object) -> None:
        free.wait(20)
        raise OSError("gone")

    monkeypatch.setattr(background, "open_registry", hang)
    follower = BackgroundFollower(tmp_path / "registry.db", RunDirectory(tmp_path / "run"), said.append, patience=0.1)
    began = time.monotonic()
    follower.close()
    free.set()
    assert time.monotonic() - began < 5
    assert len(said) == 1


class Slow:
    """A tracker that takes a while to begin."""

    begun = False

    def start(self, run: TrackedRun) -> set[tuple[int, str]]:
        time.sleep(0.2)
        self.begun = True
        return set()

    def log(self, step: int, values: Mapping[str, float]) -> None: ...

    def stop(self, status: str, results: Mapping[str, Any]) -> None: ...


def test_a_run_begins_when_its_trackers_have_begun(tmp_path: Path) -> None:
    tracker = Slow()
    follower = Follower("slow", tracker)
    follower.start(TrackedRun("run", tmp_path, {}, {}))
    assert tracker.begun
    follower.close()


def test_the_components_of_a_run_are_imported_before_trackers_hear_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trialbook.execution.trackers import Tracking

    module, there = "trialbook_plugins.losses.info_nce", list[bool]()

    class Asks(Tracking):
        followers = (SimpleNamespace(),)  # type: ignore[assignment]

        def __init__(self) -> None: ...

        def started(self, *_: object) -> list[str]:
            there.append(module in sys.modules)
            raise KeyboardInterrupt

        def close(self) -> list[str]:
            return []

    file = tmp_path / "ends.toml"
    file.write_text(FILE)
    monkeypatch.setattr("trialbook.execution.launcher.open_tracking", lambda *_: Asks())
    CliRunner().invoke(cli, ["run", str(file), "--dry-run", "--runs", str(tmp_path / "runs")])  # schemas are made once
    monkeypatch.delitem(sys.modules, module)
    done = CliRunner().invoke(cli, ["run", str(file), "--runs", str(tmp_path / "runs")])
    assert (done.exit_code, there) == (130, [True])
