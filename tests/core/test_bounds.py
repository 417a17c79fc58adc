"""Bounds of what a file may ask for, and names that nothing can be filed under: refused in a sentence, at their line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from trialbook.analysis.selection import experiment_name
from trialbook.config.load import load_experiment
from trialbook.config.settings import load_settings
from trialbook.config.structure import LONGEST_NAME
from trialbook.errors import ExperimentErrors, Problem, TrialbookError, printable
from trialbook.planning.planner import make_plan
from trialbook.plugins.schema import SchemaBook
from trialbook.replay.evaluate import evaluation_name

Write = Callable[..., Path]
BAD_NAMES = ("", " ", "=1+1", "a\x1b[31mb", "a\rb", "a\nb", "a\u202eb", "a" * (LONGEST_NAME + 1), "é" * 101)


def problems(file: Path, book: SchemaBook, *sets: str) -> tuple[Problem, ...]:
    with pytest.raises(ExperimentErrors) as caught:
        make_plan(load_experiment(file, sets=sets), book)
    return caught.value.problems


def quoted(name: str) -> str:
    return '"' + "".join(f"\\u{ord(letter):04x}" for letter in name) + '"'


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize(
    ("table", "where"),
    [
        ("[arm.{}]\n", "arm"), ("[profile.{}]\n", "profile"), ("[prepare.{}]\n", "prepare"),
        ("[results]\n{} = 'loss'\n", "results"),
        ("[external_baseline.{}]\n", "external_baseline"), ("[projector.{}]\nuse = 'flat'\n", "projector"),
        ("[[metric]]\nuse = 'found'\nname = {}\n", "metric"), ("[[gate]]\nmetric = 'loss'\nname = {}\n", "gate"),
        ("[decision]\ncandidates = {{ {} = 'flat' }}\n", "decision"),
    ],
)  # fmt: skip
def test_a_name_that_nothing_can_be_filed_under_is_refused(
    name: str, table: str, where: str, toy_file: Write, tmp_path: Path
) -> None:
    file = toy_file()
    file.write_text(file.read_text() + "\n" + table.format(quoted(name)))
    found = load_experiment(file).problems
    assert [problem.table for problem in found] == [where]
    assert found[0].line >= file.read_text().rstrip().count("\n")
    assert printable(found[0].message) == found[0].message
    assert len(found[0].message) < 250


def test_a_preparation_names_a_directory_and_leads_out_of_none(toy_file: Write) -> None:
    file = toy_file()
    file.write_text(file.read_text() + '\n[prepare."../../out"]\n')
    assert [one.table for one in load_experiment(file).problems] == ["prepare"]


def test_a_name_of_every_script_is_taken(toy_file: Write, toys: SchemaBook) -> None:
    file = toy_file()
    file.write_text(file.read_text().replace("arm.deep", 'arm."größer, 大"'))
    plan = make_plan(load_experiment(file), toys)
    assert {run.arm for run in plan.runs} == {"flat", "größer, 大"}


@pytest.mark.parametrize("stem", ["=sum", "a\x1b[2Jb", "x" * 201])
def test_a_file_whose_name_cannot_be_its_experiment_s_says_so(stem: str, toy_file: Write, toys: SchemaBook) -> None:
    file = toy_file()
    renamed = file.with_name(f"{stem}.toml")
    renamed.write_text(file.read_text())
    (problem,) = load_experiment(renamed).problems
    assert "name =" in problem.message
    renamed.write_text("name = 'sum'\n" + file.read_text())
    assert load_experiment(renamed).problems == ()


@pytest.mark.parametrize(
    ("grid", "seeds", "table"),
    [
        ('"train.lr" = [{many}]\n"dataset.seed" = [{many}]', "[0]", "grid"),
        ('"train.lr" = [{many}]', "[{many}]", "grid"),
        ('"train.lr" = [1, 2]', "[{very_many}]", ""),
        ('"train.lr" = [{very_many}]', "[0]", "grid"),
    ],
)  # fmt: skip
def test_more_runs_than_anybody_means_are_counted_and_refused(
    grid: str, seeds: str, table: str, toy_file: Write, toys: SchemaBook
) -> None:
    file, numbers = (
        toy_file(),
        {"many": ",".join(map(str, range(1, 1001))), "very_many": ",".join(map(str, range(1, 20_001)))},
    )
    text = file.read_text().replace("seeds = [0, 1]", f"seeds = {seeds}") + f"\n[grid]\n{grid}\n"
    file.write_text(text.replace("{many}", numbers["many"]).replace("{very_many}", numbers["very_many"]))
    found = problems(file, toys)
    assert [(one.table, one.line > 0) for one in found] == [(table, True)]
    assert "10,000" in found[0].message


def test_a_byte_order_mark_is_read_over_wherever_toml_is_read(tmp_path: Path) -> None:
    (tmp_path / "runner.toml").write_bytes(b"\xef\xbb\xbfthreads = 3\r\n")
    (tmp_path / "mine.toml").write_bytes(b"\xef\xbb\xbfname = 'yours'\n")
    assert load_settings(tmp_path).threads == 3
    assert experiment_name(tmp_path / "mine.toml") == "yours"


def test_a_runner_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "runner.toml").write_bytes(b"runs = '\xff'")
    with pytest.raises(TrialbookError, match=r"runner\.toml"):
        load_settings(tmp_path)


@pytest.mark.parametrize("name", ["", "///", "a" * 300])
def test_an_evaluation_has_a_name(name: str) -> None:
    with pytest.raises(TrialbookError):
        evaluation_name(name)
    assert evaluation_name("=data", "te\x1bst") == "data-te_st"
