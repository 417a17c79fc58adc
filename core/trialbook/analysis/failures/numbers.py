"""The number that a text names, in digits or in words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from trialbook.contracts.answers import numerals, plain_letters

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_BELOW_HUNDRED = {word: at for at, word in enumerate(_ONES)} | {word: 10 * at for at, word in enumerate(_TENS, 2)}
_POWERS = {
    "thousand": 10**3, "lakh": 10**5, "million": 10**6, "crore": 10**7, "billion": 10**9, "trillion": 10**12,
}  # fmt: skip
#: Behind digits; the short ones touch them.
_SCALES = _POWERS | {"hundred": 10**2}
_SHORT = {"k": 10**3, "m": 10**6, "bn": 10**9}
#: Words of numbers that are not read: a text that has one names no number.
_UNREAD = re.compile(
    r"(half|halves|thirds?|quarters?|fourths?|fifths?|sixths?|sevenths?|eighths?|ninths?|tenths?|hundredths?|thousandths?"
    r"|dozens?|tens|hundreds|thousands|millions|billions|several)"
)
_JOINED = {"and", "point", "minus", "negative"}


def number_of(text: str) -> float | None:
    """The only number in a text, in digits or in English words; None where there is none, several, or one that is not read.

    Digits are read as ``trialbook.contracts.answers.numeral`` does, with ``2 million`` and ``1.5k``; words up to trillions,
    with ``minus`` and ``point``: ``two hundred and five``.
    """
    plain = plain_letters(text).casefold()
    digits = numerals(plain)
    words = re.findall(r"[^\W\d_]+", plain)
    if any(_UNREAD.fullmatch(word) for word in words):
        return None
    if not digits:
        value = _one_in_words(words)
    elif len(digits) == 1 and digits[0][2] is not None:
        value = digits[0][2] * _scale_behind(plain[digits[0][1] :])
        rest = plain[: digits[0][0]], re.sub(r"^\s*[^\W\d_]+", "", plain[digits[0][1] :])
        if any(word in _BELOW_HUNDRED for part in rest for word in re.findall(r"[^\W\d_]+", part)):
            return None
    else:
        return None
    try:
        return None if value is None else float(value)
    except OverflowError:
        return None


def is_number_word(word: str) -> bool:
    """Return whether a word belongs to a number in words."""
    return word in _BELOW_HUNDRED or word in _SCALES or word in _JOINED


def _scale_behind(text: str) -> int:
    after = re.match(r"(\s*)([^\W\d_]+)", text)
    if after is None:
        return 1
    return _SCALES.get(after[2], 1 if after[1] else _SHORT.get(after[2], 1))


def _one_in_words(words: Sequence[str]) -> Fraction | None:
    """The value of the only run of number words; None where there is none, several, or one that is no number."""
    runs: list[list[str]] = [[]]
    for at, word in enumerate(words):
        number, behind = word in _BELOW_HUNDRED or word == "hundred" or word in _POWERS, words[at + 1 : at + 2]
        joins = word in ("and", "point") and bool(runs[-1]) and bool(behind) and behind[0] in _BELOW_HUNDRED
        if word == "and" and joins and runs[-1][-1] not in ("hundred", *_POWERS):
            joins = False
        if number or joins or (word in ("minus", "negative") and bool(behind) and behind[0] in _BELOW_HUNDRED):
            runs[-1].append(word)
        elif runs[-1]:
            runs.append([])
    found = [run for run in runs if run]
    return _in_words(found[0]) if len(found) == 1 else None


def _in_words(run: Sequence[str]) -> Fraction | None:
    """The value of number words in a row; None where they are not one number (``one two``)."""
    if run[0] in ("minus", "negative"):
        value = _in_words(run[1:])
        return None if value is None else -value
    whole, decimals = (run[: run.index("point")], run[run.index("point") + 1 :]) if "point" in run else (run, ())
    total, group, least, before = 0, 0, 10**15, ""
    for word in whole:
        if word == "and":
            continue
        if word in _POWERS:
            if _POWERS[word] >= least or before in _POWERS:
                return None
            total, group, least = total + (group or 1) * _POWERS[word], 0, _POWERS[word]
        elif word == "hundred":
            if before in ("hundred", "zero") or group >= 20:
                return None
            group = (group or 1) * 100
        else:
            own = _BELOW_HUNDRED[word]
            begins = group % 100 == 0 and before not in _BELOW_HUNDRED
            ends = group % 100 >= 20 and group % 10 == 0 and 0 < own < 10
            if not begins and not ends:
                return None
            group += own
        before = word
    if any(_BELOW_HUNDRED.get(word, 10) > 9 for word in decimals):
        return None
    return Fraction(total + group) + Fraction("0." + "".join(str(_BELOW_HUNDRED[word]) for word in decimals) + "0")
