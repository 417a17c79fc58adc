"""Metric ``vqa-accuracy``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from trialbook import TrialbookError
from trialbook.contracts.predictions import Scorer
from trialbook_plugins.metrics._answers import AnswerMetric
from trialbook_plugins.metrics._vqa_words import plain_spaces, without_marks, words_of

#: With fewer answers not even one that all annotators gave could score 1.
FEWEST_ANSWERS = 4


def vqa_official(text: str, answers: Sequence[str]) -> float:
    """``vqa@official``: texts are brought to a common form only where the annotators' answers differ."""
    text, given = plain_spaces(text), [plain_spaces(answer) for answer in answers]
    if len(set(given)) > 1:
        text, given = words_of(without_marks(text)), [words_of(without_marks(answer)) for answer in given]
    return _agreement(text, given)


def vqa_evalai(text: str, answers: Sequence[str]) -> float:
    """``vqa@evalai``: texts are always brought to a common form, in which ``,`` and ``?`` go and ``'s`` is a word, too."""
    return _agreement(_evalai(text), [_evalai(answer) for answer in answers])


class VQAAccuracy(AnswerMetric):
    """Agreement with ten annotators, by its two definitions: 0, 0.3, 0.6, 0.9 and 1 for 0, 1, 2, 3 and more who say the same.

    It is the mean, over leaving out each annotator in turn, of min(1, matches / 3) among the others. Both definitions write
    numbers up to ten as digits, drop articles and most punctuation and put apostrophes into contractions; ``official`` does
    so only for questions whose annotators differ, ``evalai`` always, and after small changes of its own. ``-5`` becomes
    ``5`` then, but curly quotes and Unicode forms stay as they are. Abstaining is right where the images do not hold the
    answer, and wrong where they do, unless annotators abstained.

    Args:
        sources: sets whose questions count, by name; all if left out.
        answerable_only: leave questions without an answer out.

    Source: Antol et al. 2015 (VQA); ``vqaEval.py`` of GT-Vision-Lab/VQA (``official``), ``m4c_evaluators.py`` of MMF, which
    TextVQA's leaderboard on EvalAI goes by (``evalai``).
    """

    produces: ClassVar[tuple[str, ...]] = ("official", "evalai")
    scorers: ClassVar[Mapping[str, Scorer]] = {"official": vqa_official, "evalai": vqa_evalai}


def _evalai(text: str) -> str:
    spread = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return words_of(without_marks(plain_spaces(spread)))


def _agreement(text: str, answers: Sequence[str]) -> float:
    """Mean of min(1, matches / 3) over leaving out each answer: ``matches`` of them leave one match fewer."""
    count, matches = len(answers), answers.count(text)
    if count < FEWEST_ANSWERS:
        raise TrialbookError(
            f"VQA accuracy needs the answers of at least {FEWEST_ANSWERS} annotators, usually ten, but a question has {count}: "
            "measure 'exact-match' there, or name 'sources' that have them"
        )
    return (matches * min(1.0, (matches - 1) / 3) + (count - matches) * min(1.0, matches / 3)) / count
