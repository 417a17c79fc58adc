"""The plugin that pins version 1 of the public API, really installed: its tests pass, its experiments run, it hears of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from installed import ROOT, mlrun, own_tests, pip_install
from safetensors.numpy import load_file

PLUGIN = ROOT / "tests/thirdparty-v1"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package installed by pip into a folder of its own."""
    target = tmp_path_factory.mktemp("site")
    pip_install([PLUGIN], target)
    return target


def test_it_is_listed_whole_and_passes_the_check(site: Path, tmp_path: Path) -> None:
    (row,) = (
        one for one in json.loads(mlrun("plugins", "list", "--json", site=site, cwd=tmp_path)) if one["name"] == "v1"
    )
    assert row["error"] is None
    kinds = ("task", "dataset", "encoder", "projector", "loss", "metric")
    assert row["components"] == {
        kind: [f"v1-{name}"]
        for kind, name in zip(kinds, ("spread", "pairs", "cosines", "turn", "distance", "nearest"), strict=True)
    }
    assert len(row["hooks"]) == 13
    assert "metric v1-nearest: ok" in mlrun("plugins", "check", "v1", site=site, cwd=tmp_path)
    assert mlrun("v1-about", "--loud", site=site, cwd=tmp_path) == "PLUGIN V1\n"


def test_its_own_tests_pass(site: Path, tmp_path: Path) -> None:
    own_tests(PLUGIN, site, tmp_path)


def test_its_parts_train_and_its_tracker_and_observers_hear_of_it(site: Path, tmp_path: Path) -> None:
    notes, runs = tmp_path / "notes.txt", tmp_path / "runs"
    file = str(PLUGIN / "experiments/align.toml")
    mlrun(
        "run",
        file,
        "--runs",
        str(runs),
        "--no-plots",
        site=site,
        cwd=tmp_path,
        variables={"PLUGIN_V1_NOTES": str(notes)},
    )
    (run,) = (path.parent for path in runs.glob("*/*/results.json"))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    final = lines[-1]["values"]
    assert final["v1-nearest/l2r"] > 0.25  # chance is 1 of 24
    assert load_file(run / "arrays/test-per-sample.safetensors")["v1-nearest/l2r"].mean() == final["v1-nearest/l2r"]
    told = {tuple(line.split()[:2]) for line in (run / "points.txt").read_text().splitlines()}
    assert told == {(str(line["step"]), name) for line in lines for name in line["values"]}
    heard = [line.split()[0] for line in notes.read_text().splitlines()]
    assert heard == ["started", *["recorded"] * len(lines), "finished"]


def test_its_task_measures(site: Path, tmp_path: Path) -> None:
    mlrun("run", str(PLUGIN / "experiments/spread.toml"), "--runs", str(tmp_path / "runs"), site=site, cwd=tmp_path)
    (results,) = (tmp_path / "runs").glob("*/*/results.json")
    measured = json.loads(results.read_text())["metrics"]
    assert set(measured) == {
        f"{split}/{name}/spread" for split in ("train", "val", "test") for name in ("left", "right")
    }
    assert all(0 < values["last"] < 1 for values in measured.values())
