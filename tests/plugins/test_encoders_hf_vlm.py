"""Points of vision-language models: shapes, order, layers, and planted faults, on tiny models of the real architectures."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

transformers = pytest.importorskip("transformers")

from remote_models import InternChat  # noqa: E402
from vision_checkpoints import make_checkpoint  # noqa: E402

from trialbook.contracts import Encoder, LayerEncoder  # noqa: E402
from trialbook.errors import TrialbookError  # noqa: E402
from trialbook.plugins.hookspec import Component, hookimpl  # noqa: E402
from trialbook.plugins.manager import PluginManager  # noqa: E402
from trialbook.testing import check_component  # noqa: E402
from trialbook_plugins import plugin  # noqa: E402
from trialbook_plugins.encoders.hf_vlm import HFVLM  # noqa: E402
from trialbook_plugins.vlms import architectures as tables  # noqa: E402
from trialbook_plugins.vlms.architecture import Architecture  # noqa: E402
from trialbook_plugins.vlms.family import PLACES, Prompt  # noqa: E402
from trialbook_plugins.vlms.inputs import family  # noqa: E402
from trialbook_plugins.vlms.layer_reader import LayerReader  # noqa: E402
from trialbook_plugins.vlms.layers import check_layers  # noqa: E402
from trialbook_plugins.vlms.order import ORDERS, Grid  # noqa: E402
from trialbook_plugins.vlms.order_check import check_order  # noqa: E402
from trialbook_plugins.vlms.pictures import STATISTICS, Pictures  # noqa: E402
from trialbook_plugins.vlms.tiny_cogvlm import TinyCogVLM  # noqa: E402

SHAPES: dict[str, dict[str, tuple[int, int, int]]] = {
    "llava-next": {"L1": (4, 4, 32), "L2": (4, 4, 48), "L3": (4, 4, 48), "L4": (4, 4, 48), "L5": (4, 4, 48)},
    "cogvlm2": {"C1": (8, 8, 32), "C2": (4, 4, 48), "C3": (4, 4, 48), "C4": (4, 4, 48)},
    "llava": {"L1": (8, 8, 32), "L2": (8, 8, 48), "L3": (8, 8, 48), "L4": (8, 8, 48), "L5": (8, 8, 48)},
    "internvl": {"I1": (8, 8, 32), "I2": (8, 8, 32), "I3": (4, 4, 128), "I4": (4, 4, 48), "I5": (4, 4, 48)},
    **{
        name: {
            "Q1": (8, 8, 32), "Q2": (8, 8, 32), "Q3": (8, 8, 32), "Q4": (4, 4, 48), "Q5": (4, 4, 48), "Q6": (4, 4, 48),
            "Q7": (4, 4, 48),
        }
        for name in ("qwen2.5-vl", "qwen2-vl", "qwen3-vl")
    },
    "paligemma": {
        "P1": (8, 8, 32), "P2": (8, 8, 32), "P3": (8, 8, 48), "P4": (8, 8, 48), "P5": (8, 8, 48), "P6": (8, 8, 48),
    },
    **{
        name: {"S1": (8, 8, 32), "S2": (8, 8, 32), "S3": (4, 4, 48), "S4": (4, 4, 48), "S5": (4, 4, 48), "S6": (4, 4, 48)}
        for name in ("idefics3", "smolvlm")
    },
    "kosmos-2": {
        "K1": (8, 8, 32), "K2": (8, 8, 32), "K3": (1, 4, 48), "K4": (1, 4, 48), "K5": (1, 4, 48), "K6": (1, 4, 48),
    },
    "florence-2": {
        "F1": (32, 32, 16), "F2": (16, 16, 16), "F3": (8, 8, 32), "F4": (4, 4, 32), "F5": (4, 4, 48), "F6": (4, 4, 48),
        "F7": (4, 4, 48),
    },
    "vision": {"V1": (8, 8, 32), "V2": (8, 8, 32), "V3": (8, 8, 32), "V4": (8, 8, 32)},
}  # fmt: skip
KNOWN = {one.name: one for one in vars(tables).values() if isinstance(one, Architecture)}


def photos(count: int = 2, side: tuple[int, int] = (64, 64)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, *side), dtype=np.uint8)


def tiny(name: str, layers: list[str] | None = None, **options: Any) -> HFVLM:
    return HFVLM(tiny=name, layers=layers or list(KNOWN[name].points), **options).eval()


def tokens_of(encoder: HFVLM, raw: np.ndarray) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        return encoder.encode_layers(encoder.prepare(raw))


def test_every_architecture_of_the_tables_that_transformers_has_is_tried() -> None:
    assert set(SHAPES) == {name for name, one in KNOWN.items() if one.tiny}
    assert set(KNOWN) - set(SHAPES) == {"internvl-chat"}


@pytest.mark.parametrize("name", SHAPES)
def test_every_point_gives_a_grid_of_tokens_and_passes_its_self_test(name: str) -> None:
    encoder = tiny(name)
    assert isinstance(encoder, LayerEncoder)
    assert isinstance(encoder, Encoder)
    tokens = tokens_of(encoder, photos())
    assert {point: tuple(value.shape[1:]) for point, value in tokens.items()} == SHAPES[name]
    assert {point: (*place.grid, place.width) for point, place in encoder.points().items()} == SHAPES[name]
    results = encoder.check_order()
    assert all(result.passed and result.share > 0.9 for result in results.values()), results
    assert all(result.cells == 0 for point, result in results.items() if not encoder.points()[point].spatial)
    encoder.verify()
    features = encoder(encoder.prepare(photos()))
    torch.testing.assert_close(features.tokens, tokens[encoder.layer].flatten(1, 2))


def test_only_latents_have_no_place_in_the_image() -> None:
    without = {p for name in SHAPES for p, place in tiny(name).points().items() if not place.spatial}
    assert without == {"K3", "K4", "K5", "K6"}


def grid_of(encoder: HFVLM, point: str) -> Grid:
    """The grid of a point as its order map sees it."""
    layout, (height, width) = encoder.tapped.family.layout, encoder.points()[point].grid
    return Grid(height, width, layout.merge if (height, width) == layout.patches else 1, layout.window)


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3, 4))])
@pytest.mark.parametrize("name", [name for name in SHAPES if name != "florence-2"])
def test_a_wrong_permutation_is_refused_at_every_point(name: str, seed: int) -> None:
    encoder = tiny(name, seed=seed)
    hooks, tried = list(encoder.tapped.hooks), 0
    for hook in hooks:
        grid = grid_of(encoder, hook.name)
        for order, places in ORDERS.items():
            if "none" in (order, hook.area.order) or torch.equal(places(grid), ORDERS[hook.area.order](grid)):
                continue
            encoder.tapped.hooks = [hook._replace(area=dataclasses.replace(hook.area, order=order))]
            result = encoder.check_order()[hook.name]
            assert not result.passed, (hook.name, order, result)
            assert f"order '{order}'" in result.message
            tried += 1
    assert tried >= sum(encoder.points()[hook.name].spatial for hook in hooks)


def test_nothing_is_measured_on_a_point_that_fails() -> None:
    encoder = tiny("qwen2.5-vl", ["Q2"])
    encoder.tapped.hooks = [encoder.tapped.hooks[0]._replace(area=KNOWN["qwen2-vl"].areas[0])]
    with pytest.raises(TrialbookError, match=r"point 'Q2' of qwen2\.5-vl fails its self-test.*order 'blocks'"):
        encoder.verify()


@pytest.mark.parametrize("seed", [1, 2])
def test_a_wrong_permutation_of_florence_is_refused(seed: int) -> None:
    encoder = tiny("florence-2", seed=seed)
    for hook in list(encoder.tapped.hooks):
        if hook.area.rows != "map":  # rows and columns of a map are no matter of order
            encoder.tapped.hooks = [hook._replace(area=dataclasses.replace(hook.area, order="transposed"))]
            assert not encoder.check_order()[hook.name].passed


@pytest.mark.parametrize("shift", [1, -1])
def test_tokens_that_are_off_by_one_are_refused(shift: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ORDERS, "raster", lambda grid, right=ORDERS["raster"]: right(grid).roll(shift, dims=1))
    results = tiny("llava").check_order()
    assert not any(result.passed for result in results.values())


@pytest.mark.parametrize("name", ["llava-next", "internvl", "qwen3-vl", "paligemma", "idefics3", "kosmos-2", "vision"])
def test_a_layer_that_is_off_by_one_is_refused(name: str) -> None:
    encoder = tiny(name)
    hook = next(hook for hook in reversed(encoder.tapped.hooks) if hook.block > 1)
    encoder.tapped.hooks = [hook]
    encoder.verify()
    before = hook.path.rpartition(".")[0] + f".{hook.block - 2}"
    encoder.tapped.hooks = [hook._replace(path=before)]
    with pytest.raises(
        TrialbookError, match=f"is not the output of block {hook.block}; it is hidden state {hook.block - 1}"
    ):
        encoder.verify()


def test_qwen_without_types_of_tokens_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = tiny("qwen2.5-vl")
    prepared = encoder.prepare(photos())
    lacking = {name: value for name, value in prepared.items() if name != "mm_token_type_ids"}
    with pytest.raises(TrialbookError, match="lack 'mm_token_type_ids'"):
        encoder.encode_layers(lacking)
    monkeypatch.setattr(family("qwen"), "kind", lambda self, name, image: torch.zeros_like(image))
    with pytest.raises(TrialbookError, match="does not mark the image's tokens"):
        encoder.prepare(photos())


def test_a_table_that_forgets_the_types_of_qwens_tokens_is_refused() -> None:
    class Forgetful(family("qwen")):  # type: ignore[misc]
        extra = ()

    right = tiny("qwen2.5-vl").tapped
    made = Forgetful(right.model.config, (32, 32), "base")
    forgetful = LayerReader(right.model, right.architecture, made, right.pictures, right.prompt, ["Q5"])
    with pytest.raises(TrialbookError, match="lack 'mm_token_type_ids'"):
        forgetful.tokens(forgetful.prepare(photos()))


def test_the_types_of_tokens_change_what_qwens_language_model_gives() -> None:
    """Otherwise refusing their absence would guard nothing."""
    encoder = tiny("qwen2.5-vl", ["Q7"])
    prepared = encoder.prepare(photos())
    arguments = encoder.tapped.arguments(prepared)
    with torch.no_grad():
        right = encoder.tapped.model(**arguments, output_hidden_states=True).hidden_states[-1]
        del arguments["mm_token_type_ids"]
        line = encoder.tapped.model(**arguments, output_hidden_states=True).hidden_states[-1]
    assert not torch.allclose(right, line, atol=1e-4)


@pytest.mark.parametrize(("height", "width", "window"), [(4, 4, 2), (5, 6, 2), (7, 3, 4), (8, 8, 4), (3, 9, 5)])
def test_windows_are_undone_as_transformers_makes_them(height: int, width: int, window: int) -> None:
    from transformers.vision_utils import get_vision_window_index

    index, _ = get_vision_window_index(torch.tensor([[1, 2 * height, 2 * width]]), 2, window * 2 * 14, 14)
    ours = ORDERS["windows"](Grid(height, width, 1, window))
    assert torch.equal(torch.argsort(index).view(height, width), ours)
    patches = ORDERS["windows"](Grid(2 * height, 2 * width, 2, window))
    inner = torch.tensor([[0, 1], [2, 3]]).repeat(height, width)
    assert torch.equal(patches, ours.repeat_interleave(2, 0).repeat_interleave(2, 1) * 4 + inner)


def test_llava_next_reads_the_layer_before_the_last_without_class_token() -> None:
    encoder = tiny("llava-next", ["L1"], image_size=[32, 64])
    prepared = encoder.prepare(photos())
    found = encoder.encode_layers(prepared)["L1"]
    tower = encoder.tapped.model.model.vision_tower
    whole = tower(prepared["pixel_values"][:, 0], output_hidden_states=True).hidden_states[-2][:, 1:]
    torch.testing.assert_close(found.flatten(1, 2), whole, atol=1e-5, rtol=0)


def test_stitched_tiles_lie_where_the_image_has_them() -> None:
    encoder = tiny("llava-next", ["L1", "L3"], image_size=[64, 64], tiles="stitch")
    raw = photos()
    found = tokens_of(encoder, raw)
    assert {name: tuple(value.shape[1:3]) for name, value in found.items()} == {"L1": (8, 8), "L3": (8, 8)}
    pixels = Pictures(*STATISTICS["clip"])(raw[:, :, :32, 32:], (32, 32))
    tower = encoder.tapped.model.model.vision_tower
    with torch.no_grad():
        tile = tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
    torch.testing.assert_close(found["L1"][:, :4, 4:].flatten(1, 2), tile, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "point", "layer"), [("llava", "L4", 2), ("internvl", "I4", 1), ("idefics3", "S5", 2)])
def test_rows_of_the_language_model_are_those_of_a_direct_call(name: str, point: str, layer: int) -> None:
    encoder = tiny(name, [point])
    prepared = encoder.prepare(photos())
    with torch.no_grad():
        output = encoder.tapped.model(**encoder.tapped.arguments(prepared), output_hidden_states=True)
        image = prepared["input_ids"] == encoder.tapped.model.config.image_token_id
        expected = output.hidden_states[layer][image].view(2, -1, encoder.dim)
        torch.testing.assert_close(encoder(prepared).tokens, expected, atol=1e-5, rtol=0)


def test_one_forward_gives_all_points_and_ends_at_the_deepest() -> None:
    encoder = tiny("internvl", ["all"])
    calls: list[str] = []
    for name, module in encoder.tapped.model.named_modules():
        if name in ("model.vision_tower", "model.language_model.layers.3", "model.language_model.norm", "lm_head"):
            module.register_forward_pre_hook(lambda *_, name=name: calls.append(name))
    found = tokens_of(encoder, photos())
    assert len(found) == 4 + 1 + 4
    assert calls == ["model.vision_tower", "model.language_model.layers.3"]
    tokens_of(tiny("internvl", ["I1"]), photos())


def test_points_are_the_same_whatever_is_read_beside_them() -> None:
    alone, all_of = tiny("qwen3-vl", ["Q5"]), tiny("qwen3-vl")
    assert torch.equal(tokens_of(alone, photos())["Q5"], tokens_of(all_of, photos())["Q5"])


def test_images_of_other_sizes_are_stretched_to_the_one() -> None:
    encoder = tiny("internvl")
    raw = [np.kron(photos(1, (8, 8))[0], np.ones((1, n, m), dtype=np.uint8)) for n, m in ((8, 8), (4, 12))]
    tokens = tokens_of(encoder, raw)["I2"]
    assert tokens.shape == (2, 8, 8, 32)
    middle = tokens.flatten(0, 2) - tokens.mean((0, 1, 2))
    one, other = middle.view(2, 64, 32)
    nearest = torch.cdist(one, other).argmin(1)
    assert (nearest == torch.arange(64)).float().mean() > 0.9


@pytest.mark.parametrize(
    ("name", "processor", "size"),
    [
        ("qwen2.5-vl", "Qwen2VLImageProcessor", (32, 40)),
        ("llava-next", "LlavaNextImageProcessor", (64, 64)),
        ("idefics3", "Idefics3ImageProcessor", (64, 64)),
    ],
)
def test_pixels_lie_as_the_familys_own_processor_puts_them(name: str, processor: str, size: tuple[int, int]) -> None:
    from PIL import Image

    raw = photos(2, size)
    encoder = tiny(name, image_size=list(size))
    options: dict[str, Any] = {
        "qwen2.5-vl": {"patch_size": 4, "size": {"shortest_edge": 16, "longest_edge": 9999}},
        "llava-next": {
            "size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}, "image_grid_pinpoints": [[64, 64]],
        },
        "idefics3": {
            "size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 64}, "do_image_splitting": False,
            "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
        },
    }[name]  # fmt: skip
    made = (getattr(transformers, f"{processor}Pil", None) or getattr(transformers, processor))(**options)
    images = [Image.fromarray(image.transpose(1, 2, 0)) for image in raw]
    direct = made(images=[[i] for i in images] if name == "idefics3" else images, return_tensors="pt")["pixel_values"]
    ours = encoder.tapped.family.arguments(encoder.prepare(raw))["pixel_values"]
    torch.testing.assert_close(ours, direct.view_as(ours), atol=1e-5, rtol=0)


def test_a_checkpoint_gives_what_the_model_it_was_saved_from_gives(tmp_path: Path) -> None:
    small = tiny("llava")
    small.tapped.model.save_pretrained(tmp_path / "saved")
    read = HFVLM(tmp_path, model="saved", layers=["L1", "L5"]).eval()
    raw = photos()
    expected = tokens_of(small, raw)
    for point, tokens in tokens_of(read, raw).items():
        assert torch.equal(tokens, expected[point])


@pytest.mark.parametrize("kind", ["clip", "siglip", "dinov2", "dinov2-registers", "vit"])
def test_plain_vision_encoders_are_read_without_class_token_and_registers(kind: str, tmp_path: Path) -> None:
    encoder = HFVLM(model=str(make_checkpoint(kind, tmp_path)), layers=["all"], image_size=[32]).eval()
    assert [place.grid for place in encoder.points().values()] == [(4, 4)] * 3
    encoder.verify()
    prepared = encoder.prepare(photos(2, (32, 32)))
    with torch.no_grad():
        states = encoder.tapped.model(**prepared, output_hidden_states=True).hidden_states
        last_but_one = list(encoder.encode_layers(prepared).values())[1].flatten(1, 2)
    torch.testing.assert_close(last_but_one, states[2][:, -16:], atol=1e-5, rtol=0)


def test_a_prompt_stands_around_the_image_as_the_template_has_it(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["<s>", "</s>", "<unk>", "user", "assistant", "<image>", "find", "it"]
    plain = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    small = tiny("llava")
    small.tapped.model.save_pretrained(tmp_path)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )
    tokenizer.chat_template = (
        "{% for m in messages %}<s> user {% for c in m['content'] %}{% if c['type'] == 'image' %}<image> "
        "{% else %}{{ c['text'] }} {% endif %}{% endfor %}{% endfor %}assistant"
    )
    tokenizer.save_pretrained(tmp_path)
    encoder = HFVLM(model=str(tmp_path), layers=["L3"], prompt="find it").eval()
    assert encoder.tapped.prompt == Prompt((0, 3), 5, (6, 7, 4))
    encoder.verify()
    bare = HFVLM(model=str(tmp_path), layers=["L3"]).eval()
    assert bare.tapped.prompt == Prompt((0,), 5)
    assert encoder.identity()["prompt"] != bare.identity()["prompt"]


def stand_in(model: torch.nn.Module, name: str, prompt: Prompt) -> LayerReader:
    torch.manual_seed(0)
    table = KNOWN[name]
    made = family(table.inputs)(model.config, (64, 64), "base")
    made.ready(model, prompt.image)
    return LayerReader(model.eval(), table, made, Pictures(*STATISTICS[table.statistics]), prompt, list(table.points))


@pytest.mark.parametrize(
    ("make", "name", "shapes"),
    [
        (TinyCogVLM, "cogvlm2", {"C1": (8, 8, 32), "C2": (4, 4, 48), "C3": (4, 4, 48), "C4": (4, 4, 48)}),
        (
            InternChat,
            "internvl-chat",
            {"I1": (8, 8, 32), "I2": (8, 8, 32), "I3": (4, 4, 128), "I4": (4, 4, 48), "I5": (4, 4, 48)},
        ),
    ],
)
def test_models_with_code_of_their_own_are_read_through_their_table(make: Any, name: str, shapes: Any) -> None:
    torch.manual_seed(0)
    model = stand_in(make(), name, Prompt((1,), 5, (7, 8)))
    with torch.no_grad():
        tokens = model.tokens(model.prepare(photos()))
    assert {point: tuple(value.shape[1:]) for point, value in tokens.items()} == shapes
    cpu = torch.device("cpu")
    assert all(result.passed for result in check_order(model, 8, cpu).values())
    assert check_layers(model, cpu) == {}
    for hook in list(model.hooks):
        model.hooks = [hook._replace(area=dataclasses.replace(hook.area, order="transposed"))]
        assert not check_order(model, 8, cpu)[hook.name].passed
    if name == "cogvlm2":  # begin and end of an image are of its kind, and no tokens of it
        prepared = model.prepare(photos())
        assert prepared["token_type_ids"].sum(1).tolist() == [18, 18]
        assert prepared[PLACES][0].tolist() == list(range(2, 18))


def test_code_of_a_checkpoint_is_run_only_if_the_user_says_so(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "cogvlm", "auto_map": {"AutoConfig": "x.Config"}}))
    with pytest.raises(TrialbookError, match="trust_remote_code = true"):
        HFVLM(model=str(tmp_path), layers=["C1"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": ["L9"]}, r"'L9' is no point of llava-next \(L1, L2"),
        ({"layers": []}, "layers is empty"),
        ({"layers": ["L1", "L1"]}, "'L1' twice"),
        ({"layers": ["L1"], "layer": "L2"}, r"layer \('L2'\) must be one of layers"),
        ({"layers": ["out:model.visin_tower"]}, "no module 'model.visin_tower'; 'model' has 'vision_tower'"),
        ({"layers": ["out:model.language_model.layers.9"]}, "has '0', '1', '2', '3'"),
        ({"layers": ["out:model.language_model.layers"]}, "a list of blocks is never called itself"),
        ({"layers": ["in:lm_head"]}, "holds no image tokens"),
        ({"layers": ["L1"], "image_size": [60]}, "must be a multiple of the patch size, 8"),
        ({"layers": ["L1"], "image_size": [128]}, "must be one of the model's: 32 x 64"),
        ({"layers": ["L1"], "prompt": "find it"}, "a tiny model has no tokenizer"),
        ({"layers": ["L1"], "model": "here"}, "give 'model' or 'tiny'"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TrialbookError, match=message):
        HFVLM(tiny="llava-next", **options)


def test_unknown_architectures_and_families_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrialbookError, match="did you mean 'internvl'"):
        HFVLM(tiny="intervl", layers=["I1"])
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(TrialbookError, match="type 'bert' are not known"):
        HFVLM(model=str(tmp_path), layers=["I1"])
    with pytest.raises(TrialbookError, match="no way 'qwn'"):
        family("qwn")
    with pytest.raises(TrialbookError, match="images are not cut"):
        HFVLM(tiny="internvl", layers=["I1"], tiles="stitch")


def test_global_random_numbers_are_left_alone_and_seeds_are_heard() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    one, same, other = (tiny("vision", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(tokens_of(one, photos())["V4"], tokens_of(same, photos())["V4"])
    assert not torch.equal(tokens_of(one, photos())["V4"], tokens_of(other, photos())["V4"])


@pytest.mark.parametrize("name", ["internvl", "qwen2.5-vl", "vision"])
def test_it_conforms(name: str) -> None:
    options = {"tiny": name, "layers": [next(iter(KNOWN[name].points))]}
    check_component(HFVLM, "encoder", options=options, inputs=photos(3, (40, 52)))


def test_an_architecture_is_a_table_that_a_plugin_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(__file__).parents[1] / "thirdparty/src"
    monkeypatch.syspath_prepend(str(source))
    text = (source / "acme_trialbook/aya_vision.py").read_text()
    table = text[text.index("AYA_VISION = ") : text.index("\n\n\ndef")]
    assert len(table.splitlines()) <= 15

    class Acme:
        @hookimpl
        def mlrun_architectures(self) -> list[Component]:
            return [Component("aya-vision", "acme_trialbook.aya_vision:AYA_VISION", "points A1 to A3")]

    host = PluginManager.from_modules({"trialbook": plugin, "acme": Acme()})
    encoder = HFVLM(None, host.records, tiny="aya-vision", layers=["A1", "A2", "A3", "all"]).eval()
    assert {name: p.grid for name, p in encoder.points().items() if ":" not in name} == {
        "A1": (8, 8), "A2": (4, 4), "A3": (4, 4),
    }  # fmt: skip
    encoder.verify()
    assert set(KNOWN) <= set(host.records("architecture"))
    sys.modules.pop("acme_trialbook.aya_vision", None)


def test_a_plain_encoder_reads_images_of_another_size_than_its_table_of_positions() -> None:
    """As transformers does it where it is asked to interpolate."""
    encoder = HFVLM(tiny="vision", layers=["V2"], image_size=[96, 128])
    encoder.verify()
    assert encoder.points()["V2"].grid == (12, 16)
    prepared = encoder.prepare(np.random.default_rng(0).integers(0, 256, (2, 3, 96, 128), dtype=np.uint8))
    found = encoder.encode_layers(prepared)["V2"].flatten(1, 2)
    model = encoder.tapped.model
    with torch.no_grad():
        states = model(**prepared, interpolate_pos_encoding=True, output_hidden_states=True).hidden_states
    torch.testing.assert_close(found, states[2][:, 1:])  # after two of four blocks, without the class token
