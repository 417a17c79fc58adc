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


#: Command to numbers that the old program printed and that were wrong or are said no more, and to those in their place.
CORRECTED: dict[str, tuple[dict[str, int], dict[str, int]]] = {
    # Runs without training train no part.
    "compare-probing-json": ({"111936.0": 1, "133376.0": 1}, {"0.0": 2}),
    "report-file-probing": ({"111936.0": 1, "133376.0": 1}, {"0.0": 2}),
    "report-run-probing": ({"111,936": 1}, {"0": 1}), "report-run-text": ({"608": 1}, {"0": 1}),
    # A finding of several runs has the span of their numbers.
    "compare-instruct": ({}, {"2.031": 1, "1.486": 1}),
    "compare-file-instruct": ({}, {"2.031": 1, "1.486": 1}),
    "report-instruct": ({}, {"2.031": 1, "1.486": 1}),
    "report-file-instruct": ({}, {"2.031": 1, "1.486": 1}),
    # A threshold below the chance level cannot be told.
    "compare-sensors-json": ({"0.18246510550402545": 2}, {}),
    "report-sensors": ({"0.1825": 1}, {}),
    "report-file-sensors": ({"0.1825": 1, "0.18246510550402545": 2}, {}),
    # Units are seeds, not runs: n, intervals and p are those of seeds.
    "compare-by-key": ({"6": 4, "0.06453": 1, "0.1282": 1, "0.1115": 1, "0.5344": 1, "7.06": 1, "15.94": 1, "2.246": 1,
        "8.737": 1}, {"3": 4, "0.03706": 1, "0.1556": 1, "0.2605": 1, "0.3853": 1, "9.26": 1, "13.74": 1, "3.019": 1,
        "7.964": 1, "2": 2, "16": 1}),
    "compare-by-number": ({"6": 3, "0.01952": 1, "0.05339": 1, "0.1104": 1, "0.1969": 1, "-0.003531": 1, "0.2014": 1},
        {"3": 3, "0.006813": 1, "0.0661": 1, "0.07285": 1, "0.2344": 1, "0.003224": 1, "0.1947": 1, "0.001": 2, "0.03":
        2}),
    "compare-by-seed": ({"0": 2, "2": 8, "0.07493": 2, "0.3775": 2, "0.02731": 2, "0.3298": 2, "0.45": 2, "0.5": 2,
        "-0.5993": 1, "1.624": 1, "0.7317": 1, "0.8424": 1, "0.7841": 1, "0.7878": 1}, {"1": 7, "2.031": 1, "1.486":
        1}),
    "compare-by-clip": ({"6": 2, "1.413": 2, "2.394": 2, "0.1219": 1, "0.1906": 1, "7.384": 1, "7.695": 1}, {"3": 2,
        "1.323": 2, "2.484": 2, "0.1049": 1, "0.2076": 1, "7.258": 1, "7.821": 1, "2": 1}),
    # Values that cannot be told are in no test of a decision, and Holm counts fewer.
    "decide": ({"90%": 4, "0.75": 2, "10%": 2, "0.0002": 2, "1.0000": 4, "6": 2, "0.8995": 2, "0.1005": 1,
        "0.00023954459413623908": 1, "2.2277226327107854e-11": 1, "0.9999248940740628": 1, "0.9999336898717422": 1,
        "1.7997999166084126e-48": 1, "8.811601793650102e-77": 1}, {"89%": 4, "1.000": 4, "11%": 2, "0.0001": 2, "4": 2,
        "0.8875": 2, "0.1125": 1, "7.984819804541302e-05": 1, "1.1138613163553927e-11": 1, "1.0798799499650474e-48": 1,
        "5.8744011957667345e-77": 1}),
    "decide-json": ({"0.8995": 2, "0.75": 2, "0.1005": 1, "0.00023954459413623908": 1, "2.2277226327107854e-11": 1,
        "0.9999248940740628": 1, "0.9999336898717422": 1, "1.7997999166084126e-48": 1, "8.811601793650102e-77": 1, "6":
        1}, {"0.8875": 2, "0.1125": 1, "7.984819804541302e-05": 1, "1.1138613163553927e-11": 1,
        "1.0798799499650474e-48": 1, "5.8744011957667345e-77": 1, "4": 1}),
}  # fmt: skip


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
    assert (lost, new) == CORRECTED.get(name, ({}, {})), (
        f"'mlrun {COMMANDS[name].words}' lost {lost}, has {new} instead:\n{text}"
    )


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


@pytest.mark.parametrize(("run", "records", "last"), [("alignment/mlp-s0", 16, 40), ("instruct/mlp-s0", 40, 64)])
def test_an_old_run_is_reproduced(own: Path, run: str, records: int, last: int) -> None:
    text = ask(Command(f"reproduce {run} --json"), own)
    found = json.loads(text[text.index("{\n") :])
    assert found["verdict"] in ("equal", "within tolerance")  # another processor may round in another way
    assert (found["records"]["compared"], found["records"]["last_step"]) == (records, last)
    assert found["weights"]["verdict"] in ("equal", "within tolerance")


def test_finished_old_runs_are_not_run_again(own: Path) -> None:
    before = digests(own / "runs")
    text = ask(Command("run alignment.toml --no-plots"), own)
    note, _, rest = text.partition("\n")
    assert note.startswith("6 runs of alignment: recorded by an earlier version of trialbook, and kept")
    assert "starts" not in rest
    check_numbers("compare-file-alignment", rest[rest.index("alignment: Does") :])
    assert {path for path in changes(before, own / "runs") if path.count("/") > 1} == set()


def test_an_option_that_came_later_has_its_default_in_old_runs(own: Path) -> None:
    for file in own.glob("runs/alignment/*/run.json"):
        facts = json.loads(file.read_text())
        del facts["config"]["train"]["eps"], facts["config"]["loss"][0]["duplicates"]
        file.write_text(json.dumps(facts))
    check_numbers("compare-file-alignment", ask(COMMANDS["compare-file-alignment"], own))
    del facts["config"]["train"]["lr"]
    file.write_text(json.dumps(facts))
    assert "not started" in ask(COMMANDS["compare-file-alignment"], own)


def test_preparations_of_old_runs_are_kept_too(own: Path) -> None:
    before = digests(own / "runs")
    text = ask(Command("run sensors.toml --no-plots"), own)
    assert "starts" not in text
    assert {path for path in changes(before, own / "runs") if path.count("/") > 1} == set()


def test_another_configuration_than_that_of_the_old_runs_is_run(own: Path) -> None:
    text = ask(Command("run alignment.toml --arm mlp --set seeds=[0] --set train.steps=4 --no-plots"), own)
    assert "earlier version" not in text
    assert "finished in" in text


def test_a_new_arm_starts_from_old_preparations(own: Path) -> None:
    text = ask(Command("run sensors.toml --set seeds=[0] --set train.steps=4 --no-plots"), own)
    assert text.count(": starts,") == 1
    (made,) = (path for path in own.glob("runs/sensors/*/run.json") if json.loads(path.read_text()).get("format"))
    assert sorted(json.loads(made.read_text())["inputs"].values())[0].startswith("step.captions/main-s0-")


def test_a_killed_old_run_is_refused(own: Path) -> None:
    before = digests(own / "runs")
    text = ask(Command("run killed.toml --no-plots", status=1), own)
    (run,) = own.glob("runs/killed/*")
    assert f"delete it with 'mlrun rm killed/{run.name}'" in text
    assert {path for path in changes(before, own / "runs") if not path.startswith("registry.db")} <= {
        f"killed/{run.name}/lock"
    }
    ask(Command(f"rm --yes killed/{run.name}"), own)
    assert "starts, 200 steps" in ask(Command("run killed.toml --no-plots"), own)


def test_a_failed_old_run_is_done_anew(own: Path) -> None:
    text = ask(Command("run broken.toml --no-plots", status=1), own)
    assert "earlier version" not in text
    assert len([*own.glob("runs/broken/*/run.json")]) == 2


def test_a_registry_of_the_old_version_is_read_under_the_names_of_now(own: Path) -> None:
    text = ask(
        Command("sql \"select count(*) from final_metrics where metric like '%info-nce/loss'\" --format csv"), own
    )
    assert int(text.split()[-1]) > 0
    old = "metric like '%loss/info-nce' or metric like 'logit_scale/%' or metric like 'modality-gap/%/other'"
    assert ask(Command(f'sql "select count(*) from final_metrics where {old}" --format csv'), own).split()[-1] == "0"
    keys = ask(Command('sql "select distinct key from run_config" --format csv'), own).split()
    assert "train.max_grad_norm" in keys
    assert not {"train.clip", "checkpoint.keep"} & {*keys}


def test_a_run_of_a_newer_version_is_listed_and_refused(own: Path) -> None:
    (run,) = own.glob("runs/alignment/mlp-s1-*")
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({"format": 3, "name": facts["name"], "all": "else is other"}))
    assert ask(Command("registry sync"), own) == "0 added, 0 updated, 0 removed, 38 unchanged\n"
    (row,) = (line for line in ask(Command("ls"), own).splitlines() if run.name in line)
    assert "update trialbook" in row
    sentence = f"{run.name} was recorded by a newer trialbook (format 3; this one reads up to 2): update trialbook"
    assert sentence in ask(Command(f"show alignment/{run.name}"), own)
    for words in ("report {} --no-plots", "doctor {}", "reproduce {}", "eval {}", "failures {}", "export {} exported"):
        assert f"mlrun: {sentence}\n" in ask(Command(words.format(f"alignment/{run.name}"), status=2), own)
    assert "mlp seed 1: update trialbook" in ask(Command("compare alignment"), own)
    check_numbers("show-alignment", ask(COMMANDS["show-alignment"], own))
