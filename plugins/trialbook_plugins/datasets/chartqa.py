"""ChartQA as it is published: questions about charts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from trialbook import TrialbookError
from trialbook_plugins.datasets._published import PublishedQuestions, QuestionFile
from trialbook_plugins.datasets._splits import SPLITS

_KINDS = ("human", "augmented")


class ChartQA(PublishedQuestions):
    """A folder of ChartQA: charts (``image``) and questions about them (``conversation``), every one with an answer.

    As published, ``train``, ``val`` and ``test`` each hold ``png`` and the files ``<split>_human.json`` and
    ``<split>_augmented.json``, lists of ``imgname``, ``query`` and ``label``; the kind of a question is ``human`` or
    ``augmented``. A folder with one such list and ``png`` beside it is dealt into splits by the content of the charts.
    Annotations of a split: ``source``, and ``file``, the names of the charts' files.

    Args:
        data_root: folder that a relative ``root`` starts from.
        root: folder of the set.
        file: JSON list of the questions, in ``root``, where there are no folders of splits.
        kinds: which questions to take, ``human`` and ``augmented``; both if left out.
        val: share of the charts that go to val, where there is no such folder.
        test: share of the charts that go to test, where there is no such folder.
        seed: another seed deals the charts differently.
        size: side of the pictures: the longer side is resized to it and white fills the square; 0 keeps them as they are.
        skip_bad: leave out rows that are broken, and list them in ``left_out``, instead of stopping.
        allow_overlap: accept splits that share pictures.
    Raises:
        TrialbookError: an option is out of its range; on first reading: a file is missing or broken, a row is bad, or splits
            share charts.
    Source: "ChartQA: A Benchmark for Question Answering about Charts with Visual and Logical Reasoning" (Masry et al., 2022);
        files as in its repository, vis-nlp/ChartQA.
    """

    source = "chartqa"
    licence = "ChartQA: GPL-3.0"
    fields = {"picture": "imgname", "question": "query", "answers": "label"}

    def __init__(
        self,
        data_root: Path | None = None,
        /,
        *,
        root: str = "chartqa",
        file: str = "questions.json",
        kinds: list[str] | None = None,
        val: float = 0.1,
        test: float = 0.1,
        seed: int = 0,
        size: int = 0,
        skip_bad: bool = False,
        allow_overlap: bool = False,
    ) -> None:
        super().__init__(data_root, root, size, val, test, seed, skip_bad, allow_overlap)
        if wrong := [kind for kind in kinds or () if kind not in _KINDS]:
            raise TrialbookError(f"kinds ({wrong[0]}) are {' and '.join(_KINDS)}")
        self.file = file
        self.kinds = tuple(kinds or _KINDS)

    def question_files(self, folder: Path) -> Iterable[QuestionFile]:
        """The files of each split and kind, or the one list."""
        if not (folder / "train").is_dir():
            return [QuestionFile(folder / self.file, None, self.source)]
        files = (
            QuestionFile(folder / split / f"{split}_{kind}.json", split, f"{self.source}-{split}-{kind}", kind)
            for split in SPLITS
            for kind in self.kinds
        )
        return [file for file in files if file.path.is_file()]

    def pictures(self, folder: Path, file: QuestionFile, name: str) -> Iterable[Path]:
        """In the folder ``png`` of the split, or beside the list."""
        return [(folder / (file.split or "")) / "png" / name]
