"""Linear similarity of two sets, in one pass as the task makes it."""

from __future__ import annotations

from trialbook_plugins.probes.cka import LinearSimilarity
from trialbook_plugins.probes.rows import Rows, check_paired, chunks, width_of


def linear_similarity(x: Rows, y: Rows, *, chunk: int = 1024) -> LinearSimilarity:
    """Sums of two sets [n, …], named ``x`` and ``y``, taken in ``chunk`` samples at a time."""
    n = check_paired(x, y)
    sums = LinearSimilarity({"x": width_of(x)}, {"y": width_of(y)})
    for part in chunks(n, chunk):
        sums.add({"x": x[part]}, {"y": y[part]})
    return sums
