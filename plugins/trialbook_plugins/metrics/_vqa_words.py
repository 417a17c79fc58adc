"""The common form of answers in VQA accuracy: what its scripts do to punctuation, numbers, articles and contractions."""

from __future__ import annotations

import re
from collections.abc import Iterator

_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_POINT = re.compile(r"\.(?!\d)")
#: The scripts hand ``re.UNICODE`` to ``re.sub`` where it takes the number of replacements.
_MOST_POINTS = int(re.UNICODE)
_ARTICLES = ("a", "an", "the")
_NUMBERS = "zero one two three four five six seven eight nine ten"
_DIGITS = {"none": "0"} | {word: str(number) for number, word in enumerate(_NUMBERS.split())}
#: Words that get an apostrophe that they lack. Not all of English: ``im``, ``ive``, ``lets`` and ``shes`` stay as they are.
_CONTRACTED = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's
    how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't mightn't've must've mustn't needn't not've o'clock
    oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd
    someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're there's
    they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's
    where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've
    y'all y'all'd've y'all'll you'd you'd've you'll you're you've
"""


def plain_spaces(text: str) -> str:
    """Tabs and line ends as spaces, none outside."""
    return text.replace("\n", " ").replace("\t", " ").strip()


def without_marks(text: str) -> str:
    """Without punctuation, but for apostrophes, colons, and points before a digit.

    A mark goes where the text has one beside a space or a comma between digits; else it becomes a space.
    """
    goes = _COMMA_IN_NUMBER.search(text) is not None
    plain = text
    for mark in _MARKS:
        plain = plain.replace(mark, "" if goes or f"{mark} " in text or f" {mark}" in text else " ")
    return _POINT.sub("", plain, count=_MOST_POINTS)


def words_of(text: str) -> str:
    """Lower case; numbers to ten as digits (``none`` is 0), no articles, contractions with their apostrophes."""
    words = [_DIGITS.get(word, word) for word in text.lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def _lacking_one(word: str) -> Iterator[str]:
    """The word without one of its apostrophes, for each."""
    for i, character in enumerate(word):
        if character == "'":
            yield word[:i] + word[i + 1 :]


#: Spelling without one of the apostrophes to the one with all; ``somebody'd`` goes the other way in the scripts.
CONTRACTIONS = {short: word for word in _CONTRACTED.split() for short in _lacking_one(word)} | {
    "somebody'd": "somebodyd"
}
