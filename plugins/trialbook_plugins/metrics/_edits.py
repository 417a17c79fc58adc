"""Edit distance of two strings."""

from __future__ import annotations


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
