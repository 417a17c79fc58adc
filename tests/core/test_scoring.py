from __future__ import annotations

import pytest

from trialbook.contracts.predictions import (
    UNANSWERABLE,
    Prediction,
    exact_match,
    is_abstention,
    normalize,
    normalized_match,
    score,
)
from trialbook.errors import TrialbookError


def asked(text: str, *answers: str, answerable: bool = True, abstained: bool = False) -> Prediction:
    return Prediction("q7", "What is the total?", text, answers, answerable, abstained)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The Red  Lion, Inn.", "red lion inn"),
        ("an apple a day", "apple day"),
        ("theatre", "theatre"),
        ("1.5", "15"),
        ("it's", "its"),
        ("“quoted”", "“quoted”"),  # only ASCII punctuation goes, as in the script
        ("A", "a"),
        ("The  A", "the a"),
        ("%", "%"),
        (" ", ""),
    ],
)
def test_normalizing(text: str, normal: str):
    assert normalize(text) == normal


def test_an_exact_match_differs_at_most_in_outer_white_space():
    assert exact_match("Red Lion", ["Inn", " Red Lion\n"]) == 1
    assert exact_match("red Lion", ["Red Lion"]) == 0
    assert exact_match("", ["Red Lion"]) == 0


@pytest.mark.parametrize(
    "text",
    ["I don’t know", "**unanswerable**", "“unanswerable”", "(unanswerable)", "Unanswerable…", "I do not know.", 
     "_I can’t answer_", "\u200bnot in\u00a0the image!"],
)  # fmt: skip
def test_abstentions_are_recognised_however_they_are_set(text: str):
    assert is_abstention(text)


@pytest.mark.parametrize("text", ["", "?", "unanswerable questions", "I know", "answerable"])
def test_other_texts_are_no_abstentions(text: str):
    assert not is_abstention(text)


def test_the_published_normalisation_stays_what_its_source_defines():
    assert normalized_match("3.5", ["35"]) == normalized_match("1/2", ["12"]) == 1
    assert normalized_match("cafe\u0301", ["caf\u00e9"]) == normalized_match("don’t", ["don't"]) == 0


def test_nothing_matches_only_nothing():
    """A script that drops articles and punctuation finds these equal."""
    assert normalized_match("", ["A", "%", "the"]) == 0
    assert normalized_match("$", ["%"]) == 0
    assert normalized_match("a", ["A"]) == 1


@pytest.mark.parametrize(
    ("prediction", "right"),
    [
        (asked("the Total!", "due", "total"), 1),
        (asked("sum", "total"), 0),
        (asked(UNANSWERABLE, "total", abstained=True), 0),
        (asked("total", "total", abstained=True), 0),
        (asked(UNANSWERABLE, answerable=False, abstained=True), 1),
        (asked("total", answerable=False), 0),
        (asked("total", "total", answerable=False), 0),
        (asked(UNANSWERABLE, "total", UNANSWERABLE, abstained=True), 1),
        (asked("total", "total", UNANSWERABLE), 1),
    ],
)
def test_abstaining_is_right_where_there_is_no_answer_and_only_there(prediction: Prediction, right: int):
    assert score(prediction) == right


def test_the_scorer_sees_the_text_and_all_answers():
    seen = []

    def half(text: str, answers: object) -> float:
        seen.append((text, answers))
        return 0.5

    assert score(asked("x", "y", "z"), half) == 0.5
    assert seen == [("x", ("y", "z"))]


def test_an_answerable_question_without_an_accepted_answer_is_named():
    with pytest.raises(TrialbookError, match="question 'q7' is answerable but has no accepted answer"):
        score(asked("x"))
