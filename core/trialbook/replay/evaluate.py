"""Evaluating a recorded run's weights, and writing down what comes out beside the run's record, which is not touched."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from trialbook.config.options import EvaluateOptions
from trialbook.config.settings import Settings
from trialbook.config.structure import LONGEST_NAME
from trialbook.contracts.files import read_json, to_json, write_whole
from trialbook.contracts.predictions import Prediction
from trialbook.contracts.records import answer_name, curve_name
from trialbook.errors import TrialbookError
from trialbook.registry.environment import environment
from trialbook.registry.record_shapes import EVALUATION
from trialbook.registry.run_directory import RunDirectory
from trialbook.replay.leaks import Leak, find_leaks
from trialbook.replay.load import LoadedRun

#: What makes two evaluations the same question, so that the later one takes the place of the earlier.
_SAME = ("checkpoint", "data", "metrics", "batch_size", "split")


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one split.

    Args:
        split: its name; groups: its size.
        figures: name to value, without the split.
        recorded: what the run recorded of them at the checkpoint's step, where it evaluated the same.
        predictions: answers, where the task gives any.
        leaks: what of the split was trained on.
        remarks: what there is to say of this split.
        seconds: that it took.
    """

    split: str
    groups: int
    figures: Mapping[str, float]
    recorded: Mapping[str, float]
    predictions: Sequence[Prediction] = ()
    leaks: Sequence[Leak] = ()
    remarks: Sequence[str] = ()
    seconds: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def differing(self) -> list[str]:
        """Metrics that are not, in every bit, what the run recorded."""
        return [name for name, value in self.recorded.items() if repr(value) != repr(self.figures.get(name))]

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON-able data, with where and with what it was made."""
        return {
            **self.facts, "split": self.split, "groups": self.groups, "figures": dict(self.figures),
            "recorded": dict(self.recorded), "differing": self.differing, "answers": len(self.predictions),
            "leaks": [vars(leak) for leak in self.leaks], "remarks": list(self.remarks), "seconds": self.seconds,
        }  # fmt: skip


def choose_splits(loaded: LoadedRun, wanted: Sequence[str]) -> list[str]:
    """The splits to be evaluated: those that are wanted, else that of the run's answer, else the only one.

    Raises:
        TrialbookError: there is no such split.
    """
    there = list(loaded.data.splits()) if loaded.data is not None else []
    chosen = list(dict.fromkeys(wanted)) or [EvaluateOptions(**loaded.spec.config.get("evaluate", {})).final]
    if not wanted and chosen[0] not in there and len(there) == 1:
        return there
    for split in chosen:
        if split not in there:
            raise TrialbookError(f"the data have no split '{split}'; name one with --split: {', '.join(there)}")
    return chosen


def evaluate(loaded: LoadedRun, split: str, settings: Settings) -> Evaluation:
    """Evaluate one split.

    Args:
        loaded: the run.
        split: of ``loaded.data``.
        settings: of the workplace, for the record.
    """
    leaks, remarks = find_leaks(loaded, split)
    began = time.perf_counter()
    figures = loaded.evaluate(split)
    seconds = round(time.perf_counter() - began, 3)
    predictions = tuple(loaded.shown(split).get("predictions") or ())
    return Evaluation(
        split, len(loaded.data.splits()[split]), figures, _recorded(loaded, split, figures), predictions, leaks,
        (*loaded.remarks, *remarks), seconds, _facts(loaded, settings),
    )  # fmt: skip


def _recorded(loaded: LoadedRun, split: str, figures: Mapping[str, float]) -> dict[str, float]:
    """Return the values that the run itself recorded of these metrics at the checkpoint's step."""
    if loaded.replaced:
        return {}
    found: dict[str, float] = {}
    for line in loaded.run.read_lines("metrics"):
        if line["step"] == loaded.step:
            found |= line["values"]
    final = EvaluateOptions(**loaded.spec.config.get("evaluate", {})).final == split
    name = answer_name if final else curve_name
    return {figure: found[key] for figure in figures if (key := name(split, figure)) in found}


def _facts(loaded: LoadedRun, settings: Settings) -> dict[str, Any]:
    from trialbook.engine.compute import compute_facts, computing

    spec = loaded.spec
    with computing(loaded.numerics, loaded.accelerator.device.type):
        around = {**environment(settings), **compute_facts(loaded.accelerator)}
    sealed = Path(loaded.checkpoint)
    folder = sealed if sealed.is_absolute() else loaded.run.path / "checkpoints" / loaded.checkpoint
    return {
        "run": f"{spec.experiment}/{loaded.run.path.name}", "arm": spec.arm, "seed": spec.seed, "id": spec.id,
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "checkpoint": {
            "name": loaded.checkpoint, "step": loaded.step,
            "sha256": hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest(),
        },
        "data": {
            "own": not loaded.replaced, "table": dict(spec.config.get("dataset", {})),
            "fingerprint": loaded.data.fingerprint,
        },
        "metrics": list(spec.config.get("metric", ())), "batch_size": loaded.builder.eval_batch_size,
        "device": str(loaded.accelerator.device), "precision": loaded.accelerator.mixed_precision,
        "environment": {key: around[key] for key in ("git", "versions", "platform", "hardware", "device", "compute")},
    }  # fmt: skip


def write_evaluation(evaluation: Evaluation, run: RunDirectory, name: str, *, given: bool) -> Path:
    """Write ``evaluations/<name>.json``, and ``<name>.predictions.jsonl`` where there are answers.

    Args:
        evaluation: what came out.
        run: whose directory.
        name: of the evaluation; given: by the user, and then it replaces what is there. Else an evaluation of something else
            keeps its name, and this one gets a number.
    """
    file, number = run.evaluation(name), 2
    while not given and not _same(read_json(file, EVALUATION), evaluation):
        file, number = run.evaluation(f"{name}-{number}"), number + 1
    file.parent.mkdir(exist_ok=True)
    return write_files(evaluation, file)


def write_files(evaluation: Evaluation, file: Path) -> Path:
    """Write metrics to ``file`` and answers beside it; the answers first, so that metrics never stand without theirs."""
    answers = file.with_name(f"{file.name.removesuffix('.json')}.predictions.jsonl")
    if evaluation.predictions:
        write_whole(answers, "".join(f"{to_json(p.as_dict(), indent=None)}\n" for p in evaluation.predictions))
    else:
        answers.unlink(missing_ok=True)
    write_whole(file, to_json(evaluation.as_dict()) + "\n")
    return file


def evaluation_name(*parts: str) -> str:
    """A name that is safe as a file's: what is there of the parts, joined.

    Raises:
        TrialbookError: nothing is left of it, or it is too long.
    """
    name = "-".join(re.sub(r"[^\w.,=+-]+", "_", part, flags=re.ASCII).strip(".-_=") for part in parts if part)
    if not 0 < len(name) <= LONGEST_NAME:
        raise TrialbookError(f"an evaluation's name has 1 to {LONGEST_NAME} letters and digits; choose one with --name")
    return name


def _same(before: Any, evaluation: Evaluation) -> bool:
    """Return whether the place is free, or taken by an evaluation of the same."""
    now = json.loads(to_json(evaluation.as_dict()))
    return before is None or all(before.get(key) == now[key] for key in _SAME)
