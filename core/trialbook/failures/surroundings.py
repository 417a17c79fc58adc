"""What the evaluated data know of an answer beside its record: its images, and the texts in them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from trialbook.conversations import Conversation
from trialbook.data import modalities_of
from trialbook.errors import TrialbookError
from trialbook.failures.source import Answers
from trialbook.predictions import Prediction
from trialbook.rundir import read_json
from trialbook.schema import SchemaBook
from trialbook.settings import Settings
from trialbook.variants import Table
from trialbook.wiring import Wiring


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
    seed = (read_json(answers.run.json("run")) or {}).get("seed", 0)
    wiring = Wiring(book, answers.run.path.name, {}, {"data_root": settings.data_root, "seed": seed})
    dataset = wiring.construct(Table("dataset", ("dataset",), table), {})
    return Surroundings(dataset, table, answers.split)
