"""Why an answer is wrong: one tag for every failure, found by rule; people may put another in its place."""

from __future__ import annotations

import re
from collections.abc import Sequence

from trialbook.failures.near import almost, number_of, part_of, same_but_for_form
from trialbook.predictions import Prediction
from trialbook.scoring import normalize

#: Tag to what it means. The first one that fits is taken.
TAGS = {
    "empty": "nothing was said",
    "should-have-abstained": "an answer to a question that the images do not answer",
    "abstained-wrongly": "no answer, though the images hold it",
    "cut-off": "the model did not end its answer",
    "format": "right but for its form: signs, units, how a number is written, words around it",
    "counting": "a number is asked for and another one is given",
    "distractor": "the right answer to another question about the same images",
    "layout": "another text of the same document",
    "incomplete": "some words of an accepted answer, not all",
    "reading": "few letters or digits are other than in an accepted answer",
    "other": "none of these",
}
#: Tags that people alone give, and what they mean.
BY_HAND = {"acceptable": "right after all: the accepted answers are too narrow"}

#: Answers that another question has by chance as well.
_COMMON = {"yes", "no", "true", "false", "on", "off"}
_COUNTING = re.compile(r"\b(how many|number of|count)\b", re.IGNORECASE)


def tag_of(prediction: Prediction, elsewhere: Sequence[str] = (), texts: Sequence[str] = ()) -> str:
    """The tag of a wrong answer.

    Args:
        prediction: it.
        elsewhere: accepted answers to other questions about the same images.
        texts: what stands in the images, where that is known.
    """
    text, answers = prediction.prediction, prediction.answers
    if prediction.abstained:
        return "abstained-wrongly"
    if not text.strip():
        return "empty"
    if not prediction.answerable:
        return "should-have-abstained"
    if not prediction.stopped:
        return "cut-off"
    if same_but_for_form(text, answers):
        return "format"
    if _counts(prediction) and number_of(text) is not None and any(number_of(one) is not None for one in answers):
        return "counting"
    plain = normalize(text)
    if plain not in _COMMON and plain in set(map(normalize, elsewhere)):
        return "distractor"
    if plain not in _COMMON and plain in set(map(normalize, texts)):
        return "layout"
    if part_of(text, answers):
        return "incomplete"
    return "reading" if almost(text, answers) else "other"


def _counts(prediction: Prediction) -> bool:
    return "count" in re.split(r"[^a-z]+", prediction.kind.lower()) or bool(_COUNTING.search(prediction.question))
