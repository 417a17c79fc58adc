from __future__ import annotations

import pytest
import torch
from torch import nn

from trialbook_plugins.projectors.linear import Linear
from trialbook_plugins.projectors.mlp import MLP

POOLS = ["none", "mean", "attention", "class"]


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def masked_batch(width: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.randn(3, 5, width)
    mask = torch.tensor([[True] * 5, [True, True, True, False, False], [True] + [False] * 4])
    return tokens, mask


def test_parameter_counts_are_those_of_the_textbook_heads():
    assert parameters(Linear(768, 512)) == 768 * 512 + 512 == 393_728
    assert parameters(MLP(768, 512, hidden=2048)) == 2_624_000
    assert parameters(MLP(768, 512, layers=3, hidden=2048)) == 6_820_352


def test_mlp_with_defaults_is_llavas_mlp2x_gelu():
    ours = MLP(12, 7)
    theirs = nn.Sequential(nn.Linear(12, 7), nn.GELU(), nn.Linear(7, 7))
    theirs.load_state_dict(
        {name.replace("layers.0", "0").replace("layers.1", "2"): value for name, value in ours.state_dict().items()}
    )
    tokens = torch.randn(2, 5, 12)
    torch.testing.assert_close(ours(tokens), theirs(tokens), rtol=0, atol=0)


def test_one_layer_is_a_linear_map():
    assert parameters(MLP(12, 7, layers=1, hidden=99)) == parameters(Linear(12, 7))


@pytest.mark.parametrize("cls", [Linear, MLP])
@pytest.mark.parametrize("pool", POOLS)
def test_shapes_and_keeps_tokens_agree(cls: type[nn.Module], pool: str):
    projector = cls(12, 7, pool=pool, heads=4)
    out = projector(torch.randn(2, 5, 12))
    assert out.shape == ((2, 5, 7) if pool == "none" else (2, 1, 7))
    assert projector.keeps_tokens == (pool == "none")


@pytest.mark.parametrize("cls", [Linear, MLP])
@pytest.mark.parametrize("pool", ["mean", "attention"])
def test_masked_tokens_do_not_count(cls: type[nn.Module], pool: str):
    projector = cls(12, 7, pool=pool, heads=4)
    tokens, mask = masked_batch()
    garbage = torch.where(mask[..., None], tokens, torch.full_like(tokens, 1e3))
    torch.testing.assert_close(projector(garbage, mask), projector(tokens, mask))
    for row, count in enumerate(mask.sum(1)):  # the same as a batch of one without padding
        alone = projector(tokens[row : row + 1, :count])
        torch.testing.assert_close(projector(tokens, mask)[row : row + 1], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pool", ["mean", "attention"])
def test_a_row_without_real_tokens_gives_a_finite_result_and_gradient(pool: str):
    projector = MLP(12, 7, pool=pool, heads=4)
    out = projector(torch.randn(2, 5, 12), torch.tensor([[True] * 5, [False] * 5]))
    out.sum().backward()
    assert out.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in projector.parameters())


def test_class_pooling_takes_the_first_token():
    projector = Linear(12, 7, pool="class")
    tokens = torch.randn(2, 5, 12)
    torch.testing.assert_close(projector(tokens), projector.map(tokens[:, :1]))


def test_attention_pooling_agrees_with_a_plain_restatement():
    """Formulas of the attentional pooler in float64; tolerance 1e-12, some hundred roundings of numbers near 1."""
    torch.manual_seed(0)
    heads, width = 4, 12
    pool = MLP(width, 7, pool="attention", heads=heads).double().pool
    tokens, mask = torch.randn(3, 5, width, dtype=torch.float64), masked_batch()[1]
    weights = dict(pool.named_parameters())

    def normed(x: torch.Tensor, name: str) -> torch.Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * weights[f"{name}.weight"]

    q_map, k_map, v_map = weights["attention.in_proj_weight"].split(width)
    for row in range(3):
        real = normed(tokens[row, mask[row]], "token_norm")
        query = q_map @ normed(weights["query"], "query_norm")[0]
        keys, values = real @ k_map.T, real @ v_map.T
        read = []
        for part in torch.arange(width).chunk(heads):
            share = torch.softmax(keys[:, part] @ query[part] / (width / heads) ** 0.5, 0)
            read.append(share @ values[:, part])
        expected = weights["attention.out_proj.weight"] @ torch.cat(read)
        torch.testing.assert_close(pool(tokens, mask)[row, 0], expected, rtol=0, atol=1e-12)


def test_attention_pooling_works_at_a_width_that_heads_do_not_divide():
    projector = MLP(10, 7, pool="attention", heads=4)
    assert projector.pool.dim == 12
    assert projector(torch.randn(2, 5, 10)).shape == (2, 1, 7)


def test_norm_makes_the_result_independent_of_the_scale_of_the_input():
    tokens = torch.randn(2, 5, 12)
    with_norm, without = MLP(12, 7, norm=True), MLP(12, 7)
    torch.testing.assert_close(with_norm(tokens), with_norm(10 * tokens), rtol=1e-3, atol=1e-4)
    assert not torch.allclose(without(tokens), without(10 * tokens), rtol=1e-3, atol=1e-4)


def test_dropout_acts_in_training_only():
    projector = MLP(12, 7, dropout=0.5)
    tokens = torch.randn(2, 5, 12)
    assert not torch.equal(projector(tokens), projector(tokens))
    projector.eval()
    assert torch.equal(projector(tokens), projector(tokens))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"layers": 0}, "layers"),
        ({"hidden": -1}, "hidden"),
        ({"dropout": 1.0}, "dropout"),
        ({"heads": 0}, "heads"),
        ({"pool": "max"}, "max"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], named: str):
    with pytest.raises(ValueError, match=named):
        MLP(12, 7, **options)
