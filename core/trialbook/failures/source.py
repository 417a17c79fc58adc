"""Where a run's answers lie, and where the images are that they are about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trialbook.errors import TrialbookError
from trialbook.failures.corrections import Corrections
from trialbook.failures.judged import Judged, judge
from trialbook.options import EvaluateOptions
from trialbook.predictions import Prediction
from trialbook.rundir import RunDirectory, read_json, read_lines
from trialbook.words import closest


@dataclass(frozen=True)
class Answers:
    """What a run answered in one evaluation.

    Args:
        run: its directory.
        evaluation: name of a later evaluation; None for the last one of its own final split.
        predictions: the answers.
        split: that was evaluated.
        dataset: the ``[dataset]`` table of what was evaluated.
    """

    run: RunDirectory
    evaluation: str | None
    predictions: tuple[Prediction, ...]
    split: str
    dataset: Mapping[str, Any]

    @property
    def corrections(self) -> Corrections:
        """What people said of them."""
        return Corrections(self.run, self.evaluation, self.predictions)

    @property
    def title(self) -> str:
        """``experiment/run``, with the evaluation if it is a later one."""
        facts = read_json(self.run.json("run")) or {}
        name = f"{facts.get('experiment', '')}/{self.run.path.name}"
        return name if self.evaluation is None else f"{name}, {self.evaluation}"

    def judged(self, texts: Mapping[str, Sequence[str]] | None = None) -> Judged:
        """Judged and tagged, with what people said of them."""
        return judge(self.predictions, self.corrections.tags, texts)


def read_answers(run: RunDirectory, evaluation: str | None = None) -> Answers:
    """A run's answers.

    Raises:
        TrialbookError: there are none, or a line is no prediction.
    """
    file = run.answers(evaluation)
    if evaluation is not None and not run.evaluation(evaluation).is_file():
        known = run.evaluations()
        hint = closest(evaluation, known)
        has = f"did you mean '{hint}'?" if hint else f"it has {', '.join(known) or 'none'}"
        raise TrialbookError(f"{run.path.name} has no evaluation '{evaluation}'; {has}")
    if not file.is_file():
        raise TrialbookError(_nothing(run, evaluation))
    try:
        predictions = tuple(Prediction.from_dict(line) for line in read_lines(file))
    except (TypeError, ValueError) as error:
        raise TrialbookError(f"{file} is not what a run writes: {error}") from error
    config = (read_json(run.json("run")) or {}).get("config", {})
    if evaluation is None:
        final = EvaluateOptions(**config.get("evaluate", {})).final
        return Answers(run, None, predictions, final, config.get("dataset", {}))
    facts = read_json(run.evaluation(evaluation)) or {}
    return Answers(run, evaluation, predictions, str(facts.get("split", "")), facts.get("data", {}).get("table", {}))


def folders(answers: Answers, data_root: Path | None) -> Iterator[Path]:
    """Folders that paths of images may start from: those that the data's table names, the data root, the run."""
    for value in answers.dataset.values():
        if isinstance(value, str) and value:
            path = Path(value).expanduser()
            path = path if path.is_absolute() or data_root is None else data_root / path
            if path.is_dir() or path.is_file():
                yield path if path.is_dir() else path.parent
    if data_root is not None:
        yield data_root
    yield answers.run.path


def _nothing(run: RunDirectory, evaluation: str | None) -> str:
    if evaluation is not None:
        return f"evaluation '{evaluation}' of {run.path.name} has no answers: the task of the run gives none"
    with_answers = [name for name in run.evaluations() if run.answers(name).is_file()]
    if with_answers:
        return f"{run.path.name} has no answers of its own; take those of an evaluation: --evaluation {with_answers[0]}"
    if run.status() == "finished":
        return f"{run.path.name} has no answers (predictions.jsonl): its task gives none"
    return (
        f"{run.path.name} ({run.status()}) has no answers yet: they are written at its end; "
        f"'mlrun eval {run.path.name}' makes some of its newest checkpoint"
    )
