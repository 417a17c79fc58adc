"""Tables in all formats, and the page of a comparison."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace

import pytest

from trialbook.analysis.compare.claims import ClaimResult
from trialbook.analysis.compare.compare import Comparison, Row
from trialbook.analysis.compare.differences import Difference
from trialbook.analysis.compare.effects import Effect
from trialbook.analysis.compare.findings import ArmFinding
from trialbook.analysis.compare.gates import GateResult
from trialbook.analysis.statistics import Estimate
from trialbook.reports.comparison_tables import MOST_INTERACTIONS, effect_tables, finding_lines, show_large
from trialbook.reports.tables import Column, Table, render, show_duration, show_value
from trialbook.reports.terminal import comparison_text

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
    gates=(
        GateResult("r@1", "mlp", "≥ 0.55", Estimate(3, 0.5), "fail"),
        GateResult("r@1", "per", "≥ 0.55", Estimate(3, 0.6, 0.58, 0.62), "pass"),
    ),
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
        "exp: Which?", "--at last", "p after Holm over 1 comparison;", "r@1 ↑", "loss ↓", "[-0.05, 0.25]", "+0.1", "0.0600",
        "undecided (~7 seeds)", "r@1 ≥ 0.55: mlp FAILS (0.5)", "per passes (0.6 [0.58, 0.62])", "per seed 1: killed",
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


# --- effects, claims, findings ------------------------------------------------------------------------------------

FOUND = ArmFinding(
    "per", "loss-at-chance", "error", "loss.info-nce", "The loss stays at chance.", {"loss": 4.15888, "batch": 64},
    "look for a detached graph", ("per-s0", "per-s1"), 3,
)  # fmt: skip
AT = Estimate(3, -0.2, -0.3, -0.1)
WHOLE = replace(
    COMPARISON,
    effects=(
        Effect("r@1", ("train.lr",), (0.002,), (0.0002,), Estimate(3, 0.25, 0.2, 0.3), 0.01, 0.02, "raises"),
        Effect("r@1", ("train.lr", "projector.image.pool"), (0.002, "max"), (0.0002, "mean"), AT, 0.03, 0.05),
        Effect("loss", ("train.lr",), (0.002,), (0.0002,), None, None),
    ),
    claims=(
        ClaimResult(
            "projector.image.std", 0.02, (1.0,), "r@1", "lower", "Small latents\nfail.", 0.05, AT, 0.01, 0.01, "supported",
            conditional=(Effect("r@1", ("projector.image.std", "train.lr"), (0.02, 0.002), (1.0,), AT, 0.04, 0.04, "lowers"),),
        ),
        ClaimResult("arm", "per", ("mlp",), "r@1", "higher", "", 0.0, None, seeds_to_decide=9),
    ),
    findings=(FOUND, replace(FOUND, check="gap", severity="note")), pareto=("mlp",),
    costs={"mlp": {"training_flops": 2.5e12, "trained_parameters": 10, "parameters": 20}, "per": {"seconds": 3.0}},
)  # fmt: skip


def test_effects_and_claims_are_read_as_sentences() -> None:
    lines = [" ".join(line.split()) for line in comparison_text(WHOLE).splitlines()]
    for said in (
        "Effects on r@1 ↑", "lr: 0.0002 → 0.002 3 +0.25 [0.2, 0.3] 0.0200 raises",
        "lr: 0.0002 → 0.002 × pool: mean → max 3 -0.2 [-0.3, -0.1] 0.0500 undecided",
        "Effects on loss ↓", "lr: 0.0002 → 0.002 0 – – – undecided",
        "Claim 1: Small latents fail.",
        "std = 0.02 (against 1.0) lowers r@1 by at least 0.05 3 -0.2 [-0.3, -0.1] 0.0100 supported",
        "· at lr = 0.002 3 -0.2 [-0.3, -0.1] 0.0400 lowers",
        "Claim 2", "arm = per (against mlp) raises r@1 0 – – – undecided (~9 seeds)",
    ):  # fmt: skip
        assert said in lines, said
    text = " ".join(lines)
    assert "p after Holm over 2 effects; decided below 0.04, from 3 seeds." in text
    assert "the first change at the second's new level less the same at its old one" in text


def test_a_broken_arm_is_marked_where_its_verdict_stands() -> None:
    lines = comparison_text(WHOLE).splitlines()
    (verdict,) = [line for line in lines if "[-0.05, 0.25]" in line]
    assert verdict.endswith("undecided (~7 seeds) †")
    assert [line for line in lines if "baseline" in line and "†" in line] == [
        "† error findings in this arm or its baseline, see Findings: a broken run is no result"
    ]
    text = " ".join(comparison_text(WHOLE).split())
    assert (
        "error, loss-at-chance (loss.info-nce): The loss stays at chance. In per, in 2 of 3 seeds (loss 4.159, batch 64). "
        "Try: look for a detached graph" in text
    )
    assert "and notes, which are no alarm: gap" in text
    broken_baseline = replace(WHOLE, findings=(replace(FOUND, arm="mlp"),))
    assert comparison_text(broken_baseline).count(" †") == 4 + 2  # every row, and what effects and claims rest on
    alone = replace(WHOLE, rows=(replace(WHOLE.rows[1], baseline=None, verdict=None),))
    assert "per †" in comparison_text(alone)  # a table without verdicts


def test_notes_are_shown_where_there_is_nothing_worse_and_many_arms_are_counted() -> None:
    note = replace(FOUND, check="gap", severity="note", evidence={"gaps": list(range(100))}, advice="")
    (line,) = finding_lines(replace(WHOLE, findings=(note,)))
    assert line.startswith(
        "note, gap (loss.info-nce): The loss stays at chance. In per, in 2 of 3 seeds (gaps [0, 1, 2"
    )
    assert len(line) < 180
    arms = tuple(f"a{n}" for n in range(5))
    (line,) = finding_lines(replace(WHOLE, arms=arms, findings=tuple(replace(note, arm=arm) for arm in arms)))
    assert "In 10 of 15 runs of all arms" in line
    others = [replace(note, arm=arm, evidence={"loss": 0.5 + n}, message=f"At {n}.") for n, arm in enumerate(arms)]
    (line,) = finding_lines(replace(WHOLE, arms=arms, findings=tuple(others)))
    assert "At 0 (as in per-s0). In 10 of 15 runs of all arms (loss 0.5 to 4.5)" in line
    assert "runs" in finding_lines(replace(WHOLE, by="train.lr"))[0]


def test_costs_have_units_and_the_pareto_mark_is_explained() -> None:
    text = comparison_text(WHOLE)
    (line,) = [line for line in text.splitlines() if "2.5 T" in line]
    assert line.split() == ["mlp", "–", "2.5", "T", "20", "10", "yes"]
    said = " ".join(text.split())
    assert "takes no more seconds of training and no more trained parameters" in said  # one arm has no FLOPs
    assert "This goes by the means alone, whatever the intervals say; arms with error findings are left out." in said
    assert "Pareto" not in comparison_text(COMPARISON)
    assert [show_large(v) for v in (3.0, 12345.0, 4.2e9, 1.05e21)] == ["3", "12.3 k", "4.2 G", "1.05e+03 E"]


def test_a_crowd_of_undecided_interactions_is_counted() -> None:
    crossed = [Effect("r@1", ("a", "b"), (n, 1), (0, 0), AT, 0.5, 0.5) for n in range(MOST_INTERACTIONS + 3)]
    effects = (Effect("r@1", ("a",), (1,), (0,), AT, 0.5, 0.5), *crossed[1:], replace(crossed[0], verdict="lowers"))
    (table,) = effect_tables(replace(WHOLE, effects=effects))
    assert [row[0] for row in table.rows] == [
        "a: 0 → 1",
        "a: 0 → 0 × b: 0 → 1",
        f"{MOST_INTERACTIONS + 2} more interactions",
    ]


@pytest.mark.parametrize("style", ["table", "markdown", "latex"])
def test_every_page_has_all_parts(style: str) -> None:
    text = comparison_text(WHOLE, style)
    for said in ("Claim 1: Small latents fail.", "Effects on", "Findings", "Pareto", "no more seconds"):
        assert said in text, said
    if style == "latex":
        assert r"$\rightarrow$" in text or r"$\to$" in text
        assert not [
            letter for line in text.splitlines() if not line.startswith("%") for letter in line if ord(letter) > 127
        ]


def test_the_heading_says_how_verdicts_are_given() -> None:
    said = " ".join(comparison_text(COMPARISON).split())
    assert "better and worse are said below 0.04, from 3 seeds; undecided names how many would decide." in said


def test_lines_of_a_page_fit_the_terminal() -> None:
    notes = tuple(" ".join(["word"] * n) for n in (5, 60))
    text = comparison_text(replace(WHOLE, notes=notes, effects=(), claims=()))
    assert max(map(len, text.splitlines())) <= 118
    assert " ".join(text.split()).count("word") == 65


def test_machine_readable_pages_carry_effects_claims_and_findings() -> None:
    data = json.loads(comparison_text(WHOLE, "json"))
    assert data["effects"][1]["levels"] == [0.002, "max"]
    assert (data["claims"][0]["verdict"], data["claims"][0]["conditional"][0]["verdict"]) == ("supported", "lowers")
    assert (data["findings"][0]["runs"], data["pareto"]) == (["per-s0", "per-s1"], ["mlp"])
    rows = list(csv.DictReader(io.StringIO(comparison_text(WHOLE, "csv"))))
    assert [row["kind"] for row in rows] == ["arm"] * 4 + ["effect"] * 3 + ["claim", "claim at a level", "claim"]
    assert (rows[0]["pareto"], rows[1]["error_finding"]) == ("True", "True")
    assert (rows[5]["contrast"], rows[5]["difference_low"], rows[5]["verdict"]) == (
        "train.lr: 0.0002 → 0.002 × projector.image.pool: mean → max", "-0.3", "undecided",
    )  # fmt: skip
    assert rows[8]["contrast"].endswith("by at least 0.05, at train.lr = 0.002")
    assert rows[9]["seeds_to_decide"] == "9"
