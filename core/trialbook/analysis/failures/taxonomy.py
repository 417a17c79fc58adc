"""The relation of a wrong answer to a right one: the same in another form, a part of it, or almost it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from trialbook.analysis.failures.numbers import is_number_word, number_of
from trialbook.contracts.answers import numerals, plain_letters, reading
from trialbook.contracts.predictions import Prediction
from trialbook.errors import distance

#: Words that turn an answer round.
_TURNS = {"yes", "no", "not", "never", "none", "or"}
#: Longer texts are not compared letter by letter.
_LONGEST = 200


def same_but_for_form(text: str, answers: Sequence[str]) -> bool:
    """Return whether a text is an accepted answer but for signs, another way to write its number, or more words around it.

    Numbers are the same in value, and one of the two may have a unit that the other has not. More words may stand around an
    answer if they hold no digit and nothing that turns it round (``not``, ``or``).
    """
    return any(_same_letters(text, one) or _same_number(text, one) or _around(text, one) for one in answers)


def part_of(text: str, answers: Sequence[str]) -> bool:
    """Return whether a text is whole words of an accepted answer, but not all of them."""
    words = _words(text)
    return any(len(words) < len(own) and _stands_in(words, own) for own in map(_words, answers))


def almost(text: str, answers: Sequence[str]) -> bool:
    """Return whether few letters or digits are other than in an accepted answer.

    Letters: at most a quarter of the longer text, in texts of three or more. Numbers of as many digits, at least two: at
    most a third of them.
    """
    return any(_few_letters(reading(text), reading(one)) or _few_digits(text, one) for one in answers)


def _same_number(text: str, answer: str) -> bool:
    one, other = number_of(text), number_of(answer)
    if one is None or one != other:
        return False
    units = [{word for word in _words(text) if _is_unit(word)} for text in (text, answer)]
    return units[0] <= units[1] or units[1] <= units[0]


def _is_unit(word: str) -> bool:
    return not any(letter.isdigit() for letter in word) and not is_number_word(word)


def _around(text: str, answer: str) -> bool:
    """Return whether all words of the answer stand in the text, one behind the other, among harmless ones."""
    words, own = _words(text), _words(answer)
    extra = [word for word in words if word not in own]
    harmless = not any(word in _TURNS or any(letter.isdigit() for letter in word) for word in extra)
    return len(words) > len(own) and harmless and _stands_in(own, words)


def _stands_in(part: Sequence[str], whole: Sequence[str]) -> bool:
    size = len(part)
    return size > 0 and any(list(whole[at : at + size]) == list(part) for at in range(len(whole) - size + 1))


def _few_letters(text: str, answer: str) -> bool:
    longest = max(len(text), len(answer))
    if min(len(text), len(answer)) < 3 or longest > _LONGEST:
        return False
    return distance(text, answer) <= max(1, longest // 4)


def _few_digits(text: str, answer: str) -> bool:
    one, other = (re.sub(r"\D", "", value) for value in (text, answer))
    if len(one) != len(other) or len(one) < 2 or number_of(text) is None or number_of(answer) is None:
        return False
    return sum(a != b for a, b in zip(one, other, strict=True)) <= max(1, len(one) // 3)


def _words(text: str) -> list[str]:
    return reading(text).split()


def _same_letters(text: str, answer: str) -> bool:
    """Return whether letters and digits are the same but for accents, and numbers the same in value."""
    values = [[value for _, _, value in numerals(plain_letters(one).casefold())] for one in (text, answer)]
    return _bare(text) == _bare(answer) != "" and values[0] == values[1] and None not in values[0]


def _bare(text: str) -> str:
    """Letters and digits alone, without accents."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in plain if letter.isalnum())


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
    plain = reading(text)
    if plain not in _COMMON and plain in set(map(reading, elsewhere)):
        return "distractor"
    if plain not in _COMMON and plain in set(map(reading, texts)):
        return "layout"
    if part_of(text, answers):
        return "incomplete"
    return "reading" if almost(text, answers) else "other"


def _counts(prediction: Prediction) -> bool:
    return "count" in re.split(r"[^a-z]+", prediction.kind.lower()) or bool(_COUNTING.search(prediction.question))
