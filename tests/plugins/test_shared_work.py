"""What a task shares out among the processes of a run gives the metrics of one process, bit for bit."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import run_processes

from trialbook.config.load import load_experiment
from trialbook.contracts import Measurable
from trialbook.contracts.files import read_lines
from trialbook.contracts.records import Arrays, Record
from trialbook.engine.builder import BuildContext, RunBuilder
from trialbook.engine.feature_store import FeatureStore
from trialbook.planning.planner import make_plan
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook
from trialbook.registry.run_directory import RunDirectory
from trialbook_plugins.tasks import align, embed, instruct, probe, similarity

INSTRUCT = """
name = "instruct"
[task]
use = "instruct"
max_length = 96
max_new_tokens = 4
temperature = 1.0
[dataset]
use = "documents"
train = 24
val = 7
test = 9
[encoder.image]
use = "patches"
patch = 16
[projector.image]
use = "mlp"
[llm]
use = "small-causal"
width = 32
depth = 2
heads = 2
dropout = 0.1
[[metric]]
use = "exact-match"
[train]
steps = 1
batch_size = 4
lr = 1e-4
[evaluate]
batch_size = 2
"""
ALIGN = """
name = "align"
[task]
use = "align"
dim = 8
[dataset]
use = "scenes"
train = 32
val = 20
test = 20
[encoder.image]
use = "patches"
[encoder.text]
use = "text-transformer"
width = 16
depth = 1
heads = 2
dropout = 0.1
[projector.image]
use = "mlp"
pool = "attention"
[projector.text]
use = "linear"
[[loss]]
use = "info-nce"
[[metric]]
use = "retrieval"
[train]
steps = 1
batch_size = 4
lr = 1e-4
[evaluate]
batch_size = 6
"""
PROBE = """
name = "probe"
[task]
use = "probe"
shown = 0
[dataset]
use = "shapes"
train = 40
val = 10
test = 10
[encoder.image]
use = "patches"
frozen = true
[probe.boxes]
use = "token-boxes"
[probe.mean]
use = "pooled-boxes"
[probe.heat]
use = "pooled-boxes"
pool = "flatten"
"""
SIMILARITY = """
name = "similarity"
[task]
use = "similarity"
measures = ["cka", "overlap", "r2"]
permutations = 19
pool = "mean"
samples = 64
channels = true
[dataset]
use = "shapes"
train = 20
val = 64
test = 64
[encoder.a]
use = "patches"
[encoder.b]
use = "patches"
patch = 16
"""
EMBED = """
name = "embed"
[task]
use = "embed"
[dataset]
use = "scenes"
train = 20
val = 6
test = 6
[encoder.text]
use = "token-embedding"
[evaluate]
batch_size = 4
"""
FILES = {"instruct": INSTRUCT, "align": ALIGN, "probe": PROBE, "similarity": SIMILARITY, "embed": EMBED}
MODULES = {"instruct": instruct, "align": align, "probe": probe, "similarity": similarity, "embed": embed}


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> SchemaBook:
    return SchemaBook(PluginManager.discover(), tmp_path_factory.mktemp("schemas"))


class Shares:
    """Shares work out as two processes would, one after the other; counts what it has shared out."""

    def __init__(self) -> None:
        self.count = 0

    def spread(self, work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """The second process first; results go through pickle."""
        self.count += len(items)
        parts = {rank: pickle.loads(pickle.dumps([work(item) for item in items[rank::2]])) for rank in (1, 0)}
        return [parts[place % 2][place // 2] for place in range(len(items))]

    def in_turns(self, work: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        for start in range(0, len(items), 2):
            yield from self.spread(work, items[start : start + 2])


def _results(task: Any) -> list[Any]:
    """All that a task measures, or that it evaluates of its splits."""
    if isinstance(task, Measurable):
        task.measured(0)
        items = [one for one in task.measurements() if isinstance(one, Record | Arrays)]
        return [one.values if isinstance(one, Record) else np.concatenate([*one.values.values()]) for one in items]
    task.module().eval()
    splits = ("val", "test")
    return [dict(task.evaluate(split)) for split in splits] + [
        one.as_dict() for one in task.shown("test").get("predictions", ())
    ]


@pytest.mark.parametrize(
    "name", ["instruct", *(pytest.param(one, marks=pytest.mark.slow) for one in FILES if one != "instruct")]
)
def test_figures_do_not_depend_on_who_does_the_work(
    name: str, book: SchemaBook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file.toml").write_text(FILES[name])
    spec = make_plan(load_experiment(tmp_path / "file.toml"), book).runs[0]
    found = []
    for shares in (None, Shares()):
        task: Any = RunBuilder(spec, BuildContext(book, FeatureStore(tmp_path / "features"), None)).task()
        if shares is not None:
            monkeypatch.setattr(MODULES[name], "spread", shares.spread)
            monkeypatch.setattr(MODULES[name], "spread_in_turns", shares.in_turns, raising=False)
        found.append(_results(task))
    np.testing.assert_equal(found[0], found[1])
    assert shares is not None
    assert shares.count >= 2


@pytest.mark.slow
def test_two_processes_share_the_work_of_one(tmp_path: Path) -> None:
    """Records are the same bytes; of what trains, those before the first step, whose weights are the same."""
    for count in (1, 2):
        folder = tmp_path / str(count)
        folder.mkdir()
        for name, text in FILES.items():
            batch = text.replace("batch_size = 4\nlr", f"batch_size = {4 // count}\nlr")
            (folder / f"{name}.toml").write_text(batch)
        ended = run_processes(folder, count, "run", ".", "--no-plots")
        assert [one.status for one in ended] == [0] * count, ended[0].err
    for name in FILES:
        one, two = (
            list(
                read_lines(
                    RunDirectory(next((tmp_path / f"{count}" / "runs" / name).glob("main-s0-*"))).lines("metrics")
                )
            )
            for count in (1, 2)
        )
        before = [record for record in one if record["step"] == 0]
        assert before
        assert before == [record for record in two if record["step"] == 0]
