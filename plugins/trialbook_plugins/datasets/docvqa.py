"""DocVQA as it is published: questions about pages of documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trialbook_plugins.datasets._published import find_rows, first_file, split_files, texts
from trialbook_plugins.datasets._questions import Asked, Questions


class DocVQA(Questions):
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

    def read(self, folder: Path) -> Iterable[tuple[str, Asked]]:
        """Every good row with its split."""

        def find(split: str) -> list[Path]:
            return sorted([*folder.glob(f"{split}*.json"), *folder.glob(f"*/{split}*.json")])[:1]

        for split, files in split_files(folder, self.files, find).items():
            rows = find_rows(files[0], "data")
            if rows and not any(isinstance(row, dict) and row.get("answers") for row in rows):
                self.leave_out(str(files[0]), f"its {len(rows)} questions have no answers")
                continue
            for number, row in enumerate(rows):
                if one := self._asked(folder, files[0], f"{files[0]}: row {number}", row, split):
                    yield split, one

    def _asked(self, folder: Path, file: Path, where: str, row: Any, split: str) -> Asked | None:
        named = row if isinstance(row, Mapping) else {}
        question, picture, answers = named.get("question"), named.get("image"), texts(named.get("answers"))
        if (
            not isinstance(question, str)
            or not isinstance(picture, str)
            or answers is None
            or "questionId" not in named
        ):
            self.bad(where, "it needs 'questionId', 'question', 'image' and 'answers'")
            return None
        kinds = texts(named.get("question_types") or [])
        name = Path(picture).name
        given = [folder / self.images / name, folder / self.images / picture] if self.images else []
        near = [folder / picture, file.parent / picture, folder / "spdocvqa_images" / name, folder / "images" / name]
        found = first_file(given or near)
        return Asked(f"docvqa-{split}-{named['questionId']}", found, question, answers, where, (kinds or ("",))[0])
