"""What was probably meant: the closest of the known words to one that is not known."""

from __future__ import annotations

from collections.abc import Iterable


def closest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that ``word`` is most likely a misspelling of, or None where none is near.

    Near is up to a third of the longer word's letters (at least one), counted as edits; another case, ``-`` for ``_``
    and a missing ``-`` count less. Where nothing is near, a candidate that begins with the word (three letters or more)
    is taken.
    """
    known = [candidate for candidate in candidates if candidate != word]
    ranked = sorted((distance(word, candidate), -_prefix(word, candidate), candidate) for candidate in known)
    for edits, _, candidate in ranked[:1]:
        longest = max(len(word), len(candidate))
        if edits <= max(1, longest // 3) and edits < longest:
            return candidate
    longer = [candidate for candidate in known if len(word) >= 3 and candidate.casefold().startswith(word.casefold())]
    return min(longer, key=len) if longer else None


def distance(one: str, other: str) -> float:
    """Edits from ``one`` to ``other``: insertion, deletion, substitution, or swap of two neighbours, each 1.

    Source: the restricted Damerau-Levenshtein ("optimal string alignment") distance. Deviation: another case costs a
    quarter, ``_`` for ``-``, or one of them too many or missing, a half.
    """
    older: list[float] = []
    row = [0.0]
    for target in other:
        row.append(row[-1] + _gap(target))
    before = row
    for i, letter in enumerate(one):
        row = [before[0] + _gap(letter)]
        for j, target in enumerate(other):
            edits = min(before[j + 1] + _gap(letter), row[j] + _gap(target), before[j] + _substitution(letter, target))
            if i and j and letter == other[j - 1] and target == one[i - 1]:
                edits = min(edits, older[j - 1] + 1)
            row.append(edits)
        older, before = before, row
    return row[-1]


def _gap(letter: str) -> float:
    """Cost of a letter too many or missing."""
    return 0.5 if letter in "-_" else 1.0


def _substitution(letter: str, target: str) -> float:
    if letter == target:
        return 0.0
    if letter.casefold() == target.casefold():
        return 0.25
    return 0.5 if letter in "-_" and target in "-_" else 1.0


def _prefix(one: str, other: str) -> int:
    """Length of the common beginning."""
    count = 0
    for a, b in zip(one, other):  # noqa: B905 - the shorter one ends it
        if a != b:
            break
        count += 1
    return count
