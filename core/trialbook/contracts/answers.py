"""Answers as a reader takes them: numbers by their value, letters in one Unicode form."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Sequence
from fractions import Fraction

_SPELT = {
    **dict.fromkeys("‘’‚‛′ʼ`´", "'"), **dict.fromkeys("“”„‟″«»", '"'), **dict.fromkeys("‐‑‒–—―−⁃", "-"), "⁄": "/", "∕": "/",
    **dict.fromkeys("\u00ad\u200b\u200c\u200d\u2060\ufeff", ""),
}  # fmt: skip
_LETTERS = str.maketrans(_SPELT)
#: Compatibility forms that say the same; others (``²``, ``①``) say something else.
_SAME = ("<wide>", "<narrow>", "<compat>", "<noBreak>", "<initial>", "<medial>", "<final>", "<isolated>")
_CURRENCY = "$€£¥"
#: A number, or digits that marks hold together (a date, a time, a range, a power).
_NUMBER = re.compile(
    rf"""(?:(?<![\w.)%])[-+](?=[{_CURRENCY}]?\.?\d)|^[-+]\s)?[{_CURRENCY}]?
    (?:\d{{1,3}}(?:[ ]\d{{3}})+(?!\w)(?:\.\d+)?|\d+[ ]\d+/\d+(?!\S*\d)|(?<!\d)\.\d+|\d+(?:[-.,/:'^*+]\d+)*)
    (?:e[-+]?\d{{1,3}}(?!\w))?""",
    re.VERBOSE,
)
_BOUND = re.compile(rf"(<=|>=|[<>≤≥])\s*(?=[-+{_CURRENCY}]*\.?\d)")
_GROUPED = re.compile(r"\d{1,3}([., '])\d{3}(?:\1\d{3})*|\d{1,2}(?:,\d{2})*,\d{3}")
#: Digits of more than this are no quantity.
_LONGEST = 300
#: Marks of numbers, kept from where punctuation is dropped.
_KEPT = {ord(mark): 0xE000 + ord(mark) for mark in string.punctuation}
_DROPPED = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def plain_letters(text: str) -> str:
    """The text in one Unicode form, NFC: plain quotes, hyphens and spaces, no invisible characters, fractions as ``1/2``."""
    if text.isascii():
        return text.translate(_LETTERS)
    found: list[str] = []
    for letter in unicodedata.normalize("NFC", text):
        form = unicodedata.decomposition(letter)
        if form.startswith("<fraction>"):
            found.append(" " * bool(found and found[-1].isdigit()) + unicodedata.normalize("NFKC", letter))
        else:
            found.append(unicodedata.normalize("NFKC", letter) if form.startswith(_SAME) else letter)
    return unicodedata.normalize("NFC", "".join(found).translate(_LETTERS))


def reading(text: str) -> str:
    """The words of a text as answers are judged by them: texts of one reading say the same.

    Case, ASCII punctuation, the articles a, an and the, superfluous white space and Unicode form do not count. Numbers in
    digits are their value, whatever separators, exponent or fraction they are written with; sign, decimal point and bounds
    (``<5``) count, and so do the marks of dates, times, ranges and powers. Percent and currency signs do not. A text of which
    nothing would be left stays what it is.
    """
    plain = " ".join(plain_letters(text).casefold().split())
    kept = _BOUND.sub(lambda found: found[1].translate(_KEPT), plain)
    kept = _NUMBER.sub(lambda found: _canonical(found[0]).translate(_KEPT), kept)
    return " ".join(_ARTICLES.sub(" ", kept.translate(_DROPPED)).split()) or plain


def judged_match(text: str, answers: Sequence[str]) -> float:
    """1 if the text and an accepted answer have the same ``reading``, as failures are judged."""
    own = reading(text)
    return float(any(own == reading(answer) for answer in answers))


def numerals(text: str) -> list[tuple[int, int, Fraction | None]]:
    """Return where numbers stand in a text, and their values; None for digits that are no single number (dates, times, lists).

    Args:
        text: as ``plain_letters`` leaves it, in lower case.
    """
    return [(found.start(), found.end(), numeral(found[0])) for found in _NUMBER.finditer(text)]


def numeral(text: str) -> Fraction | None:
    """The value of a number in digits; None where it is none.

    ``1,234.50``, ``1.234,50``, ``1 234.5`` and ``12,34,567`` are read with their separators; of a lone comma three digits make
    thousands, a lone point stands before decimals. ``1/2``, ``1 1/2``, ``.5`` and ``1e5`` are numbers as well.
    """
    sign = -1 if text.startswith("-") else 1
    body = text.lstrip(f"-+ {_CURRENCY}")
    whole, _, part = body.rpartition(" ")
    if "/" in part and whole and "," not in body:
        first, rest = numeral(whole), numeral(part)
        return None if first is None or rest is None else sign * (first + rest)
    mantissa, _, power = body.partition("e")
    digits = _decimal(mantissa)
    if digits is None or len(digits) > _LONGEST:
        return None
    try:
        return sign * Fraction(f"{digits}e{power}" if power else digits)
    except (ValueError, ZeroDivisionError):
        return None


def _decimal(body: str) -> str | None:
    """Digits without separators, with a point before the decimals."""
    marks = re.sub(r"\d", "", body)
    if not marks or marks in (".", "/"):
        return body
    last = marks[-1]
    if set(marks) <= set(".,' ") and len(set(marks)) == 2 and last in ".," and marks.count(last) == 1:
        whole, _, decimals = body.rpartition(last)
        grouped = _ungrouped(whole)
        return None if grouped is None else f"{grouped}.{decimals}"
    if (grouped := _ungrouped(body)) is not None and not (marks == "," and body.startswith("0")):
        return grouped
    return body.replace(",", ".") if marks == "," else None


def _ungrouped(whole: str) -> str | None:
    """Digits in groups of thousands (Indian ones too) as one; None where the groups are none."""
    return re.sub(r"\D", "", whole) if _GROUPED.fullmatch(whole) else None


def _canonical(text: str) -> str:
    value = numeral(text)
    if value is None or re.fullmatch(r"0\d+", text):  # a code, not a quantity
        plain = text.lstrip(_CURRENCY)
        return " ".join(plain.split(",")) if set(re.sub(r"\d", "", plain)) == {","} else plain
    return str(value)
