"""The spatial study as files: right as they stand and under their profile, which runs where its checkpoints and data lie."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from trialbook.analysis.decide.decide import decide
from trialbook.cli.main import cli
from trialbook.config.runspec import Plan
from trialbook.contracts.records import Record
from trialbook.planning.planner import plan_files
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook
from trialbook.registry.query import open_index
from trialbook.registry.recorder import Recorder
from trialbook_plugins.datasets.shapes import Shapes

FOLDER = Path(__file__).parents[2] / "experiments" / "spatial"
FILES = sorted(FOLDER.glob("*.toml"))
NAMES = (
    "llava_next",
    "internvl2",
    "cogvlm2",
    "qwen2_5_vl",
    "screening",
    "latent_alignment",
    "reconstruction",
    "recommendation",
)
#: Checkpoints that the profile names and that can be made in small: folder, tiny architecture.
CHECKPOINTS = {
    "llava-hf/llava-v1.6-mistral-7b-hf": "llava-next", "Qwen/Qwen2.5-VL-7B-Instruct": "qwen2.5-vl",
    "facebook/dinov2-large": "vision",
}  # fmt: skip


def mlrun(*arguments: Any) -> str:
    """What the command prints; it must not fail."""
    done = CliRunner().invoke(cli, [str(one) for one in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def settings(*values: str) -> list[str]:
    return [part for value in values for part in ("--set", value)]


def recorded(place: Path, arm: str) -> dict[str, float]:
    """All metrics of the only run of an arm."""
    (file,) = place.glob(f"{arm}-s0-*/metrics.jsonl")
    return {name: value for line in file.read_text().splitlines() for name, value in json.loads(line)["values"].items()}


def test_all_files_of_the_plan_are_there() -> None:
    assert set(NAMES) <= {file.stem for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_is_right_as_it_stands_and_under_its_profile(file: Path) -> None:
    mlrun("check", file)
    mlrun("check", file, "--profile", "full")


#: What good models would record under ``--profile full``; on photos of many objects nobody's boxes come above a quarter.
GOOD = {
    "pictures/spatial_iou": 0.8, "best/picture/spatial_iou": 0.7, "best/boxes/iou": 0.7, "best/detection/map@0.5": 0.4,
    "best/cka": 0.6, "best/rsa": 0.7, "direction/accuracy": 0.9, "lpips/distance": 0.2, "best/picture/lpips": 0.2,
    "model/seconds/ratio": 1.2,
}  # fmt: skip


def needed(plan: Plan) -> Iterator[Plan]:
    """All that a plan needs, at any depth."""
    for one in plan.before:
        yield from needed(one)
        yield one


@pytest.mark.parametrize(
    ("good", "advice"),
    [(True, "Proceed with llava_next; internvl2 is the fallback."), (False, "Major pivot: no candidate keeps places;")],
)
def test_the_full_recommendation_says_of_planted_models_what_they_are(
    good: bool, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    book = SchemaBook(PluginManager.discover(), tmp_path / "cache")
    (plan,) = plan_files([FOLDER / "recommendation.toml"], book, profile="full")
    for one in {id(one): one for one in needed(plan)}.values():
        for spec in one.runs:
            values = dict(GOOD) if good else {name: 0.3 * value for name, value in GOOD.items()}
            if spec.base_arm == "photos":
                values |= {"best/boxes/iou": 0.22, "best/boxes/iou/oracle": 0.24}
            for name, value in list(values.items()):
                values |= {f"{name}/low": value - 0.01, f"{name}/high": value + 0.01}
            with Recorder(tmp_path / spec.relative_path, None) as recorder:
                recorder.start(spec, {}, {})
                recorder.add(Record(0, values))
                recorder.finish({})
    with open_index(tmp_path / "registry.db") as index:
        eyes = decide(plan, index)[0]
    assert eyes.advice.text.startswith(advice)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with small checkpoints under the names that the profile gives, photos and clips as they are published."""
    pytest.importorskip("diffusers")
    from trialbook_plugins.encoders.hf_vlm import HFVLM
    from trialbook_plugins.encoders.ltx_video import _tiny

    root = tmp_path_factory.mktemp("data")
    for folder, architecture in CHECKPOINTS.items():
        HFVLM(tiny=architecture, layers=["all"]).tapped.model.save_pretrained(root / folder)
    import torch

    _tiny(0, torch.float32).save_pretrained(root / "Lightricks" / "LTX-Video" / "vae")
    write_detector(root / "hustvl" / "yolos-small")
    for seed, name in enumerate(("val2017", "train2017")):
        write_photos(root / "coco", name, seed)
    write_clips(root / "something-something-v2")
    write_lpips(root)
    return root


def write_detector(folder: Path) -> None:
    """A tiny detector."""
    import transformers
    from vision_checkpoints import pil

    config = transformers.YolosConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=[32, 32], patch_size=8,
        num_detection_tokens=4, use_mid_position_embeddings=False, num_labels=3,
    )  # fmt: skip
    transformers.YolosForObjectDetection(config).save_pretrained(folder)
    pil("YolosImageProcessor")(size={"height": 32, "width": 32}).save_pretrained(folder)


def write_photos(root: Path, name: str, seed: int, count: int = 40) -> None:
    """Pictures of shapes as COCO lists them."""
    split = Shapes(train=count, test=0, size=80, min_side=0.4, max_side=0.6, seed=seed).splits()["train"]
    listed: dict[str, list[dict[str, Any]]] = {
        "images": [], "annotations": [], "categories": [{"id": i, "name": one} for i, one in enumerate(Shapes.class_names)],
    }  # fmt: skip
    for folder in (root / name, root / "annotations"):
        folder.mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(np.asarray(split.read("image", np.arange(count)))):
        Image.fromarray(picture.transpose(1, 2, 0)).save(root / name / f"{i}.png")
        x0, y0, x1, y1 = (80 * split.labels("boxes")[i][0]).tolist()
        listed["images"].append({"id": i, "file_name": f"{i}.png", "width": 80, "height": 80})
        listed["annotations"].append({
            "id": i, "image_id": i, "category_id": int(split.labels("classes")[i][0]), "bbox": [x0, y0, x1 - x0, y1 - y0],
        })  # fmt: skip
    (root / "annotations" / f"instances_{name}.json").write_text(json.dumps(listed))


def write_clips(root: Path, count: int = 18) -> None:
    """Something-Something v2 in small."""
    av = pytest.importorskip("av")
    (root / "labels").mkdir(parents=True)
    (root / "clips").mkdir()
    rng = np.random.default_rng(0)
    for i in range(count):
        with av.open(str(root / "clips" / f"{i}.webm"), "w") as container:
            stream = container.add_stream("libvpx", rate=12)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            frame = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
            for _ in range(9):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
    (root / "labels" / "labels.json").write_text(json.dumps({"Pushing something": "0"}))
    for name, rows in {"train": range(2), "validation": range(2, 10), "test": range(10, count)}.items():
        told = [{"id": str(i), "template": "Pushing [something]"} for i in rows]
        (root / "labels" / f"{name}.json").write_text(json.dumps(told))


def write_lpips(root: Path) -> None:
    """Weights of the right shapes, which is all that this is about."""
    import torch
    from safetensors.torch import save_file

    from trialbook_plugins.probes.perceptual import perceptual_random

    stages = [layer for layer in perceptual_random().modules() if isinstance(layer, torch.nn.Conv2d)]
    backbone = {}
    for place, layer in zip((0, 3, 6, 8, 10), stages, strict=True):
        backbone |= {f"features.{place}.weight": layer.weight.data, f"features.{place}.bias": layer.bias.data}
    save_file(backbone, root / "alexnet.safetensors")
    heads = {f"lin{i}.model.1.weight": torch.ones(1, layer.out_channels, 1, 1) for i, layer in enumerate(stages)}
    save_file(heads, root / "heads.safetensors")


@pytest.fixture
def place(checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where runs lie, in a workplace that knows the checkpoints."""
    for name, folder in {"RUNS": tmp_path / "runs", "CACHE": tmp_path / "cache", "DATA": checkpoints}.items():
        monkeypatch.setenv(f"TRIALBOOK_{name}", str(folder))
    files = {"lpips_backbone": "alexnet.safetensors", "lpips_heads": "heads.safetensors"}
    lines = [f'{name} = "{checkpoints / file}"' for name, file in files.items()]
    (tmp_path / "runner.toml").write_text("[files]\n" + "\n".join(lines))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


@pytest.mark.slow
def test_the_screening_runs_from_checkpoints_on_photos_and_shapes(place: Path) -> None:
    values = settings(
        "dataset.size=64", "arm.shapes.dataset.train=24", "arm.shapes.dataset.val=8", "arm.shapes.dataset.test=8",
        "arm.shapes.dataset.min_side=0.4", "arm.shapes.dataset.max_side=0.45", "arm.shapes.dataset.objects=1",
        "probe.detection.steps=5", "probe.detection.width=16", "probe.picture.steps=5", "probe.picture.width=8",
        'encoder.image.layers=["L1"]',
    )  # fmt: skip
    mlrun(
        "run",
        FOLDER / "llava_next.toml",
        "--profile",
        "full",
        "--arm",
        "photos",
        "--arm",
        "shapes",
        "--no-plots",
        *values,
    )
    for arm in ("photos", "shapes"):
        figures = recorded(place / "spatial_llava_next", arm)
        assert {
            "best/boxes/iou",
            "best/detection/map@0.5",
            "best/picture/lpips",
            "best/picture/edge_f1",
        } <= figures.keys()
        assert figures["best/picture/lpips/low"] <= figures["best/picture/lpips"] <= figures["best/picture/lpips/high"]


@pytest.mark.slow
def test_reconstructions_run_from_checkpoints_beside_those_of_the_model_in_use(place: Path) -> None:
    small = ("dataset.size=64", "projector.image.parameters=1e5")
    sizes = [f"arm.{arm}.{one}" for arm in ("qwen2_5_vl", "llava_next", "hybrid") for one in small]
    values = settings(
        *sizes, "train.epochs=1", "dataset.val=0.2", "arm.qwen2_5_vl.encoder.image.image_size=[64]",
        "arm.hybrid.encoder.image.of.language.image_size=[64]", "arm.hybrid.encoder.image.of.places.image_size=[64]",
    )  # fmt: skip
    arms = [part for arm in ("qwen2_5_vl", "llava_next", "hybrid") for part in ("--arm", arm)]
    mlrun("run", FOLDER / "reconstruction.toml", "--profile", "full", "--no-plots", *arms, *values)
    for arm in ("qwen2_5_vl", "llava_next", "hybrid"):
        figures = recorded(place / "spatial_reconstruction", arm)
        assert {
            "lpips/distance",
            "pictures/ssim",
            "pictures/spatial_iou",
            "pretrained-detection/map@0.5",
        } <= figures.keys()
    assert list(place.glob("spatial_reconstruction/hybrid-*/artifacts/reconstructions.png"))


@pytest.mark.slow
def test_alignment_runs_from_checkpoints_on_frames_of_clips(place: Path) -> None:
    values = settings("dataset.size=64", "task.samples=64", "task.permutations=19", "task.neighbours=3")
    image = settings('arm.llava_next.encoder.vlm.layers=["L1", "L4"]')
    mlrun(
        "run",
        FOLDER / "latent_alignment.toml",
        "--profile",
        "full",
        "--arm",
        "llava_next",
        "--no-plots",
        *values,
        *image,
    )
    figures = recorded(place / "spatial_latent_alignment", "llava_next")
    assert {
        f"best/{name}" for name in ("cka", "rsa", "overlap", "r2", "procrustes", "effective_rank")
    } <= figures.keys()
