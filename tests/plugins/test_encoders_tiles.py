"""Encoder tiles: which grid a page gets, what its crops show, and how tasks, stored features and earlier runs deal with it."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trialbook.config.load import load_experiment
from trialbook.contracts import Step
from trialbook.contracts.datasets import Modality
from trialbook.engine.builder import BuildContext, RunBuilder
from trialbook.engine.feature_store import FeatureStore
from trialbook.engine.warm_start import Origin, start_part
from trialbook.errors import ExperimentErrors, TrialbookError
from trialbook.planning.planner import make_plan
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook
from trialbook.registry.run_directory import RunDirectory
from trialbook.testing import check_component
from trialbook_plugins.encoders.letterbox import letterbox
from trialbook_plugins.encoders.patches import Patches
from trialbook_plugins.encoders.text_transformer import TextTransformer
from trialbook_plugins.encoders.tiles import Tiles, best_grid, cut_tiles, tile_count
from trialbook_plugins.encoders.vit import ViT
from trialbook_plugins.tasks._token_sequences import IGNORED

pytest.importorskip("transformers")

from vision_checkpoints import make_checkpoint

PAGES = Modality("image", (3, 0, 0))
CROP = Modality("image", (3, 16, 16))

FILE = """
name = "paged"
seeds = [0]
[task]
use = "instruct"
max_length = 200
max_new_tokens = 4
[dataset]
use = "mixture"
[dataset.sources.small]
use = "documents"
train = 6
val = 3
test = 5
size = 64
[dataset.sources.large]
use = "documents"
train = 6
val = 3
test = 5
size = 128
seed = 1
[encoder.image]
use = "tiles"
size = 64
tiles = 4
FROZEN
[encoder.image.of]
use = "patches"
patch = 16
[projector.image]
use = "pixel-shuffle"
[llm]
use = "small-causal"
width = 32
depth = 2
heads = 2
context = 256
[[metric]]
use = "exact-match"
[train]
steps = 4
batch_size = 8
lr = 1e-2
"""


def page(height: int, width: int) -> np.ndarray:
    """A page whose red grows to the right and whose green grows downwards."""
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    return np.stack([x * 255, y * 255, np.full_like(x, 128)]).round().astype(np.uint8)


def noise(*sizes: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (3, *size), dtype=np.uint8) for size in sizes]


# --- the grid and its crops --------------------------------------------------------------------------------------


def shown(height: int, width: int, rows: int, columns: int, size: int) -> Fraction:
    """Pixels of a page that a grid shows, without rounding."""
    scale = min(Fraction(columns * size, width), Fraction(rows * size, height))
    return min(scale * scale * width * height, Fraction(width * height))


def test_the_grid_shows_most_of_the_page_and_is_the_smallest_that_does() -> None:
    """Against every grid in exact fractions; sides are rounded to pixels, so that two grids may differ by one row or column."""
    rng = np.random.default_rng(0)
    for _ in range(400):
        height, width, size, tiles = (int(rng.integers(*span)) for span in ((5, 900), (5, 900), (8, 200), (1, 10)))
        rows, columns = best_grid(height, width, size, tiles)
        assert rows * columns <= tiles
        own, slack = shown(height, width, rows, columns, size), height + width
        for high in range(1, tiles + 1):
            for wide in range(1, tiles // high + 1):
                other = shown(height, width, high, wide, size)
                assert own >= other - slack
                if high * wide < rows * columns:
                    assert other < own + slack


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(100, 100, (2, 2)), (50, 50, (1, 1)), (20, 30, (1, 1)), (50, 100, (1, 2)), (190, 50, (4, 1)), (90, 140, (2, 2))],
)
def test_known_pages_get_known_grids(height: int, width: int, expected: tuple[int, int]) -> None:
    assert best_grid(height, width, 50, 4) == expected


def test_a_page_that_fills_its_grid_is_cut_and_not_resampled() -> None:
    (image,) = noise((32, 48))
    tiles, _ = cut_tiles(image, 16, 6)
    assert len(tiles) == 1 + 2 * 3
    rows = [np.concatenate(tiles[1 + 3 * row : 4 + 3 * row], axis=2) for row in range(2)]
    assert np.array_equal(np.concatenate(rows, axis=1), image)
    assert np.array_equal(tiles[0], letterbox(image, 16, 16).frame)


@pytest.mark.parametrize(("height", "width"), [(70, 100), (100, 64), (30, 150), (64, 64)])
def test_places_say_what_part_of_the_page_a_crop_shows(height: int, width: int) -> None:
    """The colours of the page tell where its middle lies; within one level of 255 and the blur of resampling."""
    tiles, places = cut_tiles(page(height, width), 32, 9)
    assert len(tiles) == len(places) > 1
    half = max(height, width) / 2
    for tile, (left, top, right, bottom) in zip(tiles[1:], places[1:].tolist(), strict=True):
        inside = (left >= -width / 2 / half - 1e-6, right <= width / 2 / half + 1e-6)
        if all(inside):
            middle = (left + right) / 2 * half / width + 0.5
            assert tile[0, 16, 12:20].mean() / 255 == pytest.approx(middle, abs=0.02)
        if top >= -height / 2 / half - 1e-6 and bottom <= height / 2 / half + 1e-6:
            middle = (top + bottom) / 2 * half / height + 0.5
            assert tile[1, 12:20, 16].mean() / 255 == pytest.approx(middle, abs=0.02)
    assert places[0].tolist() == pytest.approx([-1, -1, 1, 1], abs=0.04)  # the whole, in a square


# --- tokens ------------------------------------------------------------------------------------------------------


def test_every_tile_is_read_by_itself_and_pages_have_as_many_tokens_as_their_tiles() -> None:
    torch.manual_seed(0)
    inner = ViT(CROP, patch=8, width=12, depth=1, heads=2).eval()
    encoder, raw = Tiles(PAGES, inner, size=16, tiles=4).eval(), noise((10, 12), (32, 32), (16, 40))
    tokens, mask = encoder(encoder.prepare(raw))
    assert (encoder.dim, encoder.block, encoder.max_length) == (16, 4, 20)
    assert mask.sum(dim=1).tolist() == [4, 20, 16]
    assert (mask.reshape(3, -1, 4).any(dim=2).sum(dim=1)).tolist() == encoder.blocks(raw) == [1, 5, 4]
    for row, image in enumerate(raw):
        tiles, places = cut_tiles(image, 16, 4)
        for number, tile in enumerate(tiles):
            own = tokens[row, 4 * number : 4 * number + 4]
            # the same sums in another order
            torch.testing.assert_close(own[:, :12], inner(inner.prepare(tile[None])).tokens[0], atol=1e-5, rtol=1e-5)
            assert torch.equal(own[:, 12:], torch.from_numpy(places[number]).expand(4, 4))
        assert not tokens[row, 4 * len(tiles) :].any()


def test_pages_of_one_size_have_no_mask_and_others_are_refused() -> None:
    encoder = Tiles(Modality("image", (3, 32, 32)), Patches(CROP, patch=8), size=16, places=False)
    features = encoder(encoder.prepare(noise((32, 32), (32, 32))))
    assert features.mask is None
    assert features.tokens.shape == (2, encoder.max_length, encoder.of.dim)
    with pytest.raises(TrialbookError, match=r"shape \[3, 32, 32\], not \[3, 32, 40\]"):
        encoder.prepare(noise((32, 32), (32, 40)))


@pytest.mark.parametrize(("modality", "count"), [(Modality("image", (3, 40, 24)), None), (PAGES, 3)])
def test_it_conforms(modality: Modality, count: int | None) -> None:
    torch.manual_seed(0)
    injected = {"modality": modality, "of": ViT(CROP, patch=8, width=8, depth=1, heads=2)}
    inputs = noise((40, 24), (10, 10), (16, 60))[:count] if count else None
    check_component(Tiles, "encoder", options={"size": 16}, injected=injected, inputs=inputs)


def test_more_tiles_than_are_read_at_once_give_the_same_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, raw = Tiles(PAGES, Patches(CROP, patch=8), size=16), noise((32, 32), (48, 16), (10, 10))
    before = encoder(encoder.prepare(raw)).tokens
    monkeypatch.setattr("trialbook_plugins.encoders.tiles._AT_ONCE", 2)
    assert torch.equal(encoder(encoder.prepare(raw)).tokens, before)


@pytest.mark.parametrize(
    ("options", "said"), [({"size": 0}, r"size \(0\)"), ({"size": 16, "tiles": 0}, r"tiles \(0\)")]
)
def test_options_out_of_range_are_refused(options: dict[str, int], said: str) -> None:
    with pytest.raises(TrialbookError, match=said):
        Tiles(PAGES, Patches(CROP, patch=8), **options)


def test_an_encoder_of_something_else_is_refused() -> None:
    texts = TextTransformer(Modality("text", (), lambda: ["one", "two"]), width=8, depth=1, heads=2)
    with pytest.raises(TrialbookError, match="TextTransformer reads no images"):
        Tiles(PAGES, texts, size=16)


def test_it_starts_from_a_run_in_which_the_inner_encoder_stood_alone() -> None:
    torch.manual_seed(0)
    alone = ViT(CROP, patch=8, width=8, depth=1, heads=2)
    torch.manual_seed(1)
    tiled = Tiles(PAGES, ViT(CROP, patch=8, width=8, depth=1, heads=2), size=16)

    class Earlier(Origin):
        step = 3
        tensors = {f"encoder.image.{name}": tensor for name, tensor in alone.state_dict().items()}

    told = start_part("encoder.image", tiled, Earlier(RunDirectory(Path("nowhere"))), demanded=True)
    assert (told.missing, told.unused) == ((), ())
    for name, tensor in alone.state_dict().items():
        assert torch.equal(tiled.of.state_dict()[name], tensor)


# --- in an experiment --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> SchemaBook:
    return SchemaBook(PluginManager.discover(), tmp_path_factory.mktemp("schemas"))


@pytest.fixture
def build(book: SchemaBook, tmp_path: Path) -> Callable[..., Any]:
    """Makes the task of a file."""

    def make(*changes: tuple[str, str], frozen: bool = True) -> Any:
        text = FILE.replace("FROZEN", "frozen = true" if frozen else "")
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "paged.toml").write_text(text)
        plan = make_plan(load_experiment(tmp_path / "paged.toml"), book)
        task = RunBuilder(plan.runs[0], BuildContext(book, FeatureStore(tmp_path / "features"), None)).task()
        task.parts.eval()
        return task

    return make


VIT = ('use = "patches"\npatch = 16', 'use = "vit"\npatch = 16\nwidth = 16\ndepth = 1\nheads = 2')
PROJECTORS = {
    "pixel-shuffle": ('use = "pixel-shuffle"', 4),
    "mlp": ('use = "mlp"', 16),
    "perceiver": ('use = "perceiver"\nlatents = 3\ndepth = 1\nheads = 2\nhead_dim = 8', 3),
    "one": ('use = "linear"\npool = "mean"', 1),
}


@pytest.mark.parametrize("projector", PROJECTORS)
@pytest.mark.parametrize("frozen", [True, False])
def test_images_have_the_tokens_of_their_tiles_and_each_tile_goes_through_the_projector_alone(
    build: Any, projector: str, frozen: bool
) -> None:
    body, each = PROJECTORS[projector]
    task = build(('use = "pixel-shuffle"', body), VIT, frozen=frozen)
    conversations = task._split("train")
    small, large = len(conversations) // 4, len(conversations) - 1
    assert [conversations.lengths_of(row) for row in (small, large)] == [[each], [5 * each]]
    batch = conversations.batch([large, small, large - 8])
    with torch.no_grad():
        embeds = task._embed(batch)
        pictures = task.dataset.splits()["train"].read(
            "image", conversations.groups[np.array([large, small, large - 8])]
        )
        for row, picture in enumerate(pictures):
            tiles, places = cut_tiles(np.asarray(picture), 64, 4)
            inner = task.encoder.of
            alone = [inner(inner.prepare(tile[None])).tokens for tile in tiles]
            marked = [
                torch.cat([one, torch.from_numpy(place).expand(1, one.shape[1], 4)], dim=-1)
                for one, place in zip(alone, places, strict=True)
            ]
            expected = torch.cat([task.projector(one)[0] for one in marked])
            found = embeds[row][batch.slots[row] >= 0]
            assert found.shape == (each * len(tiles), task.llm.dim)
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)  # batched sums in another order


def test_no_image_token_is_cut_or_learned_and_what_does_not_fit_is_counted(build: Any) -> None:
    task = build(("max_length = 200", "max_length = 48"))
    conversations, kept = task._split("train"), {True: 0, False: 0}
    for row in range(len(conversations)):
        one, (length,) = conversations.sequence(row), conversations.lengths_of(row)
        if one is None:
            continue
        kept[length > 4] += 1
        assert one.image_tokens == (one.slots >= 0).sum() == length
        assert one.slots[one.slots >= 0].tolist() == list(range(length))
        assert (one.labels[one.slots >= 0] == IGNORED).all()
        assert len(one.ids) <= 48
    counts = conversations.counts()
    assert counts["dropped"] + sum(kept.values()) == len(conversations)
    assert min(kept.values()) > 0
    assert task.losses(task.batch(np.arange(4), 0, Step(0, "train", 0)))["loss"] > 0


def test_answers_do_not_depend_on_what_is_asked_beside_them_or_on_what_is_stored(build: Any) -> None:
    """Random weights of some size, so that answers differ; the pictures beside one another have 1 and 5 tiles."""
    found = {}
    for size, frozen in ((1, True), (8, True), (8, False)):
        task = build(("[train]", f"[evaluate]\nbatch_size = {size}\n[train]"), frozen=frozen)
        torch.manual_seed(0)
        for parameter in task.parts.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        task.evaluate("test")
        found[size, frozen] = [one.prediction for one in task.shown("test")["predictions"]]
    assert found[1, True] == found[8, True] == found[8, False]
    assert len(set(found[1, True])) > 3


def test_a_page_of_any_size_can_be_asked_about(build: Any) -> None:
    task = build()
    task.evaluate("test")
    asked = task.shown("test")["predictions"][-1]
    split = task.dataset.splits()["test"]
    group = int(split.groups("conversation")[-1])
    picture = np.asarray(split.read("image", np.array([group]))[0])
    assert picture.shape == (3, 128, 128)
    assert task.answer([picture], asked.question).prediction == asked.prediction
    assert isinstance(task.answer([page(70, 300)], asked.question).prediction, str)


def test_training_steps_reach_the_projector_and_an_encoder_that_learns(build: Any) -> None:
    task = build(VIT, frozen=False)
    task.parts.train()
    task.losses(task.batch(np.arange(8), 0, Step(0, "train", 0)))["loss"].backward()
    for name in ("encoder.image.of.embedding.weight", "projector.image.layers.0.weight"):
        gradient = dict(task.module().named_parameters())[name].grad
        assert gradient is not None
        assert gradient.abs().sum() > 0


def test_stored_features_are_those_of_the_encoder_and_change_with_what_is_inside(build: Any, tmp_path: Path) -> None:
    task = build(VIT)
    assert not any(p.requires_grad for p in task.encoder.parameters())
    stored = task._split("train").stored
    rows = np.array([0, 7, 11])
    with torch.no_grad():
        expected = task.encoder(task.encoder.prepare(task.dataset.splits()["train"].read("image", rows)))
    assert torch.equal(stored.mask(rows), expected.mask)
    torch.testing.assert_close(stored.rows(rows), expected.tokens, atol=1e-5, rtol=1e-5)  # other batches, other sums
    files = {file.name for file in (tmp_path / "features").glob("*.safetensors")}
    build(VIT)._split("train")
    assert {file.name for file in (tmp_path / "features").glob("*.safetensors")} == files
    build((VIT[0], VIT[1] + "\nclass_token = true"), ('use = "pixel-shuffle"', 'use = "mlp"'))._split("train")
    assert len(list((tmp_path / "features").glob("*.safetensors"))) == len(files) + 1


def test_a_checkpoint_of_transformers_reads_the_tiles(build: Any, tmp_path: Path) -> None:
    folder = make_checkpoint("siglip", tmp_path / "siglip")
    task = build(
        ('use = "patches"\npatch = 16', f'use = "hf-vision"\nmodel = "{folder}"'),
        ("size = 64\ntiles", "size = 32\ntiles"),
    )
    assert task.encoder.identity()["of.layer"] == "3"
    assert task._split("train").lengths.tolist() == [20] * 12  # 32 pixels a crop: both sizes are cut into 2 × 2
    assert set(task.evaluate("val")) >= {"loss", "exact-match/exact"}


def test_images_and_captions_are_aligned_through_tiles(book: SchemaBook, tmp_path: Path) -> None:
    (tmp_path / "near.toml").write_text(
        '[task]\nuse = "align"\ndim = 8\n[dataset]\nuse = "scenes"\ntrain = 16\nval = 8\ntest = 8\nsize = 64\n'
        '[encoder.image]\nuse = "tiles"\nsize = 32\n[encoder.image.of]\nuse = "patches"\n'
        '[projector.image]\nuse = "pixel-shuffle"\n[encoder.text]\nuse = "token-embedding"\nwidth = 8\n'
        '[[loss]]\nuse = "info-nce"\n[train]\nsteps = 2\nbatch_size = 8\n'
    )
    plan = make_plan(load_experiment(tmp_path / "near.toml"), book)
    task: Any = RunBuilder(plan.runs[0], BuildContext(book, FeatureStore(tmp_path / "features"), None)).task()
    assert task.losses(task.batch(np.arange(8), 0, Step(0, "train", 0)))["loss"].isfinite()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("patch = 16", "patch = 16\nfrozen = true", "[encoder.image.of] 'frozen' is said of the whole part: write it in"),
        ("patch = 16", 'patch = 16\nfrom = "x"', "'from' is said of the whole part"),
        ("patch = 16", "ptach = 16", "[encoder.image.of] unknown key 'ptach'; did you mean 'patch'?"),
        ('[encoder.image.of]\nuse = "patches"\npatch = 16', "", "[encoder.image] missing key 'of'"),
        ("size = 64\ntiles", "tiles", "[encoder.image] missing key 'size'"),
        ("patch = 16", "patch = 15", "patch (15) must divide both sides of the images (64 x 64)"),
        ("tiles = 4", "tiles = 0", "[encoder.image] tiles (0) must be at least 1"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(build: Any, old: str, new: str, said: str) -> None:
    with pytest.raises(ExperimentErrors) as raised:
        build((old, new))
    assert any(said in str(problem) for problem in raised.value.problems), str(raised.value)


def test_the_count_of_tiles_is_the_grid_and_the_whole() -> None:
    assert [tile_count(*grid) for grid in ((1, 1), (1, 2), (2, 3))] == [1, 3, 7]
