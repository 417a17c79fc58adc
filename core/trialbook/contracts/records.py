"""Records that an engine yields: pure data, known to engine, recorder, progress and observers alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trialbook.contracts.predictions import Prediction


@dataclass(frozen=True)
class Record:
    """Values at a step that a repeated run must reproduce: one line of ``metrics.jsonl``.

    Args:
        step: optimiser steps done so far, over all stages (0 before the first).
        values: metric name to value, e.g. ``{"loss": 4.1, "lr": 1e-3}`` or ``{"val/retrieval/i2t@1": 0.4}``.
    """

    step: int
    values: Mapping[str, float]


def curve_name(split: str, figure: str) -> str:
    """Name under which a value of the validation split is recorded: ``val/retrieval/i2t@1``."""
    return f"{split}/{figure}"


def answer_name(split: str, figure: str) -> str:
    """Name under which a value of the final split is recorded: its own, but a loss keeps the split: ``test/loss``.

    For ``loss`` itself is what training minimises, taken on its batches.
    """
    return curve_name(split, figure) if figure.split("/")[-1] == "loss" else figure


@dataclass(frozen=True)
class Timing:
    """Values at a step that no repetition reproduces (seconds, rates, memory): one line of ``timing.jsonl``."""

    step: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class ModuleStats:
    """Statistics of modules at a step, for the doctor: one line of ``stats.jsonl``. A repetition reproduces it.

    Args:
        step: optimiser steps done so far.
        kind: what was measured; see ``trialbook.doctor.evidence`` for the kinds that core measures.
        values: part, parameter or module name to JSON-able facts of it.
        split: the split that was evaluated; empty in training.
    """

    step: int
    kind: str
    values: Mapping[str, Any]
    split: str = ""


@dataclass(frozen=True)
class Facts:
    """Something found out once about a whole run (its cost in operations, say); merged into ``data.json``."""

    step: int
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Arrays:
    """Named numpy arrays of a run, for plots and later questions: ``arrays/<name>.safetensors``, the newest is kept."""

    step: int
    name: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Predictions:
    """Answers of a run in its last evaluation of the final split: ``predictions.jsonl``, written as a whole."""

    step: int
    split: str
    rows: Sequence[Prediction]


@dataclass(frozen=True)
class Artifact:
    """A file that a run makes for others: ``artifacts/<name>``, put there as a whole.

    Args:
        step: optimiser steps done so far.
        name: of the file, with its ending.
        write: writes the file at the path that it is given.
    """

    step: int
    name: str
    write: Callable[[Path], None]


@dataclass(frozen=True)
class Event:
    """Something to know about a run: a resume, a fallback, dropped samples. One line of ``events.jsonl``."""

    step: int
    kind: str
    message: str
    data: Mapping[str, Any] = field(default_factory=dict)


#: All that a task may yield that measures.
Measured = Record | Timing | Event | Facts | Arrays | Artifact
#: All that an engine may yield.
Item = Record | Timing | ModuleStats | Facts | Arrays | Predictions | Artifact | Event
