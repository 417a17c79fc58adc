"""A book of small components that import nothing, for tests of experiment files."""

from __future__ import annotations

import math
import os
import types
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest

from trialbook.config.kinds import KINDS
from trialbook.config.load import load_experiment
from trialbook.config.runspec import Plan, RunSpec
from trialbook.contracts.findings import Finding
from trialbook.contracts.records import Arrays, Item, ModuleStats, Record, Timing
from trialbook.planning.planner import make_plan
from trialbook.plugins.hookspec import Component, hookimpl
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook
from trialbook.registry.recorder import Recorder

PARTS = '''
class Join:
    """Joins modalities."""
    takes = {"dataset": "one", "encoder": "modality", "projector": "modality", "loss": "many", "metric": "many"}
    provides = ("embeddings", "groups")
    produces = ("loss", "{loss}/loss")
    def __init__(self, builder, /, *, dim: int = 8): ...

class Measure:
    """Trains nothing."""
    takes = {"dataset": "one", "metric": "many", "llm": "optional"}
    provides = ("rows",)
    produces = ("{modality}/rank",)
    def __init__(self, builder, /): ...

class Shapes:
    """Pictures with captions."""
    modalities = {"image": "image", "text": "text"}
    def __init__(self, *, train: int = 100, seed: int = 0, root: str | None = None): ...

class Table:
    """Columns of a table."""
    modalities = "columns"
    def __init__(self, *, columns: dict[str, str]): ...

class Pixels:
    """Reads pictures."""
    accepts = ("image",)
    def __init__(self, modality, /, *, patch: int = 4): ...

class Words:
    """Reads texts and pictures of texts."""
    accepts = ("text", "scan")
    def __init__(self, modality, /, *, width: int = 16): ...

class Flat:
    """One linear map."""
    def __init__(self, dim_in, dim_out, /, *, bias: bool = True, pool: str = "mean"): ...

class Deep:
    """Several."""
    def __init__(self, dim_in, dim_out, /, *, depth: int, dropout: float = 0.0, norm: bool | None = None): ...

class Pull:
    """Draws pairs together."""
    needs = ("embeddings",)
    produces = ("margin",)
    def __init__(self, *, margin: float = 0.1): ...

class Around:
    """A loss around a loss."""
    needs = ("embeddings",)
    parts = {"of": "loss"}
    def __init__(self, dim, of, /, *, sizes: list[int]): ...

class Found:
    """Hits among the first k."""
    needs = ("embeddings", "groups")
    produces = ("{pair}@{k}",)
    def __init__(self, *, k: list[int] = [1, 5]): ...

class Boxed:
    """Overlap of boxes."""
    needs = ("embeddings", "boxes")
    produces = ("iou",)
    def __init__(self): ...

class Rank:
    """Rank of rows."""
    needs = ("rows",)
    produces = ("effective",)
    def __init__(self): ...
'''
OFFER = {
    "task": {"join": "Join", "measure": "Measure"},
    "dataset": {"shapes": "Shapes", "table": "Table"},
    "encoder": {"pixels": "Pixels", "words": "Words"},
    "projector": {"flat": "Flat", "deep": "Deep"},
    "loss": {"pull": "Pull", "around": "Around"},
    "metric": {"found": "Found", "boxed": "Boxed", "rank": "Rank"},
}


def toy_plugin(offer: dict[str, dict[str, str]], module: str) -> object:
    """A plugin that offers these components of ``module``."""

    def hook(kind: str) -> Callable[[], Iterable[Component]]:
        def listing() -> Iterable[Component]:
            return [Component(name, f"{module}:{cls}", cls) for name, cls in offer[kind].items()]

        listing.__name__ = KINDS[kind]
        return hookimpl(listing)

    plugin = types.SimpleNamespace()
    for kind in offer:
        setattr(plugin, KINDS[kind], hook(kind))
    return plugin


@pytest.fixture(scope="session")
def toy_host(tmp_path_factory: pytest.TempPathFactory) -> Iterable[PluginManager]:
    """Plugin ``toys``; ``left`` and ``right`` both offer a projector ``twin``; ``broken`` an encoder that cannot be loaded."""
    folder = tmp_path_factory.mktemp("toys")
    (folder / "toy_parts.py").write_text(PARTS)
    (folder / "toy_broken.py").write_text("import package_that_nobody_has\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield PluginManager.from_modules({
            "toys": toy_plugin(OFFER, "toy_parts"),
            "broken": toy_plugin({"encoder": {"missing": "Missing"}}, "toy_broken"),
            "left": toy_plugin({"projector": {"twin": "Flat"}}, "toy_parts"),
            "right": toy_plugin({"projector": {"twin": "Deep"}}, "toy_parts"),
        })  # fmt: skip


@pytest.fixture(scope="session")
def toys(toy_host: PluginManager, tmp_path_factory: pytest.TempPathFactory) -> SchemaBook:
    """Schemas of the toy components."""
    return SchemaBook(toy_host, tmp_path_factory.mktemp("schemas"))


TOY_FILE = """\
# Is deep better than flat?
# mlrun run toy.toml        a moment
seeds = [0, 1]
baseline = "flat"

[task]
use = "join"

[dataset]
use = "shapes"

[encoder.image]
use = "pixels"
frozen = true

[encoder.text]
use = "words"

[projector.image]
use = "flat"
pool = "max"

[[loss]]
use = "pull"

[[metric]]
use = "found"

[train]
steps = 20
lr = 1e-3

[arm.flat]
[arm.deep.projector.image]
use = "deep"
depth = 2

[[gate]]
metric = "found/i2t@1"
at_least = 0.5
"""


@pytest.fixture
def toy_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes the toy experiment with replacements ``(old, new)`` and text appended."""

    def write(*changes: tuple[str, str], append: str = "", name: str = "toy.toml") -> Path:
        text = TOY_FILE
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new, 1)
        file = tmp_path / name
        file.write_text(text + append)
        return file

    return write


@pytest.fixture
def record_plan(toys: SchemaBook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Plan]:
    """Plans a file of toys and records its runs as a program would, with metrics that ``figures(spec)`` makes up.

    A run without metrics (None) is left out. ``data`` is what ``data.json`` says of every run. Nothing waits for the disk.
    """
    monkeypatch.setattr(os, "fsync", lambda handle: None)

    def record(
        file: Path, figures: Callable[[RunSpec], Mapping[str, float] | None], *,
        data: Callable[[RunSpec], Mapping[str, object]] = lambda spec: {}, sets: tuple[str, ...] = (),
    ) -> Plan:  # fmt: skip
        plan = make_plan(load_experiment(file, sets=sets), toys)
        for spec in plan.runs:
            if (values := figures(spec)) is not None:
                with Recorder(tmp_path / "runs" / spec.relative_path, None) as recorder:
                    recorder.start(spec, {}, {})
                    recorder.describe({"dataset": {"fingerprint": "f"}, **data(spec)})
                    recorder.add(Record(20, values))
                    recorder.finish({})
        return plan

    return record


@pytest.fixture
def record_course(toys: SchemaBook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Plan]:
    """Plans a file of toys and records its runs as training would: curves, stats, embeddings, timing, findings.

    ``change(spec, items)`` gives what a run yields instead; where it raises, the run fails with that error.
    """
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    around = {
        "git": {"commit": "c" * 40, "dirty": True},
        "hardware": {"cpu": "a processor", "threads": 1},
        "versions": {"torch": "2"},
    }

    def record(
        file: Path, change: Callable[[RunSpec, list[Item]], list[Item]] = lambda spec, items: items, *,
        findings: Callable[[RunSpec], list[Finding]] = lambda spec: [], root: Path = tmp_path,
    ) -> Plan:  # fmt: skip
        plan = make_plan(load_experiment(file), toys)
        for spec in plan.runs:
            with Recorder(root / "runs" / spec.relative_path, None) as recorder:
                recorder.start(
                    spec, around, {"projector.image": {"target": "toys:Flat", "plugin": "toys", "source": "e" * 64}}
                )
                recorder.describe({"dataset": {"fingerprint": "f" * 64, "splits": {"train": 90, "test": 40}}})
                recorder.describe({"parameters": {"projector.image": 12}})
                try:
                    for item in change(spec, course_of(spec)):
                        recorder.add(item)
                    recorder.diagnosed(findings(spec))
                    recorder.finish({})
                except RuntimeError as error:
                    recorder.fail(f"Traceback\nRuntimeError: {error}")
        return plan

    return record


def course_of(spec: RunSpec) -> list[Item]:
    """What a run of 100 steps yields; ``deep`` learns faster than ``flat``."""
    rng = np.random.default_rng([spec.seed, zlib.crc32(spec.arm.encode())])
    speed = 0.05 if spec.base_arm == "deep" else 0.02
    items: list[Item] = [ModuleStats(0, "own", {"loss.pull": {"batch": 64, "chance": math.log(64)}})]
    for step in range(0, 101, 10):
        loss = math.log(64) * math.exp(-speed * step) + 0.05 * rng.random()
        items.append(Record(step, {"loss": loss, "pull/loss": loss, "lr": 1e-3 * (1 - step / 100)}))
        items.append(Record(step, {"val/loss": loss + 0.1, "val/found/i2t@1": 1 - math.exp(-speed * step / 2)}))
    quality = 1 - math.exp(-speed * 50) + 0.02 * rng.random()
    items.append(Record(100, {"found/i2t@1": quality, "found/i2t@5": (1 + quality) / 2}))
    items.append(Timing(100, {"train_seconds": 2.0, "samples_per_second": 640.0, "peak_memory": 2.0**28}))
    image = rng.normal(size=(40, 8)).astype(np.float32)
    text = (image + rng.normal(size=(40, 8)) * (1 - quality)).astype(np.float32)
    groups = np.arange(40)
    kept = {
        "embeddings.image": image,
        "embeddings.text": text,
        "groups.image": groups,
        "groups.text": groups,
        "classes": groups % 3,
    }
    return [*items, Arrays(100, "test", kept)]
