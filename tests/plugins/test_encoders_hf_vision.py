"""The vision encoder on tiny checkpoints of the real architectures, against direct calls of transformers."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

transformers = pytest.importorskip("transformers")

from vision_checkpoints import TEXT, TOWER, make_checkpoint, pil  # noqa: E402

from trialbook.errors import TrialbookError  # noqa: E402
from trialbook.testing import check_component  # noqa: E402
from trialbook_plugins.encoders.hf_vision import HFVision  # noqa: E402


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    made = {}

    def get(kind: str) -> Path:
        if kind not in made:
            made[kind] = make_checkpoint(kind, tmp_path_factory.mktemp(kind))
        return made[kind]

    return get


def photos(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, 40, 52), dtype=np.uint8)


def reference_tower(kind: str, folder: Path) -> torch.nn.Module:
    """The tower as transformers loads it when its class is named by hand."""
    if kind == "clip":
        return transformers.CLIPVisionModel.from_pretrained(folder).eval()
    if kind == "siglip":
        return transformers.SiglipModel.from_pretrained(folder).eval().vision_model
    if kind == "siglip2":
        return transformers.Siglip2Model.from_pretrained(folder).eval().vision_model
    if kind == "dinov2":
        return transformers.Dinov2Model.from_pretrained(folder).eval()
    if kind == "dinov2-registers":
        return transformers.Dinov2WithRegistersModel.from_pretrained(folder).eval()
    return transformers.ViTForImageClassification.from_pretrained(folder).eval().vit


KINDS = ["clip", "siglip", "siglip2", "dinov2", "dinov2-registers", "vit"]
PREFIX = {"clip": 1, "siglip": 0, "siglip2": 0, "dinov2": 1, "dinov2-registers": 5, "vit": 1}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", [-2, -1, 0, 1, 3])
def test_tokens_are_the_hidden_states_of_a_direct_call(checkpoint, kind, layer):
    folder = checkpoint(kind)
    encoder = HFVision(model=str(folder), layer=layer)
    prepared = encoder.prepare(photos())
    with torch.no_grad():
        features = encoder(prepared)
        output = reference_tower(kind, folder)(**prepared, output_hidden_states=True)
    expected = output.last_hidden_state if layer in (-1, 3) else output.hidden_states[layer]
    torch.testing.assert_close(features.tokens, expected, atol=1e-6, rtol=0)
    assert features.tokens.shape == (3, 16 + PREFIX[kind], encoder.dim)


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_those_of_the_checkpoints_own_processor(checkpoint, kind):
    from PIL import Image

    folder = checkpoint(kind)
    raw = photos()
    prepared = HFVision(model=str(folder)).prepare(raw)
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    pictures = [Image.fromarray(image.transpose(1, 2, 0)) for image in raw]
    direct = processor(images=pictures, return_tensors="pt")
    assert set(prepared) == set(direct)
    for name, value in prepared.items():
        torch.testing.assert_close(value, direct[name], atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_dropping_the_class_token_leaves_one_token_a_patch_in_raster_order(checkpoint, kind):
    folder = str(checkpoint(kind))
    prepared = HFVision(model=folder).prepare(photos())
    every = HFVision(model=folder, layer=0)(prepared).tokens
    patches = HFVision(model=folder, layer=0, drop_class_token=True)(prepared).tokens
    assert patches.shape[1] == 16
    torch.testing.assert_close(patches, every[:, PREFIX[kind] :])


@pytest.mark.parametrize("kind", ["clip", "siglip2"])
def test_rows_are_prepared_and_encoded_by_themselves_even_of_different_sizes(checkpoint, kind):
    encoder = HFVision(model=str(checkpoint(kind)))
    generator = np.random.default_rng(1)
    raw = [generator.integers(0, 256, (3, *size), dtype=np.uint8) for size in [(40, 52), (33, 80), (64, 32)]]
    together = encoder.prepare(raw)
    tokens, mask = encoder(together)
    for index, image in enumerate(raw):
        alone = encoder.prepare([image])
        for name in together:
            torch.testing.assert_close(together[name][index], alone[name][0], atol=0, rtol=0)
        real = slice(None) if mask is None else mask[index]
        torch.testing.assert_close(tokens[index][real], encoder(alone).tokens[0][real], atol=1e-5, rtol=0)
    if kind == "siglip2":
        assert mask is not None
        assert mask.shape == tokens.shape[:2]


def test_only_the_vision_tower_of_a_two_tower_checkpoint_is_kept(checkpoint):
    encoder = HFVision(model=str(checkpoint("clip")))
    whole = transformers.CLIPModel.from_pretrained(checkpoint("clip"))
    vision = sum(p.numel() for p in transformers.CLIPVisionModel.from_pretrained(checkpoint("clip")).parameters())
    assert sum(p.numel() for p in encoder.parameters()) == vision < sum(p.numel() for p in whole.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_loading_twice_under_other_seeds_gives_the_same_weights(checkpoint, kind):
    torch.manual_seed(1)
    first = HFVision(model=str(checkpoint(kind))).state_dict()
    torch.manual_seed(2)
    second = HFVision(model=str(checkpoint(kind))).state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_relative_folder_is_looked_for_under_the_data_root(checkpoint):
    folder = checkpoint("vit")
    assert HFVision(folder.parent, model=folder.name).dim == 32


def test_identity_tells_layer_dtype_preprocessing_and_configuration_apart(checkpoint, tmp_path):
    folder = str(checkpoint("clip"))
    base = HFVision(model=folder).identity()
    assert base == HFVision(model=folder).identity()
    assert base["layer"] != HFVision(model=folder, layer=-2).identity()["layer"]
    assert base["dtype"] != HFVision(model=folder, dtype="bfloat16").identity()["dtype"]
    other = make_checkpoint("clip", tmp_path / "clip")
    assert HFVision(model=str(other)).identity() == base
    pil("CLIPImageProcessor")(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_mean=[0.5, 0.5, 0.5]
    ).save_pretrained(other)
    changed = HFVision(model=str(other)).identity()
    assert changed["preprocessing"] != base["preprocessing"]
    assert changed["config"] == base["config"]


def test_half_precision_computes_in_it_and_gives_float32(checkpoint):
    encoder = HFVision(model=str(checkpoint("clip")), dtype="bfloat16")
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.bfloat16}
    assert encoder(encoder.prepare(photos())).tokens.dtype == torch.float32


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", [-1, 1])
def test_exactly_the_parameters_that_the_tokens_depend_on_are_trainable(checkpoint, kind, layer):
    encoder = HFVision(model=str(checkpoint(kind)), layer=layer)
    wanted = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    encoder.requires_grad_(True)
    encoder(encoder.prepare(photos())).tokens.square().mean().backward()
    assert wanted == {name for name, parameter in encoder.named_parameters() if parameter.grad is not None}
    assert any(".1." in name for name in wanted) == (layer == -1)


@pytest.mark.parametrize("layer", [4, -5])
def test_a_layer_that_is_not_there_is_refused(checkpoint, layer):
    with pytest.raises(TrialbookError, match=rf"layer \({layer}\) must be from -4 to 3"):
        HFVision(model=str(checkpoint("vit")), layer=layer)


def test_a_checkpoint_that_lacks_weights_is_refused(checkpoint, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = make_checkpoint("dinov2", tmp_path / "cut")
    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in weights if name.endswith("layer.1.norm1.weight"))
    save_file({k: v for k, v in weights.items() if k != lost}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TrialbookError, match="lacks 1 weights of Dinov2Model"):
        HFVision(model=str(folder))


def test_a_text_model_has_no_vision_tower(tmp_path):
    transformers.BertModel(transformers.BertConfig(**TEXT)).save_pretrained(tmp_path)
    pil("ViTImageProcessor")().save_pretrained(tmp_path)
    with pytest.raises(TrialbookError, match=r"BertModel reads 'input_ids': it is no vision tower"):
        HFVision(model=str(tmp_path))


def test_a_checkpoint_without_preprocessing_is_refused(tmp_path):
    transformers.ViTModel(transformers.ViTConfig(**TOWER)).save_pretrained(tmp_path)
    with pytest.raises(TrialbookError, match="cannot load the image preprocessing"):
        HFVision(model=str(tmp_path))


def test_an_unreachable_hub_is_said_quickly_and_clearly(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens on the discard port
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    start = time.perf_counter()
    message = "cannot load model 'nobody/nothing': no folder .* the hub cannot be reached"
    with pytest.raises(TrialbookError, match=message):
        HFVision(tmp_path, model="nobody/nothing")
    assert time.perf_counter() - start < 10


def test_a_path_that_is_no_folder_and_no_hub_name_is_said():
    with pytest.raises(TrialbookError, match="it is no name of the hub"):
        HFVision(model="./no/such/folder")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"layer": -2}])
def test_the_encoder_keeps_the_contract_with_every_architecture(checkpoint, kind, options):
    check_component(HFVision, "encoder", options={"model": str(checkpoint(kind)), **options})
