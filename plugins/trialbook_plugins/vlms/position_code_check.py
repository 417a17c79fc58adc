"""The place of every token, read off from a handful of coded pictures.

With isolated tokens (see :mod:`trialbook_plugins.vlms.isolated_tokens`) each gives one of two answers: that to the dark or
that to the bright picture of its own place. Pictures whose cells are dark or bright by the digits of their row and column in
base 2 then spell out, token by token, where it comes from: a grid of 32 x 32 needs 12 of them, and every token is tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trialbook.contracts import OrderResult, to_device
from trialbook_plugins.vlms.isolated_tokens import isolate_tokens
from trialbook_plugins.vlms.layer_hooks import LayerHook
from trialbook_plugins.vlms.layer_reader import LayerReader
from trialbook_plugins.vlms.rounding import rounding

_CLEAR = 0.25
"""Largest distance of a token from its nearer answer, in distances between both. Where nothing is mixed it is there exactly, but
for the rounding of half precision. Two answers that are no further from each other than they are rounded are one.
"""


class _Reading(NamedTuple):
    """The reading of the tokens [H, W] of a layer.

    Args:
        bits: of each digit [K, H, W], which answer was nearer; True for bright.
        clear: every answer was one of the two.
        blind: both answers are the same, but for rounding.
    """

    bits: Tensor
    clear: Tensor
    blind: Tensor


def check_by_position_codes(
    reader: LayerReader, hooks: Sequence[LayerHook], rows: int, device: torch.device
) -> dict[str, OrderResult | None]:
    """Check whether all tokens of the hooks stand where they are said to stand; None where they are mixed by unknown means.

    Args:
        reader: the model.
        hooks: of tokens that have a place in the picture.
        rows: pictures of one forward pass.
        device: where the model is.
    """
    results: dict[str, OrderResult | None] = {}
    with torch.no_grad(), isolate_tokens(reader.model):
        grids = _grids(reader, hooks, device)
        for grid in sorted(set(grids.values())):
            group = [hook for hook in hooks if grids[hook.name] == grid]
            codes = _codes(grid)
            for name, reading in _read(reader, group, codes, rows, device).items():
                area = next(hook.area for hook in group if hook.name == name)
                results[name] = _judged(reading, torch.from_numpy(codes[2:]) > 0, area.order)
    return results


def _grids(reader: LayerReader, hooks: Sequence[LayerHook], device: torch.device) -> dict[str, tuple[int, int]]:
    black = np.zeros((1, 3, *reader.family.size), dtype=np.uint8)
    found = reader.tokens(to_device(reader.prepare(black), device), hooks) if hooks else {}
    return {name: (tokens.shape[1], tokens.shape[2]) for name, tokens in found.items()}


def _codes(grid: tuple[int, int]) -> np.ndarray:
    """Bits [2 + K, H, W]: all dark, all bright, then the digits of the row and those of the column."""
    digits = [(place >> bit) & 1 for place in np.indices(grid) for bit in range(int(place.max()).bit_length())]
    return np.stack([np.zeros(grid, dtype=np.int64), np.ones(grid, dtype=np.int64), *digits])


def _read(
    reader: LayerReader, hooks: Sequence[LayerHook], codes: np.ndarray, rows: int, device: torch.device
) -> dict[str, _Reading]:
    """Read the tokens of each hook; of the tokens no more is kept than both answers and those of one pass."""
    ends: dict[str, list[Tensor]] = {hook.name: [] for hook in hooks}
    bits: dict[str, list[Tensor]] = {hook.name: [] for hook in hooks}
    clear: dict[str, Tensor] = {}
    gaps: dict[str, Tensor] = {}
    for tokens in _answers(reader, hooks, codes, rows, device):
        for name, answer in tokens.items():
            both = ends[name]
            if len(both) < 2:
                both.append(answer)
                gaps[name] = _gap(both[0], both[-1])
                clear[name] = gaps[name].isfinite()
                continue
            dark, bright = (_distance(answer, end) for end in both)
            bits[name].append((bright < dark).cpu())
            clear[name] = clear[name] & (torch.minimum(dark, bright) <= _CLEAR * gaps[name])
    empty = torch.zeros(0, *codes.shape[1:], dtype=torch.bool)
    return {
        name: _Reading(torch.stack(bits[name]) if bits[name] else empty, clear[name].cpu(), (gaps[name] == 0).cpu())
        for name in ends
    }


def _answers(
    reader: LayerReader, hooks: Sequence[LayerHook], codes: np.ndarray, rows: int, device: torch.device
) -> Iterator[Mapping[str, Tensor]]:
    """Tokens [H, W, D] of each hook, picture by picture; all passes have as many rows, so that rounding is the same."""
    size, sharp = min(rows, len(codes)), reader.pictures.sharp()
    for start in range(0, len(codes), size):
        some = codes[start : start + size]
        padded = np.concatenate([some, np.repeat(codes[:1], size - len(some), axis=0)])
        found = reader.tokens(to_device(reader.prepare(_drawn(padded, reader.family.size), sharp), device), hooks)
        for row in range(len(some)):
            yield {name: tokens[row].clone() for name, tokens in found.items()}


def _drawn(codes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pictures [K, 3, H, W] whose cells are dark or bright by the bits [K, h, w], with some noise in both."""
    random = np.random.default_rng(0)
    dark, bright = (random.integers(low, low + 64, (3, *size)) for low in (0, 192))
    rows, columns = (np.arange(side) * count // side for side, count in zip(size, codes.shape[1:], strict=True))
    lit = codes[:, rows[:, None], columns[None]][:, None] > 0
    return np.where(lit, bright, dark).astype(np.uint8)


def _distance(one: Tensor, other: Tensor) -> Tensor:
    return (one.float() - other.float()).norm(dim=-1)


def _gap(dark: Tensor, bright: Tensor) -> Tensor:
    """Distance of the two answers of each token [H, W]; 0 where it is their rounding."""
    found = _distance(dark, bright)
    return found.masked_fill(found <= rounding(dark.dtype) * dark.float().norm(dim=-1), 0.0)


def _judged(reading: _Reading, codes: Tensor, order: str) -> OrderResult | None:
    """The verdict over all tokens; None where too little is clear for one."""
    right = (reading.bits == codes).all(0) & ~reading.blind
    lost = ~right & reading.clear
    if not lost.any():
        return OrderResult(True, 1.0, right.numel()) if bool(reading.clear.all()) else None
    if reading.blind.all():  # it reaches them through attention alone
        return None
    row, column = lost.nonzero()[0].tolist()
    shows = (
        "none"
        if reading.blind[row, column]
        else "row {}, column {}".format(*_place(reading.bits[:, row, column], codes))
    )
    return OrderResult(
        False, float(right.float().mean()), right.numel(),
        f"tokens do not stand in the order '{order}': {int(right.sum())} of {right.numel()} are where it says; that of row "
        f"{row}, column {column} shows {shows} of the picture",
    )  # fmt: skip


def _place(bits: Tensor, codes: Tensor) -> tuple[int, int]:
    """Row and column whose digits are nearest to ``bits`` [K]."""
    far = (codes != bits[:, None, None]).sum(0)
    return divmod(int(far.argmin()), far.shape[1])
