"""The experiments on boxes, shortened: probes on real photos, and a model that learns to point."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from trialbook.cli.main import cli

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
DATA = Path(os.environ.get("TRIALBOOK_DATA") or "/nowhere")


def run(file: str, runs: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> tuple[str, Path]:
    """What the command prints, and the directory of its only run."""
    monkeypatch.setenv("TRIALBOOK_RUNS", str(runs))
    arguments = [part for key, value in changes.items() for part in ("--set", f"{key.replace('__', '.')}={value}")]
    done = CliRunner().invoke(cli, ["run", str(EXPERIMENTS / file), *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    (found,) = runs.glob("*/main-s0-*")
    return done.output, found


def figures(place: Path) -> dict[str, float]:
    lines = (place / "metrics.jsonl").read_text().splitlines()
    return {name: value for line in lines for name, value in json.loads(line)["values"].items()}


@pytest.mark.skipif(
    not (DATA / "coco-captions" / "instances.json").is_file(), reason="needs coco-captions below TRIALBOOK_DATA"
)
def test_real_photos_are_probed_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, place = run("coco_boxes.toml", tmp_path, monkeypatch, probe__detection__steps=3, task__shown=2)
    found = figures(place)
    for layer in ("V1", "V2", "V4"):
        for probe, figure in (("boxes", "iou"), ("boxes", "map@0.5"), ("detection", "map")):
            name = f"{layer}/{probe}/{figure}"
            assert 0 <= found[f"{name}/low"] <= found[name] <= found[f"{name}/high"] <= 1
    assert found["best/boxes/iou/random"] < 0.5 * found["best/boxes/iou"] < found["best/boxes/iou/oracle"]
    assert found["best/count/score/oracle"] > 0.99
    low = [line for line in told.splitlines() if "probe 'boxes' reaches iou" in line]
    assert len(low) == 1  # for three layers of one grid
    assert "on a grid of 16 x 16 where everything is told" in low[0]
    assert "are less than a cell apart from another in their map" in low[0]
    assert (place / "artifacts" / "boxes-boxes.png").is_file()


@pytest.mark.slow
def test_a_model_learns_to_write_boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After sixty steps most answers are boxes; where things are takes longer."""
    changes = {
        "train__steps": 60,
        "dataset__pictures__train": 300,
        "dataset__pictures__test": 12,
        "evaluate__every": 60,
    }
    _, place = run("grounding.toml", tmp_path, monkeypatch, **changes)
    found = figures(place)
    for figure in ("iou", "accuracy@0.5", "mistaken", "unparsable"):
        name = f"grounding/{figure}"
        assert 0 <= found[f"{name}/low"] <= found[name] <= found[f"{name}/high"] <= 1
    assert found["grounding/unparsable"] < 0.5
    assert 0 < found["grounding/mean-box/iou"] < 0.5
    rows = [json.loads(line) for line in (place / "predictions.jsonl").read_text().splitlines()]
    assert {row["kind"] for row in rows} == {"box"}
    assert all(row["answers"][0].startswith("[") and row["images"][0].startswith("test/") for row in rows)
