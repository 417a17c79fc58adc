"""A small data set of windows of a series with classes and a few captions each, and running experiments on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trialbook.config.load import load_experiment
from trialbook.config.runspec import Outcome
from trialbook.config.settings import Settings
from trialbook.contracts import Features
from trialbook.contracts.datasets import Modality, content_hash
from trialbook.execution.launcher import Launcher
from trialbook.execution.progress import PlainProgress, Progress
from trialbook.planning.planner import make_plan
from trialbook.plugins.hookspec import Component, hookimpl
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook
from trialbook_plugins import plugin

SIZES = {"train": 96, "val": 24, "test": 48}
CLASSES = ("cook", "rest", "walk")


class WindowSplit:
    """Windows [16, 2] of a sine whose frequency is the class's, and one of two captions of the class as a vector [4]."""

    def __init__(self, name: str, labelled: bool) -> None:
        random = np.random.default_rng(list(SIZES).index(name))
        self.name, self.labelled, size = name, labelled, SIZES[name]
        self.numbers = np.arange(size) % (2 if name == "val" else 3)  # class numbers must not depend on the split
        style = random.integers(0, 2, size)
        time = np.arange(16) + random.uniform(0, 16, size)[:, None]
        wave = np.sin(2 * np.pi * time * (1 + self.numbers[:, None]) / 16)
        series = np.stack([wave, -wave * (1 + style[:, None])], axis=2) + random.normal(0, 0.3, (size, 16, 2))
        self.rows = {
            "sensor": series.astype(np.float32),
            "text": np.concatenate([np.eye(3)[self.numbers], style[:, None]], axis=1).astype(np.float32),
        }

    def __len__(self) -> int:
        return len(self.numbers)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WindowSplit) and all(np.array_equal(self.rows[m], other.rows[m]) for m in self.rows)

    __hash__ = None  # type: ignore[assignment]

    def groups(self, modality: str) -> NDArray[np.int64]:
        return np.arange(len(self))

    def read(self, modality: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.rows[modality][rows]

    def content(self, modality: str) -> list[str]:
        return [content_hash(row) for row in self.rows[modality]]

    def labels(self, name: str) -> list[str]:
        if name != "class" or not self.labelled:
            raise KeyError(name)
        return [CLASSES[number] for number in self.numbers]


class Windows:
    """Windows of a series and captions.

    Args:
        labelled: whether the classes are told.
    """

    modalities = {"sensor": "series", "text": "vector"}
    fingerprint = "windows"

    def __init__(self, *, labelled: bool = True) -> None:
        self._splits = {name: WindowSplit(name, labelled) for name in SIZES}

    def describe(self, modality: str) -> Modality:
        return Modality("series", (16, 2)) if modality == "sensor" else Modality("vector", (4,))

    def splits(self) -> Mapping[str, WindowSplit]:
        return self._splits


class Flat(nn.Module):
    """A window as one token of all its numbers."""

    accepts = ("series",)
    dim = 32

    def prepare(self, raw: Any) -> Tensor:
        return torch.from_numpy(np.asarray(raw)).flatten(1)[:, None]

    def forward(self, prepared: Tensor) -> Features:
        return Features(prepared)


class Offer:
    """The plugin."""

    @hookimpl
    def mlrun_datasets(self) -> Iterable[Component]:
        yield Component("windows", "labelled_windows:Windows", "windows of a series")

    @hookimpl
    def mlrun_encoders(self) -> Iterable[Component]:
        yield Component("flat", "labelled_windows:Flat", "a window as one token")


EXPERIMENT = """
name = "windows"
seeds = [0]
{top}
[task]
use = "align"
dim = 8
[dataset]
use = "windows"
{dataset}
[encoder.sensor]
use = "flat"
[encoder.text]
use = "identity"
[projector.sensor]
use = "mlp"
hidden = 16
dropout = 0.1
[projector.text]
use = "linear"
{parts}
[train]
steps = 40
batch_size = 16
lr = 3e-3
log_every = 5
[evaluate]
every = 20
[checkpoint]
every = 10
"""
LOSS = """
[[loss]]
use = "info-nce"
"""


def host_of(**more: object) -> PluginManager:
    """First-party plugins, the data set above, and others."""
    return PluginManager.from_modules({"trialbook": plugin, "windows": Offer(), **more})


def run_windows(
    folder: Path, parts: str = LOSS, *, top: str = "", dataset: str = "", watcher: Progress | None = None,
    host: PluginManager | None = None, **settings: Any,
) -> list[Outcome]:  # fmt: skip
    """Run the experiment with these losses and metrics in ``folder``, or continue with it."""
    folder.mkdir(exist_ok=True)
    file = folder / "windows.toml"
    file.write_text(EXPERIMENT.format(top=top, dataset=dataset, parts=parts))
    host = host or host_of()
    book = SchemaBook(host, folder / "cache")
    place = Settings(
        root=folder, runs=folder / "runs", data_root=None, cache=folder / "cache", device="cpu", **settings
    )
    launcher = Launcher(place, host, book, watcher or PlainProgress(lambda line: None), plots=False)
    return launcher.mlrun_launch(make_plan(load_experiment(file), book))


def run_folder(folder: Path) -> Path:
    """The directory of the only run."""
    (config,) = (folder / "runs" / "windows").glob("*/config.toml")
    return config.parent
