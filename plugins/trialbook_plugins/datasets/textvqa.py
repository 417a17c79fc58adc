"""TextVQA as it is published: questions about photos with text in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trialbook.contracts.data_files import find_files
from trialbook.contracts.predictions import is_abstention
from trialbook_plugins.datasets._published import PublishedQuestions, QuestionFile, split_files
from trialbook_plugins.datasets._questions import Asked


class TextVQA(PublishedQuestions):
    """A folder of TextVQA: photos (``image``) and questions about their text, with ten answers each (``conversation``).

    Each split is a JSON file with ``data``, a list of ``question_id``, ``image_id``, ``question`` and ``answers``. What the
    assistant says is the most frequent answer; a question whose most frequent answer is that it cannot be answered has none.
    A split without answers (the published test split) is left out. Annotations of a split: ``source``, and ``file``, the names
    of the photos' files.

    Args:
        data_root: folder that a relative ``root`` starts from.
        root: folder of the set.
        train_file: JSON file of the train split, in ``root``; if left out, that whose name ends with ``train.json``.
        val_file: the same of val.
        test_file: the same of test.
        images: folder of the photos, in ``root``; if left out, ``train_images``, ``test_images`` and ``images`` are looked into.
        val: share of the photos in train that go to val, where there is no such split.
        test: share of the photos in train that go to test, where there is no such split.
        seed: another seed deals the photos differently.
        size: side of the pictures: the longer side is resized to it and white fills the square; 0 keeps them as they are.
        skip_bad: leave out rows that are broken, and list them in ``left_out``, instead of stopping.
        allow_overlap: accept splits that share pictures.
    Raises:
        TrialbookError: an option is out of its range; on first reading: a file is missing or broken, a row is bad, or splits
            share photos.
    Source: "Towards VQA Models That Can Read" (Singh et al., 2019); files as given out at textvqa.org.
    """

    source = "textvqa"
    licence = "TextVQA: annotations CC BY 4.0; photos of Open Images, each under the licence that it has there"
    rows = "data"
    fields = {"id": "question_id", "question": "question", "picture": "image_id", "answers": "answers"}

    def __init__(
        self,
        data_root: Path | None = None,
        /,
        *,
        root: str = "textvqa",
        train_file: str | None = None,
        val_file: str | None = None,
        test_file: str | None = None,
        images: str | None = None,
        val: float = 0.0,
        test: float = 0.0,
        seed: int = 0,
        size: int = 0,
        skip_bad: bool = False,
        allow_overlap: bool = False,
    ) -> None:
        super().__init__(data_root, root, size, val, test, seed, skip_bad, allow_overlap)
        self.files = {"train": train_file, "val": val_file, "test": test_file}
        self.folders = [images] if images else ["train_images", "test_images", "images"]

    def question_files(self, folder: Path) -> Iterable[QuestionFile]:
        """The file of each split; of several the last version."""
        return split_files(folder, self.files, lambda split: find_files(folder, f"*{split}.json")[::-1], self.source)

    def pictures(self, folder: Path, file: QuestionFile, name: str) -> Iterable[Path]:
        """In the folder that is given, or those of the published set."""
        return (folder / inner / f"{name}{ending}" for ending in (".png", ".jpg") for inner in self.folders)

    def ask(self, asked: Asked, row: Mapping[str, Any]) -> Asked:
        """With the most frequent answer first; unanswerable where that says so."""
        given = [answer.strip() for answer in asked.answers if answer.strip()]
        if not given:
            return replace(asked, answers=())
        best = Counter(given).most_common(1)[0][0]
        given.remove(best)
        return replace(asked, answers=(best, *given), answerable=not is_abstention(best))
