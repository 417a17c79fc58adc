"""Shipped experiments over the pretend CUDA device, through the real commands: run, evaluated, done again, asked, resumed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from interrupts import Interrupts
from safetensors.torch import load_file

from trialbook.config.load import load_experiment
from trialbook.config.settings import Settings
from trialbook.execution.launcher import Launcher
from trialbook.execution.progress import PlainProgress
from trialbook.planning.planner import make_plan
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook
from trialbook.registry.run_directory import RunDirectory
from trialbook.testing import pretend_cuda
from trialbook.testing.pretend_cuda import PretendDevice

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import pretend_device  # noqa: E402

#: Experiments of several tasks that are quick once their data are few: how to make them so, and the arms that are run.
QUICK: dict[str, tuple[list[str], list[str]]] = {
    "linear_vs_mlp": (["dataset.train=128", "dataset.val=32", "dataset.test=32", "train.batch_size=32"], ["mlp"]),
    "mini_llava": ([
        "dataset.sources.pages.train=32", "dataset.sources.questions.train=32", "dataset.sources.questions.val=4",
        "dataset.sources.questions.test=4", "train.batch_size=8", "task.max_new_tokens=4",
    ], []),
    "sensor_text_mlm": ([
        "prepare.sample.dataset.residents=1", "prepare.sample.dataset.days=6", "train.batch_size=64", "metric.4.steps=2",
    ], ["align_mlm"]),
    "spatial/speed": (["task.rounds=3"], ["cogvlm2"]),
}  # fmt: skip


def measured(name: str, tmp_path: Path, *sets: str, **more: Any) -> pretend_device.Row:
    row, device = pretend_device.measure(ROOT / "experiments" / f"{name}.toml", tmp_path / "runs", sets, **more)
    if row.result.startswith("left out"):
        pytest.skip(row.result)
    assert row.result == "ok", f"{row.result}\n{device.report()}"
    assert row.runs
    return row


@pytest.mark.parametrize("name", QUICK)
def test_an_experiment_runs_on_the_device(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sets, arms = QUICK[name]
    uses = {"linear_vs_mlp": ["eval", "reproduce"], "mini_llava": ["answer"]}.get(name, [])
    row = measured(name, tmp_path, *sets, arms=arms, uses=uses)
    assert bool(row.steps) is (name != "spatial/speed")


@pytest.mark.rehearsal
@pytest.mark.parametrize("file", pretend_device.experiment_files(), ids=lambda file: file.stem)
def test_every_experiment_runs_on_the_device_bare(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    measured(str(file.relative_to(ROOT / "experiments").with_suffix("")), tmp_path)


def test_an_experiment_without_its_data_is_left_out_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIALBOOK_DATA", str(tmp_path / "nowhere"))
    monkeypatch.chdir(tmp_path)
    row, _ = pretend_device.measure(ROOT / "experiments" / "coco_captions.toml", tmp_path / "runs")
    assert row.result.startswith("left out: ")
    assert "nowhere" in row.result


# --- against the CPU, and in two halves ------------------------------------------------------------------------------

DROPPING = """
[task]
use = "align"
dim = 8
[dataset]
use = "scenes"
train = 16
val = 8
test = 8
size = 24
[encoder.image]
use = "vit"
patch = 8
width = 16
depth = 1
heads = 2
dropout = DROPOUT
[encoder.text]
use = "text-transformer"
width = 16
depth = 1
heads = 2
dropout = DROPOUT
[projector.image]
use = "linear"
[projector.text]
use = "mlp"
[[loss]]
use = "info-nce"
[train]
steps = 4
batch_size = 8
log_every = 1
PRECISION
[evaluate]
at_start = false
[checkpoint]
every = 2
"""


class Bench:
    """An experiment on a device."""

    def __init__(self, folder: Path, device: str, *, dropout: float = 0.0, precision: str = "no") -> None:
        folder.mkdir()
        self.file = folder / "question.toml"
        text = DROPPING.replace("DROPOUT", str(dropout)).replace("PRECISION", f'precision = "{precision}"')
        self.file.write_text(text)
        self.settings = Settings(
            root=folder, runs=folder / "runs", data_root=None, cache=folder / "cache", device=device
        )

    def run(self, watcher: PlainProgress | None = None) -> None:
        host = PluginManager.discover()
        book = SchemaBook(host, self.settings.cache)
        launcher = Launcher(self.settings, host, book, watcher or PlainProgress(lambda line: None), plots=False)
        (outcome,) = launcher.mlrun_launch(make_plan(load_experiment(self.file), book))
        assert outcome.state == "finished", outcome.message

    @property
    def directory(self) -> RunDirectory:
        return RunDirectory(next((self.settings.runs / "question").glob("*/config.toml")).parent)

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.directory.lines("metrics").read_text().splitlines()]

    def weights(self) -> dict[str, torch.Tensor]:
        newest = max((self.directory.path / "checkpoints").iterdir(), key=lambda path: int(path.name.split("-")[1]))
        return load_file(newest / "model.safetensors")


@pytest.fixture
def device() -> Any:
    with pretend_cuda() as found:
        yield found


def test_records_are_those_of_the_cpu(tmp_path: Path) -> None:
    here = Bench(tmp_path / "cpu", "cpu")
    here.run()
    with pretend_cuda() as device:
        there = Bench(tmp_path / "cuda", "cuda")
        there.run()
    assert device.copies
    for one, other in zip(here.records(), there.records(), strict=True):
        assert (one["step"], one["values"]) == (other["step"], pytest.approx(other["values"], rel=1e-4, abs=1e-5))


@pytest.mark.parametrize(
    "precision", ["no", pytest.param("bf16", marks=pytest.mark.rehearsal), pytest.param("fp16", marks=pytest.mark.slow)]
)
def test_a_run_that_was_interrupted_goes_on_bit_for_bit(precision: str, device: PretendDevice, tmp_path: Path) -> None:
    whole = Bench(tmp_path / "whole", "cuda", dropout=0.3, precision=precision)
    whole.run()
    halves = Bench(tmp_path / "halves", "cuda", dropout=0.3, precision=precision)
    with pytest.raises(KeyboardInterrupt):
        halves.run(Interrupts(3))
    torch.rand(3, device="cuda")  # what was drawn in between must not matter
    halves.run()
    assert halves.records() == whole.records()
    one, other = whole.weights(), halves.weights()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_mixed_precision_changes_what_is_recorded(device: PretendDevice, tmp_path: Path) -> None:
    losses = {}
    for precision in ("no", "bf16", "fp16"):
        bench = Bench(tmp_path / precision, "cuda", precision=precision)
        bench.run()
        losses[precision] = [one["values"]["loss"] for one in bench.records() if "loss" in one["values"]]
    assert losses["bf16"] != losses["no"] != losses["fp16"]
    assert losses["bf16"] == pytest.approx(losses["no"], rel=0.1)
    assert losses["fp16"] == pytest.approx(losses["no"], rel=0.1)
