"""Tokens in a wrong order and layers that are off by one: every planted fault is refused, and nothing that is right is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

transformers = pytest.importorskip("transformers")

from vision_checkpoints import make_checkpoint  # noqa: E402

from trialbook.errors import TrialbookError  # noqa: E402
from trialbook_plugins.encoders.hf_vlm import HFVLM  # noqa: E402
from trialbook_plugins.vlms import architectures as tables  # noqa: E402
from trialbook_plugins.vlms import order_check as selfcheck  # noqa: E402
from trialbook_plugins.vlms.architecture import Architecture  # noqa: E402
from trialbook_plugins.vlms.family import PLACES, Family  # noqa: E402
from trialbook_plugins.vlms.inputs import LlavaNext, Qwen  # noqa: E402
from trialbook_plugins.vlms.isolated_tokens import isolate_tokens  # noqa: E402
from trialbook_plugins.vlms.layers import block_lists, check_layers  # noqa: E402
from trialbook_plugins.vlms.module_paths import Paths  # noqa: E402
from trialbook_plugins.vlms.order import ORDERS, Grid  # noqa: E402
from trialbook_plugins.vlms.perturbation_check import check_by_perturbation  # noqa: E402

CPU = torch.device("cpu")
KNOWN = {one.name: one for one in vars(tables).values() if isinstance(one, Architecture) and one.tiny}
RIGHT = dict(ORDERS)
Map = Callable[[Grid], Tensor]

#: Sizes that each takes beside its own; what is left out has one alone.
SIZES = {
    "qwen2.5-vl": [[32, 32], [24, 40], [48, 32]], "qwen2-vl": [[16, 40]], "qwen3-vl": [[24, 40]],
    "llava-next": [[32, 64], [64, 32]], "florence-2": [[128, 192]], "vision": [[40, 72]],
}  # fmt: skip
CASES = [(name, size) for name in KNOWN for size in SIZES.get(name, [None])]
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]


def tiny(name: str, **options: Any) -> HFVLM:
    return HFVLM(tiny=name, layers=list(KNOWN[name].points), **options).eval()


def wrong_maps(right: Map) -> Iterator[tuple[str, Map]]:
    """Orders that someone might take for the right one."""

    def two_swapped(grid: Grid) -> Tensor:
        places = right(grid).flatten()
        return places[torch.tensor([1, 0, *range(2, len(places))])].view(grid.height, grid.width)

    yield "raster", RIGHT["raster"]
    yield "transposed", lambda grid: right(grid._replace(height=grid.width, width=grid.height)).T
    yield "rows flipped", lambda grid: right(grid).flip(0)
    yield "columns flipped", lambda grid: right(grid).flip(1)
    yield "one too late", lambda grid: right(grid).flatten().roll(1).view(grid.height, grid.width)
    yield "one too early", lambda grid: (right(grid) - 1).clamp(min=0)
    yield "the other way round", lambda grid: right(grid).flatten().argsort().view(grid.height, grid.width)
    yield "halves swapped", lambda grid: right(grid).roll(grid.width // 2, 1)
    yield "two swapped", two_swapped
    yield "other windows", lambda grid: RIGHT["windows"](grid._replace(window=3))


def grid_of(encoder: HFVLM, point: str) -> Grid:
    layout, grid = encoder.tapped.family.layout, encoder.points()[point].grid
    return Grid(*grid, layout.merge if grid == layout.patches else 1, layout.window)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("name", "size"), CASES)
def test_every_wrong_order_is_refused_at_every_point(
    name: str, size: list[int] | None, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = tiny(name, image_size=size, seed=seed)
    assert all(result.passed and result.share == 1 for result in encoder.check_order().values())
    placed = [hook for hook in encoder.tapped.hooks if hook.area.order != "none" and hook.area.rows != "map"]
    grids, tried = {hook.name: grid_of(encoder, hook.name) for hook in placed}, 0
    for order in {hook.area.order for hook in placed}:
        encoder.tapped.hooks = [hook for hook in placed if hook.area.order == order]
        for fault, wrong in wrong_maps(RIGHT[order]):
            monkeypatch.setitem(ORDERS, order, wrong)
            results = encoder.check_order()
            monkeypatch.setitem(ORDERS, order, RIGHT[order])
            for point, result in results.items():
                if not torch.equal(wrong(grids[point]), RIGHT[order](grids[point])):
                    assert not result.passed, (fault, point, result)
                    tried += 1
    assert tried >= 7 * len(placed)


@pytest.mark.slow
@pytest.mark.parametrize("name", KNOWN)
def test_the_right_order_passes_whatever_the_weights(name: str) -> None:
    for seed in range(30):
        encoder = tiny(name, seed=seed)
        if seed % 3 == 1:  # attention and everything else much stronger than a new model has it
            for parameter in encoder.parameters():
                parameter.data.mul_(8)
        if seed % 3 == 2:  # a few channels that drown all others, as trained models have them
            for parameter in encoder.parameters():
                if parameter.dim() == 2:
                    parameter.data[0].mul_(100)
        results = encoder.check_order()
        assert all(result.passed and result.share == 1 for result in results.values()), (seed, results)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["llava-next", "qwen2.5-vl", "internvl"])
def test_half_precision_and_eager_attention_are_read_as_well(name: str, dtype: Any) -> None:
    encoder = tiny(name, dtype=dtype, attention="eager")
    assert all(result.passed for result in encoder.check_order().values())
    encoder.verify()


@pytest.mark.parametrize("shift", [1, -1])
@pytest.mark.parametrize("name", [name for name in KNOWN if name not in ("kosmos-2", "vision", "cogvlm2")])
def test_places_in_the_sequence_that_are_off_by_one_are_refused(
    name: str, shift: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = tiny(name)
    kind, right = type(encoder.tapped.family), type(encoder.tapped.family).sequence

    def shifted(self: Family, *given: Any) -> dict[str, Tensor]:
        made = right(self, *given)
        return {**made, PLACES: (made[PLACES] + shift).clamp(0, made["input_ids"].shape[1] - 1)}

    encoder.tapped.hooks = [hook for hook in encoder.tapped.hooks if hook.area.rows == "sequence"]
    assert all(result.passed for result in encoder.check_order().values())
    monkeypatch.setattr(kind, "sequence", shifted)
    monkeypatch.setattr("trialbook_plugins.vlms.layer_reader._marks_image", lambda *_: True)
    assert not any(result.passed for result in encoder.check_order().values())


def test_tiles_that_are_swapped_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = LlavaNext.prepare

    def swapped(self: LlavaNext, *given: Any) -> dict[str, Tensor]:
        made = right(self, *given)
        return {**made, self.pixels: made[self.pixels][:, [0, 2, 1, 3, 4]]}

    encoder = tiny("llava-next", tiles="stitch", image_size=[64, 64])
    assert all(result.passed for result in encoder.check_order().values())
    monkeypatch.setattr(LlavaNext, "prepare", swapped)
    results = encoder.check_order()
    assert not any(result.passed for result in results.values())
    assert "tokens do not stand in the order 'raster': 32 of 64 are where it says" in results["L1"].message
    assert "row 0, column 0 shows row 0, column 4 of the picture" in results["L1"].message


@pytest.mark.parametrize(
    ("name", "owner"),
    [("internvl", "internvl.modeling_internvl:InternVLModel"), ("idefics3", "idefics3.modeling_idefics3:Idefics3Connector")],
)  # fmt: skip
def test_a_pixel_shuffle_that_ignores_rows_is_refused(name: str, owner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    module, _, kind = owner.partition(":")
    flat = {
        "internvl": lambda _, x, scale_factor=0.5: x.flatten(1, 2).unflatten(1, (4, 16)).reshape(len(x), 4, 4, -1),
        "idefics3": lambda _, x, scale_factor=2: x.reshape(len(x), -1, x.shape[-1] * scale_factor**2),
    }
    encoder = tiny(name)
    monkeypatch.setattr(
        getattr(importlib.import_module(f"transformers.models.{module}"), kind), "pixel_shuffle", flat[name]
    )
    behind = [point for point in KNOWN[name].points if encoder.points()[point].grid == (4, 4)]
    results = encoder.check_order()
    assert len(behind) >= 3
    assert not any(results[point].passed for point in behind)


def test_patches_in_raster_order_are_refused_where_qwen_wants_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Qwen.prepare

    def raster(self: Qwen, *given: Any) -> dict[str, Tensor]:
        made = right(self, *given)
        return {
            **made,
            self.pixels: made[self.pixels][:, RIGHT["blocks"](Grid(*self.layout.patches, self.layout.merge)).flatten()],
        }

    monkeypatch.setattr(Qwen, "prepare", raster)
    for name in ("qwen2.5-vl", "qwen3-vl"):
        assert not any(result.passed for result in tiny(name).check_order().values())


def trained_to_look_across(steps: int = 60) -> HFVLM:
    """A small ViT whose last layer knows, at every token, the patch at the opposite side of the picture."""
    encoder = HFVLM(tiny="vision", layers=["V1", "V4"]).eval()
    model, read = encoder.tapped.model, nn.Linear(32, 3)
    model.requires_grad_(True)
    optimizer = torch.optim.Adam([*model.parameters(), *read.parameters()], lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        colours = torch.rand(16, 3, 8, 8, generator=generator)
        pixels = colours.repeat_interleave(8, 2).repeat_interleave(8, 3) * 2 - 1
        tokens = encoder.tapped.tokens({"pixel_values": pixels})["V4"]
        loss = (read(tokens) - colours.permute(0, 2, 3, 1).flip(1, 2)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.requires_grad_(False)
    return encoder


def test_order_is_no_matter_of_what_tokens_were_trained_to_know() -> None:
    encoder = trained_to_look_across()
    assert all(result.passed for result in encoder.check_order().values())
    encoder.tapped.hooks = [
        hook._replace(area=dataclasses.replace(hook.area, order="transposed")) for hook in encoder.tapped.hooks
    ]
    assert not any(result.passed for result in encoder.check_order().values())


def test_an_attention_that_cannot_be_read_is_exchanged_while_order_is_tried() -> None:
    from transformers import AttentionInterface

    def hidden(module: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> tuple[Tensor, None]:
        weight = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).exp()
        return (weight @ value / weight.sum(-1, keepdim=True)).transpose(1, 2), None

    AttentionInterface.register("opaque", hidden)
    encoder = tiny("vision")
    encoder.tapped.model.set_attn_implementation("opaque")
    with torch.no_grad(), isolate_tokens(encoder.tapped.model):
        assert encoder.tapped.model.config._attn_implementation == "sdpa"
    assert encoder.tapped.model.config._attn_implementation == "opaque"
    assert all(result.share == 1 for result in encoder.check_order().values())


class Blend(nn.Module):
    """A block that mixes tokens by a fixed matrix: nothing that could be switched off."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, tokens: Tensor, *given: Any, **named: Any) -> Any:
        output = self.block(tokens, *given, **named)
        return output + 2 * output.mean(1, keepdim=True)


@pytest.mark.parametrize("name", ["vision", "llava"])
def test_tokens_mixed_by_other_means_are_tried_as_they_are(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = tiny(name)
    tower = encoder.tapped.model if name == "vision" else encoder.tapped.model.model.vision_tower
    blocks = Paths(tower).find("encoder.layers")
    tower.get_submodule(blocks)[0] = Blend(tower.get_submodule(blocks)[0])
    perturbed: list[str] = []

    def noting(reader: Any, hooks: Any, *given: Any) -> Any:
        perturbed.extend(hook.name for hook in hooks)
        return check_by_perturbation(reader, hooks, *given)

    monkeypatch.setattr(selfcheck, "check_by_perturbation", noting)
    assert all(result.passed for result in encoder.check_order().values())
    assert perturbed == list(KNOWN[name].points)
    encoder.tapped.hooks = [
        hook._replace(area=dataclasses.replace(hook.area, order="transposed")) for hook in encoder.tapped.hooks
    ]
    assert not any(result.passed for result in encoder.check_order().values())


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", KNOWN)
def test_what_is_tried_as_it_is_agrees_on_random_weights(name: str, seed: int) -> None:
    encoder = tiny(name, seed=seed)
    placed = [hook for hook in encoder.tapped.hooks if hook.area.order != "none"]
    assert all(result.passed for result in check_by_perturbation(encoder.tapped, placed, 8, CPU).values())
    wrong = [
        hook._replace(area=dataclasses.replace(hook.area, order=order))
        for hook in placed
        for order in ORDERS
        if hook.area.rows != "map" and order != "none"
        and not torch.equal(ORDERS[order](grid_of(encoder, hook.name)), ORDERS[hook.area.order](grid_of(encoder, hook.name)))
    ]  # fmt: skip
    assert wrong
    for hook in wrong:
        assert not check_by_perturbation(encoder.tapped, [hook], 8, CPU)[hook.name].passed, hook


def test_normal_computation_is_back_after_the_trial() -> None:
    encoder = tiny("florence-2")
    raw = np.random.default_rng(0).integers(0, 256, (2, 3, 128, 128), dtype=np.uint8)
    with torch.no_grad():
        before = encoder.encode_layers(encoder.prepare(raw))
        encoder.verify()
        after = encoder.encode_layers(encoder.prepare(raw))
    assert all(torch.equal(before[point], after[point]) for point in before)
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("name", KNOWN)
def test_a_layer_beside_the_right_one_is_refused_at_every_block(name: str) -> None:
    encoder = HFVLM(tiny=name, layers=["all"]).eval()
    reader = encoder.tapped
    assert check_layers(reader, CPU) == {}
    paths, blocks = Paths(reader.model), [hook for hook in reader.hooks if hook.block]
    for hook in blocks:
        own = next(all_of for all_of in block_lists(hook.area, paths) if hook.path in all_of)
        beside = [hook.block + step for step in (-1, 1) if 1 <= hook.block + step <= len(own)]
        wrong = [hook._replace(path=own[number - 1], name=f"reads {number}") for number in beside]
        reader.hooks = [*wrong, hook._replace(side="in", name="reads its input")]
        found = check_layers(reader, CPU)
        assert set(found) == {one.name for one in reader.hooks}, (hook, found)
        for number, one in zip(beside, wrong, strict=True):
            assert f"is not the output of block {hook.block}; it is hidden state {number}" in found[one.name]
    assert len(blocks) >= 4


@pytest.mark.parametrize("name", [name for name, one in KNOWN.items() if one.areas[-1].norm])
def test_the_last_hidden_state_is_not_taken_for_the_last_block(name: str) -> None:
    encoder = tiny(name)
    last = encoder.tapped.hooks[-1]
    norm = Paths(encoder.tapped.model).find(f"{last.area.path}.{last.area.norm}")
    depth = len(encoder.tapped.model.get_submodule(last.path.rpartition(".")[0]))
    encoder.tapped.hooks = [last._replace(path=norm, block=depth)]
    with pytest.raises(
        TrialbookError, match=f"not the output of block {depth}; it is hidden state {depth}, behind the final norm"
    ):
        encoder.verify()


def test_a_name_that_is_led_to_the_next_block_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Paths.at_depth

    def late(self: Paths, path: str) -> str:
        head, _, number = right(self, path).rpartition(".")
        return self.find(f"{head}.{min(int(number) + 1, 3)}" if number.isdigit() else f"{head}.{number}")

    monkeypatch.setattr(Paths, "at_depth", late)
    encoder = tiny("llava")
    with pytest.raises(TrialbookError, match=r"'L3'.*layers\.1' is read, but the point stands for 'out:.*layers\.0'"):
        encoder.verify()


@pytest.mark.parametrize("kind", ["clip", "siglip", "dinov2", "dinov2-registers", "vit"])
def test_plain_encoders_are_held_to_the_same(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = HFVLM(model=str(make_checkpoint(kind, tmp_path)), layers=["all", "V1", "V4"], image_size=[32]).eval()
    encoder.verify()
    for _, wrong in wrong_maps(RIGHT["raster"]):
        if not torch.equal(wrong(Grid(4, 4)), RIGHT["raster"](Grid(4, 4))):
            monkeypatch.setitem(ORDERS, "raster", wrong)
            assert not any(result.passed for result in encoder.check_order().values())


def test_florence_looks_from_the_corner_of_each_cell_as_documented() -> None:
    config, centre, stride = transformers.Florence2VisionConfig(), 0.0, 1
    for kernel, step, padding in zip(config.patch_size, config.patch_stride, config.patch_padding, strict=True):
        centre += stride * ((kernel - 1) / 2 - padding)  # pixel that token 0 is centred on
        stride *= step
        assert centre == 0 != (stride - 1) / 2


def test_a_size_that_is_no_multiple_of_the_patch_is_seen_as_far_as_tokens_go(tmp_path: Path) -> None:
    """As in SigLIP so400m/14 at 384 pixels: 27 patches, and 6 pixels that none sees."""
    config = transformers.SiglipVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, image_size=36, patch_size=8
    )
    transformers.SiglipVisionModel(config).save_pretrained(tmp_path)
    encoder = HFVLM(model=str(tmp_path), layers=["V4"]).eval()
    assert encoder.tapped.family.size == (32, 32)
    assert encoder.points()["V4"].grid == (4, 4)
    encoder.verify()
    with pytest.raises(TrialbookError, match="must be a multiple of the patch size, 8"):
        HFVLM(model=str(tmp_path), layers=["V4"], image_size=[36])


def test_tokens_in_bfloat16_are_given_as_float32() -> None:
    encoder = tiny("llava", dtype="bfloat16")
    raw = np.zeros((1, 3, 64, 64), dtype=np.uint8)
    with torch.no_grad():
        assert {tokens.dtype for tokens in encoder.encode_layers(encoder.prepare(raw)).values()} == {torch.float32}
