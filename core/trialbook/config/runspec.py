"""One run as pure data: all that it is made from, hashed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trialbook.config.toml import KeyPath
from trialbook.errors import Position

_ID_LENGTH = 8


@dataclass(frozen=True)
class RunSpec:
    """One arm at one point of the grid with one seed: all that a run is made from, as pure data.

    Args:
        experiment: name of the experiment.
        arm: label: the arm, with its point of the grid if there is one (``mlp,lr=0.001``).
        base_arm: name of the arm in the file.
        point: dotted key of the grid to its value here.
        seed: the run's seed.
        config: the resolved tables with all defaults, without anything that is None.
        sources: part name to the hash of its component's source.
        id: 8 hex digits of a hash over configuration, seed, sources and the ids of the runs that it needs.
        inputs: what it needs by name (an arm, a step, another experiment) to that run's directory below that of all runs.
        about: what the experiment says of itself: question, baseline, gates … No part of the id.
        positions: where each key was written; not kept in JSON.
    """

    experiment: str
    arm: str
    base_arm: str
    point: Mapping[str, Any]
    seed: int
    config: Mapping[str, Any]
    sources: Mapping[str, str]
    id: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    positions: Mapping[KeyPath, Position] = field(default_factory=dict, compare=False, repr=False)

    def __hash__(self) -> int:
        return hash((self.experiment, self.arm, self.seed, self.id))

    @property
    def name(self) -> str:
        """``<arm>-s<seed>-<id>``, safe as a file name."""
        safe = re.sub(r"[^\w.,=+-]+", "_", self.arm, flags=re.ASCII).lstrip(".-")[:100]
        return f"{safe}-s{self.seed}-{self.id}"

    @property
    def relative_path(self) -> str:
        """Its directory below that of all runs."""
        return f"{self.experiment}/{self.name}"

    def to_json(self) -> dict[str, Any]:
        """JSON-able data; what the experiment says of itself stands beside the run's own keys."""
        return {
            **self.about,
            "experiment": self.experiment, "name": self.name, "arm": self.arm, "base_arm": self.base_arm,
            "point": dict(self.point), "seed": self.seed, "id": self.id, "inputs": dict(self.inputs),
            "sources": dict(self.sources), "config": dict(self.config),
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RunSpec:
        """The run that ``to_json`` wrote, without positions."""
        own = ("experiment", "arm", "base_arm", "point", "seed", "config", "sources", "id")
        about = {key: value for key, value in data.items() if key not in (*own, "name", "inputs")}
        return cls(**{key: data[key] for key in own}, inputs=data.get("inputs", {}), about=about)

    def write_config(self, path: Path) -> None:
        """Write the configuration as TOML."""
        import tomli_w  # late: plans are made more often than written

        path.write_text(tomli_w.dumps(dict(self.config)), encoding="utf-8")


def read_config(path: Path) -> dict[str, Any]:
    """The configuration that ``RunSpec.write_config`` wrote."""
    from trialbook.config.toml import parse_toml

    return parse_toml(path.read_text(encoding="utf-8"), path).data


def run_id(config: Mapping[str, Any], seed: int, sources: Mapping[str, str], inputs: Mapping[str, str]) -> str:
    """The id of a run; ``inputs`` are the directories of the runs that it needs, which end with their ids, by name."""
    ids = {name: path.rpartition("-")[2] for name, path in inputs.items()}
    text = canonical([config, seed, sources, ids])
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_LENGTH]


def canonical(value: Any) -> str:
    """Data as JSON that is the same for equal data."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
