"""What a model answered to a question, and what the truth is: what metrics of answers and galleries of failures read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

#: What is said in place of an answer that the images do not hold.
UNANSWERABLE = "unanswerable"
#: Texts that decline to answer, whatever their case and outer punctuation.
ABSTENTIONS = (
    UNANSWERABLE,
    "not answerable",
    "cannot be answered",
    "i cannot answer",
    "i don't know",
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
    """Whether a text declines to answer: it is one of the phrases, but for case, spaces and outer punctuation."""
    plain = re.sub(r"\s+", " ", text).strip(" .,:;!?\"'").lower()
    return plain in {phrase.lower() for phrase in phrases}
