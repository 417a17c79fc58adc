"""Average precision of one class from detections that are matched already, for many sets of the pictures at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Index = NDArray[np.int64]
_RECALLS = np.linspace(0.0, 1.0, 101)
_CHUNK = 1 << 21  # numbers that are held at once


@dataclass(frozen=True)
class Matches:
    """Detections of one class in one picture, best first: scores [d], matched and ignored [T, d]; and how many truths count."""

    scores: Floats
    matched: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    truths: int


@dataclass(frozen=True)
class _Ranked:
    """Detections of one class in all pictures, best first.

    Args:
        picture: of each detection [d].
        copy: how often its picture must be in a set for this one to count [d], less one; empty where each detection counts as
            often as its picture is there.
        right: whether it is a hit [T, d].
        counted: whether it is a hit or wrong [T, d]; what is neither lies in a crowd.
    """

    picture: Index
    copy: Index
    right: NDArray[np.bool_]
    counted: NDArray[np.bool_]

    def weights(self, counts: Floats) -> Floats:
        """Count how often each detection counts in sets of pictures: [R, n] -> [R, d]."""
        of_picture = counts[:, self.picture]
        return np.asarray(of_picture > self.copy, dtype=np.float64) if len(self.copy) else of_picture


def precision_of(matches: Mapping[int, Matches], counts: Floats) -> Floats:
    """AP of one class in sets of pictures, at each threshold.

    It is what matching and sorting each set again would give, where pictures stand in it in the order of their indices.

    Args:
        matches: index of a picture to its detections.
        counts: how often each picture is in each set [R, n].
    Returns:
        [R, T]; NaN for a set without a truth that counts.
    """
    truths = np.zeros(counts.shape[1])
    for picture, one in matches.items():
        truths[picture] = one.truths
    ranked = _ranked(matches, int(counts.max()))
    step = max(1, _CHUNK // max(1, len(ranked.picture)))
    return np.concatenate([
        _precision(ranked, counts[start : start + step], counts[start : start + step] @ truths)
        for start in range(0, len(counts), step)
    ])  # fmt: skip


def _ranked(matches: Mapping[int, Matches], most: int) -> _Ranked:
    """Detections of all pictures by score; equal ones by picture, and in a picture as they stood.

    Where a picture has hits and others with equal scores, their order says something: a second copy of the picture then follows
    the first as a whole, and each of at most ``most`` copies is listed by itself.
    """
    ordered = sorted(matches)
    scores = np.concatenate([matches[i].scores for i in ordered])
    picture = np.repeat(np.array(ordered, dtype=np.int64), [len(matches[i].scores) for i in ordered])
    matched = np.concatenate([matches[i].matched for i in ordered], axis=1)
    counted = ~np.concatenate([matches[i].ignored for i in ordered], axis=1)
    order = np.argsort(-scores, kind="stable")
    scores, picture = scores[order], picture[order]
    right, counted = (matched & counted)[:, order], counted[:, order]
    same = (np.diff(scores) == 0) & (np.diff(picture) == 0)  # as the one before
    mixed = (right[:, 1:] != right[:, :-1]).any(0) | (counted[:, 1:] != counted[:, :-1]).any(0)
    if most == 1 or not (same & mixed).any():
        return _Ranked(picture, np.zeros(0, dtype=np.int64), right, counted)
    run = np.concatenate([[0], np.cumsum(~same)])
    places, copies = np.tile(np.arange(len(run)), most), np.repeat(np.arange(most), len(run))
    order = np.lexsort((places, copies, run[places]))
    places = places[order]
    return _Ranked(picture[places], copies[order], right[:, places], counted[:, places])


def _precision(ranked: _Ranked, counts: Floats, truths: Floats) -> Floats:
    """AP [R, T] of sets of pictures with so many truths [R]: the precision envelope at 101 recalls.

    Between two hits the envelope changes nowhere, so that only hits are looked at; each stands for the recalls that it reaches.
    """
    weights = ranked.weights(counts)
    found = np.zeros((len(counts), len(ranked.right)))
    before, said = None, weights
    for row, (right, counted) in enumerate(zip(ranked.right, ranked.counted, strict=True)):
        if before is None or (counted != before).any():
            before, said = counted, np.cumsum(weights * counted, axis=1)
        hits = np.cumsum(weights[:, right], axis=1)
        precision = hits / (said[:, right] + np.spacing(1))
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        recall = np.divide(hits, truths[:, None], out=np.zeros_like(hits), where=truths[:, None] > 0)
        reached = np.searchsorted(_RECALLS, recall, side="right")
        found[:, row] = (np.diff(reached, axis=1, prepend=0) * envelope).sum(1) / len(_RECALLS)
    return np.where(truths[:, None] > 0, found, np.nan)
