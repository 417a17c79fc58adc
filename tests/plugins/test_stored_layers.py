"""Layers of a model, stored by a run's builder: what is there is not made again, and nothing is made of a model that fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")

from trialbook.config.load import load_experiment
from trialbook.contracts import Step
from trialbook.engine.builder import BuildContext, RunBuilder
from trialbook.engine.feature_store import FeatureStore
from trialbook.errors import TrialbookError
from trialbook.planning.planner import make_plan
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook

FILE = """
[task]
use = "align"
dim = 16
[dataset]
use = "scenes"
train = 20
val = 4
test = 4
size = 64
[encoder.image]
use = "hf-vlm"
tiny = "internvl"
layers = {layers}
layer = "I5"
tap_rows = {rows}
frozen = true
[encoder.text]
use = "token-embedding"
[projector.image]
use = "linear"
[projector.text]
use = "linear"
[[loss]]
use = "info-nce"
[train]
steps = 2
batch_size = 8
"""


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> SchemaBook:
    return SchemaBook(PluginManager.discover(), tmp_path_factory.mktemp("schemas"))


@pytest.fixture
def build(book: SchemaBook, tmp_path: Path) -> Callable[..., RunBuilder]:
    """Makes the builder of a file."""
    workshop = BuildContext(book, FeatureStore(tmp_path / "features"), None)

    def make(layers: str = '["I1", "I5"]', rows: int = 8) -> RunBuilder:
        (tmp_path / "tiny.toml").write_text(FILE.format(layers=layers, rows=rows))
        return RunBuilder(make_plan(load_experiment(tmp_path / "tiny.toml"), book).runs[0], workshop)

    return make


def parts(builder: RunBuilder) -> tuple[Any, Any]:
    dataset = builder.make("dataset")
    return dataset, builder.make("encoder", "image", modality=dataset.describe("image"))


def test_all_points_of_a_split_are_stored(build: Callable[..., RunBuilder], tmp_path: Path) -> None:
    builder = build()
    dataset, encoder = parts(builder)
    stored = builder.layer_features("image", encoder, dataset, "train", "image")
    assert {name: values.shape for name, values in stored.items()} == {"I1": (20, 8, 8, 32), "I5": (20, 4, 4, 48)}
    raw = dataset.splits()["train"].read("image", np.arange(8, 16))
    with torch.no_grad():
        direct = encoder.encode_layers(encoder.prepare(raw))
    assert all(torch.equal(stored[name][8:16], direct[name]) for name in stored)
    table = builder.features("image", encoder, dataset, "train", "image")
    assert table.mask() is None
    torch.testing.assert_close(table.on_grid(4, 4)[:], stored["I5"][:], atol=1e-5, rtol=0)


def test_another_choice_of_points_reads_those_that_are_there(build: Callable[..., RunBuilder], tmp_path: Path) -> None:
    builder = build()
    dataset, encoder = parts(builder)
    builder.layer_features("image", encoder, dataset, "train", "image")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "features").glob("*.safetensors")}
    more = build('["I1", "I3", "out:model.vision_tower.encoder.layer.2", "I5"]')
    dataset, encoder = parts(more)
    stored = more.layer_features("image", encoder, dataset, "train", "image")
    assert torch.equal(stored["out:model.vision_tower.encoder.layer.2"][:], stored["I1"][:])  # one place, two names
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "features").glob("*.safetensors")}
    assert {path: after[path] for path in before} == before
    assert len(after) == 3
    other = build(rows=4)
    dataset, encoder = parts(other)
    other.layer_features("image", encoder, dataset, "train", "image")
    assert len(list((tmp_path / "features").glob("*.safetensors"))) == 5  # bits may depend on the rows of one pass


def test_nothing_is_stored_of_a_model_that_fails_its_self_test(
    build: Callable[..., RunBuilder], tmp_path: Path
) -> None:
    builder = build()
    dataset, encoder = parts(builder)
    hook = encoder.tapped.hooks[1]
    encoder.tapped.hooks[1] = hook._replace(path="model.language_model.layers.2")
    with pytest.raises(TrialbookError, match="is not the output of block 2; it is hidden state 3"):
        builder.layer_features("image", encoder, dataset, "train", "image")
    assert not list((tmp_path / "features").glob("*.safetensors"))
    with pytest.raises(TrialbookError, match="has no points"):
        builder.layer_features("image", torch.nn.Linear(2, 2), dataset, "train", "image")


def test_it_serves_a_task_that_wants_one_layer(build: Callable[..., RunBuilder]) -> None:
    task: Any = build().task()
    losses = task.losses(task.batch(np.arange(8), 0, Step(0, "train", 0)))
    assert losses["loss"].isfinite()
