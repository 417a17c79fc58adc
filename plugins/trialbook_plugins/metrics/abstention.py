"""Metric ``abstention``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from trialbook.contracts.predictions import Prediction
from trialbook.contracts.predictions import score as score_of
from trialbook_plugins.metrics._answers import chosen, mean
from trialbook_plugins.metrics._scorers import SCORERS, Score


class Abstention:
    """Abstention as a detector of unanswerable questions: how well a model knows what the images do not tell.

    Precision is the share of unanswerable questions among those it abstained on, recall the share of those it abstained on
    among the unanswerable, F1 their harmonic mean, balanced accuracy the mean of recall and the share of answerable
    questions that it did answer. The hallucination rate is the share of unanswerable questions that it answered: 1 −
    recall. Coverage, the share of all questions that it answered, belongs beside every one of them. ``answered_score`` is
    the mean score of the questions that it answered, where an answer to an unanswerable one scores 0; ``has_answer`` is
    that of all answerable questions, ``no_answer`` that of all unanswerable ones.

    Args:
        score: what an answer scores: ``exact``, ``normalized``, ``anls@paper``, ``anls@script``, ``vqa@official``,
            ``vqa@evalai``, ``relaxed`` or ``token-f1``, each as the metric of that name; ``judged`` as ``mlrun failures`` judges,
            numbers by their value.
        sources: sets whose questions count, by name; all if left out.

    Source: Rajpurkar et al. 2018 (SQuAD 2.0), whose script reports HasAns and NoAns; precision and recall with
    the unanswerable question as the positive class.
    """

    needs: ClassVar[tuple[str, ...]] = ("predictions",)
    produces: ClassVar[tuple[str, ...]] = (
        "precision", "recall", "f1", "balanced_accuracy", "hallucination_rate", "coverage", "answered_score", "has_answer",
        "no_answer",
    )  # fmt: skip
    lower_is_better: ClassVar[tuple[str, ...]] = ("hallucination_rate",)

    def __init__(self, *, score: Score = "normalized", sources: list[str] | None = None) -> None:
        self.scorer = SCORERS[score]
        self.sources = sources

    def compute(self, *, predictions: Sequence[Prediction]) -> dict[str, float]:
        """Metrics of a split; NaN where there is nothing to take a share of, such as unanswerable questions.

        The precision of never abstaining is 0, as the F1 that goes with it, where there was something to abstain on; so is the
        score of the answers where there are none.

        Raises:
            TrialbookError: a source has no question, or the score cannot be taken.
        """
        scored = [(one, score_of(one, self.scorer)) for one in chosen(predictions, self.sources)]
        asked = [one for one, _ in scored]
        abstained, unanswerable = [one for one in asked if one.abstained], [one for one in asked if not one.answerable]
        found, either = sum(one.abstained for one in unanswerable), len(abstained) + len(unanswerable)
        recall = mean(one.abstained for one in unanswerable)
        answering = mean(not one.abstained for one in asked if one.answerable)
        return {
            "precision": mean(not one.answerable for one in abstained) if abstained or not unanswerable else 0.0,
            "recall": recall,
            "f1": 2 * found / either if either else math.nan,
            "balanced_accuracy": (recall + answering) / 2,
            "hallucination_rate": mean(not one.abstained for one in unanswerable),
            "coverage": mean(not one.abstained for one in asked),
            "answered_score": mean(score for one, score in scored if not one.abstained)
            if len(abstained) < len(asked)
            else 0.0,
            "has_answer": mean(score for one, score in scored if one.answerable),
            "no_answer": mean(score for one, score in scored if not one.answerable),
        }
