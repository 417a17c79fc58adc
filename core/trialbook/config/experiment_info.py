"""The facts of an experiment beside the configuration of its runs, as every run records them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class ExperimentInfo:
    """An experiment's own description: its question, and how its runs are to be compared. No part of any run's id.

    Args:
        question: what it is to answer.
        file: the experiment file.
        profile: the profile that was applied, if any.
        seeds: one run of every arm for each.
        baseline: the arm that the others are compared with.
        headline: metrics that a comparison shows first.
        results: names in ``results.json`` and the metrics that they stand for.
        gates: the ``[[gate]]`` tables.
        external_baselines: the ``[external_baseline.NAME]`` tables.
        doctor: the ``[doctor]`` table.
        factors: what the runs vary in by design, with the levels in the order of the file.
        claims: the ``[[claim]]`` tables.
        arms: labels of all arms, with their points of the grid.
        changes: arm to the dotted keys that it changes; None in records of versions that did not write it.
        lower_is_better: metrics that are declared to be better when lower.
    """

    question: str = ""
    file: str = ""
    profile: str | None = None
    seeds: Sequence[int] = ()
    baseline: str | None = None
    headline: Sequence[str] = ()
    results: Mapping[str, str] = field(default_factory=dict)
    gates: Sequence[Mapping[str, Any]] = ()
    external_baselines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    doctor: Mapping[str, Any] = field(default_factory=dict)
    factors: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    claims: Sequence[Mapping[str, Any]] = ()
    arms: Sequence[str] = ()
    changes: Mapping[str, Sequence[str]] | None = None
    lower_is_better: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON-able data in the order of the fields; factors are pairs, so that sorting keys leaves their order alone."""
        values = {_KEYS.get(one.name, one.name): getattr(self, one.name) for one in fields(self)}
        values["factors"] = [[name, list(levels)] for name, levels in self.factors.items()]
        if self.changes is None:
            del values["changes"]
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ExperimentInfo:
        """Read what ``to_json`` wrote, by this version or another: unknown keys are ignored, missing ones have their defaults.

        Args:
            data: content of ``run.json``, whose other keys are ignored too, with the key names of this version.
        """
        values = {one.name: data.get(_KEYS.get(one.name, one.name)) for one in fields(cls)}
        values["factors"] = dict(values["factors"] or ())
        return cls(**{name: value for name, value in values.items() if value is not None})


#: Field to its key in JSON, where that is not the field's name.
_KEYS = {"external_baselines": "external_baseline"}
