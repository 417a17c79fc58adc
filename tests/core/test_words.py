"""Suggestions for misspelt words."""

from __future__ import annotations

import random

import pytest

from trialbook.errors import distance, suggest

NAMES = ["encoder", "projector", "decoder", "dataset", "loss", "metric", "lr", "steps", "batch_size", "info-nce", "k"]


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("projecter", "projector"),
        ("porjector", "projector"),
        ("encodr", "encoder"),
        ("stesp", "steps"),
        ("info_nce", "info-nce"),
        ("InfoNCE", "info-nce"),
        ("batchsize", "batch_size"),
        ("batch", "batch_size"),
        ("l", "lr"),
        ("los", "loss"),
    ],
)
def test_the_meant_word_is_found(typo: str, meant: str) -> None:
    assert suggest(typo, NAMES) == meant


@pytest.mark.parametrize("word", ["transformer", "x", "temperature", ""])
def test_a_word_that_is_near_to_none_gets_no_suggestion(word: str) -> None:
    assert suggest(word, NAMES) is None


def test_a_known_word_is_not_suggested_for_itself() -> None:
    assert suggest("loss", ["loss"]) is None


def test_the_longer_common_beginning_decides_between_equal_distances() -> None:
    assert suggest("latens", ["patens", "latent"]) == "latent"


def test_the_order_of_the_candidates_does_not_matter() -> None:
    shuffled = NAMES[:]
    random.Random(0).shuffle(shuffled)
    assert [suggest(word, shuffled) for word in ("encodr", "los")] == [
        suggest(word, NAMES) for word in ("encodr", "los")
    ]


def _slow_distance(one: str, other: str) -> int:
    """The recursive definition of the optimal string alignment distance."""
    if not one or not other:
        return len(one) + len(other)
    options = [
        _slow_distance(one[:-1], other) + 1,
        _slow_distance(one, other[:-1]) + 1,
        _slow_distance(one[:-1], other[:-1]) + (one[-1] != other[-1]),
    ]
    if len(one) > 1 and len(other) > 1 and one[-2:] == other[-2:][::-1]:
        options.append(_slow_distance(one[:-2], other[:-2]) + 1)
    return min(options)


def test_distance_agrees_with_its_recursive_definition() -> None:
    rng = random.Random(1)
    for _ in range(200):
        one, other = ("".join(rng.choice("abc") for _ in range(rng.randrange(6))) for _ in range(2))
        assert distance(one, other) == _slow_distance(one, other)
