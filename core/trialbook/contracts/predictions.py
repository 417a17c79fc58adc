"""Answers of a model beside the truth, as metrics of answers and galleries of failures read them."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from trialbook.contracts.answers import judged_match, plain_letters
from trialbook.errors import TrialbookError

#: What is said in place of an answer that the images do not hold.
UNANSWERABLE = "unanswerable"
#: Texts that decline to answer, whatever their case, Unicode form, outer punctuation and emphasis.
ABSTENTIONS = (
    UNANSWERABLE,
    "not answerable",
    "cannot be answered",
    "i cannot answer",
    "i can't answer",
    "i don't know",
    "i do not know",
    "not in the image",
)


@dataclass(frozen=True)
class Prediction:
    """An answer beside the truth.

    Args:
        id: of the conversation.
        question: that was asked last.
        prediction: text that the model gave, without outer white space.
        answers: every accepted answer, the preferred one first; empty where any would be wrong.
        answerable: whether the images hold the answer.
        abstained: whether the model declined to answer.
        confidence: probability of the text given the question, its geometric mean over the tokens, in [0, 1]; None where it
            was not taken.
        source: the set that the question comes from.
        kind: kind of the question.
        images: where they are, for galleries: paths, absolute or relative to the dataset's folder.
        tokens: number of tokens that were generated; stopped: whether the model ended its answer itself.
        texts: what stands in the images, where the data know it.
    """

    id: str
    question: str
    prediction: str
    answers: tuple[str, ...]
    answerable: bool = True
    abstained: bool = False
    confidence: float | None = None
    source: str = ""
    kind: str = ""
    images: tuple[str, ...] = ()
    tokens: int = 0
    stopped: bool = True
    texts: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """As a line of a JSONL file."""
        return {**asdict(self), "answers": list(self.answers), "images": list(self.images), "texts": list(self.texts)}

    @classmethod
    def from_dict(cls, line: Mapping[str, Any]) -> Prediction:
        """From a line of a JSONL file; keys that it does not know are left out."""
        known = {f.name for f in fields(cls)}
        own: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in line.items() if key in known
        }
        return cls(**own)


def is_abstention(text: str, phrases: Iterable[str] = ABSTENTIONS) -> bool:
    """Tell whether a text declines to answer: it is one of the phrases.

    Case, Unicode form (``don’t``), white space, Markdown's emphasis and whatever stands around the words do not count.
    """
    return _words_alone(text) in map(_words_alone, phrases)


def _words_alone(text: str) -> str:
    plain = " ".join(re.sub(r"[*_~]", "", plain_letters(text)).casefold().split())
    return re.sub(r"^\W+|\W+$", "", plain) or plain


#: The text that was given and every accepted answer to how right it is, from 0 to 1.
Scorer = Callable[[str, Sequence[str]], float]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """Lower case, without ASCII punctuation, the articles a, an and the, and superfluous white space.

    ``1.5`` becomes ``15``, ``-5`` becomes ``5`` and ``1/2`` becomes ``12``, curly quotes and Unicode forms stay: that is what
    the definition does. ``judged_match`` compares numbers as numbers.

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


def score(prediction: Prediction, scorer: Scorer = judged_match) -> float:
    """Score a prediction from 0 (wrong) to 1 (right).

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
