"""DocVQA as it is published: questions about pages of documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trialbook.contracts.data_files import find_files
from trialbook_plugins.datasets._published import PublishedQuestions, QuestionFile, split_files, texts
from trialbook_plugins.datasets._questions import Asked


class DocVQA(PublishedQuestions):
    """A folder of DocVQA: pages (``image``) and questions about them (``conversation``), every one with an answer.

    Each split is a JSON file with ``data``, a list of ``questionId``, ``question``, ``image`` and ``answers``. A split whose
    questions have no answers (the published test split) is left out. The kind of a question is the first of its
    ``question_types``, where it has any. Annotations of a split: ``source``, and ``file``, the names of the pages' files.

    Args:
        data_root: folder that a relative ``root`` starts from.
        root: folder of the set.
        train_file: JSON file of the train split, in ``root``; if left out, that whose name begins with ``train``.
        val_file: the same of val.
        test_file: the same of test.
        images: folder of the pages, in ``root``; if left out, they are looked for where the JSON files have them.
        val: share of the pages in train that go to val, where there is no such split.
        test: share of the pages in train that go to test, where there is no such split.
        seed: another seed deals the pages differently.
        size: side of the pictures: the longer side is resized to it and white fills the square; 0 keeps them as they are.
        skip_bad: leave out rows that are broken, and list them in ``left_out``, instead of stopping.
        allow_overlap: accept splits that share pictures.
    Raises:
        TrialbookError: an option is out of its range; on first reading: a file is missing or broken, a row is bad, or splits
            share pages.
    Source: "DocVQA: A Dataset for VQA on Document Images" (Mathew et al., 2021); files as given out at rrc.cvc.uab.es.
    """

    source = "docvqa"
    licence = "DocVQA: for research, by the terms of its challenge (rrc.cvc.uab.es, task 17)"
    rows = "data"
    fields = {"id": "questionId", "question": "question", "picture": "image", "answers": "answers"}

    def __init__(
        self,
        data_root: Path | None = None,
        /,
        *,
        root: str = "docvqa",
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
        self.images = images

    def question_files(self, folder: Path) -> Iterable[QuestionFile]:
        """The file of each split."""

        def find(split: str) -> list[Path]:
            return sorted([*find_files(folder, f"{split}*.json"), *find_files(folder, f"*/{split}*.json")])

        return split_files(folder, self.files, find, self.source)

    def pictures(self, folder: Path, file: QuestionFile, name: str) -> Iterable[Path]:
        """In the folder that is given, or beside the JSON files."""
        last = Path(name).name
        if self.images:
            return [folder / self.images / last, folder / self.images / name]
        return [folder / name, file.path.parent / name, folder / "spdocvqa_images" / last, folder / "images" / last]

    def ask(self, asked: Asked, row: Mapping[str, Any]) -> Asked:
        """Of the kind that is the first of its types."""
        return replace(asked, kind=(texts(row.get("question_types") or []) or ("",))[0])
