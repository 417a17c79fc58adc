"""Questions about pictures from any data set of the ``datasets`` library."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from trialbook import TrialbookError
from trialbook_plugins.datasets import _hub
from trialbook_plugins.datasets._published import texts
from trialbook_plugins.datasets._questions import Asked, Questions
from trialbook_plugins.datasets._splits import SPLITS


class HuggingFaceQuestions(Questions):
    """Questions about pictures (``conversation``) and the pictures (``image``) from a data set of the ``datasets`` library.

    A row holds a picture, a question and its answer or answers; rows of one picture are a group. A split without answers is left
    out. Annotation of a split: ``source``, the name of the data set.

    Args:
        data_root: folder that a relative ``path`` is looked up in before the hub is asked.
        path: a folder that ``save_to_disk`` wrote, a folder or file of data, or a name on the hub.
        config: configuration of the data set, where it has several.
        revision: branch, tag or commit on the hub.
        splits: our split (train, val, test) to the data set's; if left out, those of the same name (``validation`` is val).
        image: column of the pictures.
        question: column of the questions.
        answers: column of the answers: a text, or a list of them with the best one first.
        unanswerable: answers that say that there is none, e.g. ``["unanswerable"]``.
        source: what the conversations give as their source; the last part of ``path`` if left out.
        val: share of the pictures in train that go to val, where there is no such split.
        test: share of the pictures in train that go to test, where there is no such split.
        seed: another seed deals the pictures differently.
        size: side of the pictures: the longer side is resized to it and white fills the square; 0 keeps them as they are.
        skip_bad: leave out rows that are broken, and list them in ``left_out``, instead of stopping.
        allow_overlap: accept splits that share pictures.
    Raises:
        TrialbookError: an option is out of its range; on first reading: the data set is not found, a column or split is missing,
            a row is bad, or splits share pictures.
    """

    def __init__(
        self,
        data_root: Path | None = None,
        /,
        *,
        path: str,
        config: str | None = None,
        revision: str | None = None,
        splits: dict[str, str] | None = None,
        image: str = "image",
        question: str = "question",
        answers: str = "answers",
        unanswerable: list[str] | None = None,
        source: str | None = None,
        val: float = 0.0,
        test: float = 0.0,
        seed: int = 0,
        size: int = 0,
        skip_bad: bool = False,
        allow_overlap: bool = False,
    ) -> None:
        if splits and ("train" not in splits or set(splits) - set(SPLITS)):
            raise TrialbookError(f"'splits' must name train, and may name val and test, not {', '.join(splits)}")
        super().__init__(data_root, path, size, val, test, seed, skip_bad, allow_overlap)
        self.named = (path, data_root, config, revision, splits)
        self.columns = (image, question, answers)
        self.none = frozenset(text.lower() for text in unanswerable or ())
        self.source = source or path.rstrip("/").rpartition("/")[2]
        self.load = lambda picture: self._pictures[picture]()
        self._pictures: dict[Path, Callable[[], bytes]] = {}

    def folder(self) -> Path:
        """The data set's name: its pictures have no files."""
        return Path(self.root)

    def has(self, picture: Path) -> bool:
        """Return whether the row has a picture."""
        return picture in self._pictures

    def read(self, folder: Path) -> Iterable[tuple[str, Asked]]:
        """Every good row with its split."""
        for split, data in _hub.named_splits(*self.named).items():
            where = f"'{self.root}' {split}"
            for column in self.columns:
                if column not in data.features:
                    has = ", ".join(data.features)
                    raise TrialbookError(f"{where} has no column '{column}'; it has {has}")
            questions, answers = (list(data[column]) for column in self.columns[1:])
            if not any(answers):
                self.leave_out(where, f"its {len(data)} questions have no answers")
                continue
            encoded = _hub.encoded_pictures(data, self.columns[0])
            for row, (question, given) in enumerate(zip(questions, answers, strict=True)):
                said = texts(given)
                if said is None or not isinstance(question, str):
                    self.bad(f"{where} row {row}", f"'{self.columns[1]}' and '{self.columns[2]}' must be texts")
                    continue
                known = not (said and said[0].strip().lower() in self.none)
                picture = self._picture(folder, partial(encoded, row))
                yield (
                    split,
                    Asked(f"{self.source}-{split}-{row}", picture, question, said, f"{where} row {row}", "", known),
                )

    def _picture(self, folder: Path, encoded: Callable[[], bytes]) -> Path:
        """A name for a row's picture, by its content; one that is not known where the row has none."""
        try:
            name = folder / f"{hashlib.sha256(encoded()).hexdigest()[:32]}.png"
        except (OSError, TypeError):
            return folder / "none"
        self._pictures.setdefault(name, encoded)
        return name
