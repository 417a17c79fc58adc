"""From raw events to an aligned space: steps are done once, and texts embedded once or on the way train the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from trialbook.config.load import load_experiment
from trialbook.config.runspec import Outcome
from trialbook.config.settings import Settings
from trialbook.execution.launcher import Launcher
from trialbook.execution.progress import PlainProgress
from trialbook.planning.planner import make_plan
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook
from trialbook.registry.run_directory import RunDirectory

PIPELINE = """
[prepare.sample.task]
use = "sample"
[prepare.sample.dataset]
use = "smart-home"
residents = 1
days = 8
by = "count"
window = 12
[prepare.captions.task]
use = "caption"
[prepare.captions.dataset]
use = "samples"
modalities = { sensor = "sample" }
[prepare.captions.captioner]
use = "sensor-templates"
style = "plain"
[prepare.text.task]
use = "embed"
[prepare.text.dataset]
use = "samples"
modalities = { sensor = "sample", text = "captions" }
[prepare.text.encoder.text]
use = "pooled"
of = { use = "token-embedding", width = 16 }
[task]
use = "align"
dim = 8
[dataset]
use = "samples"
modalities = { sensor = "sample", text = "TEXT" }
[encoder.sensor]
use = "sensor-transformer"
width = 16
depth = 1
heads = 2
[encoder.text]
ENCODER
frozen = true
[projector.sensor]
use = "linear"
[projector.text]
use = "mlp"
[[loss]]
use = "info-nce"
[[metric]]
use = "zero-shot"
captions = "train"
[train]
steps = 6
batch_size = 16
log_every = 1
"""
ONCE = PIPELINE.replace("TEXT", "text").replace("ENCODER", 'use = "identity"')
ON_THE_WAY = PIPELINE.replace("TEXT", "captions").replace(
    "ENCODER", 'use = "pooled"\nof = { use = "token-embedding", width = 16 }'
)
Run = Callable[[str], dict[str, list[Outcome]]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pipeline")


@pytest.fixture(scope="module")
def run(place: Path) -> Run:
    """Runs a file with its steps; how the runs of each ended, by experiment."""
    settings = Settings(root=place, runs=place / "runs", data_root=None, cache=place / "cache")
    book = SchemaBook(PluginManager.discover(), place / "cache")
    launcher = Launcher(settings, book.host, book, PlainProgress(print), plots=False)

    def go(text: str) -> dict[str, list[Outcome]]:
        (place / "pipeline.toml").write_text(text)
        plan = make_plan(load_experiment(place / "pipeline.toml"), book)
        found = {one.experiment.name: launcher.mlrun_launch(plan=one) for one in (*plan.before, plan)}
        assert [outcome.message for outcomes in found.values() for outcome in outcomes if outcome.message] == []
        return found

    return go


def states(found: dict[str, list[Outcome]]) -> list[str]:
    return [outcome.state for outcomes in found.values() for outcome in outcomes]


def test_a_second_call_does_nothing_and_another_style_redoes_captions_and_what_follows(run: Run) -> None:
    first = run(ONCE)
    assert list(first) == ["prepare.sample", "prepare.captions", "prepare.text", "pipeline"]
    assert set(states(run(ONCE))) == {"kept"}
    assert states(run(ONCE.replace('"plain"', '"detailed"'))) == ["kept", "finished", "finished", "finished"]
    assert states(run(ONCE.replace("days = 8", "days = 9"))) == ["finished"] * 4


def test_texts_embedded_once_and_texts_embedded_on_the_way_give_the_same_values(run: Run, place: Path) -> None:
    def recorded(text: str) -> list[dict[str, float]]:
        (outcome,) = run(text.replace('"info-nce"', '"hard-negatives"\nqueue = 8'))["pipeline"]
        lines = (place / "runs" / outcome.spec.relative_path / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)["values"] for line in lines]

    once, on_the_way = recorded(ONCE), recorded(ON_THE_WAY)
    assert len(once) == len(on_the_way) > 6
    for one, other in zip(once, on_the_way, strict=True):
        assert one == pytest.approx(other, abs=2e-5)  # sums over a text's tokens in batches of other lengths
    assert max(one.get("hard-negatives/excluded", 0) for one in once) > 0


def test_a_run_says_what_it_was_made_from(run: Run, place: Path) -> None:
    found = run(ONCE)
    (last,) = found["pipeline"]
    record = json.loads(RunDirectory(place / "runs" / last.spec.relative_path).json("run").read_text())
    assert set(record["inputs"]) == {"sample", "captions", "text"}
    (captions,) = found["prepare.captions"]
    made = json.loads(RunDirectory(place / "runs" / captions.spec.relative_path).json("data").read_text())["artifacts"]
    assert set(made) == {"captions.jsonl"}
    assert len(made["captions.jsonl"]["sha256"]) == 64
