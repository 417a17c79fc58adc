"""The content of an experiment file: its tables with their positions, before arms and grid are multiplied out."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trialbook.config.experiment_info import ExperimentInfo
from trialbook.config.merge import select, subtree, without
from trialbook.config.structure import CONFIGURATION
from trialbook.config.toml import Document, KeyPath
from trialbook.errors import Position, Problem

#: Name of the only arm of a file that has none.
SOLE_ARM = "main"
#: Beginning of the names that preparations are filed under.
PREPARE = "prepare."


@dataclass(frozen=True)
class Experiment:
    """The content of a file under a profile and ``--set``.

    Args:
        file: the experiment file.
        name: what its runs are filed under.
        question: what it is to answer: the key, or the first paragraph of the file's opening comment.
        document: all tables, those of the files that it extends included, profile and ``--set`` applied.
        profile: the profile that was applied, if any.
        fixed: keys of the grid that the profile or ``--set`` holds at one value.
        problems: mistakes found so far; ``make_plan`` raises them with all others.
        lost: tables and keys that are there but misspelt or misplaced.
        alternatives: the same file under each of its other profiles, to be checked with it.
    """

    file: Path
    name: str
    question: str
    document: Document
    profile: str | None = None
    fixed: frozenset[str] = frozenset()
    problems: tuple[Problem, ...] = ()
    lost: frozenset[str] = frozenset()
    alternatives: tuple[Experiment, ...] = field(default=(), repr=False)

    @property
    def seeds(self) -> tuple[int, ...]:
        """One run of every arm for each."""
        return tuple(self.document.data.get("seeds", (0,)))

    @property
    def baseline(self) -> str | None:
        """The arm that the others are compared with."""
        return self.document.data.get("baseline")

    @property
    def headline(self) -> tuple[str, ...]:
        """Metrics that a comparison shows first."""
        return tuple(self.document.data.get("headline", ()))

    @property
    def trackers(self) -> tuple[str, ...] | None:
        """Names of the trackers that are told of its runs; None where it leaves that to the workplace."""
        named = self.document.data.get("trackers")
        return None if named is None else tuple(named)

    @property
    def results(self) -> dict[str, str]:
        """Names in ``results.json`` and the metrics that they stand for."""
        return dict(self.document.data.get("results", {}))

    @property
    def base(self) -> Document:
        """The tables that every arm starts from."""
        return select(self.document, dict.fromkeys(CONFIGURATION))

    @property
    def arms(self) -> dict[str, Document]:
        """The changes that each arm makes in the base."""
        names = self.document.data.get("arm") or {SOLE_ARM: {}}
        return {name: without(subtree(self.document, "arm", name), ("needs",)) for name in names}

    def needs(self, arm: str) -> tuple[str, ...]:
        """Arms whose runs of the same seed are inputs of this arm's."""
        return tuple(self.document.data.get("arm", {}).get(arm, {}).get("needs", ()))

    @property
    def preparations(self) -> dict[str, Experiment]:
        """The preparations made before its own runs, each as an experiment of its own; several files share equal ones."""
        return {name: self._preparation(name) for name in self.document.data.get("prepare", {})}

    def _preparation(self, name: str) -> Experiment:
        others = tuple(
            other._preparation(name) for other in self.alternatives if name in other.document.data.get("prepare", {})
        )
        document = subtree(self.document, "prepare", name)
        if "needs" not in document.data:  # all that stands before it
            names = list(self.document.data["prepare"])
            document = Document({**document.data, "needs": names[: names.index(name)]}, document.positions)
        return Experiment(self.file, f"{PREPARE}{name}", "", document, self.profile, alternatives=others)

    @property
    def is_preparation(self) -> bool:
        """True for a preparation of a file, which answers no question."""
        return self.name.startswith(PREPARE)

    @property
    def needed(self) -> tuple[str, ...]:
        """Names of the preparations, and files, whose runs are inputs of all of its own; all preparations if it does not say."""
        return tuple(self.document.data.get("needs", self.document.data.get("prepare", ())))

    def needed_files(self) -> list[tuple[Position | None, Path]]:
        """The experiment files among what it and its preparations need, with where they are named."""
        found: dict[Path, Position | None] = {}
        for one in (self, *self.preparations.values()):
            for index, need in enumerate(one.needed):
                if need.endswith(".toml"):
                    path = Path(os.path.normpath(self.file.parent / need))
                    found.setdefault(path, one.place("needs", index) or one.place("needs"))
        return [(place, path) for path, place in found.items()]

    @property
    def grid(self) -> dict[str, list[Any]]:
        """Dotted key to the values that it goes through."""
        return dict(self.document.data.get("grid", {}))

    @property
    def gates(self) -> list[dict[str, Any]]:
        """The ``[[gate]]`` tables as written."""
        return list(self.document.data.get("gate", []))

    @property
    def factors(self) -> dict[str, list[Any]]:
        """The factors that the runs vary in by design, with levels in the file's order: ``arm``, and the keys of the grid."""
        varied = {"arm": list(self.arms), **self.grid}
        return {name: levels for name, levels in varied.items() if len(levels) > 1}

    @property
    def claims(self) -> dict[KeyPath, dict[str, Any]]:
        """The claims, each ``[claim]`` or ``[[claim]]`` with the place where it stands."""
        return self._either("claim")

    @property
    def decisions(self) -> dict[KeyPath, dict[str, Any]]:
        """The decisions, each ``[decision]`` or ``[[decision]]`` with the place where it stands."""
        return self._either("decision")

    @property
    def decides_only(self) -> bool:
        """True if it has no runs of its own: it comes to a decision from those of the files that it needs."""
        own = {*CONFIGURATION, "arm", "grid"} & {key for key, value in self.document.data.items() if value}
        return bool(self.decisions) and not own

    @property
    def manual_scores(self) -> list[dict[str, Any]]:
        """The ``[[manual_score]]`` tables: what is judged and not measured."""
        return list(self.document.data.get("manual_score", []))

    @property
    def external_baselines(self) -> dict[str, dict[str, Any]]:
        """The ``[external_baseline.NAME]`` tables: metrics from elsewhere."""
        return dict(self.document.data.get("external_baseline", {}))

    def _either(self, name: str) -> dict[KeyPath, dict[str, Any]]:
        """Tables that may stand alone or in an array."""
        found = self.document.data.get(name, [])
        tables = {(name,): found} if isinstance(found, dict) else {(name, i): one for i, one in enumerate(found)}
        return {path: dict(table) for path, table in tables.items()}

    @property
    def doctor(self) -> dict[str, Any]:
        """The ``[doctor]`` table as written."""
        return dict(self.document.data.get("doctor", {}))

    def place(self, *path: str | int) -> Position | None:
        """Return where something at the top of the file was written."""
        return self.document.positions.get(path)

    def info(self) -> ExperimentInfo:
        """Return what is no part of any run's configuration; what its arms resolve to is known once it is planned."""
        return ExperimentInfo(
            question=self.question, file=str(self.file), profile=self.profile, seeds=self.seeds, baseline=self.baseline,
            headline=self.headline, results=self.results, gates=self.gates, external_baselines=self.external_baselines,
            doctor=self.doctor, factors=self.factors, claims=tuple(self.claims.values()),
        )  # fmt: skip
