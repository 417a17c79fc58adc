"""The data that plots need of recorded runs: curves, last metrics, chance levels, embeddings. Read from run directories."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from trialbook.config.experiment_info import ExperimentInfo
from trialbook.contracts.files import open_regular, read_line
from trialbook.registry.curves import read_curves
from trialbook.registry.record_shapes import LINES
from trialbook.registry.run_directory import RunDirectory

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Steps and values, in order.
Curve = tuple[list[int], list[float]]


@dataclass(frozen=True)
class RunData:
    """A run, read as far as it is asked for."""

    directory: RunDirectory

    @cached_property
    def spec(self) -> dict[str, Any]:
        """``run.json``."""
        return self.directory.read("run") or {}

    @cached_property
    def info(self) -> ExperimentInfo:
        """Its experiment's own description."""
        return ExperimentInfo.from_json(self.spec)

    @cached_property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """Metric to its summary, from ``results.json``; of a run that is not finished from its records."""
        results = self.directory.read("results")
        if results is not None:
            return results.get("metrics") or {}
        from trialbook.registry.summary import summarise

        found = summarise(self.directory.read_lines("metrics"))
        return {name: summary.as_dict() for name, summary in found.items()}

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """Metric to its values over steps; of a step that was recorded twice the later one."""
        return read_curves(self.directory.read_lines("metrics"))

    @property
    def arm(self) -> str:
        """The arm's label."""
        return str(self.spec.get("arm", ""))

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.spec.get("seed", 0))

    @property
    def curve_split(self) -> str:
        """Name of the split whose metrics are recorded on the way."""
        return str(self.spec.get("config", {}).get("evaluate", {}).get("split", "val"))

    @property
    def final_split(self) -> str:
        """Name of the test split."""
        return str(self.spec.get("config", {}).get("evaluate", {}).get("final", "test"))

    @cached_property
    def losses(self) -> dict[str, float]:
        """Name of each loss of the file to its weight."""
        tables = self.spec.get("config", {}).get("loss") or ()
        return {str(one.get("name") or one["use"].rpartition(":")[2]): one.get("weight", 1.0) for one in tables}

    @cached_property
    def told(self) -> dict[str, dict[str, Mapping[str, Any]]]:
        """Split (empty for training) to module to what it told last of itself."""
        found: dict[str, dict[str, Mapping[str, Any]]] = {}
        for line in _lines_of_kind(self.directory, "own"):
            found.setdefault(line.get("split") or "", {}).update(line["values"])
        return found

    def chance(self, name: str) -> float | None:
        """Value of a curve of a loss for embeddings that know nothing; None where no loss told it.

        Args:
            name: ``loss``, ``<name>/loss``, or the same behind a split.
        """
        owner = name.removesuffix("loss").removesuffix("/")
        split, _, loss = ("", "", owner) if owner in self.losses else owner.partition("/")
        told = self.told.get(split, {})
        wanted = {loss: 1.0} if loss else self.losses
        total = 0.0
        for one, weight in wanted.items():
            level = told.get(f"loss.{one}", {}).get("chance")
            if level is None:
                return None
            total += weight * level
        return total if wanted else None

    @cached_property
    def facts(self) -> dict[str, Any]:
        """``data.json``."""
        return self.directory.read("data") or {}

    def last(self, name: str) -> float:
        """The last value of a metric; NaN where there is none, or it is no number."""
        found = self.metrics.get(name, {}).get("last")
        return float("nan") if found is None else float(found)

    @cached_property
    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Arrays of the final split; empty where none were kept."""
        return self.arrays_named(self.final_split)

    def arrays_named(self, name: str) -> dict[str, NDArray[np.generic]]:
        """Arrays that it left under a name; empty where none were kept."""
        file = self.directory.arrays(name)
        if not file.is_file():
            return {}
        from safetensors.numpy import load_file

        return load_file(file)

    @property
    def modalities(self) -> list[str]:
        """Modalities of which embeddings were kept."""
        return [name.partition(".")[2] for name in self.arrays if name.startswith("embeddings.")]


def _lines_of_kind(directory: RunDirectory, kind: str) -> Iterable[dict[str, Any]]:
    """Statistics of one kind; the lines of others, which are longer, are not parsed."""
    file, mark = directory.lines("stats"), f'"{kind}"'.encode()
    try:
        stream = open_regular(file)
    except FileNotFoundError:
        return
    with stream:
        for number, line in enumerate(stream, 1):
            if mark in line and line.endswith(b"\n"):
                found = read_line(line, file, number, LINES["stats"])
                if found["kind"] == kind:
                    yield found


#: The runs of each arm.
Runs = Mapping[str, Sequence[RunData]]


def mean_known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the first axis of what is finite; NaN where nothing is."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=0)
    found: NDArray[np.float64] = np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)
    return found
