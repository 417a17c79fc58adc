"""Experiments under ``--profile full``: each begins where checkpoints and data lie as they are published."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from vision_checkpoints import make_checkpoint

from trialbook.cli.main import cli
from trialbook_plugins.datasets.scenes import Scenes

transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[2] / "experiments"
FILES = sorted(file for file in FOLDER.glob("*.toml") if "[profile.full" in file.read_text(encoding="utf-8"))
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}


def mlrun(*arguments: Any) -> str:
    """What the command prints; it must not fail."""
    done = CliRunner().invoke(cli, [str(one) for one in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def write_coco(root: Path, name: str, seed: int, count: int) -> None:
    """Scenes with captions and a box each, in the files that COCO publishes of one split."""
    split = Scenes(train=count, seed=seed).splits()["train"]
    for folder in (root / name, root / "annotations"):
        folder.mkdir(parents=True, exist_ok=True)
    images, captions, boxes = [], [], []
    for i, picture in enumerate(np.asarray(split.read("image", np.arange(count)))):
        Image.fromarray(picture.transpose(1, 2, 0)).resize((64, 64)).save(root / name / f"{i:012}.jpg")
        images.append({"id": i, "file_name": f"{i:012}.jpg", "width": 64, "height": 64})
        captions.append({"id": i, "image_id": i, "caption": f"scene {i} of {name}"})
        box = {"bbox": [8, 8, 24 + i % 9, 24], "category_id": 1 + i % 2, "area": 600, "iscrowd": 0}
        boxes.append({"id": i, "image_id": i, **box})
    categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}]
    listed = {"captions": {"annotations": captions}, "instances": {"annotations": boxes, "categories": categories}}
    for kind, data in listed.items():
        (root / "annotations" / f"{kind}_{name}.json").write_text(json.dumps({"images": images, **data}))


def write_home(folder: Path, days: int = 6) -> None:
    """A log of events as CASAS publishes it."""
    folder.mkdir(parents=True)
    lines = []
    for minute in range(0, days * 1440, 9):
        day, hour = minute // 1440 + 1, minute % 1440 // 60
        mark = {0: " Sleep begin", 7: " Sleep end"}.get(hour if minute % 60 < 9 else -1, "")
        state = "ON" if minute % 2 else "OFF"
        lines.append(f"2009-10-{day:02} {hour:02}:{minute % 60:02}:07.000059 M{minute % 21:03} {state}{mark}")
    (folder / "data").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, chat_tokenizer: Callable[[str], Any]) -> Path:
    """A data root: data as they are published, and small checkpoints under the names that the profiles give."""
    root = tmp_path_factory.mktemp("data")
    tokenizer = chat_tokenizer("chatml")
    limits = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "vocab_size": len(tokenizer)}
    vision = {**SMALL, "image_size": 32, "patch_size": 8}
    models = {
        "openai/clip-vit-large-patch14": transformers.CLIPModel(
            transformers.CLIPConfig(
                text_config={**SMALL, **limits, "max_position_embeddings": 77}, vision_config=vision
            )
        ),
        "sentence-transformers/all-mpnet-base-v2": transformers.MPNetModel(transformers.MPNetConfig(**SMALL, **limits)),
        "Qwen/Qwen2.5-1.5B-Instruct": transformers.Qwen2ForCausalLM(
            transformers.Qwen2Config(**SMALL, vocab_size=len(tokenizer), num_key_value_heads=2)
        ),
    }
    for kind, name in {
        "clip": "openai/clip-vit-large-patch14", "siglip": "google/siglip-so400m-patch14-384", "dinov2": "facebook/dinov2-base",
    }.items():  # fmt: skip
        make_checkpoint(kind, root / name)
    for name, model in models.items():
        tokenizer.save_pretrained(root / name)
        model.save_pretrained(root / name)
    write_coco(root / "coco", "train2017", 0, 1300)  # a batch has 1024
    write_coco(root / "coco", "val2017", 1, 40)
    write_home(root / "casas" / "milan")
    build = ("data", "build", "--use", "documents", "--set", "train=200", "--set", "val=20", "--set", "test=20")
    mlrun(*build, root / "built" / "docvqa_textvqa")
    (root / "built" / "captions").symlink_to(root / "built" / "docvqa_textvqa")
    return root


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_arm_is_built_and_takes_a_row(
    file: Path, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, folder in {"RUNS": tmp_path / "runs", "CACHE": tmp_path / "cache", "DATA": published}.items():
        monkeypatch.setenv(f"TRIALBOOK_{name}", str(folder))
    monkeypatch.chdir(tmp_path)
    few = ("--set", "dataset.train=2000") if file.stem == "linear_vs_mlp" else ()
    assert "trained" in mlrun("run", file, "--profile", "full", "--dry-run", *few)
    assert not (tmp_path / "runs").exists()
