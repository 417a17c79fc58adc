"""What commands print: in any encoding and any width, without what a terminal, a spreadsheet or Markdown would obey."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import types
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from trialbook.cli.main import Commands, cli, main
from trialbook.cli.output import echo, echo_json, format_options, json_option, only_results, prepare_streams
from trialbook.config.experiment_info import ExperimentInfo
from trialbook.config.runspec import RunSpec
from trialbook.contracts.records import Event, Record
from trialbook.errors import TrialbookError, printable
from trialbook.plugins.hookspec import hookimpl
from trialbook.plugins.isolation import describe_failure
from trialbook.plugins.manager import PluginManager
from trialbook.registry.recorder import Recorder
from trialbook.reports.tables import FORMATS, Column, Table, render

EVIL = "a\x1b[31m\x1b]0;mine\x07\r\x9b2J\u202eb"
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def evil_runs(tmp_path: Path) -> Path:
    """Runs whose texts are a stranger's."""
    for number, arm in enumerate(("mlp", EVIL)):
        spec = RunSpec(
            experiment="exp", arm=arm, base_arm=arm, point={}, seed=0, sources={}, id=f"{number:08x}", config={"text": EVIL},
            info=ExperimentInfo(baseline="mlp", question=f"Which {EVIL}?"),
        )  # fmt: skip
        with Recorder(tmp_path / spec.relative_path, tmp_path / "registry.db") as recorder:
            recorder.start(spec, {"host": EVIL}, {})
            recorder.add(Event(0, "note", EVIL))
            recorder.add(Record(0, {"retrieval/i2t@1": 0.1}))
            recorder.fail(f"ValueError: {EVIL}") if number else recorder.finish({})
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        ("ls",), ("show", "mlp"), ("show", "a_"), ("diff", "mlp", "a_"), ("compare", "exp"), ("doctor", "exp"),
        ("sql", "select arm from run"),
        *(("ls", "--format", style) for style in FORMATS), *(("compare", "--format", style) for style in FORMATS),
        ("compare", EVIL), ("show", EVIL), ("registry", "check"), ("rm", "--yes", "a_"),
    ],
)  # fmt: skip
def test_a_terminal_is_not_told_what_to_do(
    command: tuple[str, ...], evil_runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []

    class Screen(io.StringIO):
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdout", Screen())
    monkeypatch.setattr(sys, "stderr", Screen())
    monkeypatch.setattr(sys, "argv", ["mlrun", *command, "--runs", str(evil_runs)])
    with pytest.raises(SystemExit):
        main()
    shown = [COLOUR.sub("", stream.getvalue()) for stream in (sys.stdout, sys.stderr)]  # type: ignore[attr-defined]
    assert any(shown)
    assert [CONTROL.findall(text) for text in shown] == [[], []]
    assert "a\x1b[31m" not in sys.stdout.getvalue()  # type: ignore[attr-defined]


def test_json_says_the_same_although_nothing_in_it_is_obeyed(evil_runs: Path) -> None:
    done = CliRunner().invoke(cli, ["show", "a_", "--json", "--runs", str(evil_runs)], catch_exceptions=False)
    assert not CONTROL.search(done.stdout)
    assert json.loads(done.stdout)["config"]["text"] == EVIL


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
def test_every_encoding_takes_every_text(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    prepare_streams()
    echo("─ ↑ é 大 \udcff")
    echo_json({"é": "大😀"})
    first, _, rest = written.getvalue().decode(encoding).partition("\n")
    assert ("─ ↑ é 大" in first) == (encoding == "utf-8")
    assert json.loads(rest) == {"é": "大😀"}


def test_a_closed_stream_loses_the_text_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    prepare_streams()
    echo("nobody")
    echo("reads this", err=True)
    sys.stderr.close()
    echo("nor this", err=True)


@pytest.mark.parametrize("arguments", [["--json"], ["--format", "csv"], ["--format", "markdown"]])
def test_what_plugins_print_is_no_part_of_a_result_for_programs(arguments: list[str]) -> None:
    @click.command()
    @format_options
    def command(style: str, as_json: bool) -> None:
        print("a plugin is here")
        echo("the result")

    done = CliRunner().invoke(command, arguments)
    assert (done.stdout, done.stderr) == ("the result\n", "a plugin is here\n")
    plain = CliRunner().invoke(command, [])
    assert plain.stdout == "a plugin is here\nthe result\n"


def test_the_real_streams_are_parted_for_child_processes_too(capfd: pytest.CaptureFixture[str]) -> None:
    import os

    with open(1, "w", closefd=False) as out, open(2, "w", closefd=False) as err:
        before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = out, err
        try:
            with only_results() as result:
                os.write(1, b"from a library in C\n")
                result.write("the result\n")
            os.write(1, b"after\n")
        finally:
            sys.stdout, sys.stderr = before
    assert capfd.readouterr() == ("the result\nafter\n", "from a library in C\n")


def test_plugins_that_print_leave_the_list_of_plugins_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    def mlrun_losses() -> list[object]:
        print("hello")
        return []

    noisy = PluginManager.from_modules({"noisy": types.SimpleNamespace(mlrun_losses=hookimpl(mlrun_losses))})
    monkeypatch.setattr(PluginManager, "discover", lambda *_: noisy)
    done = CliRunner().invoke(cli, ["plugins", "list", "--json"], catch_exceptions=False)
    assert [row["name"] for row in json.loads(done.stdout)] == ["noisy"]
    assert done.stderr == "hello\n"


def test_plugins_that_print_leave_the_schema_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    def mlrun_losses() -> list[object]:
        print("hello")
        return []

    noisy = PluginManager.from_modules({"noisy": types.SimpleNamespace(mlrun_losses=hookimpl(mlrun_losses))})
    monkeypatch.setattr(PluginManager, "discover", lambda *_: noisy)
    done = CliRunner().invoke(cli, ["schema"], catch_exceptions=False)
    assert json.loads(done.stdout)
    assert done.stderr == "hello\n"


def test_what_a_plugin_says_as_it_fails_is_shown_and_not_obeyed() -> None:
    assert describe_failure(ValueError(EVIL)) == printable(f"raises ValueError: {EVIL}")


def test_printable_keeps_text_and_shows_control_characters() -> None:
    assert printable("größer 大 😀\tx\n") == "größer 大 😀\tx\n"
    assert printable("\x1b\x9b\u202e\udcff") == r"\u001b\u009b\u202e\udcff"


def test_texts_that_a_spreadsheet_would_compute_are_texts_and_numbers_are_numbers() -> None:
    cells = ["=1+1", "+x", "-x", "@x", " =1", "\t=1", "-0.5", "+1e5", -0.5, -3, "a=b", "", None, "-inf"]
    table = Table([Column("=head"), Column("b")], [[cell, "x"] for cell in cells])
    rows = list(csv.reader(io.StringIO(render(table, "csv"))))
    assert [row[0] for row in rows] == [
        "'=head", "'=1+1", "'+x", "'-x", "'@x", "' =1", "'\t=1", "-0.5", "+1e5", "-0.5", "-3", "a=b", "", "", "-inf",
    ]  # fmt: skip


def test_markdown_is_text_as_html_is(evil_runs: Path) -> None:
    table = Table([Column("a*b*")], [["<script>x</script>"], ["[x](y)|`z`"], ["# _k_"]], title="**t**")
    text = render(table, "markdown")
    assert "<script" not in text
    assert r"\[x\](y)\|\`z\`" in text
    assert r"a\*b\*" in text
    assert r"**\*\*t\*\***" in text
    done = CliRunner().invoke(
        cli, ["compare", "--format", "markdown", "--runs", str(evil_runs)], catch_exceptions=False
    )
    assert r"exp: Which a\\u001b\[31m" in done.stdout


LONG = "retrieval/of-the-very-long-name-of-a-modality/i2t@10"


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
@pytest.mark.parametrize("metric", ["retrieval/i2t@1", LONG])
def test_no_width_breaks_a_name_or_a_number(width: int, metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    headings = ("metric", "arm", "n", "mean", "95%", "difference", "p", "verdict")
    cells = [
        [f"{metric} ↑", "perceiver-with-a-long-name", "5", "0.5012", "[0.4415, 0.5685]", "–", "–", "baseline"],
        ["", "mlp", "5", "0.6012", "[0.5415, 0.6685]", "+0.1", "<0.0001", "undecided (~12 seeds)"],
    ]
    text = COLOUR.sub("", render(Table([Column(one) for one in headings], cells), "table", terminal=True))
    for whole in (*headings, *(cell for row in cells for cell in row)):
        assert whole in text
    lines = text.splitlines()
    assert all(len(line.rstrip()) <= max(width, len(metric) + 10) for line in lines)
    assert (" ".join(lines).count("too few") == 1) == (width < 200)  # it says what stands where


@pytest.mark.parametrize("spare", [0, 1, 2, 3])
def test_a_table_that_fits_says_nothing_of_its_width(spare: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [["linear", "2.3 s", "26,537"], ["mlp", "1.3 s", "16,987"]]
    wide = len("linear") + len("2.3 s") + len("samples/s") + 2 * 2
    monkeypatch.setenv("COLUMNS", str(wide + spare))
    table = Table([Column(one) for one in ("arm", "time", "samples/s")], cells)
    lines = COLOUR.sub("", render(table, "table", terminal=True)).splitlines()
    words = [line.split() for line in lines if "─" not in line and line.strip()]
    assert words == [["arm", "time", "samples/s"], *(" ".join(row).split() for row in cells)]


def test_sentences_wrap_between_words_and_the_table_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    told = "a sentence of many words that tells what a check of this name looks for in a run"
    text = COLOUR.sub(
        "", render(Table([Column("check"), Column("told")], [["dead-units", told]]), "table", terminal=True)
    )
    assert "too few" not in text
    assert set(told.split()) < set(text.split())


def test_errors_reach_the_screen_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    @json_option
    def broken(as_json: bool) -> None:
        raise TrialbookError(f"no {EVIL}")

    monkeypatch.setattr(Commands, "get_command", lambda *_: broken)
    monkeypatch.setattr(sys, "argv", ["mlrun", "broken", "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"mlrun: no {printable(EVIL)}\n"
