"""Runs that were recorded before all modules, tables and metrics got new names are read as ever, and never rewritten."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from old_run_commands import COMMANDS

from old_runs import Command, ask, digests, enter, numbers_in, record_of, unpack

pytest.importorskip("transformers")  # the language model and the probed models are made by it

#: What commands replace in the directory of a run: its pages, and the lock while they are written.
PAGES = ("report.md", "report.html", "failures.html", "lock")


class Workplace:
    """The old runs in a folder; each command is called once."""

    def __init__(self, folder: Path) -> None:
        self.folder = unpack(folder)
        self.before = digests(folder / "runs")
        self._told: dict[Command, str] = {}

    def tell(self, command: Command) -> str:
        if command not in self._told:
            with enter(self.folder):
                self._told[command] = ask(command, self.folder)
        return self._told[command]

    def changed(self) -> set[str]:
        """Files that are new, gone or other than they were unpacked, but for the registry."""
        return {path for path in changes(self.before, self.folder / "runs") if not path.startswith("registry.db")}


def changes(before: Mapping[str, str], folder: Path) -> set[str]:
    """Files below a folder that are new, gone or changed since ``before``."""
    now = digests(folder)
    return {path for path in {**before, **now} if before.get(path) != now.get(path)}


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """For commands that write nothing."""
    return Workplace(tmp_path_factory.mktemp("reading"))


@pytest.fixture(scope="module")
def writing(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """For commands that write pages."""
    return Workplace(tmp_path_factory.mktemp("writing"))


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Path]:
    """The old runs in a folder of the test's own, which is the working directory."""
    with enter(unpack(tmp_path)):
        yield tmp_path


def check_numbers(name: str, text: str) -> None:
    """The numbers in ``text`` are those that the old program printed."""
    before, now = numbers_in(record_of(name).read_text(encoding="utf-8")), numbers_in(text)
    lost, new = dict(before - now), dict(now - before)
    assert (lost, new) == ({}, {}), f"'mlrun {COMMANDS[name].words}' lost {lost}, has {new} instead:\n{text}"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_prints_the_same_numbers_of_old_runs(name: str, reading: Workplace, writing: Workplace) -> None:
    command = COMMANDS[name]
    check_numbers(name, (writing if command.writes else reading).tell(command))


def test_commands_that_read_change_nothing(reading: Workplace) -> None:
    for command in COMMANDS.values():
        if not command.writes:
            reading.tell(command)
    assert reading.changed() == set()


def test_commands_that_write_pages_leave_the_records_alone(writing: Workplace) -> None:
    for command in COMMANDS.values():
        if command.writes:
            writing.tell(command)
    replaced = {Path(path) for path in writing.changed() & set(writing.before)}
    of_runs = {path for path in replaced if len(path.parts) > 2}  # beside the runs lie the pages of their experiment
    assert {path.name for path in of_runs} <= set(PAGES)


def test_another_number_in_a_record_is_noticed(own: Path) -> None:
    (file,) = own.glob("runs/alignment/mlp-s0-*/metrics.jsonl")
    *lines, last = map(json.loads, file.read_text().splitlines())
    last["values"]["retrieval/i2t@1"] += 1 / 64
    file.write_text("".join(f"{json.dumps(line)}\n" for line in [*lines, last]))
    ask(Command("registry sync"), own)
    with pytest.raises(AssertionError, match=r"has \{.*0\.2344"):
        check_numbers("show-alignment", ask(COMMANDS["show-alignment"], own))
    with pytest.raises(AssertionError, match="lost"):
        check_numbers("compare-alignment", ask(COMMANDS["compare-alignment"], own))


def test_a_registry_made_anew_from_the_directories_says_the_same(own: Path) -> None:
    for file in own.glob("runs/registry.db*"):
        file.unlink()
    assert ask(Command("registry sync"), own) == "38 added, 0 updated, 0 removed, 0 unchanged\n"
    for name in (
        "ls",
        "show-probing-json",
        "compare-instruct",
        "compare-by-key",
        "sql-final_metrics",
        "sql-run_findings",
    ):
        check_numbers(name, ask(COMMANDS[name], own))


def test_a_directory_copied_from_elsewhere_is_taken_in(own: Path) -> None:
    (run,) = own.glob("runs/alignment/mlp-s1-*")
    shutil.move(run, own / "elsewhere")
    ask(Command("registry sync"), own)
    shutil.move(own / "elsewhere", run)
    check_numbers("compare-alignment", ask(COMMANDS["compare-alignment"], own))


@pytest.mark.parametrize(("run", "records", "last"), [("alignment/mlp-s0", 16, 40), ("sensors/main-s0", 9, 12)])
def test_an_old_run_is_reproduced(own: Path, run: str, records: int, last: int) -> None:
    text = ask(Command(f"reproduce {run} --json"), own)
    found = json.loads(text[text.index("{\n") :])
    assert found["verdict"] in ("equal", "within tolerance")  # another processor may round in another way
    assert (found["records"]["compared"], found["records"]["last_step"]) == (records, last)
    assert found["weights"]["verdict"] in ("equal", "within tolerance")


def test_finished_old_runs_are_not_run_again(own: Path) -> None:
    """With the sources that they were made from; with others their ids are others, and a file means other runs."""
    before = digests(own / "runs" / "alignment")
    text = ask(Command("run alignment.toml --no-plots"), own)
    assert "starts" not in text
    check_numbers("compare-file-alignment", text[text.index("alignment: Does") :])
    assert {path for path in changes(before, own / "runs" / "alignment") if "/" in path} == set()


def test_a_killed_old_run_goes_on_where_it_stopped(own: Path) -> None:
    """With the sources that it was made from; with others it has to be refused, as what it went on with would be another run."""
    (run,) = own.glob("runs/killed/*")
    recorded = (run / "metrics.jsonl").read_text().splitlines()
    text = ask(Command("run killed.toml --no-plots"), own)
    assert f"{run.name}: goes on at step 60, 200 steps" in text
    assert (run / "results.json").is_file()
    assert (run / "metrics.jsonl").read_text().splitlines()[: len(recorded)] == recorded
