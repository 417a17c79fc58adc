"""Adapters between grids."""

from __future__ import annotations

import pytest
import torch

from trialbook.errors import TrialbookError
from trialbook.testing import check_component
from trialbook_plugins.projectors.cross_attention_adapter import CrossAttentionAdapter
from trialbook_plugins.projectors.mlp_adapter import MLPAdapter

GRIDS = {"grid_in": (1, 7), "grid_out": (1, 1, 2)}


def test_they_conform() -> None:
    check_component(MLPAdapter, "projector", options={"hidden": 8}, injected=GRIDS)
    check_component(MLPAdapter, "projector", options={"hidden": 8, "per_cell": 1}, injected=GRIDS)
    check_component(CrossAttentionAdapter, "projector", options={"parameters": 9000, "heads": 2}, injected=GRIDS)


@pytest.mark.parametrize("adapter", [MLPAdapter, CrossAttentionAdapter])
@pytest.mark.parametrize("parameters", [5e6, 50e6])
def test_the_number_of_parameters_is_what_was_asked_for(adapter: type, parameters: float) -> None:
    made = adapter(3584, 128, (1, 16, 16), (1, 7, 7), parameters=parameters)
    count = sum(one.numel() for one in made.parameters())
    assert 0.95 * parameters < count <= parameters  # a step of 8 in width is at most 5% here
    with pytest.raises(TrialbookError, match="too few"):
        adapter(3584, 128, (1, 16, 16), (1, 7, 7), parameters=1000)


def test_a_cell_of_the_mlp_adapter_reads_its_own_tokens_alone() -> None:
    adapter = MLPAdapter(4, 3, (1, 4, 4), (1, 2, 2), hidden=16).eval()
    tokens = torch.randn(1, 16, 4)
    changed = tokens.clone()
    changed[0, 0] += 1.0  # row 0, column 0: in cell 0
    changed[0, 2] += torch.randn(4)  # row 0, column 2: in cell 1
    moved = (adapter(tokens) - adapter(changed)).abs().sum(-1)[0]
    assert moved[1] > 0
    assert moved[2:].abs().max() == 0
    swapped = tokens[:, [1, 0, *range(2, 16)]]  # within a cell, too, places are told apart
    assert not torch.allclose(adapter(swapped)[0, 0], adapter(tokens)[0, 0])


def test_grids_that_do_not_divide_are_resampled_and_moments_gathered() -> None:
    assert MLPAdapter(4, 3, (3, 5, 5), (2, 2, 2), hidden=8)(torch.randn(2, 75, 4)).shape == (2, 8, 3)
    assert CrossAttentionAdapter(4, 3, (3, 5, 5), (2, 2, 2), width=16)(torch.randn(2, 75, 4)).shape == (2, 8, 3)


def test_the_cross_attention_adapter_knows_where_tokens_are() -> None:
    adapter = CrossAttentionAdapter(4, 3, (1, 4, 4), (1, 2, 2), width=16).eval()
    tokens = torch.randn(1, 16, 4)
    assert not torch.allclose(adapter(tokens), adapter(tokens.flip(1)), atol=1e-4)


def test_a_task_without_grids_is_told() -> None:
    for adapter in (MLPAdapter, CrossAttentionAdapter):
        with pytest.raises(TrialbookError, match="grid_in"):
            adapter(4, 3)
    with pytest.raises(TrialbookError, match="heads"):
        CrossAttentionAdapter(4, 3, (2, 2), (1, 1), width=20)
