"""The places of a run's answers, and of the images that they are about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from trialbook.analysis.failures.corrections import Corrections
from trialbook.analysis.failures.judge import Judged, judge
from trialbook.config.options import EvaluateOptions
from trialbook.config.settings import Settings
from trialbook.config.variants import ComponentTable
from trialbook.contracts.conversations import Conversation
from trialbook.contracts.datasets import modalities_of
from trialbook.contracts.predictions import Prediction
from trialbook.errors import TrialbookError, suggest
from trialbook.plugins.construct import ComponentFactory
from trialbook.plugins.schema import SchemaBook
from trialbook.registry.run_directory import RunDirectory


@dataclass(frozen=True)
class Answers:
    """The answers of a run in one evaluation.

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
        """People's remarks on the answers."""
        return Corrections(self.run, self.evaluation, self.predictions)

    @property
    def title(self) -> str:
        """``experiment/run``, with the evaluation if it is a later one."""
        facts = self.run.read("run") or {}
        name = f"{facts.get('experiment', '')}/{self.run.path.name}"
        return name if self.evaluation is None else f"{name}, {self.evaluation}"

    def judged(self, texts: Mapping[str, Sequence[str]] | None = None) -> Judged:
        """Judged and tagged, with what people said of them."""
        return judge(self.predictions, self.corrections.tags, texts)


def read_answers(run: RunDirectory, evaluation: str | None = None) -> Answers:
    """A run's answers.

    Raises:
        TrialbookError: there are none, or they cannot be read.
    """
    run.check_readable()
    file = run.answers(evaluation)
    if evaluation is not None and not run.evaluation(evaluation).is_file():
        known = run.evaluations()
        hint = suggest(evaluation, known)
        has = f"did you mean '{hint}'?" if hint else f"it has {', '.join(known) or 'none'}"
        raise TrialbookError(f"{run.path.name} has no evaluation '{evaluation}'; {has}")
    if not file.is_file():
        raise TrialbookError(_nothing(run, evaluation))
    predictions = run.read_answers(evaluation)
    config = (run.read("run") or {}).get("config", {})
    if evaluation is None:
        final = EvaluateOptions(**config.get("evaluate", {})).final
        return Answers(run, None, predictions, final, config.get("dataset", {}))
    facts = run.read_evaluation(evaluation)
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


class Surroundings:
    """The conversations of a split, with their images and texts.

    Args:
        dataset: a set of conversations about images.
        table: its ``[dataset]`` table.
        split: name of the split.
    Raises:
        TrialbookError: it has no conversations, or no such split.
    """

    def __init__(self, dataset: Any, table: Mapping[str, Any], split: str) -> None:
        kinds = {dataset.describe(name).kind: name for name in modalities_of(dataset, table)}
        self._split = dataset.splits().get(split)
        if self._split is None or "conversation" not in kinds:
            raise TrialbookError(f"the data have no conversations of a split '{split}'")
        self._modality = kinds.get("image")
        self._groups = self._split.groups(kinds["conversation"])
        said: list[Conversation] = self._split.read(kinds["conversation"], np.arange(len(self._groups)))
        self._places = {one.id: place for place, one in enumerate(said)}
        self._questions = [one.question for one in said]

    def texts(self) -> dict[str, list[str]]:
        """Id of a conversation to what its images say, where the data have an annotation ``values``."""
        try:
            values = self._split.labels("values")
        except KeyError:
            return {}
        return {
            name: [str(value.text) for value in values[int(self._groups[place])] if getattr(value, "text", "")]
            for name, place in self._places.items()
        }

    def images(self, prediction: Prediction) -> list[Any]:
        """The images of a question, in their order: where they lie, else as uint8 arrays [3, H, W]; none if it is not there."""
        place = self._places.get(prediction.id)
        if place is None or self._modality is None or self._questions[place] != prediction.question:
            return []
        rows = self._rows.get(int(self._groups[place]), [])
        where = getattr(self._split, "image_path", lambda row: None)
        paths: list[Path | None] = [where(row) for row in rows]
        if rows and all(path is not None and path.is_file() for path in paths):
            return list(paths)
        return list(self._split.read(self._modality, np.array(rows, dtype=np.int64))) if rows else []

    @cached_property
    def _rows(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for row, group in enumerate(self._split.groups(self._modality).tolist()):
            found.setdefault(group, []).append(row)
        return found


def open_surroundings(answers: Answers, settings: Settings, book: SchemaBook) -> Surroundings:
    """Make the data set that was evaluated once more; neither torch nor the run's other parts are needed.

    Raises:
        TrialbookError: it cannot be made, or is none of conversations.
    """
    table = dict(answers.dataset)
    if "use" not in table:
        raise TrialbookError("the run has no [dataset]")
    seed = (answers.run.read("run") or {}).get("seed", 0)
    wiring = ComponentFactory(book, answers.run.path.name, {}, {"data_root": settings.data_root, "seed": seed})
    dataset = wiring.construct(ComponentTable("dataset", ("dataset",), table), {})
    return Surroundings(dataset, table, answers.split)
