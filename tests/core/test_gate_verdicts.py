"""Verdicts on gates: the t-test of scipy, corrected so that hardly any decision passes a gate by mistake; scores; outcomes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from trialbook.analysis.decide.outcomes import Facts, possible_outcomes
from trialbook.analysis.decide.ranking import Criterion, rank
from trialbook.analysis.decide.recommendation import Ballot, advise
from trialbook.analysis.estimates import Measured, Value, measure, ratios
from trialbook.analysis.verdicts import GATE_ALPHA, UNTOLD, Question, judge
from trialbook.config.scale import Scale
from trialbook.contracts.metric_names import fitting

HIGHER = Scale.of({"target": 0.65, "acceptable": 0.60, "fail": 0.55}, higher=True)
LOWER = Scale.of({"target": 0.30, "acceptable": 0.35, "fail": 0.45}, higher=True)  # their order says lower
Draw = Callable[[random.Random], float]


def seeds(*values: float) -> Measured:
    found = measure([Value(value) for value in values])
    assert found is not None
    return found


# --- against scipy ------------------------------------------------------------------------------------------------


def test_p_and_interval_are_those_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is the oracle")
    values = [0.62, 0.64, 0.61, 0.66]
    found, close = seeds(*values), {"rel": 1e-9}  # the same sums in another order
    above = stats.ttest_1samp(values, 0.6, alternative="greater")
    assert found.p_above(0.6) == pytest.approx(above.pvalue, **close)
    assert found.p_below(0.6) == pytest.approx(1 - above.pvalue, **close)
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.estimate.low, found.estimate.high) == pytest.approx((interval.low, interval.high), **close)


def test_a_recorded_interval_is_read_as_that_of_a_normal_on_each_side() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is the oracle")
    found = measure([Value(0.62, 0.58, 0.64)])
    assert found is not None
    assert (found.estimate.low, found.estimate.high) == pytest.approx((0.58, 0.64))
    assert found.p_above(0.6) == pytest.approx(stats.norm.sf(0.02 / (0.04 / stats.norm.ppf(0.975))), rel=1e-9)
    assert found.p_below(0.65) == pytest.approx(stats.norm.sf(0.03 / (0.02 / stats.norm.ppf(0.975))), rel=1e-9)


def test_both_families_are_corrected_as_statsmodels_does() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest", reason="statsmodels is the oracle")
    draw = random.Random(3)
    found = [seeds(*(draw.gauss(0.6 + shift, 0.01) for _ in range(4))) for shift in (-0.2, 0, 0.02, 0.1, 0.2)]
    judged = judge([Question(HIGHER, [one]) for one in found])
    sure = multitest.multipletests([one.p_above(0.6) for one in found], method="holm")[1]
    wrong = multitest.multipletests([one.p_below(0.6) for one in found], method="holm")[1]
    assert [one.p_holm for one in judged] == pytest.approx(list(sure))
    assert [one.p_fail_holm for one in judged] == pytest.approx(list(wrong))
    pairs = zip(sure, wrong, strict=True)
    expected = ["pass" if s < GATE_ALPHA else "fail" if w < GATE_ALPHA else "undecided" for s, w in pairs]
    assert [one.verdict for one in judged] == expected
    assert {"pass", "fail", "undecided"} == set(expected)


# --- by mistake ---------------------------------------------------------------------------------------------------


def share(draw: random.Random) -> float:
    """Hits of 100 guesses between two."""
    return sum(draw.random() < 0.5 for _ in range(100)) / 100


def noise(draw: random.Random) -> float:
    return draw.gauss(0.5, 0.05)


#: Simulated decisions. Half a percent err by design; in so many, more than one percent do in one draw of 600.
DECISIONS = 2000


@pytest.mark.parametrize("runs", [3, 5])
@pytest.mark.parametrize("figure", [noise, share])
@pytest.mark.parametrize(("gates", "layers"), [(4, 1), (1, 4)])
def test_gates_on_features_that_know_nothing_are_passed_in_at_most_1_percent_of_decisions(
    runs: int, figure: Draw, gates: int, layers: int
) -> None:
    """The bound is just what guessing gives, which is where mistakes are most frequent; draws are fixed."""
    draw, scale = random.Random(runs), Scale(0.5, None, {})
    passed = failed = 0
    for _ in range(DECISIONS):
        questions = []
        for _ in range(gates):
            found = [measure([Value(figure(draw)) for _ in range(runs)]) for _ in range(layers)]
            questions.append(Question(scale, [one for one in found if one is not None]))
        told = {one.verdict for one in judge(questions)}
        passed += "pass" in told
        failed += "fail" in told
    assert passed <= DECISIONS / 100
    assert failed <= DECISIONS / 100


def test_a_gate_that_is_clearly_passed_is_found_to_be() -> None:
    draw = random.Random(0)
    found = [judge([Question(HIGHER, [seeds(*(draw.gauss(0.7, 0.01) for _ in range(5)))])] * 8)[0] for _ in range(100)]
    assert sum(one.verdict == "pass" for one in found) >= 95


# --- ceilings and floors ------------------------------------------------------------------------------------------


def beside(value: float, **references: float) -> Measured:
    found = measure([Value(value + shift, references=references) for shift in (-0.001, 0.0, 0.001)])
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("scale", "one", "verdict"),
    [
        (HIGHER, beside(0.70, oracle=0.95, shuffled=0.1), "pass"),
        (HIGHER, beside(0.20, oracle=0.95, shuffled=0.1), "fail"),
        (HIGHER, beside(0.211, latents=0.217, mean=0.1), UNTOLD),  # nobody could pass
        (HIGHER, beside(0.70, null=0.62), UNTOLD),  # anybody would
        (HIGHER, beside(0.38, latents=0.217, mean=0.361), UNTOLD),
        (LOWER, beside(0.20, true=0.05, mean=0.9), "pass"),
        (LOWER, beside(0.40, true=0.36), UNTOLD),
        (LOWER, beside(0.20, random=0.30), UNTOLD),
        (HIGHER, beside(0.70, oracle=0.60), "pass"),  # it reaches just what is asked for
    ],
)
def test_beyond_its_ceiling_or_floor_a_gate_cannot_be_told(scale: Scale, one: Measured, verdict: str) -> None:
    question = Question(scale, [one])
    (found,) = judge([question])
    assert found.verdict == verdict
    assert found.passed is {"pass": True, "fail": False}.get(verdict)
    assert bool(question.doubt) == (verdict == UNTOLD)


def test_of_several_those_that_cannot_be_told_neither_pass_nor_let_the_gate_fail() -> None:
    blind, good, bad = beside(0.9, shuffled=0.9), beside(0.7, shuffled=0.1), beside(0.2, shuffled=0.1)
    assert judge([Question(HIGHER, [blind, good])])[0].verdict == "pass"
    assert Question(HIGHER, [blind, good]).best is good
    assert judge([Question(HIGHER, [blind, bad])])[0].verdict == "undecided"
    assert judge([Question(HIGHER, [blind, blind])])[0].verdict == UNTOLD


def test_references_are_what_was_recorded_behind_or_beside_a_metric() -> None:
    recorded = {
        "p/iou": 0.5, "p/iou/low": 0.4, "p/iou/high": 0.6, "p/iou/oracle": 0.9, "p/iou/shuffled": math.nan, "p/iou/pixels": 0.3,
        "z/s2t/accuracy": 0.4, "z/s2t/majority": 0.35, "z/s2t/chance": 0.2, "g/iou": 0.5, "g/mean-box/iou": 0.45,
    }  # fmt: skip
    assert Value.read("p/iou", recorded) == Value(0.5, 0.4, 0.6, {"oracle": 0.9})
    assert Value.read("z/s2t/accuracy", recorded).references == {"majority": 0.35, "chance": 0.2}
    assert Value.read("g/iou", recorded).references == {"mean-box": 0.45}
    assert fitting(recorded, "p/*") == ["p/iou", "p/iou/pixels"]


# --- what is measured ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "basis", "decides"),
    [
        ([Value(0.6)], "none", False),
        ([Value(0.6), Value(0.7)], "seeds", False),
        ([Value(0.6), Value(0.7), Value(0.65)], "seeds", True),
        ([Value(0.6), Value(0.6), Value(0.6)], "none", False),
        ([Value(0.6, 0.5, 0.7)], "samples", True),
        ([Value(0.6, 0.5, 0.7)] * 3, "samples", True),  # the same every time is no repetition
        ([Value(0.6, 0.5, 0.7), Value(0.7)], "seeds", False),
        ([Value(1.0, 1.0, 1.0)], "none", False),  # an interval without width says nothing
        ([Value(0.6, 0.61, 0.7)], "none", False),  # nor one that does not hold its value
    ],
)
def test_what_a_verdict_rests_on(values: list[Value], basis: str, decides: bool) -> None:
    found = measure(values)
    assert found is not None
    assert (found.basis, found.decides) == (basis, decides)


def test_more_seeds_on_the_same_samples_make_a_recorded_interval_no_narrower() -> None:
    one, three = measure([Value(0.6, 0.5, 0.7)]), measure([Value(0.6, 0.5, 0.7)] * 3)
    assert one is not None
    assert three is not None
    assert three.below == pytest.approx(one.below)


def test_what_is_not_finite_is_no_measurement() -> None:
    assert measure([]) is None
    assert measure([Value(0.5), Value(math.nan)]) is None


def test_ratios_are_paired_by_seed_and_carry_intervals_over() -> None:
    own, other = {"seed 0": Value(2.0), "seed 1": Value(6.0)}, {"seed 0": Value(1.0), "seed 1": Value(2.0)}
    assert [one.value for one in ratios(own, other).values()] == [2.0, 3.0]
    assert [one.value for one in ratios(own, {"external_baseline": Value(4.0)}).values()] == [0.5, 1.5]
    ranged = ratios({"seed 0": Value(2.0, 1.8, 2.2)}, {"seed 0": Value(1.0, 0.9, 1.1)})["seed 0"]
    draw = random.Random(0)
    drawn = sorted(draw.gauss(2, 0.2 / 1.96) / draw.gauss(1, 0.1 / 1.96) for _ in range(20000))
    assert ranged.low == pytest.approx(drawn[500], abs=0.04)  # to first order; the draws are off by less than 0.01
    assert ranged.high == pytest.approx(drawn[-500], abs=0.04)
    with pytest.raises(ValueError, match="no ratio to 0"):
        ratios(own, {"x": Value(0.0)})


# --- thresholds ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scale", "value", "reached", "score"),
    [
        (HIGHER, 0.70, "target", 1.0), (HIGHER, 0.65, "target", 1.0), (HIGHER, 0.625, "acceptable", 0.75),
        (HIGHER, 0.60, "acceptable", 0.5), (HIGHER, 0.575, "between", 0.25), (HIGHER, 0.55, "fail", 0.0),
        (HIGHER, 0.1, "fail", 0.0), (LOWER, 0.2, "target", 1.0), (LOWER, 0.325, "acceptable", 0.75),
        (LOWER, 0.40, "between", 0.25), (LOWER, 0.5, "fail", 0.0),
        (Scale.of({"at_least": 0.5}, higher=False), 0.5, "acceptable", 1.0),
        (Scale.of({"at_most": 2}, higher=True), 3, "fail", 0.0),
        (Scale.of({"target": 0.6}, higher=True), 0.5, "fail", 0.0), (Scale.of({"target": 0.6}, higher=False), 0.5, "target", 1.0),
        (Scale.of({"target": 0.6, "acceptable": 0.5}, higher=True), 0.45, "fail", 0.25),
        (Scale.of({"acceptable": 0.5, "fail": 0.4}, higher=True), 0.55, "acceptable", 0.75),
        (Scale.of({"target": 0.6, "fail": 0.4}, higher=True), 0.5, "between", 0.5),
        (Scale.of({"at_least": 0.4, "at_most": 0.6}, higher=True), 0.5, "acceptable", 1.0),
    ],
)  # fmt: skip
def test_levels_and_scores(scale: Scale, value: float, reached: str, score: float) -> None:
    assert (scale.reached(value), scale.score(value)) == (reached, pytest.approx(score))


def test_a_band_is_passed_within_and_failed_on_either_side() -> None:
    band = Scale.of({"at_least": 0.4, "at_most": 0.6}, higher=True)
    asked = [
        Question(band, [seeds(*(centre + d for d in (-0.001, 0.0, 0.001, 0.0005)))]) for centre in (0.5, 0.3, 0.7, 0.6)
    ]
    assert [one.verdict for one in judge(asked)] == ["pass", "fail", "fail", "undecided"]


# --- outcomes -----------------------------------------------------------------------------------------------------

STATES: dict[tuple[str, str], bool | None] = {
    ("iou", "a"): True,
    ("iou", "b"): None,
    ("map", "a"): True,
    ("map", "b"): False,
}


@pytest.mark.parametrize(
    ("when", "states", "expected"),
    [
        ({"passes": "must"}, {}, [0]),
        ({"passes": "must", "at_least": 2}, {}, [None]),
        ({"passes": "iou", "at_least": 2}, {}, [0, None]),
        ({"passes": "iou", "for": "all"}, {("iou", "b"): True}, [0]),
        ({"passes": "iou", "at_least": 1, "at_most": 1}, {}, [0, None]),
        ({"passes": ["iou"], "fails": ["map"]}, {}, [0, None]),  # of the same candidate
        ({"fails": "must", "for": "none"}, {}, [None]),
        ({"gate": "iou", "above": 0.5, "for": "none"}, {}, [None]),
        ([{"passes": "iou"}, {"passes": "map", "for": "all"}], {}, [None]),
        ({"passes": "must"}, {("iou", "a"): None}, [0, None]),
    ],
)  # fmt: skip
def test_conditions_hold_fail_or_turn_on_what_is_not_known(
    when: Any, states: Mapping[Any, Any], expected: list[int | None]
) -> None:
    known = {**STATES, **states}
    facts = Facts(
        ["a", "b"], {"iou": "must", "map": "must"}, lambda g, c: known[g, c], lambda g, c, side, edge: known[g, c]
    )
    assert possible_outcomes([{"when": when, "recommend": "x"}], facts) == expected


def test_an_earlier_outcome_that_may_hold_stays_possible() -> None:
    facts = Facts(["a", "b"], {"iou": "must"}, lambda g, c: STATES[g, c], lambda g, c, side, edge: None)
    outcomes = [{"when": {"passes": "iou", "at_least": 2}}, {"when": {"passes": "iou"}}, {}]
    assert possible_outcomes(outcomes, facts) == [0, 1]


# --- ranking and confidence ---------------------------------------------------------------------------------------

CRITERIA = [Criterion("iou", "must", 3.0, HIGHER), Criterion("lpips", "should", 1.0, LOWER),
            Criterion("ease", "tie-break", 1.0, manual_scores={"a": 0.2, "b": 0.9, "c": 0.5})]  # fmt: skip


def test_who_meets_every_must_stands_first_then_scores_then_tie_breaks() -> None:
    values = {("iou", "a"): 0.60, ("iou", "b"): 0.601, ("iou", "c"): 0.59, ("lpips", "a"): 0.35, ("lpips", "b"): 0.352,
              ("lpips", "c"): 0.1}  # fmt: skip
    ranked = rank(CRITERIA, ["a", "b", "c"], values, 0.02)
    assert [(one.candidate, one.meets) for one in ranked] == [("b", True), ("a", True), ("c", False)]
    assert ranked[2].score == pytest.approx((3 * 0.4 + 1 * 1.0) / 4)
    assert rank(CRITERIA, ["a", "b", "c"], {**values, ("lpips", "a"): 0.3}, 0.02)[0].candidate == "a"
    missing = rank(CRITERIA, ["a", "b", "c"], {**values, ("iou", "a"): None}, 0.02)
    assert [(one.candidate, one.meets) for one in missing] == [("b", True), ("a", None), ("c", False)]
    assert missing[1].most == pytest.approx(missing[1].score + 0.75)


@pytest.mark.parametrize(("above", "confidence"), [(2.5, "high"), (1.0, "medium"), (0.2, "low")])
def test_confidence_is_the_share_of_draws_that_come_to_the_same(above: float, confidence: str) -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is the oracle")
    outcomes = [{"when": {"passes": "must"}, "recommend": "continue with {best}"}, {"recommend": "stop"}]
    ballot = Ballot(CRITERIA[:1], ["a"], outcomes, 0.02)
    found = Measured(1, 0.6 + above * 0.01, 0.01, 0.01, basis="samples", decides=True)
    advice = advise(ballot, {("iou", "a"): found}, [0])
    assert (advice.text, advice.confidence) == ("continue with a", confidence)
    assert advice.share == pytest.approx(stats.norm.cdf(above), abs=0.035)  # three errors of a share of 2,000
    assert sum(advice.shares.values()) == pytest.approx(1)
    assert advise(ballot, {("iou", "a"): found}, [0]) == advice


def test_few_seeds_give_less_confidence_than_their_spread_alone_would() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is the oracle")
    ballot = Ballot(CRITERIA[:1], ["a"], [{"when": {"passes": "must"}, "recommend": "go"}, {"recommend": "stop"}], 0.02)
    found = seeds(0.60, 0.62, 0.625)
    advice = advise(ballot, {("iou", "a"): found}, [0, 1])
    assert advice.share == pytest.approx(stats.t.cdf((found.mean - 0.6) / found.below, 2), abs=0.035)
