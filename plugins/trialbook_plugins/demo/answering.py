"""Asking the model, and deciding whether its answer is given: the model may abstain itself, and a threshold may abstain on."""

from __future__ import annotations

import bisect
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from trialbook import TrialbookError
from trialbook.contracts.predictions import Prediction, score

if TYPE_CHECKING:
    from trialbook import LoadedRun

#: Most characters of a question.
LONGEST_QUESTION = 500

#: What becomes of an answer: it is given, the model declined by itself, or the threshold held it back.
Outcome = Literal["answered", "abstained", "withheld"]


@dataclass(frozen=True)
class Reply:
    """The model's reply, and how long it took in seconds."""

    prediction: Prediction
    seconds: float


class CannotAnswer(TrialbookError):
    """No answer came; the message says why, to whoever asked."""


class Answerer:
    """Asks a loaded run, one question at a time.

    Args:
        loaded: its task must have ``answer``; see ``trialbook.contracts.SupportsAnswers``.
    Raises:
        TrialbookError: the task answers no questions.
    """

    def __init__(self, loaded: LoadedRun) -> None:
        if not callable(getattr(loaded.task, "answer", None)):
            name = loaded.config.get("task", {}).get("use", "?")
            raise TrialbookError(f"the task '{name}' of {loaded.run.path.name} answers no questions about pictures")
        self._loaded, self._busy = loaded, threading.Lock()

    def ask(self, images: Sequence[NDArray[np.uint8]], question: str) -> Reply:
        """Ask about images [3, H, W], as training's evaluation does: the likeliest answer, always the same.

        Raises:
            CannotAnswer: the question is empty or too long, or the model failed.
        """
        question = " ".join(question.split())
        if not question:
            raise CannotAnswer("type a question")
        if len(question) > LONGEST_QUESTION:
            raise CannotAnswer(f"the question has {len(question)} characters; at most {LONGEST_QUESTION} are taken")
        with self._busy:
            started = time.perf_counter()
            try:
                with self._loaded.computing():
                    prediction = self._loaded.task.answer(images, question)  # type: ignore[attr-defined]
            except TrialbookError as error:
                raise CannotAnswer(str(error)) from error
            except Exception as error:  # whatever it was, the server continues
                logging.getLogger(__name__).exception("the model failed at a question")
                raise CannotAnswer(_reason(error)) from error
            return Reply(prediction, time.perf_counter() - started)


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "there is not enough memory for this picture and question; try a smaller picture"
    first = (str(error).strip().splitlines() or [""])[0][:200]
    return f"the model failed ({type(error).__name__}{f': {first}' if first else ''}); the server's output says more"


def decide(prediction: Prediction, threshold: float) -> Outcome:
    """Decide what becomes of an answer. The model's own abstention comes first; nothing is withheld without a confidence."""
    if prediction.abstained:
        return "abstained"
    if prediction.confidence is not None and prediction.confidence < threshold:
        return "withheld"
    return "answered"


class Expectation:
    """The effect that a threshold would have had on the questions that the run was evaluated on.

    Args:
        predictions: of the evaluation; those without a confidence, or that nothing is known to be right for, are left out.
    """

    def __init__(self, predictions: Sequence[Prediction]) -> None:
        known = [one for one in predictions if one.confidence is not None and (one.answers or not one.answerable)]
        given = sorted((float(one.confidence or 0.0), score(one)) for one in known if not one.abstained)
        self.total, self.abstained = len(known), len(known) - len(given)
        self._confidences = [confidence for confidence, _ in given]
        self._right_from = np.cumsum([0.0, *(right for _, right in reversed(given))])[::-1]

    def at(self, threshold: float) -> tuple[int, float]:
        """Return how many answers would be given, and how many of them are right, as failures are judged."""
        first = bisect.bisect_left(self._confidences, threshold)
        return len(self._confidences) - first, float(self._right_from[first])

    def sentence(self, threshold: float) -> str:
        """The same in words; empty where nothing is known."""
        if not self.total:
            return ""
        given, right = self.at(threshold)
        said = f"Of {self.total} evaluation questions {given} ({given / self.total:.0%}) would be answered"
        said += f", {right / given:.0%} of them rightly" if given else ""
        return f"{said}; the model itself abstains from {self.abstained}."
