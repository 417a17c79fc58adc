"""Task ``reconstruct`` with its losses and metrics, through a linear decoder and through LTX-Video's in small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trialbook.config.load import load_experiment
from trialbook.contracts import LatentShape, Step
from trialbook.contracts.plots import read_pictures
from trialbook.contracts.records import Arrays, Artifact, Facts
from trialbook.engine.builder import BuildContext, RunBuilder
from trialbook.engine.feature_store import FeatureStore
from trialbook.errors import TrialbookError
from trialbook.planning.planner import make_plan
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook
from trialbook.testing import PartsBuilder, check_component
from trialbook_plugins.datasets.moving_shapes import MovingShapes
from trialbook_plugins.datasets.shapes import Shapes
from trialbook_plugins.encoders.patches import Patches
from trialbook_plugins.losses.l2 import L2
from trialbook_plugins.losses.perceptual import LPIPS as LPIPSLoss
from trialbook_plugins.losses.perceptual import PerceptualRandom as PerceptualLoss
from trialbook_plugins.metrics.direction import Direction
from trialbook_plugins.metrics.perceptual import LPIPS, PerceptualRandom
from trialbook_plugins.metrics.pictures import Pictures
from trialbook_plugins.metrics.redetection import Redetection
from trialbook_plugins.projectors.linear import Linear
from trialbook_plugins.projectors.mlp_adapter import MLPAdapter
from trialbook_plugins.tasks._clips import Annotations, clips_of
from trialbook_plugins.tasks.reconstruct import Reconstruct

SIDE, CELL = 64, 8


class Cells(nn.Module):
    """A decoder whose latents are the pixels of cells: nothing is lost."""

    latents = LatentShape(1, SIDE // CELL, SIDE // CELL, 3 * CELL * CELL)

    def encode(self, pictures: Tensor) -> Tensor:
        cells = pictures[:, 0].unfold(2, CELL, CELL).unfold(3, CELL, CELL)  # [B, 3, h, w, C, C]
        return cells.permute(0, 2, 3, 1, 4, 5).flatten(3)[:, None]

    def decode(self, latents: Tensor) -> Tensor:
        cells = latents[:, 0].unflatten(3, (3, CELL, CELL)).permute(0, 3, 1, 4, 2, 5)
        return cells.reshape(len(latents), 1, 3, SIDE, SIDE)


def parts_of(data: Any, **other: Any) -> dict[str, Any]:
    patches = Patches(data.describe("image"), patch=CELL, positions=0)
    adapter = MLPAdapter(patches.dim, Cells.latents.channels, (8, 8), (8, 8), hidden=64)
    return {
        "dataset": data, "encoder": {"image": patches}, "projector": {"image": adapter}, "decoder": {"image": Cells()},
        "loss": {"l2": L2()}, "metric": {"pictures": Pictures(), "redetection": Redetection()}, **other,
    }  # fmt: skip


def made_task(parts: dict[str, Any], **options: Any) -> Reconstruct:
    task = Reconstruct(PartsBuilder(parts, batch_size=4), **options)
    task.setup()
    return task


@pytest.fixture(scope="module")
def data() -> Shapes:
    return Shapes(train=48, val=2, test=10, size=SIDE)


def test_it_conforms() -> None:
    torch.manual_seed(0)
    data = Shapes(train=6, test=2, size=SIDE)
    losses = {"perceptual-random": PerceptualLoss(), "l2": L2(on="latents")}
    builder = PartsBuilder(
        parts_of(data, loss=losses, metric={"pictures": Pictures()}), options={("loss", "l2", "weight"): 0.1}
    )
    check_component(Reconstruct, "task", injected={"builder": builder})


def test_references_are_the_ceiling_and_the_floor(data: Shapes) -> None:
    torch.manual_seed(0)
    figures = made_task(parts_of(data)).evaluate("test")
    assert (
        figures["pictures/ssim/true"] == figures["pictures/ssim/latents"] == pytest.approx(1)
    )  # nothing is lost in cells
    assert figures["pictures/spatial_iou/mean"] < 0.3 < figures["pictures/spatial_iou/latents"]
    assert figures["redetection/map@0.5/true"] > figures["redetection/map@0.5/mean"] + 0.3
    assert figures["redetection/map@0.5/true"] == figures["redetection/map@0.5/latents"]
    assert figures["pictures/ssim/low"] <= figures["pictures/ssim"] <= figures["pictures/ssim/high"]


def test_the_adapter_learns_what_the_tokens_hold(data: Shapes) -> None:
    torch.manual_seed(0)
    task = made_task(parts_of(data, metric={"pictures": Pictures()}), references=["latents", "mean"])
    before = task.evaluate("test")
    optimiser = torch.optim.Adam(task.adapter.parameters(), lr=3e-3)
    for step in range(100):
        optimiser.zero_grad()
        samples = np.random.default_rng(step).integers(0, 48, 8)
        task.losses(task.batch(samples, 0, Step(step, "train", 0)))["loss"].backward()
        optimiser.step()
    task.parts.eval()
    with torch.no_grad():
        after = task.evaluate("test")
    assert after["loss"] < before["loss"] / 3
    assert after["pictures/spatial_iou"] > max(before["pictures/spatial_iou"], after["pictures/spatial_iou/mean"]) + 0.2
    assert {key: after[key] for key in after if key.endswith("mean")} == {
        key: before[key] for key in before if key.endswith("mean")
    }


def test_rows_are_shown_beside_those_of_an_earlier_run(data: Shapes, tmp_path: Path) -> None:
    from PIL import Image
    from safetensors.numpy import save_file

    arrays, picture, facts = made_task(parts_of(data), shown=3).measurements()
    assert isinstance(arrays, Arrays)
    assert isinstance(facts, Facts)
    assert [one.file for one in read_pictures(facts.values)] == ["reconstructions.png"]
    assert isinstance(picture, Artifact)
    assert np.array_equal(arrays.values["original"], arrays.values["latents"])  # nothing is lost in cells
    (tmp_path / "arrays").mkdir()
    save_file(dict(arrays.values), tmp_path / "arrays" / "reconstructions.safetensors")
    task = Reconstruct(PartsBuilder(parts_of(data), inputs={"first": tmp_path}), shown=3, baseline="first")
    task.setup()
    _, picture, facts = task.measurements()
    assert "first: what that arm makes of its own" in read_pictures(facts.values)[0].caption
    picture.write(tmp_path / "lines.png")
    lines = np.asarray(Image.open(tmp_path / "lines.png"))
    assert np.array_equal(lines[4 : 4 + SIDE, 90 : 90 + SIDE].transpose(2, 0, 1), arrays.values["original"][0, 0])
    second = 4 + SIDE + 4  # the line of the baseline
    assert np.array_equal(lines[second : second + SIDE, 90 : 90 + SIDE].transpose(2, 0, 1), arrays.values["made"][0, 0])
    other = Reconstruct(PartsBuilder(parts_of(data), inputs={"first": tmp_path}), shown=2, baseline="first")
    other.setup()
    with pytest.raises(TrialbookError, match="other pictures"):
        list(other.measurements())


def test_what_does_not_fit_is_refused(data: Shapes) -> None:
    coarse = Cells()
    coarse.latents = LatentShape(1, 4, 4, 8)  # type: ignore[misc]
    with pytest.raises(TrialbookError, match="gives 64 tokens for 16 latents"):
        made_task(parts_of(data, decoder={"image": coarse}, projector={"image": Linear(192, 8)}))
    with pytest.raises(TrialbookError, match="does not"):
        made_task(parts_of(data, decoder={"image": nn.Identity()}))
    with pytest.raises(TrialbookError, match="layer"):
        made_task(parts_of(data), layer="L9")
    twice = Shapes(train=4, test=4, size=SIDE)
    splits = {"train": twice.splits()["test"], "test": twice.splits()["test"]}
    twice.splits = lambda: splits  # type: ignore[method-assign]
    with pytest.raises(TrialbookError, match="train and test"):
        made_task(parts_of(twice))


# --- losses and metrics ---------------------------------------------------------------------------------------------


def clips(count: int = 3, side: int = SIDE, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, 1, 3, side, side), dtype=np.uint8))


def test_losses_and_metrics_conform(data: Shapes) -> None:
    pair = {"pictures": clips(), "targets": clips(seed=1)}
    shares = {name: value.float() / 255 for name, value in pair.items()}
    check_component(PerceptualLoss, "loss", inputs=shares)
    check_component(L2, "loss", inputs=shares)
    latents = {"latents": torch.randn(2, 1, 2, 2, 4), "target_latents": torch.randn(2, 1, 2, 2, 4)}
    check_component(L2, "loss", options={"on": "latents"}, inputs=latents)
    check_component(PerceptualRandom, "metric", inputs=pair)
    check_component(Pictures, "metric", inputs=pair)
    train, test = (data.splits()[name] for name in ("train", "test"))
    known = {"targets": clips_of(train, "image"), "labels": Annotations(train, "image")}
    found = {"pictures": clips_of(test, "image"), "labels": Annotations(test, "image"), "train": known}
    plain = {"pictures": clips_of(test, "image")[:], "labels": {"boxes": test.labels("boxes")}}
    learned = {"targets": clips_of(train, "image")[:], "labels": {"boxes": train.labels("boxes")}}
    check_component(Redetection, "metric", options={"hidden": 0}, inputs={**plain, "train": learned})
    assert Redetection().compute(**found)["map@0.5"] > 0.4


def test_the_metric_is_that_of_the_probes_package() -> None:
    from trialbook_plugins.probes.pictures import ssim

    a, b = clips(20), clips(20, seed=1)
    expected = ssim(a[:, 0].float() / 255, b[:, 0].float() / 255).mean().item()
    assert Pictures(figures=["ssim"]).compute(pictures=a, targets=b)["ssim"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("component", [LPIPS, LPIPSLoss])
def test_without_its_weights_nothing_is_called_lpips(component: type, tmp_path: Path) -> None:
    with pytest.raises(TrialbookError, match="lpips_backbone"):
        component({})
    with pytest.raises(TrialbookError, match="no file"):
        component({"lpips_backbone": tmp_path / "alexnet.pth"})


def test_directions_of_true_clips_are_right_and_of_mirrored_ones_wrong() -> None:
    data = MovingShapes(train=4, test=8, size=48)
    split = data.splits()["test"]
    labels, true = Annotations(split, "video"), clips_of(split, "video")[:]
    known = {"direction": labels["direction"]}
    check_component(Direction, "metric", inputs={"pictures": true, "labels": known})
    assert Direction().compute(pictures=true, labels=labels)["accuracy"] == 1
    assert Direction().compute(pictures=true.flip(1), labels=labels)["accuracy"] == 0  # backwards
    assert Direction().compute(pictures=true[:, :1].expand(true.shape), labels=labels)["accuracy"] == 0  # still
    with pytest.raises(TrialbookError, match="clips"):
        Direction().compute(pictures=true[:, :1], labels=labels)


# --- LTX-Video ------------------------------------------------------------------------------------------------------

FILE = """
[task]
use = "reconstruct"
shown = 1
[dataset]
use = "moving-shapes"
train = 4
test = 2
size = 64
frames = 9
[encoder.video]
use = "frames"
frames = 2
[encoder.video.of]
use = "hf-vlm"
tiny = "llava"
layers = ["L2"]
[projector.video]
use = "cross-attention-adapter"
parameters = 60_000
[decoder.video]
use = "ltx-video"
tiny = true
[[loss]]
use = "perceptual-random"
[[loss]]
use = "l2"
weight = 0.1
[[metric]]
use = "pictures"
[[metric]]
use = "direction"
[train]
steps = 2
batch_size = 2
"""


def test_clips_go_through_a_language_model_and_ltx_video(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    book = SchemaBook(PluginManager.discover(), tmp_path / "schemas")
    (tmp_path / "clips.toml").write_text(FILE)
    plan = make_plan(load_experiment(tmp_path / "clips.toml"), book)
    builder = RunBuilder(plan.runs[0], BuildContext(book, FeatureStore(tmp_path / "features"), None))
    task: Any = builder.task()
    assert task.grid_in == (2, 8, 8)
    assert task.shape[:3] == (2, 2, 2)
    losses = task.losses(task.batch(np.arange(2), 0, Step(0, "train", 0)))
    losses["loss"].backward()
    assert losses["loss"].item() == pytest.approx(
        losses["perceptual-random/loss"].item() + 0.1 * losses["l2/loss"].item()
    )
    assert all(one.grad is not None for one in task.adapter.parameters())
    with torch.no_grad():
        figures = task.evaluate("test")
    assert figures["direction/accuracy/true"] == 1
    assert 0 <= figures["direction/accuracy/latents"] <= 1
    assert [part.frozen for part in builder.parts if part.name in ("decoder.video", "loss.perceptual-random")] == [
        True,
        True,
    ]
