from __future__ import annotations

import math
import random

import pytest
from sklearn.metrics import balanced_accuracy_score, precision_recall_fscore_support

from trialbook.contracts.predictions import UNANSWERABLE, Prediction
from trialbook_plugins.metrics.abstention import Abstention


def asked(text: str, *answers: str) -> Prediction:
    return Prediction("q", "What?", text, answers, bool(answers), abstained=text == UNANSWERABLE)


def of(predictions: list[Prediction], **options: str) -> dict[str, float]:
    return Abstention(**options).compute(predictions=predictions)


def test_known_values():
    """Of six answerable: three right, one wrong, two abstained; of four unanswerable: three abstained, one invented."""
    asked_all = [
        *[asked("lion", "lion")] * 3, asked("tiger", "lion"), *[asked(UNANSWERABLE, "lion")] * 2,
        *[asked(UNANSWERABLE)] * 3, asked("42"),
    ]  # fmt: skip
    assert of(asked_all) == pytest.approx({
        "precision": 3 / 5, "recall": 3 / 4, "f1": 2 / 3, "balanced_accuracy": (3 / 4 + 4 / 6) / 2, "hallucination_rate": 1 / 4,
        "coverage": 5 / 10, "answered_score": 3 / 5, "has_answer": 3 / 6, "no_answer": 3 / 4,
    })  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_detection_agrees_with_scikit_learn(seed: int):
    draw = random.Random(seed)
    some = [asked(draw.choice([UNANSWERABLE, "lion"]), *(["lion"] if draw.random() < 0.6 else [])) for _ in range(50)]
    truth, said = [not one.answerable for one in some], [one.abstained for one in some]
    precision, recall, f1, _ = precision_recall_fscore_support(truth, said, average="binary")
    got = of(some)
    assert [got["precision"], got["recall"], got["f1"]] == pytest.approx([precision, recall, f1])
    assert got["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, said))
    assert got["recall"] + got["hallucination_rate"] == pytest.approx(1)
    assert got["no_answer"] == got["recall"]


def test_the_score_is_an_option():
    some = [asked("red lion", "red lion inn"), asked(UNANSWERABLE)]
    assert of(some)["has_answer"] == 0
    assert of(some, score="token-f1")["has_answer"] == pytest.approx(0.8)
    assert of(some, score="anls@script")["answered_score"] == pytest.approx(8 / 12)


def test_never_abstaining_has_the_precision_0():
    got = of([asked("lion", "lion"), asked("42")])
    assert (got["precision"], got["recall"], got["f1"], got["hallucination_rate"], got["coverage"]) == (0, 0, 0, 1, 1)


def test_always_abstaining_has_the_score_0_of_what_it_answered():
    got = of([asked(UNANSWERABLE, "lion"), asked(UNANSWERABLE)])
    assert got["answered_score"] == 0
    assert (got["precision"], got["recall"], got["balanced_accuracy"], got["coverage"]) == (0.5, 1, 0.5, 0)


def test_data_without_unanswerable_questions_says_nothing_of_finding_them():
    got = of([asked("lion", "lion"), asked("lion", "lion")])
    assert {name for name, value in got.items() if math.isnan(value)} == {
        "precision", "recall", "f1", "balanced_accuracy", "hallucination_rate", "no_answer",
    }  # fmt: skip
    assert got["has_answer"] == got["answered_score"] == 1
