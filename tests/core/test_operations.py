"""Operations are counted the same on every device, kernels that hide them among them."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from trialbook.contracts import counting_operations
from trialbook.testing import pretend_cuda

ROWS, TOKENS, WIDTH = 2, 5, 8


@pytest.mark.parametrize("pretend", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_a_fused_transformer_layer_is_counted(pretend: bool, frozen: bool) -> None:
    with pretend_cuda() if pretend else nullcontext():
        device = torch.device("cuda" if pretend else "cpu")
        layer = (
            nn.TransformerEncoderLayer(WIDTH, 2, 4 * WIDTH, batch_first=True)
            .to(device)
            .eval()
            .requires_grad_(not frozen)
        )
        tokens = torch.randn(ROWS, TOKENS, WIDTH).to(device)
        with counting_operations(device) as counter, torch.set_grad_enabled(not frozen):
            layer(tokens)
    projections = 4 * WIDTH * WIDTH + 2 * 4 * WIDTH * WIDTH  # query, key, value, output; in and out of the hidden layer
    attention = 2 * TOKENS * WIDTH  # of a token with all tokens, twice
    assert counter.get_total_flops() == 2 * ROWS * TOKENS * (projections + attention)
    assert torch.backends.mha.get_fastpath_enabled()
