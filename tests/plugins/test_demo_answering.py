"""Asking and abstaining in the demo: what becomes of an answer, what thresholds would have done, which examples are shown."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from trialbook.contracts.predictions import Prediction, normalized_match
from trialbook.errors import TrialbookError
from trialbook_plugins.demo.answering import LONGEST_QUESTION, Answerer, CannotAnswer, Expectation, decide
from trialbook_plugins.demo.examples import make_examples

HERE = Path(__file__).parent


def said(
    confidence: float | None, *, abstained: bool = False, answer: str = "12", right: str = "12", answerable: bool = True
) -> Prediction:
    return Prediction("q", "?", answer, (right,) if answerable else (), answerable, abstained, confidence)


# --- the decision -------------------------------------------------------------------------------------------------


def test_an_answer_is_held_back_below_the_threshold_and_given_at_it() -> None:
    assert decide(said(0.6), 0.5) == "answered"
    assert decide(said(0.6), 0.6) == "answered"
    assert decide(said(0.6), 0.61) == "withheld"


def test_the_models_own_abstention_is_told_apart_from_the_thresholds() -> None:
    assert decide(said(0.99, abstained=True), 0.0) == "abstained"
    assert decide(said(0.1, abstained=True), 0.9) == "abstained"


def test_without_a_confidence_nothing_is_held_back() -> None:
    assert decide(said(None), 1.0) == "answered"


def test_what_a_threshold_would_have_done_is_counted_as_by_hand() -> None:
    random = np.random.default_rng(0)
    predictions = [
        said(
            round(float(random.random()), 2), abstained=bool(random.random() < 0.2),
            answer=str(random.integers(0, 3)), right="1", answerable=bool(random.random() < 0.8),
        )
        for _ in range(200)
    ]  # fmt: skip
    expectation = Expectation(predictions)
    for threshold in (0.0, 0.25, 0.5, 0.5000001, 0.99, 1.0):
        given = [one for one in predictions if not one.abstained and (one.confidence or 0) >= threshold]
        right = sum(one.answerable and normalized_match(one.prediction, one.answers) for one in given)
        assert expectation.at(threshold) == (len(given), right)
    assert expectation.sentence(0.0).startswith("Of 200 evaluation questions ")


def test_nothing_is_said_of_thresholds_without_an_evaluation() -> None:
    assert Expectation([]).sentence(0.5) == ""
    assert Expectation([said(None)]).sentence(0.5) == ""


# --- asking -------------------------------------------------------------------------------------------------------


def loaded(answer: Any) -> Any:
    """A run, as far as an answerer looks at it."""

    @contextmanager
    def computing() -> Iterator[None]:
        yield

    return SimpleNamespace(
        task=SimpleNamespace(answer=answer), computing=computing, config={"task": {"use": "x"}},
        run=SimpleNamespace(path=Path("run")),
    )  # fmt: skip


def test_a_question_is_asked_without_superfluous_space_and_timed() -> None:
    heard: list[Any] = []

    def answer(images: Any, question: str) -> Prediction:
        heard.append((images, question))
        return said(0.5)

    picture = np.zeros((3, 2, 2), np.uint8)
    reply = Answerer(loaded(answer)).ask([picture], "  What is\n the total? ")
    assert heard[0][1] == "What is the total?"
    assert heard[0][0][0] is picture
    assert reply.prediction == said(0.5)
    assert reply.seconds >= 0


@pytest.mark.parametrize(
    ("question", "why"),
    [("", "type a question"), (" \n ", "type a question"), ("x" * 501, "501 characters; at most 500")],
)
def test_an_empty_or_overlong_question_is_not_asked(question: str, why: str) -> None:
    assert LONGEST_QUESTION == 500
    with pytest.raises(CannotAnswer, match=why):
        Answerer(loaded(lambda *_: pytest.fail("asked"))).ask([], question)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (RuntimeError("shapes differ\nat line 2"), r"the model failed \(RuntimeError: shapes differ\); the server's output"),
        (ValueError(), r"the model failed \(ValueError\)"),
        (MemoryError(), "not enough memory"),
        (TrialbookError("the question is too long: 900 tokens"), "the question is too long: 900 tokens"),
    ],
)  # fmt: skip
def test_a_model_that_fails_gives_a_sentence_and_is_asked_again(fault: Exception, why: str) -> None:
    faults = [fault]

    def answer(*_: Any) -> Prediction:
        if faults:
            raise faults.pop()
        return said(0.5)

    answerer = Answerer(loaded(answer))
    with pytest.raises(CannotAnswer, match=why) as raised:
        answerer.ask([], "?")
    assert "line 2" not in str(raised.value)
    assert answerer.ask([], "?").prediction == said(0.5)


def test_one_question_is_computed_at_a_time() -> None:
    busy, most = [0], [0]

    def answer(*_: Any) -> Prediction:
        busy[0] += 1
        most[0] = max(most[0], busy[0])
        threading.Event().wait(0.01)
        busy[0] -= 1
        return said(0.5)

    answerer = Answerer(loaded(answer))
    threads = [threading.Thread(target=answerer.ask, args=([], "?")) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_a_run_whose_task_answers_nothing_is_refused() -> None:
    run = loaded(None)
    with pytest.raises(TrialbookError, match="the task 'x' of run answers no questions about pictures"):
        Answerer(run)


# --- examples -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sheets() -> Any:
    sys.path.insert(0, str(HERE / "demo_course"))
    try:
        return importlib.import_module("colour_sheets").ColourSheets()
    finally:
        sys.path.pop(0)


def run_of(data: Any, final: str = "test") -> Any:
    return SimpleNamespace(data=data, config={"evaluate": {"final": final}})


def test_examples_are_answerable_and_not_in_turn_each_with_a_picture_of_its_own(sheets: Any, tmp_path: Path) -> None:
    examples, remark = make_examples(run_of(sheets), [], 6, tmp_path)
    assert remark == ""
    assert [one.conversation.answerable for one in examples] == [True, False] * 3
    assert all(one.conversation.id.startswith("test-") for one in examples)
    assert len({one.conversation.images for one in examples}) == 6
    from PIL import Image

    split = sheets.splits()["test"]
    for one in examples:
        group = int(one.conversation.images[0].removesuffix(".png"))
        with Image.open(one.picture) as image:
            np.testing.assert_array_equal(np.asarray(image), split.pixels[group].transpose(1, 2, 0))


def test_more_examples_than_pictures_show_pictures_again_but_no_question_twice(sheets: Any, tmp_path: Path) -> None:
    examples, _ = make_examples(run_of(sheets, "val"), [], 64, tmp_path)
    ids = [one.conversation.id for one in examples]
    assert len(ids) == len(set(ids)) == 12


def test_an_example_knows_what_the_run_answered_and_unasked_questions_are_left_out(sheets: Any, tmp_path: Path) -> None:
    recorded = [
        Prediction("test-4", "?", "blue", ("blue",), confidence=0.7),
        Prediction("test-7", "?", "-", (), False, True, 0.6),
    ]
    examples, _ = make_examples(run_of(sheets), recorded, 8, tmp_path)
    assert [(one.conversation.id, one.recorded) for one in examples] == [
        ("test-4", recorded[0]),
        ("test-7", recorded[1]),
    ]


def test_data_that_cannot_be_read_leave_the_demo_without_examples_and_say_why(tmp_path: Path) -> None:
    class Gone:
        modalities = {"image": "image", "conversation": "conversation"}

        def splits(self) -> Any:
            raise TrialbookError("the folder 'receipts' is gone")

    examples, remark = make_examples(run_of(Gone()), [], 4, tmp_path)
    assert examples == []
    assert "the folder 'receipts' is gone" in remark
