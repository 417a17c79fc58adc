"""Encoders without text: identity, patches and the small vision transformer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from trialbook.contracts.datasets import Modality
from trialbook.errors import TrialbookError
from trialbook.testing import check_component
from trialbook_plugins.encoders.identity import Identity
from trialbook_plugins.encoders.patches import Patches, sine_positions
from trialbook_plugins.encoders.vit import ViT

IMAGE = Modality("image", (3, 16, 24))


def images(count: int = 2, shape: tuple[int, ...] = (3, 16, 24)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


def test_a_vector_is_one_token():
    encoder = Identity(Modality("vector", (5,)))
    rows = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    tokens, mask = encoder(encoder.prepare(rows))
    assert encoder.dim == 5
    assert mask is None
    assert np.array_equal(tokens.numpy(), rows[:, None])


def test_a_series_is_one_token_a_time_step():
    encoder = Identity(Modality("series", (7, 2)))
    rows = np.random.default_rng(0).standard_normal((3, 7, 2)).astype(np.float32)
    assert encoder.dim == 2
    assert np.array_equal(encoder(encoder.prepare(rows)).tokens.numpy(), rows)


def test_identity_refuses_rows_of_another_width():
    with pytest.raises(TrialbookError, match=r"reads \[B, 5\] or \[B, T, 5\], not \[3, 4\]"):
        Identity(Modality("vector", (5,))).prepare(np.zeros((3, 4), dtype=np.float32))


def patch_loop(image: np.ndarray, side: int) -> list[list[float]]:
    """Patches by loops over pixels: raster order, channels first within a patch."""
    _, height, width = image.shape
    return [
        [
            int(image[channel, top + y, left + x]) / 255 * 2 - 1
            for channel in range(3)
            for y in range(side)
            for x in range(side)
        ]
        for top in range(0, height, side)
        for left in range(0, width, side)
    ]


def test_patches_are_those_of_a_loop_over_pixels():
    raw = images()
    encoder = Patches(IMAGE, patch=8, positions=0)
    tokens = encoder(encoder.prepare(raw)).tokens
    expected = torch.tensor([patch_loop(image, 8) for image in raw], dtype=torch.float64)
    torch.testing.assert_close(tokens.double(), expected, atol=1e-6, rtol=0)  # float32 rounding of values up to 1
    assert encoder.dim == 3 * 8 * 8


def test_positions_are_appended_to_the_pixels_and_the_same_for_every_image():
    raw = images()
    bare, placed = Patches(IMAGE, patch=8, positions=0), Patches(IMAGE, patch=8, positions=12)
    tokens = placed(placed.prepare(raw)).tokens
    assert placed.dim == bare.dim + 12
    assert torch.equal(tokens[..., : bare.dim], bare(bare.prepare(raw)).tokens)
    assert torch.equal(tokens[0, :, bare.dim :], tokens[1, :, bare.dim :])


def test_positions_are_the_sines_and_cosines_of_row_and_column():
    features = sine_positions(2, 3, 8)
    for index in range(6):
        row, column = divmod(index, 3)
        angles = [[place * 10_000 ** (-k / 2) for k in range(2)] for place in (row, column)]
        expected = [wave(angle) for axis in angles for wave in (math.sin, math.cos) for angle in axis]
        torch.testing.assert_close(features[index], torch.tensor(expected), atol=1e-6, rtol=0)
    assert len(features.unique(dim=0)) == 6


def test_patches_have_nothing_that_a_seed_could_change():
    encoder = Patches(IMAGE)
    assert list(encoder.parameters()) == []
    assert encoder.state_dict() == {}


def test_rows_are_encoded_by_themselves():
    raw = images(3)
    encoder = Patches(IMAGE)
    together = encoder(encoder.prepare(raw)).tokens
    assert all(torch.equal(together[i], encoder(encoder.prepare(raw[i : i + 1])).tokens[0]) for i in range(3))


def test_a_list_of_images_is_read_like_an_array():
    raw = images(3)
    assert torch.equal(Patches(IMAGE).prepare(list(raw)), Patches(IMAGE).prepare(raw))


@pytest.mark.parametrize("make", [Patches, ViT])
@pytest.mark.parametrize(
    ("modality", "message"),
    [
        (Modality("image", (3, 16, 20)), r"patch \(8\) must divide both sides of the images \(16 x 20\)"),
        (Modality("image", (3, 0, 0)), "images of different sizes"),
    ],
)
def test_images_that_cannot_be_cut_are_refused(make, modality, message):
    with pytest.raises(TrialbookError, match=message):
        make(modality, patch=8)


@pytest.mark.parametrize("make", [Patches, ViT])
def test_images_of_another_size_than_promised_are_refused(make):
    with pytest.raises(TrialbookError, match=r"made for images of shape \[3, 16, 24\], not \[3, 24, 16\]"):
        make(IMAGE).prepare(images(2, (3, 24, 16)))


def test_the_number_of_position_features_is_checked():
    with pytest.raises(TrialbookError, match=r"positions \(6\) must be a multiple of 4"):
        Patches(IMAGE, positions=6)


def copy_to_transformers(encoder: ViT, model: torch.nn.Module) -> None:
    """Weights of a ``ViT`` into transformers' ViTModel, which keeps query, key and value apart."""
    with torch.no_grad():
        embeddings = model.embeddings
        embeddings.cls_token.copy_(encoder.class_token)
        embeddings.position_embeddings.copy_(encoder.positions)
        projection = embeddings.patch_embeddings.projection
        projection.weight.copy_(encoder.embedding.weight.reshape(projection.weight.shape))
        projection.bias.copy_(encoder.embedding.bias)
        pairs = [(model.layernorm, encoder.transformer.norm)]
        for ours, theirs in zip(encoder.transformer.blocks, blocks_of(model), strict=True):
            names = dict(theirs.named_modules())
            linear = [module for module in names.values() if isinstance(module, torch.nn.Linear)]
            norms = [module for module in names.values() if isinstance(module, torch.nn.LayerNorm)]
            query, key, value, out, up, down = linear
            for index, part in enumerate((query, key, value)):
                part.weight.copy_(ours.attention.qkv.weight.chunk(3)[index])
                part.bias.copy_(ours.attention.qkv.bias.chunk(3)[index])
            pairs += [(out, ours.attention.out), (up, ours.mlp[0]), (down, ours.mlp[3])]
            pairs += [(norms[0], ours.attention_norm), (norms[1], ours.mlp_norm)]
        for target, source in pairs:
            target.load_state_dict(source.state_dict())


def blocks_of(model: torch.nn.Module) -> torch.nn.ModuleList:
    return next(module for module in model.modules() if isinstance(module, torch.nn.ModuleList))


def test_the_vision_transformer_agrees_with_transformers_own():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    encoder = ViT(Modality("image", (3, 32, 32)), width=48, depth=3, heads=4, mlp_ratio=2.0, class_token=True).eval()
    for parameter in encoder.parameters():  # no zeros and ones behind which a missing term could hide
        torch.nn.init.normal_(parameter, 0.0, 0.15)
    config = transformers.ViTConfig(
        hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=96, image_size=32, patch_size=8,
        layer_norm_eps=1e-6,
    )  # fmt: skip
    model = transformers.ViTModel(config, add_pooling_layer=False).eval()
    copy_to_transformers(encoder, model)
    raw = images(4, (3, 32, 32))
    with torch.no_grad():
        tokens = encoder(encoder.prepare(raw)).tokens
        expected = model(pixel_values=torch.from_numpy(raw).float() / 127.5 - 1).last_hidden_state
    assert tokens.std() > 0.05
    torch.testing.assert_close(tokens, expected, atol=1e-5, rtol=0)  # three blocks in float32, summed in another order


def test_the_vision_transformer_gives_one_token_a_patch_and_the_class_token_first():
    torch.manual_seed(0)
    plain, with_class = ViT(IMAGE, width=16, depth=1), ViT(IMAGE, width=16, depth=1, class_token=True)
    assert plain(plain.prepare(images())).tokens.shape == (2, 6, 16)
    assert with_class(with_class.prepare(images())).tokens.shape == (2, 7, 16)


def test_all_of_the_vision_transformer_learns():
    torch.manual_seed(0)
    encoder = ViT(IMAGE, width=16, depth=2, class_token=True)
    target = torch.randn(2, 7, 16)
    (encoder(encoder.prepare(images())).tokens - target).square().mean().backward()
    still = [name for name, parameter in encoder.named_parameters() if not parameter.grad.abs().sum() > 0]
    assert still == []


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    encoder = ViT(IMAGE, width=16, depth=1, dropout=0.5)
    prepared = encoder.prepare(images())
    assert not torch.equal(encoder(prepared).tokens, encoder(prepared).tokens)
    encoder.eval()
    assert torch.equal(encoder(prepared).tokens, encoder(prepared).tokens)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 7, "width": 64}, r"heads \(7\) must divide width \(64\)"),
        ({"depth": 0}, r"depth \(0\) must be at least 1"),
        ({"dropout": 1.0}, r"dropout \(1.0\) must be from 0 to below 1"),
        ({"mlp_ratio": 0.0}, r"mlp_ratio \(0.0\) must be above 0"),
        ({"patch": 0}, r"patch \(0\) must divide"),
    ],
)
def test_values_out_of_range_are_refused_by_name(options, message):
    with pytest.raises(TrialbookError, match=message):
        ViT(IMAGE, **options)


@pytest.mark.parametrize(
    ("encoder", "options", "injected"),
    [
        (Identity, {}, {}),
        (Identity, {}, {"modality": Modality("series", (12, 4))}),
        (Patches, {}, {}),
        (Patches, {"positions": 0, "patch": 16}, {}),
        (ViT, {"width": 16, "depth": 2}, {}),
        (ViT, {"width": 16, "depth": 1, "class_token": True, "dropout": 0.1}, {}),
    ],
)
def test_the_encoder_keeps_the_contract(encoder, options, injected):
    check_component(encoder, "encoder", options=options, injected=injected)
