"""Failures: what is right, why the rest is wrong, what people say of it, and two runs side by side."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest

from trialbook.analysis.failures.compare import compare_answers, mcnemar
from trialbook.analysis.failures.corrections import parse_tags
from trialbook.analysis.failures.judge import is_right, judge
from trialbook.analysis.failures.taxonomy import TAGS, number_of, tag_of
from trialbook.contracts.predictions import Prediction
from trialbook.errors import TrialbookError

stats = pytest.importorskip("scipy.stats")


def said(text: str, *answers: str, question: str = "What is it?", **more: Any) -> Prediction:
    """A prediction; without accepted answers the question has none."""
    facts = {"id": "q", "answerable": bool(answers), "abstained": text == "unanswerable", "confidence": 0.5, **more}
    return Prediction(question=question, prediction=text, answers=answers, **facts)


# --- tags ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tag", "prediction"),
    [
        ("empty", said("", "12")),
        ("empty", said("  ")),
        ("should-have-abstained", said("12")),
        ("abstained-wrongly", said("unanswerable", "12")),
        ("cut-off", said("the total of all", "the total", stopped=False)),
        ("format", said("$12.50", "12.50 USD")),
        ("format", said("1,234 kg", "1234.00")),
        ("reading", said("3.5", "35")),
        ("reading", said("1/2", "12")),
        ("other", said("-5", "5")),
        ("other", said("one hundred", "1")),
        ("other", said("twenty one", "1")),
        ("other", said("one half", "1")),
        ("format", said("twenty-one", "21")),
        ("format", said("5 m", "5")),
        ("reading", said("the sum is 3.5", "35")),
        ("format", said("three", "3")),
        ("format", said("1.5k", "1500")),
        ("format", said("the answer is Red Lion", "Red Lion")),
        ("format", said("cafe", "café")),
        ("counting", said("4", "3", question="How many rows are there?")),
        ("counting", said("five", "3", kind="count")),
        ("incomplete", said("Lion", "Red Lion Inn")),
        ("reading", said("Londom", "London")),
        ("reading", said("1989", "1999")),
        ("reading", said("12.60", "12.50")),
        ("other", said("Paris", "London")),
        ("reading", said("5 kg", "5 g", question="How heavy?")),
        ("other", said("not red", "red")),
        ("other", said("no", "yes")),
        ("other", said("3", "4")),
    ],
)
def test_a_wrong_answer_gets_the_first_tag_that_fits(tag: str, prediction: Prediction) -> None:
    assert is_right(prediction) is False
    assert tag_of(prediction) == tag


def test_an_answer_to_another_question_about_the_same_images_is_a_distractor() -> None:
    asked = [
        said("42", "17", id="a", images=("one.png",), question="Total?"),
        said("42", "42", id="b", images=("one.png",), question="Tax?"),
        said("42", "17", id="c", images=("two.png",), question="Total?"),
        said("yes", "no", id="d", images=("one.png",)),
        said("yes", "yes", id="e", images=("one.png",)),
        said("Oslo", "Rome", id="f", images=("one.png",)),
    ]
    found = judge(asked, texts={"f": ["Oslo", "Rome"], "c": ["42"]})
    tags = {one.prediction.id: one.tag for one in found.answers}
    assert tags == {"a": "distractor", "b": "", "c": "layout", "d": "other", "e": "", "f": "layout"}


def test_every_text_whatever_it_is_gets_a_tag() -> None:
    rng = random.Random(0)
    letters = "0123456789.,-+−$% abcé\n\t<>\"'=¼①ⅳ\u0000"
    for _ in range(1500):
        text, answer = ("".join(rng.choice(letters) for _ in range(rng.randrange(8))) for _ in "ab")
        prediction = said(text, *([answer] if answer.strip() else []))
        assert tag_of(prediction, [answer], [answer]) in TAGS


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1,234.50", 1234.5), ("1.234,50", 1234.5), ("1234.5", 1234.5), ("1,234", 1234), ("1.234.567", 1234567), ("0,5", 0.5),
        ("-3 °C", -3), ("2 million", 2e6), ("12%", 12), ("eleven", 11), (".5", 0.5),
        ("12,34,567", 1234567), ("1e5", 1e5), ("1/2", 0.5), ("1½", 1.5), ("1 234", 1234), ("one hundred", 100),
        ("twenty one", 21),
        ("two thousand three hundred and five", 2305), ("minus three point one", -3.1), ("one two", None), ("one half", None),
        ("nineteen eighty four", None), ("1,2,3", None), ("3:45", None), ("1.5k", 1500), ("5 m", 5), ("9" * 5000, None),
        ("no number", None), ("3 of 4", None), ("0.125", 0.125),
    ],
)  # fmt: skip
def test_numbers_are_read_as_they_are_written_here_and_there(text: str, number: float | None) -> None:
    assert number_of(text) == number


@pytest.mark.parametrize(
    ("text", "answer", "right"),
    [
        ("3.5", "35", False), ("-5", "5", False), ("−5", "-5", True), ("1/2", "12", False), ("1/2", "0.5", True), 
        ("½", ".5", True),
        (".5", "5", False), ("1,234", "1234.00", True), ("12,34,567", "1234567", True), ("1e5", "100000", True), 
        ("1e5", "15", False),
        ("1\u202f234", "1234", True), ("3:45", "345", False), ("10^5", "105", False), ("<5", "5", False), ("5-3", "53", False),
        ("1,2,3", "123", False), ("007", "7", False), ("-$5", "-5", True), ("it is -5 °C", "it is 5 °C", False), 
        ("v1.2", "v12", False),
        ("12345678901234567890", "12345678901234567891", False), ("cafe\u0301", "caf\u00e9", True), ("don’t", "don't", True),
        ("“the lion”", "Lion", True), ("a\u00a0b\u200b", "a b", True), ("x²", "x2", False), ("１２", "12", True),
    ],
)  # fmt: skip
def test_numbers_are_judged_by_value_and_letters_in_any_unicode_form(text: str, answer: str, right: bool) -> None:
    assert is_right(said(text, answer)) is right


def test_risk_and_calibration_rest_on_the_value_of_numbers() -> None:
    found = judge([said("3.5", "35", id="a", confidence=0.9), said("7", "7", id="b", confidence=0.9)])
    assert found.risks()[-1].risk == 0.5
    assert found.calibration_error() == pytest.approx(0.4)


# --- what it comes to -------------------------------------------------------------------------------------------------


def made_up(count: int, seed: int = 0, skill: float = 0.6) -> list[Prediction]:
    """Answers of which about ``skill`` are right, the more so the more confident; a quarter has no answer."""
    rng = random.Random(seed)
    found = []
    for number in range(count):
        confidence = rng.random()
        right = rng.random() < skill * (0.5 + confidence)
        answers = (f"word {number}",) if number % 4 else ()
        truth = answers[0] if answers else "unanswerable"
        text = truth if right else rng.choice(["unanswerable" if answers else "red", "green", ""])
        found.append(
            said(
                text,
                *answers,
                id=f"q{number}",
                confidence=confidence,
                kind=("value", "count")[number % 2],
                source="made up",
            )
        )
    return found


def test_risk_and_calibration_are_what_a_count_of_each_threshold_gives() -> None:
    asked = made_up(400)
    found = judge(asked)
    rows = found.risks()
    assert len(rows) > 3
    for row in rows:
        kept = [one for one in asked if not one.abstained and (one.confidence or 0) >= row.threshold]
        assert row.kept == len(kept)
        assert row.coverage == len(kept) / 400
        assert row.risk == pytest.approx(sum(not is_right(one) for one in kept) / len(kept), abs=1e-12)
    bins = found.calibration()
    assert sum(one.count for one in bins) == 400
    total = 0.0
    for low in range(10):
        own = [one for one in asked if low <= 10 * (one.confidence or 0) < low + 1]
        mean = sum(one.confidence or 0 for one in own) / len(own)
        accuracy = sum(bool(is_right(one)) for one in own) / len(own)
        assert (bins[low].confidence, bins[low].accuracy) == pytest.approx((mean, accuracy), abs=1e-12)
        total += len(own) / 400 * abs(mean - accuracy)
    assert found.calibration_error() == pytest.approx(total, abs=1e-12)


def test_what_has_no_accepted_answer_or_no_confidence_is_left_out_of_the_counts() -> None:
    free = said("a dog on a beach", answerable=True)
    found = judge([free, said("x", "y", confidence=None), said("z", "z", confidence=math.nan)])
    assert (found.judged, len(found.failures)) == (2, 1)
    assert found.answers[0].right is None
    assert found.risks() == []
    assert found.calibration() == []
    assert found.calibration_error() is None
    assert judge([]).tags() == {}


def test_the_last_word_is_by_hand() -> None:
    asked = [said("x", "y", id="a"), said("1.5", "15", id="b"), said("free text", id="c", answerable=True)]
    assert [one.right for one in judge(asked).answers] == [False, False, None]
    found = judge(asked, {"a": "acceptable", "b": "reading", "c": "other"})
    assert [one.right for one in found.answers] == [True, False, False]
    assert [one.tag for one in found.failures] == ["reading", "other"]
    assert found.answers[0].rule == "other"


# --- two runs ---------------------------------------------------------------------------------------------------------


def test_mcnemars_p_is_that_of_the_binomial_test() -> None:
    for better, worse in [(0, 0), (1, 0), (5, 5), (3, 12), (40, 61), (0, 30), (900, 1000)]:
        wanted = stats.binomtest(better, better + worse).pvalue if better + worse else 1.0
        assert mcnemar(better, worse) == pytest.approx(wanted, rel=1e-9)  # both are exact but for rounding


def test_two_runs_are_laid_side_by_side_where_they_were_asked_the_same() -> None:
    own, other = made_up(200, 1), made_up(200, 2)
    other[0] = replace(other[0], question="Another one?")
    other[1] = replace(other[1], id="elsewhere")
    found = compare_answers(judge(own), judge(other))
    pairs = [(bool(is_right(a)), bool(is_right(b))) for a, b in zip(own[2:], other[2:], strict=True)]
    assert len(found.better) == pairs.count((True, False))
    assert len(found.worse) == pairs.count((False, True))
    assert (len(found.both_wrong), found.both_right) == (pairs.count((False, False)), pairs.count((True, True)))
    assert found.unmatched == 4
    turned = compare_answers(judge(other), judge(own))
    assert [one.prediction.id for one, _ in turned.better] == [one.prediction.id for one, _ in found.worse]
    assert turned.p == found.p
    with pytest.raises(TrialbookError, match="no question in common"):
        compare_answers(judge(own), judge([replace(one, id=f"x{one.id}") for one in other]))


# --- tags by hand -----------------------------------------------------------------------------------------------------


def test_tags_on_the_command_line() -> None:
    assert parse_tags(["a=b=reading", "q1= other", "q2="]) == {"a=b": "reading", "q1": "other", "q2": ""}
    for text in ("reading", "=reading"):
        with pytest.raises(TrialbookError, match="must be ID=TAG"):
            parse_tags([text])
