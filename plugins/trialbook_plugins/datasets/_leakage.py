"""Windows of one split that stand somewhere in the recordings of another, at any offset."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]
_BASE = 0x9E3779B97F4A7C15
_INVERSE = pow(_BASE, -1, 2**64)


def find_leaked_windows(windows: Sequence[Values], recordings: Iterable[Values]) -> list[int]:
    """Numbers of those windows [T, C] that some recording holds, sample for sample; windows that never change do not count.

    Windows and the places of a recording are compared by a polynomial hash that rolls over the samples, and what agrees in it by
    the values themselves.

    Args:
        windows: to be looked for, of any lengths.
        recordings: to be looked in.
    """
    wanted: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for number, window in enumerate(windows):
        if (window != window[0]).any():
            wanted[len(window)][int(_hashes(window, len(window))[0])].append(number)
    known = {length: np.array(list(table), dtype=np.uint64) for length, table in wanted.items()}
    found: set[int] = set()
    for recording in recordings:
        for length, table in wanted.items():
            hashes = _hashes(recording, length)
            for at in np.flatnonzero(np.isin(hashes, known[length])).tolist():
                here = recording[at : at + length]
                found.update(number for number in table[int(hashes[at])] if np.array_equal(windows[number], here))
    return sorted(found)


def _hashes(values: Values, length: int) -> NDArray[np.uint64]:
    """A hash of every run of ``length`` samples: Σ h(sample i) b^i over the run, modulo 2^64 and times b^-start."""
    count = len(values) - length + 1
    if count < 1:
        return np.empty(0, dtype=np.uint64)
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32).astype(np.uint64)
    samples = _mixed((bits * _powers(_BASE, bits.shape[1] + 1)[1:]).sum(axis=1, dtype=np.uint64))
    sums = np.concatenate(
        [np.zeros(1, dtype=np.uint64), np.cumsum(samples * _powers(_BASE, len(values)), dtype=np.uint64)]
    )
    hashes: NDArray[np.uint64] = (sums[length:] - sums[:-length]) * _powers(_INVERSE, count)
    return hashes


def _powers(base: int, count: int) -> NDArray[np.uint64]:
    """1, base, base² … modulo 2^64."""
    factors = np.full(count, base, dtype=np.uint64)
    factors[0] = 1
    return np.cumprod(factors, dtype=np.uint64)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The bits of each number, spread over all of it (the last step of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def linked_keys(group: Sequence[int], content: Sequence[str], size: int) -> list[str]:
    """One key for each of ``size`` groups, the same one for groups that share content, however many lie between.

    Args:
        group: of every row.
        content: content hash of every row.
        size: number of groups.
    Returns:
        The smallest hash of all that are linked; "" for a group without rows.
    """
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = key = parent[parent[key]]
        return key

    first: dict[int, str] = {}
    for place, own in zip(group, content, strict=True):
        low, high = sorted((root(own), root(first.setdefault(place, own))))
        parent[high] = low
    return [root(first[place]) if place in first else "" for place in range(size)]
