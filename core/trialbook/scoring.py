"""How right a prediction is: what counts where there is nothing to answer, and the plainest ways to match a text."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence

from trialbook.errors import TrialbookError
from trialbook.predictions import Prediction, is_abstention

#: The text that was given and every accepted answer to how right it is, from 0 to 1.
Scorer = Callable[[str, Sequence[str]], float]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """Lower case, without ASCII punctuation, the articles a, an and the, and superfluous white space.

    ``1.5`` becomes ``15`` and ``-5`` becomes ``5``: that is what the definition does.

    Source: ``normalize_answer`` of the SQuAD evaluation script. Deviation: a text of which nothing would be left (``A``,
    ``%``) stays what it is but for case and white space; the script makes all such texts equal, and equal to no answer at all.
    """
    whole = " ".join(text.lower().split())
    return " ".join(_ARTICLES.sub(" ", whole.translate(_NO_PUNCTUATION)).split()) or whole


def exact_match(text: str, answers: Sequence[str]) -> float:
    """1 if the text is an accepted answer, letter for letter but for outer white space."""
    return float(text.strip() in {answer.strip() for answer in answers})


def normalized_match(text: str, answers: Sequence[str]) -> float:
    """1 if the text is an accepted answer after ``normalize``."""
    return float(normalize(text) in map(normalize, answers))


def score(prediction: Prediction, scorer: Scorer = normalized_match) -> float:
    """How right a prediction is, from 0 to 1.

    Where the images do not hold the answer, abstaining is right (1) and anything else wrong (0). Where they hold it,
    abstaining is wrong (0), unless an accepted answer abstains, too (annotators who found the question unanswerable);
    anything else is what ``scorer`` says.

    Raises:
        TrialbookError: the question is answerable, but no answer to it is accepted.
    """
    if not prediction.answerable:
        return float(prediction.abstained)
    if not prediction.answers:
        raise TrialbookError(
            f"question '{prediction.id}' is answerable but has no accepted answer to compare with: give its 'answers', or "
            "score other sources only"
        )
    if prediction.abstained and not any(is_abstention(answer) for answer in prediction.answers):
        return 0.0
    return scorer(prediction.prediction, prediction.answers)
