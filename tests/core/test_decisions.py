"""Decisions: taken from recorded runs, told with what is missing, written the same twice; mistakes come with their line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from trialbook.analysis.decide.decide import decide
from trialbook.analysis.decide.results import Decision
from trialbook.cli.decide import decide_plan
from trialbook.cli.main import cli
from trialbook.config.load import load_experiment
from trialbook.config.runspec import Plan, RunSpec
from trialbook.errors import ExperimentErrors
from trialbook.planning.planner import make_plan
from trialbook.plugins.json_schema import experiment_json_schema
from trialbook.plugins.schema import SchemaBook
from trialbook.registry.query import open_index
from trialbook.reports.decision_text import answer
from trialbook.reports.pages.write import PageOptions
from trialbook.reports.write_decision import write_decisions

Write = Callable[..., Path]
RecordPlan = Callable[..., Plan]

DECISION = """\
# Which one is to be used?
name = "choice"
needs = ["first.toml", "second.toml", "both.toml"]

[[gate]]
name = "hits"
metric = "found/i2t@1"
target = 0.65
acceptable = 0.60
fail = 0.55
weight = 3

[[gate]]
name = "many hits"
metric = "found/i2t@5"
at_least = 0.5
level = "should"
measured_in = "both"

[[gate]]
name = "cost"
metric = "loss"
at_most = 2.0
level = "should"
relative_to = "old"

[[manual_score]]
name = "ease"
scores = { one = 0.2, two = 0.9 }
by = "the people who would have to do it"
why = "one needs a fork of the library"

[external_baseline.old]
source = "table 2 of the report before"
values = { hits = 0.559, loss = 1.5 }

[decision]
candidates = { one = "first.toml", two = "second" }

[[decision.outcome]]
name = "several"
when = { passes = "must", at_least = 2 }
recommend = "Take {best}, keep {second}."

[[decision.outcome]]
name = "one"
when = { passes = "must" }
recommend = "Proceed with {passing}."

[[decision.outcome]]
name = "rethink"
when = [{ gate = "hits", above = 0.50, for = "none" }, { fails = ["hits"], for = "all" }]
recommend = "Rethink."

[[decision.outcome]]
name = "pivot"
recommend = "Pivot."
"""
BOTH = '[arm.flat]\n[arm.deep.projector.image]\nuse = "deep"\ndepth = 2\n'
SEEDS = [0, 1, 2, 3]


def figures(hits: float, loss: float = 2.0, spread: float = 0.002) -> Callable[[RunSpec], Mapping[str, float]]:
    return lambda spec: {
        "found/i2t@1": hits + spread * (spec.seed % 3), "found/i2t@5": 0.8 + spread * (spec.seed % 2),
        "loss": loss + 0.01 * spec.seed,
    }  # fmt: skip


@pytest.fixture
def files(toy_file: Write, tmp_path: Path) -> Callable[..., Path]:
    """Writes the experiments and the decision, with replacements in the latter."""

    def write(*changes: tuple[str, str], append: str = "") -> Path:
        seeds = ("seeds = [0, 1]", f"seeds = {SEEDS}")
        plain = (seeds, ('baseline = "flat"\n', ""), (BOTH, ""))
        toy_file(*plain, name="first.toml")
        toy_file(*plain, ("steps = 20", "steps = 30"), name="second.toml")
        named = BOTH.replace("arm.flat", "arm.one").replace("arm.deep", "arm.two")
        toy_file(seeds, ('"flat"', '"one"'), (BOTH, named), name="both.toml")
        text = DECISION
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new, 1)
        file = tmp_path / "choice.toml"
        file.write_text(text + append)
        return file

    return write


@pytest.fixture
def decided(
    files: Callable[..., Path], record_plan: RecordPlan, toys: SchemaBook, tmp_path: Path
) -> Callable[..., Decision]:
    """Records the runs and decides; ``one`` and ``two`` make up the metrics of the candidates."""

    def make(*changes: tuple[str, str], one: Any, two: Any, both: Any = None, append: str = "") -> Decision:
        file = files(*changes, append=append)
        record_plan(tmp_path / "first.toml", one)
        record_plan(tmp_path / "second.toml", two)
        record_plan(tmp_path / "both.toml", both or figures(0.5))
        with open_index(tmp_path / "runs" / "registry.db") as index:
            (decision,) = decide(make_plan(load_experiment(file), toys), index)
        return decision

    return make


def verdicts(decision: Decision) -> dict[tuple[str, str], str]:
    return {(held.gate, held.candidate): held.verdict for held in decision.held}


def test_a_decision_is_taken_from_the_runs_of_other_files(decided: Callable[..., Decision]) -> None:
    decision = decided(one=figures(0.62), two=figures(0.50))
    assert verdicts(decision) == {
        ("hits", "one"): "pass", ("hits", "two"): "fail", ("many hits", "one"): "pass", ("many hits", "two"): "pass",
        ("cost", "one"): "pass", ("cost", "two"): "pass",
    }  # fmt: skip
    assert decision.of("many hits", "two").measured_in == "both/two"
    assert decision.of("cost", "one").estimate.mean == pytest.approx(2.015 / 1.5)  # type: ignore[union-attr]
    assert decision.of("hits", "one").reached == "acceptable"
    assert decision.of("hits", "one").score == pytest.approx(0.5 + 0.5 * (0.6215 - 0.60) / 0.05)
    assert [one.candidate for one in decision.ranking] == ["one", "two"]
    assert decision.ranking[1].score == pytest.approx(2 / 5)  # the two that weigh 1 each, of 3 + 1 + 1
    assert (decision.advice.text, decision.advice.confidence) == ("Proceed with one.", "high")
    assert decision.advice.possible == (1,)
    assert decision.missing == ()
    assert [(figure.gate, figure.value) for figure in decision.external_baselines] == [("hits", 0.559), ("cost", 1.0)]


def test_the_first_outcome_that_holds_applies_and_names_candidates(decided: Callable[..., Decision]) -> None:
    assert decided(one=figures(0.62), two=figures(0.70)).advice.text == "Take two, keep one."


@pytest.mark.parametrize(("hits", "said"), [(0.45, "Rethink."), (0.57, "Pivot.")])
def test_nobody_passes(decided: Callable[..., Decision], hits: float, said: str) -> None:
    assert decided(one=figures(hits), two=figures(hits - 0.01)).advice.text == said


def test_equal_scores_are_told_apart_by_what_was_stated(decided: Callable[..., Decision]) -> None:
    equal = {"one": figures(0.70), "two": figures(0.70)}
    assert [one.candidate for one in decided(**equal).ranking] == ["two", "one"]
    turned = decided(("one = 0.2, two = 0.9", "one = 0.8, two = 0.7"), **equal)
    assert [(one.candidate, one.tie_break) for one in turned.ranking] == [("one", 0.8), ("two", 0.7)]
    assert [one.manual_scores for one in turned.criteria if one.scale is None] == [{"one": 0.8, "two": 0.7}]


def test_what_is_missing_is_told_and_decides_nothing(decided: Callable[..., Decision]) -> None:
    decision = decided(one=figures(0.62), two=lambda spec: None if spec.seed else figures(0.62)(spec))
    assert "second/main seed 1: not started" in decision.missing
    assert verdicts(decision)["hits", "two"] == "undecided"
    assert decision.advice.possible == (0, 1)


def test_a_candidate_without_runs_leaves_open_what_turns_on_it(decided: Callable[..., Decision]) -> None:
    none = decided(one=figures(0.62), two=lambda spec: None)
    assert none.of("hits", "two").estimate is None
    assert (none.advice.text, none.advice.open, none.advice.confidence) == ("", (0, 1), None)
    two = next(one for one in none.ranking if one.candidate == "two")
    assert (two.meets, two.score, two.most) == (None, pytest.approx(1 / 5), pytest.approx(1.0))


def test_runs_of_other_configurations_do_not_count(
    decided: Callable[..., Decision], toys: SchemaBook, tmp_path: Path
) -> None:
    decided(one=figures(0.62), two=figures(0.62))
    second = tmp_path / "second.toml"
    second.write_text(second.read_text().replace("steps = 30", "steps = 40"))
    with open_index(tmp_path / "runs" / "registry.db") as index:
        (decision,) = decide(make_plan(load_experiment(tmp_path / "choice.toml"), toys), index)
    assert len([what for what in decision.missing if what.startswith("second/main")]) == len(SEEDS)


def test_a_value_without_interval_never_gives_confidence(decided: Callable[..., Decision]) -> None:
    same = figures(0.9, spread=0.0)
    decision = decided(one=same, two=same)
    assert decision.of("hits", "one").basis == "none"
    assert (decision.advice.text, decision.advice.confidence) == ("Take two, keep one.", "low")
    assert decision.advice.possible == (0, 1, 2, 3)


def test_a_gate_that_cannot_be_told_recommends_nothing(decided: Callable[..., Decision]) -> None:
    def below_ceiling(spec: RunSpec) -> Mapping[str, float]:
        return {**figures(0.21)(spec), "found/i2t@1/latents": 0.217}

    decision = decided(one=below_ceiling, two=below_ceiling)
    assert (decision.of("hits", "one").verdict, decision.of("hits", "two").verdict) == ("cannot be told",) * 2
    assert "latents" in decision.of("hits", "one").note
    assert (decision.advice.text, decision.advice.confidence) == ("", None)
    assert any(about == "Cannot be told" for about, _ in answer(decision))


def test_models_with_random_weights_give_no_confidence_and_a_banner(
    files: Callable[..., Path], record_plan: RecordPlan, toys: SchemaBook, tmp_path: Path
) -> None:
    file = files()
    for name, value in (("first", 0.62), ("second", 0.50), ("both", 0.5)):
        random = {"random_weights": ["encoder.image"] if name == "first" else []}
        record_plan(tmp_path / f"{name}.toml", figures(value), data=lambda spec, random=random: random)
    with open_index(tmp_path / "runs" / "registry.db") as index:
        (decision,) = decide(make_plan(load_experiment(file), toys), index)
    assert decision.random_weights == ("encoder.image in first/main",)
    assert (decision.advice.text, decision.advice.confidence) == ("Proceed with one.", "low")
    assert answer(decision)[0][0] == "RANDOM WEIGHTS"


def test_a_metrics_own_interval_decides_a_single_run(decided: Callable[..., Decision]) -> None:
    def ranged(value: float) -> Callable[[RunSpec], Mapping[str, float]]:
        ends = {"found/i2t@1/low": value - 0.02, "found/i2t@1/high": value + 0.02}
        return lambda spec: {**figures(value, spread=0)(spec), "found/i2t@1": value, **ends}

    decision = decided(one=ranged(0.70), two=ranged(0.61))
    assert (decision.of("hits", "one").basis, decision.of("hits", "one").verdict) == ("samples", "pass")
    estimate = decision.of("hits", "two").estimate
    assert estimate is not None
    assert (estimate.low, estimate.high) == (pytest.approx(0.59), pytest.approx(0.63))
    assert decision.of("hits", "two").verdict == "undecided"
    assert decision.advice.text == "Take one, keep two."
    assert decision.advice.share == pytest.approx(0.84, abs=0.03)  # 0.01 above the bound, with an error of 0.0102
    assert decision.advice.confidence == "medium"


def test_the_best_of_several_arms_counts_and_is_corrected_for(decided: Callable[..., Decision]) -> None:
    def arms(spec: RunSpec) -> Mapping[str, float]:
        return figures(0.62 if spec.arm == "two" else 0.3)(spec)

    decision = decided(('two = "second"', 'two = "both/*"'), one=figures(0.62), two=figures(0.1), both=arms)
    best, alone = decision.of("hits", "two"), decision.of("hits", "one")
    assert (best.where, best.best_of, best.reached) == ("two", 2, "acceptable")
    assert best.p == pytest.approx(2 * (alone.p or 0))


def test_the_same_records_give_the_same_files(
    decided: Callable[..., Decision], toys: SchemaBook, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decided(one=figures(0.62), two=lambda spec: None if spec.seed == 3 else figures(0.62)(spec))
    plan, registry = make_plan(load_experiment(tmp_path / "choice.toml"), toys), tmp_path / "runs" / "registry.db"
    folder = tmp_path / "runs" / "choice"
    decide_plan(plan, registry)
    first = {file.relative_to(folder): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}
    assert {str(name) for name in first} >= {
        "report.md", "report.html", "decision.json", "metrics.yaml", "plots/decision-scores.svg", "plots/decision-gate-1.svg"
    }  # fmt: skip
    decide_plan(plan, registry)
    assert {name: (folder / name).read_bytes() for name in first} == first
    said, told = capsys.readouterr(), first[Path("report.md")].decode()
    assert "second/main seed 3: not started" in said.out
    assert "second/main seed 3: not started" in told
    assert "old (external)" in told
    assert "manual, not measured" in told
    assert "plot" not in said.err.partition("warning")[2]
    data = json.loads(first[Path("decision.json")])["decisions"][0]
    assert data["confidence"] in ("high", "medium", "low")
    assert [one["verdict"] for one in data["gates"]].count("undecided") == 2  # hits and cost of two
    measured = yaml.safe_load(first[Path("metrics.yaml")])["choice"]["measured"]
    assert measured["one"]["hits"]["n"] == 4
    assert measured["one"]["hits"]["value"] == pytest.approx(0.62 + 0.002 * 3 / 4)


def test_a_file_with_runs_keeps_its_report_and_decides_between_its_arms(
    toy_file: Write, record_plan: RecordPlan, tmp_path: Path
) -> None:
    append = '[decision]\ncandidates = { a = "flat", b = "deep" }\n'
    plan = record_plan(toy_file(("seeds = [0, 1]", "seeds = [0, 1, 2]"), append=append), figures(0.7))
    with open_index(tmp_path / "runs" / "registry.db") as index:
        decisions = decide(plan, index)
    written = write_decisions(plan, decisions, tmp_path / "runs", PageOptions(plots=False))
    assert [file.name for file in written.files] == ["decision.md", "decision.html", "decision.json", "metrics.yaml"]
    assert decisions[0].advice.text == "a"  # no outcome is given: the first of the ranking


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('one = "first.toml"', 'one = "frist.toml"', "38: [decision] 'frist.toml' is no arm of this file and no experiment"),
        ('two = "second"', 'two = "second/mian"', "38: [decision] 'second' has no arm 'mian'; did you mean 'main'?"),
        ('"found/i2t@1"', '"fuond/i2t@1"', "7: [gate] nothing in first/main records 'fuond/i2t@1'; did you mean 'found/i2t@1'?"),
        ('measured_in = "both"', 'measured_in = "first"', "18: [gate] 'first' has no arm 'one'; it has main"),
        ('measured_in = "both"', 'measured_in = { one = "both/one" }', "18: [gate] 'measured_in' has no place for candidate"),
        ('measured_in = "both"', 'measured_in = { one = "both/one", tow = "both/two" }', "18: [gate] 'tow' is no candidate"),
        ('relative_to = "old"', 'relative_to = "odl"', "25: [gate] 'odl' is no candidate, no arm, no needed experiment"),
        ("fail = 0.55", "fail = 0.7", "10: [gate] 'fail' (0.7) and 'acceptable' (0.6) are out of order"),
        ("fail = 0.55", "at_least = 0.55", "10: [gate] 'at_least' cannot stand beside 'target': 'acceptable' is the same"),
        ("weight = 3", "weight = -3", "11: [gate] 'weight' (-3) must be finite and not below 0"),
        ("weight = 3", 'direction = "lower"', "11: [gate] 'direction' (lower) contradicts 'target' and 'acceptable'"),
        ("weight = 3", 'level = "shuold"', "11: [gate] 'level' must be one of 'must', 'should', 'tie-break', not 'shuold'"),
        ('name = "many hits"', 'name = "hits"', "14: [gate] two criteria are called 'hits'"),
        ("one = 0.2, two", "one = 0.2, tow", "29: [manual_score] 'tow' is no candidate; did you mean 'two'?"),
        ("one = 0.2, two = 0.9", "one = 0.2, two = 9", "29: [manual_score] 'scores' gives 'two' 9: a score is from 0 to 1"),
        ("one = 0.2, two = 0.9", "two = 0.9", "29: [manual_score] 'scores' has no score for one"),
        ('why = "', 'wy = "', "31: [manual_score] unknown key 'wy'; did you mean 'why'?"),
        ("hits = 0.559", "hist = 0.559", "35: [external_baseline.old] 'hist' is no gate's name or metric; did you mean 'hits'?"),
        ('passes = "must", at_least', 'pases = "must", at_least', "42: [decision] unknown key 'pases'; did you mean 'passes'?"),
        ('"must", at_least = 2', '"must", at_least = 3', "42: [decision.outcome] 'at_least' (3) counts candidates: from 0 to 2"),
        ('"must", at_least = 2', '"hts", at_least = 2', "42: [decision.outcome] 'hts' is no gate of this decision; did you mean"),
        ('gate = "hits", above = 0.50', 'gate = "hits"', "52: [decision.outcome] 'gate' goes with 'above' or 'below'"),
        ("{best}", "{bset}", "43: [decision.outcome] '{bset}' stands for nothing; did you mean '{best}'?"),
        ('when = { passes = "must" }\n', "", "45: [decision.outcome] an outcome without 'when' applies to all that is left"),
        ("candidates = {", "candidate = {", "38: [decision] unknown key 'candidate'; did you mean 'candidates'?"),
        ("[decision]\n", "[decision]\ngates = ['hits', 'esae']\n", "38: [decision] 'esae' is no gate or manual score"),
        ('needs = ["first.toml", ', "needs = [", "38: [decision] 'first.toml' is no arm of this file and no experiment"),
    ],
)  # fmt: skip
def test_mistakes_come_with_their_line_and_what_was_meant(
    files: Callable[..., Path], toys: SchemaBook, old: str, new: str, expected: str
) -> None:
    file = files((old, new))
    with pytest.raises(ExperimentErrors) as caught:
        make_plan(load_experiment(file), toys)
    assert any(str(one).removeprefix(f"{file}:").startswith(expected) for one in caught.value.problems), caught.value


def test_what_only_a_decision_reads_is_refused_without_one(toy_file: Write, toys: SchemaBook) -> None:
    file = toy_file(("at_least = 0.5", 'at_least = 0.5\nmeasured_in = "x"'))
    with pytest.raises(ExperimentErrors, match="'measured_in' is for a \\[decision\\]"):
        make_plan(load_experiment(file), toys)


def test_the_editors_schema_takes_decisions_and_refuses_mistakes(toys: SchemaBook, files: Callable[..., Path]) -> None:
    schema = jsonschema.Draft202012Validator(experiment_json_schema(toys))
    data = load_experiment(files()).document.data
    assert list(schema.iter_errors(data)) == []
    for key, value in (
        ("decision", {**data["decision"], "outcomes": []}),
        ("manual_score", [{"name": "ease"}]),
        ("external_baseline", []),
    ):
        assert list(schema.iter_errors({**data, key: value})), key


def test_a_file_that_only_decides_has_no_runs(files: Callable[..., Path], toys: SchemaBook) -> None:
    plan = make_plan(load_experiment(files()), toys)
    assert plan.runs == ()
    assert [one.experiment.name for one in plan.before] == ["first", "second", "both"]


def test_the_command_exists() -> None:
    import click

    command = cli.get_command(click.Context(cli), "decide")  # type: ignore[attr-defined]
    assert command is not None
    assert {option for one in command.params for option in one.opts} >= {"--profile", "--json", "--no-plots", "--runs"}
