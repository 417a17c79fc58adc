"""Where parts are made, in which precision frozen ones compute, and what a survey leaves undone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import trialbook_plugins.plugin
from trialbook.config.load import load_experiment
from trialbook.config.settings import Settings
from trialbook.contracts import device_of
from trialbook.engine import builder as build
from trialbook.engine.builder import BuildContext, RunBuilder
from trialbook.engine.feature_store import FeatureStore
from trialbook.execution.launcher import Launcher
from trialbook.execution.progress import PlainProgress
from trialbook.planning.planner import make_plan
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook
from trialbook.registry.run_directory import RunDirectory
from trialbook.testing import pretend_cuda
from trialbook_plugins.tasks.align import Align

FILE = """
name = "small"
[task]
use = "align"
dim = 8
[dataset]
use = "scenes"
train = 16
val = 8
test = 8
[encoder.image]
use = "vit"
width = 16
depth = 1
heads = 2
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


class Place:
    """A workplace with one experiment file."""

    def __init__(self, folder: Path, text: str = FILE) -> None:
        (folder / "small.toml").write_text(text)
        host = PluginManager.from_modules({"trialbook": trialbook_plugins.plugin})
        self.book = SchemaBook(host, folder / "cache")
        self.plan = make_plan(load_experiment(folder / "small.toml"), self.book)
        self.settings = Settings(
            root=folder, runs=folder / "runs", data_root=None, cache=folder / "cache", device="cpu"
        )
        self.launcher = Launcher(self.settings, host, self.book, PlainProgress(print), plots=False)

    def builder(self, store: Path) -> RunBuilder:
        return RunBuilder(self.plan.runs[0], BuildContext(self.book, FeatureStore(store), None))


def features(task: Any, split: str) -> np.ndarray:
    return (
        task._builder.features("image", task.encoders["image"], task.dataset, split, "image").rows(slice(None)).numpy()
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_features_do_not_depend_on_the_mixed_precision_that_they_are_asked_for_in(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    place = Place(tmp_path)
    plain = features(place.builder(tmp_path / "plain").task(), "train")
    task = place.builder(tmp_path / "mixed").task()
    with torch.autocast("cpu", dtype=dtype):
        mixed = features(task, "train")
        assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype == dtype  # autocast itself is as it was
    assert np.array_equal(plain, mixed)


def test_weights_are_hashed_once_until_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task: Any = Place(tmp_path).builder(tmp_path / "features").task()
    hashed = []
    plain = build.weights_hash
    monkeypatch.setattr(build, "weights_hash", lambda module: hashed.append(1) or plain(module))
    before = [features(task, split) for split in ("train", "val", "train")]
    assert len(hashed) == 1
    with torch.no_grad():
        next(task.encoders["image"].parameters()).add_(1)
    assert not np.array_equal(features(task, "train"), before[0])
    assert len(hashed) == 2


def test_a_survey_builds_everything_and_stores_no_features(tmp_path: Path) -> None:
    place = Place(tmp_path, FILE + '[arm.flat]\n[arm.deep.projector.image]\nuse = "mlp"\nhidden = 4\n')
    sizes = place.launcher.survey(place.plan)
    assert {name: len(size.parts) for name, size in sizes.items()} == {"flat": 5, "deep": 5}
    assert not list(tmp_path.rglob("*.safetensors"))


def test_the_rows_of_a_survey_have_the_shape_of_a_split(tmp_path: Path) -> None:
    from trialbook.engine.survey import SurveyBuilder

    place = Place(tmp_path)
    builder = SurveyBuilder(place.plan.runs[0], BuildContext(place.book, FeatureStore(tmp_path / "features"), None))
    found = features(builder.task(), "train")
    whole = features(place.builder(tmp_path / "whole").task(), "train")
    assert found.shape == whole.shape
    assert np.allclose(found, whole[:1], atol=1e-5)  # a row alone, and among others: sums in another order


def test_an_arm_does_not_have_the_peak_memory_of_the_arm_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("this system does not let a process reset its peak")
    plain = Align.losses

    def losses(task: Any, batch: Any) -> Any:
        if task.dim == 16:
            task.large = torch.ones(300 << 18)  # 300 MiB, in a cycle that only the collector breaks
            task.itself = task
        return plain(task, batch)

    monkeypatch.setattr(Align, "losses", losses)
    place = Place(tmp_path, FILE + "[arm.large.task]\ndim = 16\n[arm.small]\n")
    place.launcher.mlrun_launch(place.plan)
    peaks = [max(peak_of(place, spec)) for spec in place.plan.runs]
    assert peaks[1] < peaks[0] - (250 << 20)


def peak_of(place: Place, spec: Any) -> list[float]:
    run = RunDirectory(place.launcher.directory_of(spec))
    assert run.status() == "finished"
    return [line["values"]["peak_memory"] for line in run.read_lines("timing")]


def test_a_frozen_encoder_is_on_the_device_only_while_its_features_are_made(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with pretend_cuda() as device:
        seen = []
        for _ in ("made", "stored"):
            builder = place.builder(tmp_path / "features")
            builder.workshop.device = device.device
            task: Any = builder.task()
            encoder = task.encoders["image"]
            handle = encoder.register_forward_hook(lambda module, *_: seen.append(device_of(module)))
            assert device_of(task.parts) == device.device
            features(task, "train")
            handle.remove()
            assert device_of(encoder) == torch.device("cpu")
        assert seen == [device.device]  # once, and not where everything is stored


def test_parts_that_are_trained_are_on_the_device_before_the_task_is_set_up(tmp_path: Path) -> None:
    place = Place(tmp_path, FILE.replace("frozen = true", ""))
    with pretend_cuda() as device:
        builder = place.builder(tmp_path / "features")
        builder.workshop.device = device.device
        builder.task()
        modules = [part for part in builder.parts if isinstance(part.module, torch.nn.Module)]
        assert {part.name for part in modules if device_of(part.module) == device.device} == {
            "encoder.image", "encoder.text", "projector.image", "projector.text", "loss.info-nce",
        }  # fmt: skip
