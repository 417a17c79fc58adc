"""Metric ``anls``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from trialbook.contracts.predictions import Scorer
from trialbook_plugins.metrics._answers import AnswerMetric


def anls_paper(text: str, answers: Sequence[str]) -> float:
    """``anls@paper``: 1 − NL of the closest answer if NL < 0.5, else 0; case and superfluous white space do not count.

    NL is the edit distance over the length of the longer string, both as compared.
    """
    plain = _plain(text)
    closest = min(_normalized(plain, other, plain, other) for other in map(_plain, answers))
    return 1 - closest if closest < 0.5 else 0.0


def anls_script(text: str, answers: Sequence[str]) -> float:
    """``anls@script``: 1 − NL of the closest answer if that is at least 0.5, else 0.

    The edit distance is that of ``anls@paper``, but it is divided by the length of the longer *raw* string, superfluous
    white space included.
    """
    plain = _plain(text)
    similarity = 1 - min(_normalized(plain, _plain(answer), text, answer) for answer in answers)
    return similarity if similarity >= 0.5 else 0.0


class ANLS(AnswerMetric):
    """Average normalised Levenshtein similarity, which forgives slips of reading, by its two definitions.

    NL is the edit distance of answer and accepted answer over the length of the longer, letters in lower case, outer and
    repeated white space removed; the closest accepted answer counts. ``paper`` scores 1 − NL where NL < 0.5 and 0
    elsewhere; ``script`` scores 0.5 where NL = 0.5, too, and takes the length of the raw strings. Numbers are strings:
    ``3.5`` for ``35`` scores 0.67; a composed é and a decomposed one are different letters. Abstaining is right where the
    images do not hold the answer, and wrong where they do.

    Args:
        sources: sets whose questions count, by name; all if left out.
        answerable_only: leave questions without an answer out.

    Source: Biten et al. 2019 (Scene Text Visual Question Answering), as the package anls 0.0.2 computes it
    (``paper``); the evaluation scripts of Qwen-VL, from which lmms-eval and VLMEvalKit take theirs (``script``).
    """

    produces: ClassVar[tuple[str, ...]] = ("paper", "script")
    scorers: ClassVar[Mapping[str, Scorer]] = {"paper": anls_paper, "script": anls_script}


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _normalized(one: str, other: str, *measured: str) -> float:
    """Edit distance over the length of the longest measured string, in capitals as both scripts take it (``ß`` is two)."""
    length = max(len(text.upper()) for text in measured)
    return edit_distance(one, other) / length if length else 0.0


def edit_distance(one: str, other: str) -> int:
    """Fewest insertions, deletions and substitutions of a character that make one string the other (Levenshtein).

    A column of the usual table is kept as two integers: bit i says whether its value grows (falls) by one from row i to
    row i + 1, so that a column costs a handful of operations on integers, not one on every row.

    Source: Myers 1999 (A fast bit-vector algorithm for approximate string matching), in Hyyrö's 2003 form for the
    distance of whole strings.
    """
    if not one:
        return len(other)
    places: dict[str, int] = {}
    for i, character in enumerate(one):
        places[character] = places.get(character, 0) | 1 << i
    every, last = (1 << len(one)) - 1, 1 << len(one) - 1
    grows, falls, distance = every, 0, len(one)
    for character in other:
        same = places.get(character, 0)
        diagonal = (((same & grows) + grows) ^ grows) | same | falls
        right_grows = falls | ~(diagonal | grows) & every
        right_falls = grows & diagonal
        distance += bool(right_grows & last) - bool(right_falls & last)
        right_grows = right_grows << 1 | 1
        grows = (right_falls << 1 | ~(diagonal | right_grows)) & every
        falls = right_grows & diagonal & every
    return distance
