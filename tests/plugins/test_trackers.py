"""TensorBoard, Weights & Biases and MLflow hold the points of the registry, read back by their own readers."""

from __future__ import annotations

import json
import math
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interrupts import Interrupts
from labelled_windows import LOSS, run_folder, run_windows

from trialbook.contracts.files import read_json, read_lines
from trialbook.execution import trackers
from trialbook_plugins.trackers.mlflow import metric_name
from trialbook_plugins.trackers.tensorboard import read_scalars
from trialbook_plugins.trackers.wandb import STEP, files_of, read_history

Points = dict[tuple[int, str], list[float]]
PARTS = f'{LOSS}\n[[metric]]\nuse = "retrieval"\nk = [1]'


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """These programs take long to import on a machine that is busy with other tests."""
    monkeypatch.setattr(trackers, "PATIENCE", 300.0)
    monkeypatch.setattr(trackers, "LAST_PATIENCE", 300.0)


def of_registry(folder: Path) -> Points:
    with sqlite3.connect(folder / "runs" / "registry.db") as registry:
        rows = registry.execute("SELECT step, metric, value FROM metric_points WHERE kind = 'metric'").fetchall()
    return {(step, name): [value] for step, name, value in rows}


def of_tensorboard(folder: Path) -> Points:
    found: Points = {}
    for name, points in read_scalars(str(run_folder(folder) / "tensorboard")).items():
        for step, value in points:
            found.setdefault((step, name), []).append(value)
    return found


def of_wandb(folder: Path) -> Points:
    found: Points = {}
    for file in files_of(run_folder(folder)):
        for row in read_history(file):
            for name, value in row.items():
                if not name.startswith("_") and name != STEP:
                    found.setdefault((int(row[STEP]), name), []).append(value)
    return found


def mlflow_run(folder: Path) -> tuple[Any, Any]:
    mlflow = pytest.importorskip("mlflow")
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder / 'runs' / '.mlflow' / 'mlflow.db'}")
    (experiment,) = [one for one in client.search_experiments() if one.name == "windows"]
    (run,) = client.search_runs([experiment.experiment_id])
    return client, run


def of_mlflow(folder: Path) -> Points:
    client, run = mlflow_run(folder)
    found: Points = {}
    for name in run.data.metrics:
        for point in client.get_metric_history(run.info.run_id, name):
            found.setdefault((point.step, name), []).append(point.value)
    return found


READERS = {"tensorboard": of_tensorboard, "wandb": of_wandb, "mlflow": of_mlflow}
PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}


@pytest.fixture(params=list(READERS))
def tracker(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(PACKAGES[request.param])
    return str(request.param)


def check_points(name: str, folder: Path) -> None:
    """Every point of the registry is there, once, and nothing else."""
    expected = of_registry(folder)
    if name == "mlflow":
        expected = {(step, metric_name(metric)): value for (step, metric), value in expected.items()}
    assert len(expected) > 50
    found = READERS[name](folder)
    assert set(found) == set(expected)
    for point, values in found.items():
        assert len(values) == 1, f"{point} is there {len(values)} times"
        single = np.float32(expected[point][0]).item() if name == "tensorboard" else expected[point][0]
        assert values == [single]


def test_a_tracker_holds_the_points_of_the_registry(tracker: str, tmp_path: Path) -> None:
    (outcome,) = run_windows(tmp_path, PARTS, trackers=(tracker,))
    assert outcome.state == "finished"
    assert [e["message"] for e in read_lines(run_folder(tmp_path) / "events.jsonl")] == []
    check_points(tracker, tmp_path)


def test_a_run_that_goes_on_doubles_and_loses_nothing(tracker: str, tmp_path: Path) -> None:
    for step in (13, 31):  # both behind a checkpoint, so that records are made again
        with pytest.raises(KeyboardInterrupt):
            run_windows(tmp_path, PARTS, trackers=(tracker,), watcher=Interrupts(step))
    (outcome,) = run_windows(tmp_path, PARTS, trackers=(tracker,))
    assert outcome.state == "finished"
    check_points(tracker, tmp_path)


def test_points_that_were_recorded_before_the_tracker_was_named_are_made_up_for(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with pytest.raises(KeyboardInterrupt):
        run_windows(tmp_path, PARTS, watcher=Interrupts(13))
    run_windows(tmp_path, PARTS, trackers=("tensorboard",))
    check_points("tensorboard", tmp_path)


def test_configuration_results_and_status_are_told(tmp_path: Path) -> None:
    for package in PACKAGES.values():
        pytest.importorskip(package)
    run_windows(tmp_path, PARTS, trackers=tuple(READERS))
    run = run_folder(tmp_path)
    results = read_json(run / "results.json")

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    texts = {
        tag: events.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in events.Tags()["tensors"]
    }  # indented, so that TensorBoard shows it as it is
    told = {tag.removesuffix("/text_summary"): json.loads(text) for tag, text in texts.items()}
    assert told["config"]["train"]["steps"] == 40
    assert told["results"]["status"] == "finished"

    from trialbook_plugins.trackers._wandb_file import read_records

    (file,) = files_of(run)
    records = list(read_records(file))
    config = {u.key: json.loads(u.value_json) for r in records for u in r.run.config.update}
    assert config["train"]["steps"] == 40
    summary = {u.key: json.loads(u.value_json) for r in records for u in r.summary.update if u.key}
    assert summary["status"] == "finished"
    assert [r.exit.exit_code for r in records if r.WhichOneof("record_type") == "exit"] == [0]

    client, tracked = mlflow_run(tmp_path)
    assert tracked.info.status == "FINISHED"
    assert tracked.data.params["train.steps"] == "40"
    assert tracked.data.params["metric.0.k"] == "[1]"
    artifacts = {one.path for one in client.list_artifacts(tracked.info.run_id)}
    assert artifacts == {"config.json", "results.json"}
    stored = json.loads(next((tmp_path / "runs" / ".mlflow" / "artifacts").rglob("results.json")).read_text())
    assert stored["seconds"] == results["seconds"]


def test_what_is_not_finite_reaches_every_tracker(tmp_path: Path) -> None:
    from trialbook.contracts.trackers import TrackedRun
    from trialbook_plugins.trackers.tensorboard import TensorBoard
    from trialbook_plugins.trackers.wandb import WeightsAndBiases

    pytest.importorskip("wandb")
    values = {"nan": math.nan, "up": math.inf, "down": -math.inf}
    for made in (TensorBoard(), WeightsAndBiases()):
        run = TrackedRun("run", tmp_path, {"experiment": "e"}, {"a": 1})
        assert made.start(run) == set()
        made.log(3, values)
        made.stop("failed", {})
    scalars = read_scalars(str(tmp_path / "tensorboard"))
    assert {name: repr(points[0][1]) for name, points in scalars.items()} == {n: repr(v) for n, v in values.items()}
    (file,) = files_of(tmp_path)
    (row,) = read_history(file)
    assert {name: str(float(row[name])) for name in values} == {name: str(value) for name, value in values.items()}


@pytest.mark.parametrize(("table", "says"), [
    ("uri = 'mlflow.db'", r"uri \(mlflow.db\) must begin with a scheme"), ("url = 'x'", "unknown key 'url'; did you mean 'uri'"),
])  # fmt: skip
def test_wrong_options_are_named_before_anything_runs(table: str, says: str, tmp_path: Path) -> None:
    import tomllib

    from trialbook.errors import TrialbookError

    with pytest.raises(TrialbookError, match=says):
        run_windows(tmp_path, PARTS, trackers=("mlflow",), tracker={"mlflow": tomllib.loads(table)})
    assert not list((tmp_path / "runs").glob("windows/*"))


@pytest.mark.parametrize("rows", [1, 700, 3000])
def test_a_closed_file_of_any_length_is_told_from_a_torn_one(rows: int, tmp_path: Path) -> None:
    from trialbook.contracts.trackers import TrackedRun
    from trialbook_plugins.trackers._wandb_file import is_closed
    from trialbook_plugins.trackers.wandb import WeightsAndBiases

    pytest.importorskip("wandb")
    tracker = WeightsAndBiases()
    tracker.start(TrackedRun("run", tmp_path, {"experiment": "e"}, {}))
    for step in range(rows):
        tracker.log(step, {"loss": float(step)})
    tracker.stop("finished", {})
    (file,) = files_of(tmp_path)
    assert is_closed(file)
    assert len(list(read_history(file))) == rows
    whole = file.read_bytes()
    for cut in (1, 9, len(whole) // 2, len(whole) - 3):
        file.write_bytes(whole[:-cut])
        assert not is_closed(file)
