from __future__ import annotations

import numpy as np
import pytest
import torch

from trialbook.errors import TrialbookError
from trialbook_plugins.projectors.pixel_shuffle import PixelShuffle


@pytest.mark.parametrize(
    ("rows", "columns", "factor", "block"),
    [(4, 4, 2, (2, 2)), (6, 6, 3, (3, 3)), (2, 6, 2, (2, 2)), (3, 5, 1, (1, 1)), (4, 8, [2, 8], (2, 8)), (6, 4, [1, 4], (1, 4))],
)  # fmt: skip
def test_each_block_of_the_grid_becomes_one_token_in_raster_order(
    rows: int, columns: int, factor: int | list[int], block: tuple[int, int]
) -> None:
    tokens = torch.randn(2, rows * columns, 3)
    merged = PixelShuffle(3, 5, factor=factor, columns=columns).merge(tokens).numpy()
    grid = tokens.numpy().reshape(2, rows, columns, 3)
    high, wide = block
    expected = [
        np.concatenate([grid[:, y + dy, x + dx] for dy in range(high) for dx in range(wide)], axis=-1)
        for y in range(0, rows, high)
        for x in range(0, columns, wide)
    ]
    np.testing.assert_array_equal(merged, np.stack(expected, axis=1))


def test_it_maps_to_the_width_asked_for_and_every_token_counts() -> None:
    projector = PixelShuffle(3, 7, hidden=11)
    tokens = torch.randn(2, 16, 3, requires_grad=True)
    out = projector(tokens)
    assert out.shape == (2, 4, 7)
    out.square().sum().backward()
    assert tokens.grad is not None
    assert (tokens.grad.abs().sum(dim=-1) > 0).all()


def test_masked_tokens_count_as_zeros() -> None:
    projector, tokens = PixelShuffle(3, 7), torch.randn(1, 16, 3)
    mask = torch.ones(1, 16, dtype=torch.bool)
    mask[0, 5] = False
    other = tokens.clone()
    other[0, 5] = 100.0
    torch.testing.assert_close(projector(tokens, mask), projector(other, mask))


@pytest.mark.parametrize(
    ("options", "count", "said"),
    [
        ({}, 12, "no grid 3 wide"),
        ({"columns": 5}, 12, "no grid 5 wide"),
        ({"factor": 3}, 16, "must divide the grid of 4 × 4"),
    ],
)
def test_tokens_that_are_no_grid_are_refused(options: dict[str, int], count: int, said: str) -> None:
    with pytest.raises(TrialbookError, match=said):
        PixelShuffle(3, 5, **options)(torch.zeros(1, count, 3))


@pytest.mark.parametrize("options", [{"factor": 0}, {"columns": -1}, {"hidden": -1}])
def test_options_out_of_range_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        PixelShuffle(3, 5, **options)
