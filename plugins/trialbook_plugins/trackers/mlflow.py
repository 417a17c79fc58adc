"""Tracker ``mlflow``."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trialbook.contracts.files import read_json, to_json, write_whole
from trialbook.contracts.trackers import TrackedRun
from trialbook_plugins.trackers._packages import load

_STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
_AT_ONCE = 100
"""Parameters that MLflow takes in one request."""
_LONGEST = 6000
"""Characters of a parameter."""


class MLflow:
    """An MLflow tracking server or database, with a run for each run; those of an experiment lie in one of that name.

    Of the names of metrics, ``@`` becomes ``_at_``, as MLflow does not take it. The configuration stands in the parameters,
    under dotted keys; results and configuration are artifacts as well.

    Args:
        runs: directory of all runs.
        uri: address of a server, or of a database (``sqlite:////home/me/mlflow.db``); ``.mlflow/mlflow.db`` in the directory of
            runs if left out.
        experiment: name of MLflow's experiment; that of the run's if left out.

    Raises:
        ValueError: ``uri`` has no scheme.
    """

    def __init__(self, runs: Path, /, *, uri: str | None = None, experiment: str | None = None) -> None:
        if uri is not None and not re.match(r"[\w+-]+:", uri):
            raise ValueError(f"uri ({uri}) must begin with a scheme, as in sqlite:///mlflow.db or http://host:5000")
        self.runs, self.uri, self.experiment = runs, uri, experiment
        self._client: Any = None
        self._run = ""
        self._config: Mapping[str, Any] = {}

    def start(self, run: TrackedRun) -> Held:
        """Make the run, or find it again by the id that stands in the run's directory; what it holds."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # asked for by a file: address
        client = load("mlflow", "mlflow").MlflowClient
        if self.uri is None or self.uri.startswith("sqlite"):
            load("sqlalchemy", "mlflow")
        self._config = run.config
        self._client = client(tracking_uri=self._address())
        note = run.path / "mlflow" / "run.json"
        known = read_json(note)
        if known is not None and known["uri"] == self._address():
            self._run = known["run_id"]
            self._client.update_run(self._run, status="RUNNING")
            return self._held()
        self._run = self._make(run)
        note.parent.mkdir(exist_ok=True)
        write_whole(note, to_json({"uri": self._address(), "run_id": self._run}))
        return Held()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Metrics."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(metric_name(name), float(value), now, step) for name, value in values.items()]
        for at in range(0, len(metrics), _AT_ONCE):
            self._client.log_batch(self._run, metrics=metrics[at : at + _AT_ONCE])

    def stop(self, status: str, results: Mapping[str, Any]) -> None:
        """Results as an artifact, and how the run ended."""
        if status != "interrupted":
            self._client.log_text(self._run, to_json({"status": status, **results}), "results.json")
        self._client.set_terminated(self._run, _STATUS[status])

    def _address(self) -> str:
        if self.uri is not None:
            return self.uri
        folder = self.runs.absolute() / ".mlflow"
        folder.mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{folder / 'mlflow.db'}"

    def _make(self, run: TrackedRun) -> str:
        from mlflow.entities import Param

        name = self.experiment or str(run.about.get("experiment", "trialbook"))
        found = self._client.get_experiment_by_name(name)
        place = None if self.uri is not None else (self.runs.absolute() / ".mlflow" / "artifacts" / name).as_uri()
        experiment = found.experiment_id if found else self._client.create_experiment(name, artifact_location=place)
        tags = {f"trialbook.{key}": str(run.about.get(key, "")) for key in ("arm", "seed", "id", "question")}
        made: str = self._client.create_run(experiment, run_name=run.name, tags=tags).info.run_id
        params = [Param(key, str(value)[:_LONGEST]) for key, value in _flat(run.config)]
        for at in range(0, len(params), _AT_ONCE):
            self._client.log_batch(made, params=params[at : at + _AT_ONCE])
        self._client.log_text(made, to_json(dict(run.config)), "config.json")
        return made

    def _held(self) -> Held:
        """The points that the run has."""
        names = self._client.get_run(self._run).data.metrics
        return Held((point.step, name) for name in names for point in self._client.get_metric_history(self._run, name))


class Held(set[tuple[int, str]]):
    """Points under MLflow's names, to be asked by those that they were recorded under."""

    def __contains__(self, point: object) -> bool:
        return isinstance(point, tuple) and super().__contains__((point[0], metric_name(point[1])))


def metric_name(name: str) -> str:
    """The name as MLflow takes it."""
    return re.sub(r"[^\w\-. :/]", "_", name.replace("@", "_at_"))


def _flat(table: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested tables, elements of arrays of tables by number."""
    items = table.items() if isinstance(table, Mapping) else enumerate(table) if isinstance(table, list) else ()
    held = isinstance(table, list) and any(isinstance(one, Mapping) for one in table)
    if key and not (held or isinstance(table, Mapping)):
        yield re.sub(r"[^\w\-. :/]", "_", key), table
        return
    for name, value in items:
        yield from _flat(value, f"{key}.{name}" if key else str(name))
