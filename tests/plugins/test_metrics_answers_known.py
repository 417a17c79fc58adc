"""Known values of the metrics of answers, and which questions count."""

from __future__ import annotations

import math
from typing import Any

import pytest

from trialbook.contracts.predictions import UNANSWERABLE, Prediction
from trialbook.errors import TrialbookError
from trialbook.plugins.signature import load_target
from trialbook_plugins.metrics.anls import ANLS, anls_paper, anls_script, edit_distance
from trialbook_plugins.metrics.exact_match import ExactMatch
from trialbook_plugins.metrics.relaxed_accuracy import RelaxedAccuracy, relaxed_match
from trialbook_plugins.metrics.token_f1 import TokenF1, token_f1
from trialbook_plugins.metrics.vqa_accuracy import VQAAccuracy, vqa_evalai, vqa_official

CORRECTNESS = [ExactMatch, ANLS, VQAAccuracy, RelaxedAccuracy, TokenF1]


def answered(text: str, *answers: str, source: str = "receipts") -> Prediction:
    return Prediction(f"{text}?", "What?", text, answers * (10 if len(answers) == 1 else 1), source=source)


def abstained(*answers: str, source: str = "receipts") -> Prediction:
    return Prediction("a?", "What?", UNANSWERABLE, answers, bool(answers), abstained=True, source=source)


def invented(text: str, source: str = "receipts") -> Prediction:
    return Prediction("i?", "What?", text, (), answerable=False, source=source)


@pytest.mark.parametrize(
    ("one", "other", "edits"),
    [
        ("", "", 0), ("abc", "", 3), ("", "ab", 2), ("kitten", "sitting", 3), ("abc", "abc", 0), ("ab", "ba", 2),
        ("x" * 200, "y" * 70, 200),
    ],
)  # fmt: skip
def test_edit_distance(one: str, other: str, edits: int):
    assert edit_distance(one, other) == edit_distance(other, one) == edits


@pytest.mark.parametrize(
    ("text", "answer", "paper", "script"),
    [
        ("ab", "ax", 0, 0.5),  # NL = 0.5
        ("abc", "abx", 2 / 3, 2 / 3),
        ("TOTAL  due", "total due", 1, 1),
        ("tota", "  total  ", 0.8, 8 / 9),  # over 9 raw characters
        ("total", "sum", 0, 0),
        ("", "", 1, 1),
    ],
)
def test_the_two_definitions_of_anls(text: str, answer: str, paper: float, script: float):
    assert anls_paper(text, [answer]) == pytest.approx(paper)
    assert anls_script(text, [answer]) == pytest.approx(script)
    assert anls_paper(text, ["far from all of it", answer]) == pytest.approx(paper)


def test_anls_of_a_split_gives_both_definitions_under_their_names():
    got = ANLS().compute(predictions=[answered("ab", "ax"), answered("lion", "Lion")])
    assert got == {"paper": 0.5, "script": 0.75}


@pytest.mark.parametrize("matches", range(11))
def test_vqa_accuracy_by_number_of_annotators_who_agree(matches: int):
    answers = ["yes"] * matches + ["no"] * (10 - matches)
    expected = [0, 0.3, 0.6, 0.9, 1][min(matches, 4)]
    assert vqa_official("yes", answers) == pytest.approx(expected)
    assert vqa_evalai("yes", answers) == pytest.approx(expected)


def test_the_official_vqa_script_takes_unanimous_answers_letter_for_letter():
    assert vqa_official("The dog.", ["dog"] * 10) == 0
    assert vqa_evalai("The dog.", ["dog"] * 10) == 1
    assert vqa_official("The dog.", ["dog"] * 9 + ["cat"]) == 1


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("two", "2"), ("None", "0"), ("dont", "don't"), ("couldnt've", "couldn't've"), ("a dog", "dog"), ("1,000", "1000"),
        ("left-hand", "left hand"), ("yes; no", "yes no"), ("u.s.", "us"), ("3.5", "3.5"),
    ],
)  # fmt: skip
def test_what_vqa_accuracy_brings_to_a_common_form(text: str, same: str):
    answers = [same] * 9 + ["something else"]
    assert vqa_official(text, answers) == vqa_evalai(text, answers) == 1


def test_only_evalai_takes_the_possessive_apart():
    answers = ["dog 's"] * 9 + ["cat"]
    assert vqa_evalai("dog's", answers) == 1
    assert vqa_official("dog's", answers) == 0


def test_vqa_accuracy_refuses_questions_with_too_few_annotators():
    few = Prediction("q", "What?", "dog", ("dog", "cat", "cow"))
    with pytest.raises(TrialbookError, match="at least 4 annotators, usually ten, but a question has 3"):
        VQAAccuracy().compute(predictions=[few])


@pytest.mark.parametrize(
    ("text", "answer", "right"),
    [
        ("105", "100", 1), ("95", "100", 1), ("105.1", "100", 0), ("-100", "100", 0), ("5%", "0.05", 1), ("5%", "5", 0),
        ("5.2%", "5%", 1), ("1,000", "1000", 0), ("1,000", "1,000", 1), ("0", "0", 1), ("0.0", "0", 0), ("0.001", "0", 0),
        ("Blue", "blue", 1), ("blu", "blue", 0), ("2019", "2020", 1), ("nan", "NaN", 1), ("5", "inf", 0), ("inf", "5", 0),
    ],
)  # fmt: skip
def test_relaxed_accuracy(text: str, answer: str, right: int):
    assert relaxed_match(text, [answer]) == right
    assert relaxed_match(text, ["something else", answer]) == right


def test_the_tolerance_of_relaxed_accuracy_is_an_option():
    asked = [answered("110", "100")]
    assert RelaxedAccuracy().compute(predictions=asked) == {"accuracy": 0}
    assert RelaxedAccuracy(tolerance=0.2).compute(predictions=asked) == {"accuracy": 1}
    with pytest.raises(ValueError, match="from 0 to 1"):
        RelaxedAccuracy(tolerance=5)


def test_token_f1():
    assert token_f1("the red lion", ["Red Lion Inn"]) == pytest.approx(0.8)
    assert token_f1("red red", ["red"]) == pytest.approx(2 / 3)
    assert token_f1("inn", ["lion", "the Inn!"]) == 1
    assert token_f1("", ["inn"]) == token_f1("A", ["%"]) == 0
    assert token_f1("A", ["a"]) == 1


@pytest.mark.parametrize("metric", CORRECTNESS)
def test_abstaining_is_right_only_where_there_is_no_answer(metric: Any):
    asked = [abstained(), invented("42"), abstained(*["answerable"] * 10)]  # 'unanswerable' is near to 'answerable'
    assert set(metric().compute(predictions=asked).values()) == {1 / 3}
    assert set(metric(answerable_only=True).compute(predictions=asked).values()) == {0.0}


@pytest.mark.parametrize("metric", CORRECTNESS)
def test_sources_choose_the_questions_that_count(metric: Any):
    asked = [answered("lion", "lion", source="inns"), answered("x", "lion", source="forms")]
    assert set(metric(sources=["inns"]).compute(predictions=asked).values()) == {1.0}
    assert set(metric(sources=["forms"]).compute(predictions=asked).values()) == {0.0}
    assert set(metric().compute(predictions=asked).values()) == {0.5}


@pytest.mark.parametrize("target", [*CORRECTNESS, "abstention:Abstention", "risk_coverage:RiskCoverage"])
def test_a_misspelt_source_is_named_with_what_was_meant(target: Any):
    metric = load_target(f"trialbook_plugins.metrics.{target}") if isinstance(target, str) else target
    with pytest.raises(TrialbookError, match=r"source 'docvqq'.*did you mean 'docvqa'\?"):
        metric(sources=["docvqq"]).compute(predictions=[answered("lion", "lion", source="docvqa")])


@pytest.mark.parametrize("metric", CORRECTNESS)
def test_no_question_that_counts_gives_nan(metric: Any):
    assert all(map(math.isnan, metric().compute(predictions=[]).values()))
    assert all(map(math.isnan, metric(answerable_only=True).compute(predictions=[abstained()]).values()))
