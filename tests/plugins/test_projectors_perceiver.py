from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from trialbook_plugins.projectors.perceiver import Perceiver

Array = NDArray[np.float64]


def layer_norm(x: Array, weight: Array, bias: Array) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weight + bias


def gelu(x: Array) -> Array:
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def resample(state: dict[str, Array], tokens: Array, depth: int, heads: int) -> Array:
    """Flamingo's resampler for one sample without padding, tokens [N, D] -> [M, D], head by head."""
    latents = state["latents"]
    for i in range(depth):
        w = {name.removeprefix(f"layers.{i}."): value for name, value in state.items()}
        media = layer_norm(tokens, w["media_norm.weight"], w["media_norm.bias"])
        inner = latents
        if "latent_norm.weight" in w:
            inner = layer_norm(latents, w["latent_norm.weight"], w["latent_norm.bias"])
        queries = inner @ w["query.weight"].T
        both = np.concatenate([media, inner]) @ w["key_value.weight"].T
        keys, values = np.split(both, 2, axis=1)
        read = []
        for q, k, v in zip(*(np.split(x, heads, axis=1) for x in (queries, keys, values)), strict=True):
            scores = np.exp(q @ k.T / math.sqrt(q.shape[1]))
            read.append(scores / scores.sum(1, keepdims=True) @ v)
        latents = latents + np.concatenate(read, axis=1) @ w["out.weight"].T
        hidden = layer_norm(latents, w["feed_forward.0.weight"], w["feed_forward.0.bias"])
        latents = latents + gelu(hidden @ w["feed_forward.1.weight"].T) @ w["feed_forward.3.weight"].T
    return layer_norm(latents, state["norm.weight"], state["norm.bias"])


def shaken(perceiver: Perceiver) -> Perceiver:
    """In float64, every parameter moved off its initial value, so that norms and biases count too."""
    with torch.no_grad():
        for parameter in perceiver.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return perceiver.double()


def arrays(perceiver: Perceiver) -> dict[str, Array]:
    return {name: value.detach().numpy() for name, value in perceiver.named_parameters()}


@pytest.mark.parametrize("query_norm", [True, False])
def test_it_agrees_with_a_plain_restatement_of_flamingo(query_norm: bool):
    """Float64, tolerance 1e-10: a few thousand roundings of numbers near 1."""
    torch.manual_seed(0)
    perceiver = shaken(Perceiver(12, 12, latents=3, depth=2, heads=2, head_dim=5, query_norm=query_norm))
    tokens = torch.randn(2, 7, 12, dtype=torch.float64)
    for ours, sample in zip(perceiver(tokens), tokens, strict=True):
        expected = resample(arrays(perceiver), sample.numpy(), depth=2, heads=2)
        np.testing.assert_allclose(ours.detach().numpy(), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_it_agrees_with_flamingo_pytorch(dtype: torch.dtype, tolerance: float):
    """Its weights copied across; float32 differs by the order of summation in the attention kernel."""
    flamingo = pytest.importorskip("flamingo_pytorch", reason="needs flamingo-pytorch")
    torch.manual_seed(0)
    theirs = flamingo.PerceiverResampler(dim=32, depth=6, dim_head=8, heads=4, num_latents=9).to(dtype)
    ours = Perceiver(32, 32, latents=9, depth=6, head_dim=8, heads=4).to(dtype)
    assert sum(p.numel() for p in ours.parameters()) == sum(
        p.numel() for name, p in theirs.named_parameters() if name != "media_pos_emb"
    )
    parts = {"0.norm_media": "media_norm", "0.norm_latents": "latent_norm", "0.to_q": "query", "0.to_kv": "key_value"}
    parts |= {"0.to_out": "out", "1.0": "feed_forward.0", "1.1": "feed_forward.1", "1.3": "feed_forward.3"}
    state = theirs.state_dict()
    time_embedding = state.pop("media_pos_emb")[0]
    state = {re.sub(r"(?<=layers\.\d\.)\d\.\w+", lambda m: parts[m[0]], name): x for name, x in state.items()}
    ours.load_state_dict(state)
    tokens = torch.randn(4, 11, 32, dtype=dtype)
    expected = theirs(tokens)[:, 0]
    got = ours(tokens + time_embedding)  # which ours leaves to the encoder
    torch.testing.assert_close(got, expected, rtol=0, atol=tolerance)


def test_masked_tokens_do_not_count():
    torch.manual_seed(0)
    perceiver = Perceiver(12, 7, latents=3, depth=2, heads=2, head_dim=8)
    tokens = torch.randn(3, 5, 12)
    mask = torch.tensor([[True] * 5, [True, False, True, False, False], [False] * 5])
    out = perceiver(tokens, mask)
    garbage = torch.where(mask[..., None], tokens, torch.full_like(tokens, 1e3))
    torch.testing.assert_close(perceiver(garbage, mask), out)
    torch.testing.assert_close(out[1:2], perceiver(tokens[1:2, mask[1]]), rtol=1e-5, atol=1e-5)
    assert out.isfinite().all()
    assert not torch.allclose(out, perceiver(tokens), atol=1e-3)


def test_tokens_are_a_set():
    perceiver = shaken(Perceiver(12, 7, latents=3, depth=2, heads=2, head_dim=8))
    tokens = torch.randn(2, 5, 12, dtype=torch.float64)
    torch.testing.assert_close(perceiver(tokens), perceiver(tokens.flip(1)))


@pytest.mark.parametrize(("width", "maps"), [(0, {"map_out"}), (16, {"map_in", "map_out"}), (7, {"map_in"})])
def test_maps_stand_only_where_widths_differ(width: int, maps: set[str]):
    perceiver = Perceiver(12, 7, latents=3, depth=1, heads=2, head_dim=8, width=width)
    assert perceiver(torch.randn(2, 5, 12)).shape == (2, 3, 7)
    assert {name.split(".")[0] for name, _ in perceiver.named_parameters()} == {"latents", "layers", "norm"} | maps


def test_init_std_sets_the_spread_of_the_latents():
    assert Perceiver(64, 64, depth=1, init_std=0.02).latents.std().item() == pytest.approx(0.02, rel=0.1)
    assert Perceiver(64, 64, depth=1).latents.std().item() == pytest.approx(1, rel=0.1)


def test_small_latents_look_everywhere_alike_unless_queries_are_normalised():
    """Without the norm, latents that start too small all read nearly the same."""

    def disagreement(init_std: float, query_norm: bool) -> float:
        torch.manual_seed(0)
        perceiver = Perceiver(64, 64, latents=8, depth=1, init_std=init_std, query_norm=query_norm)
        layer, tokens = perceiver.layers[0], torch.randn(4, 20, 64)
        read = layer._attend(layer.latent_norm(perceiver.latents.expand(4, -1, -1)), layer.media_norm(tokens), None)
        return read.std(dim=1).mean().item()

    assert disagreement(0.02, False) < 0.05 * disagreement(1.0, False)
    assert disagreement(0.02, True) == pytest.approx(disagreement(1.0, True), rel=0.05)


def test_mean_pooling_gives_the_mean_of_the_latents():
    """Exact up to the order of sums in float64: the map after it has no bias, so that the mean may stand before it."""
    torch.manual_seed(0)
    plain = shaken(Perceiver(12, 7, latents=3, depth=2, heads=2, head_dim=8))
    pooled = Perceiver(12, 7, latents=3, depth=2, heads=2, head_dim=8, pool="mean").double()
    pooled.load_state_dict(plain.state_dict())
    tokens = torch.randn(4, 5, 12, dtype=torch.float64)
    mask = torch.rand(4, 5) < 0.7
    expected = plain(tokens, mask).mean(dim=1, keepdim=True)
    torch.testing.assert_close(pooled(tokens, mask), expected, rtol=0, atol=1e-12)


def test_attention_pooling_reads_the_latents_with_one_learned_query():
    """Restated with numpy for one sample, head by head; float64, tolerance 1e-10."""
    torch.manual_seed(0)
    perceiver = shaken(Perceiver(12, 7, latents=3, depth=1, heads=2, head_dim=8, pool="attention"))
    tokens = torch.randn(2, 5, 12, dtype=torch.float64)
    pool, seen = perceiver.pool, {}
    perceiver.norm.register_forward_hook(lambda module, inputs, output: seen.update(latents=output))
    out = perceiver(tokens)
    w = {name: value.detach().numpy() for name, value in pool.named_parameters()}
    weights = {name: w.get(f"attention.{name}") for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight")}
    if weights["q_proj_weight"] is None:
        weights = dict(zip(weights, np.split(w["attention.in_proj_weight"], 3), strict=True))
    biases = np.split(w["attention.in_proj_bias"], 3)
    query = layer_norm(w["query"], w["query_norm.weight"], w["query_norm.bias"])
    for ours, latents in zip(out, seen["latents"].detach().numpy(), strict=True):
        media = layer_norm(latents, w["token_norm.weight"], w["token_norm.bias"])
        q, k, v = (x @ m.T + b for x, m, b in zip((query, media, media), weights.values(), biases, strict=True))
        read = []
        for i in (slice(0, 6), slice(6, 12)):
            scores = np.exp(q[:, i] @ k[:, i].T / math.sqrt(6))
            read.append(scores / scores.sum() @ v[:, i])
        pooled = np.concatenate(read, axis=1) @ w["attention.out_proj.weight"].T + w["attention.out_proj.bias"]
        expected = pooled @ perceiver.map_out.weight.detach().numpy().T
        np.testing.assert_allclose(ours.detach().numpy(), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("pool", "count"), [("none", 3), ("mean", 1), ("attention", 1)])
def test_latents_never_stand_for_tokens(pool: str, count: int):
    perceiver = Perceiver(12, 7, latents=3, depth=1, heads=5, head_dim=8, pool=pool)
    assert perceiver(torch.randn(2, 3, 12)).shape == (2, count, 7)
    assert perceiver.keeps_tokens is False


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"latents": 0}, "latents"),
        ({"heads": 0}, "heads"),
        ({"init_std": -1.0}, "init_std"),
        ({"pool": "most"}, "pool"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], named: str):
    with pytest.raises(ValueError, match=named):
        Perceiver(12, 7, **options)
