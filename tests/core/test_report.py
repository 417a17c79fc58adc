"""Tables in all formats, and the page of a comparison."""

from __future__ import annotations

import csv
import io
import json
import math

import pytest

from trialbook.compare import Comparison, GateResult, Row
from trialbook.differences import Difference
from trialbook.formats import Column, Table, render, show_duration, show_value
from trialbook.report import comparison_text
from trialbook.stats import Estimate

TABLE = Table([Column("name"), Column("value", "wert", right=True)], [["a|b_c", 0.123456], ["–", None], ["x", True]])
COMPARISON = Comparison(
    experiments=("exp",), question="Which?\nMore words.", at="last", by="arm", arms=("mlp", "per"),
    rows=(
        Row("r@1", "mlp", True, Estimate(3, 0.5, 0.4, 0.6), {"seed 0": 0.5}, verdict="baseline"),
        Row("r@1", "per", True, Estimate(3, 0.6, 0.5, 0.7), {"seed 0": 0.6}, "mlp", Estimate(3, 0.1, -0.05, 0.25), 0.06,
            0.06, "undecided", 7),
        Row("loss", "mlp", False, Estimate(1, 1.0), {"seed 0": 1.0}, verdict="baseline"),
        Row("loss", "per", False, None, {}, "mlp", None, None, None, "undecided", None),
    ),
    gates=(GateResult("r@1", "mlp", "≥ 0.55", 0.5, False), GateResult("r@1", "per", "≥ 0.55", 0.6, True)),
    costs={"mlp": {"seconds": 75.0, "samples_per_second": 1234.5, "parameters": 1e6}, "per": {"seconds": 3.0}},
    missing=("per seed 1: killed",), differences=(Difference("train.lr", ("per",), "mlp", (0.1,), (0.2,)),),
    notes=("fewer than 3 seeds: per",),
)  # fmt: skip


def test_plain_tables_are_aligned() -> None:
    assert render(TABLE, "table") == "\n".join([
        "name     wert", "─────  ──────", "a|b_c  0.1235", "–           –", "x         yes",
    ])  # fmt: skip


def test_terminal_tables_hold_the_same_cells() -> None:
    shown = render(TABLE, "table", terminal=True)
    assert all(cell in shown for cell in ("name", "wert", "a|b_c", "0.1235", "yes"))


def test_markdown_escapes_bars() -> None:
    assert render(TABLE, "markdown").splitlines() == [
        "| name | wert |", "| --- | ---: |", "| a\\|b_c | 0.1235 |", "| – | – |", "| x | yes |",
    ]  # fmt: skip


def test_csv_and_json_carry_full_values() -> None:
    table = Table([Column("a"), Column("b")], [['q"u,o', 0.1 + 0.2], [{"k": [1]}, None], ["x", math.nan]])
    rows = list(csv.reader(io.StringIO(render(table, "csv"))))
    assert rows == [["a", "b"], ['q"u,o', "0.30000000000000004"], ['{"k": [1]}', ""], ["x", "nan"]]
    assert json.loads(render(table, "json")) == [
        {"a": 'q"u,o', "b": 0.1 + 0.2}, {"a": {"k": [1]}, "b": None}, {"a": "x", "b": None},
    ]  # fmt: skip


def test_latex_escapes_its_special_characters() -> None:
    table = Table([Column("a_b"), Column("n", right=True)], [["50% & #1 ↑", 2.0]])
    assert render(table, "latex").splitlines() == [
        r"\begin{tabular}{lr}", r"\toprule", r"a\_b & n \\", r"\midrule", r"50\% \& \#1 $\uparrow$ & 2 \\",
        r"\bottomrule", r"\end{tabular}",
    ]  # fmt: skip


def test_values_are_shown_to_people() -> None:
    assert [show_value(v) for v in (None, 1, 0.00012345, 123456.0, math.nan, False, "x")] == [
        "–", "1", "0.0001234", "1.235e+05", "nan", "no", "x",
    ]  # fmt: skip
    assert [show_duration(v) for v in (None, 3.25, 75.0, 3725.4)] == ["–", "3.2 s", "1:15", "1:02:05"]


def test_the_page_says_what_it_shows_and_what_speaks_against_it() -> None:
    text = comparison_text(COMPARISON)
    for said in (
        "exp: Which?", "--at last", "p after Holm over 1 comparison.", "r@1 ↑", "loss ↓", "[-0.05, 0.25]", "+0.1", "0.0600",
        "undecided (about 7 seeds would do)", "r@1 ≥ 0.55: mlp FAILS (0.5)", "per passes (0.6)", "per seed 1: killed",
        "train.lr: 0.1 in mlp, 0.2 in per", "fewer than 3 seeds: per", "1:15", "1,234", "1,000,000",
    ):  # fmt: skip
        assert said in text, said
    assert "More words" not in text
    (loss,) = [line for line in text.splitlines() if line.startswith("loss ↓")]
    assert loss.split() == ["loss", "↓", "mlp", "1", "1", "–", "–", "–", "–", "baseline"]


@pytest.mark.parametrize("style", ["markdown", "latex"])
def test_a_page_for_a_document_has_the_same_parts(style: str) -> None:
    text = comparison_text(COMPARISON, style)
    assert "What else differed" in text
    if style == "markdown":
        assert "- per seed 1: killed" in text
    else:
        outside = text[: text.index("\\begin")].splitlines()
        assert all(line.startswith("%") for line in outside if line)


def test_machine_readable_pages_can_be_read() -> None:
    data = json.loads(comparison_text(COMPARISON, "json"))
    assert data["rows"][1]["difference"] == {"n": 3, "mean": 0.1, "low": -0.05, "high": 0.25}
    rows = list(csv.DictReader(io.StringIO(comparison_text(COMPARISON, "csv"))))
    assert (rows[1]["arm"], rows[1]["difference_high"], rows[1]["seeds_to_decide"]) == ("per", "0.25", "7")
    assert rows[3]["mean"] == ""
