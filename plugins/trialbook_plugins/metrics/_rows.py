"""The common parts of metrics on embeddings: their checks, and which rows belong together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from trialbook import TrialbookError

#: Positive pairs measured at once.
PAIRS_AT_ONCE = 4096


def check_rows(metric: str, embeddings: Mapping[str, Tensor], groups: Mapping[str, Tensor]) -> None:
    """Refuse embeddings of which no pair of modalities can be measured.

    Args:
        metric: who asks, for messages.
        embeddings: modality name to rows [R, D].
        groups: modality name to the group of every row [R].
    Raises:
        TrialbookError: there are fewer than two modalities, or rows and groups differ in number.
    """
    if len(embeddings) < 2:
        raise TrialbookError(f"{metric} needs at least two modalities, not {len(embeddings)}: {', '.join(embeddings)}")
    for name, rows in embeddings.items():
        if len(rows) != len(groups[name]):
            raise TrialbookError(f"{metric}: '{name}' has {len(rows)} rows but {len(groups[name])} groups")


def without_partner(metric: str, first: str, second: str) -> TrialbookError:
    """The error for two modalities without a common group."""
    return TrialbookError(f"{metric}: no row of '{first}' has a partner in '{second}' (no common group)")


def unit_rows(rows: Tensor) -> Tensor:
    """Rows [R, D] of length 1 in float32 (float64 stays); a row of zeros stays zero."""
    return F.normalize(rows if rows.dtype == torch.float64 else rows.float(), dim=-1)


def sum_over_matching(
    x: Tensor, y: Tensor, x_groups: Tensor, y_groups: Tensor, measure: Callable[[Tensor, Tensor], Tensor]
) -> tuple[float, int]:
    """Sum of a measure over every pair of a row of one modality and a row of the other of the same group; their number.

    Args:
        x: rows of one modality [R, D].
        y: rows of the other [S, D].
        x_groups: groups of the one [R].
        y_groups: groups of the other [S].
        measure: rows [P, D] and their partners [P, D] to numbers [P].
    """
    y_groups, order = torch.sort(y_groups.to(x.device), stable=True)
    x_groups = x_groups.to(x.device)
    start = torch.searchsorted(y_groups, x_groups)
    count = torch.searchsorted(y_groups, x_groups, right=True) - start
    stop = count.cumsum(dim=0)  # where the pairs of each row end, all pairs counted through
    pairs, total = int(stop[-1]), 0.0
    for at in range(0, pairs, PAIRS_AT_ONCE):
        pair = torch.arange(at, min(at + PAIRS_AT_ONCE, pairs), device=x.device)
        i = torch.searchsorted(stop, pair, right=True)
        j = order[start[i] + pair - (stop[i] - count[i])]
        total += float(measure(x[i], y[j]).sum(dtype=torch.float64))
    return total, pairs


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Neither autocast nor TF32 inside: comparing scores needs all the digits there are."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
