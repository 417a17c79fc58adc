"""Published sets of questions in JSON files: one reader, which a set tells where things are."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from trialbook import TrialbookError
from trialbook_plugins.datasets._paths import read_json
from trialbook_plugins.datasets._questions import Asked, Questions
from trialbook_plugins.datasets._splits import SPLITS


class QuestionFile(NamedTuple):
    """A JSON file of questions.

    Args:
        path: of the file.
        split: that its rows belong to; None where they are dealt.
        name: what the ids of its questions begin with.
        kind: of all its questions, where the file says it.
    """

    path: Path
    split: str | None
    name: str
    kind: str = ""


class PublishedQuestions(Questions):
    """A set of questions in JSON files, as it is published."""

    #: Key of the list of rows in a file; None where the file is that list.
    rows: ClassVar[str | None] = None
    #: What a row must have (id, question, picture, answers) -> its key there. Without an id, rows are numbered.
    fields: ClassVar[Mapping[str, str]]

    @abstractmethod
    def question_files(self, folder: Path) -> Iterable[QuestionFile]:
        """The files of the set."""

    @abstractmethod
    def pictures(self, folder: Path, file: QuestionFile, name: str) -> Iterable[Path]:
        """Yield where the picture of a row may be, the likeliest place first."""

    def ask(self, asked: Asked, row: Mapping[str, Any]) -> Asked:
        """A question as it is asked here, where the set says more of it than its fields."""
        return asked

    def read(self, folder: Path) -> Iterable[tuple[str | None, Asked]]:
        """Every good row with its split; files without answers (withheld test splits) are left out."""
        for file in self.question_files(folder):
            rows = find_rows(file.path, self.rows)
            if rows and not any(isinstance(row, dict) and row.get(self.fields["answers"]) for row in rows):
                self.leave_out(str(file.path), f"its {len(rows)} questions have no answers")
                continue
            for number, row in enumerate(rows):
                if asked := self._asked(folder, file, number, row):
                    yield file.split, asked

    def _asked(self, folder: Path, file: QuestionFile, number: int, row: Any) -> Asked | None:
        """The question of a row; None (and noted) where the row is bad."""
        where = f"{file.path}: row {number}"
        given = row if isinstance(row, Mapping) else {}
        found = {role: given.get(key) for role, key in self.fields.items()}
        question, picture, answers = found["question"], found["picture"], texts(found["answers"])
        known = self.fields.get("id", self.fields["question"]) in given
        if not isinstance(question, str) or not isinstance(picture, str) or answers is None or not known:
            *others, last = (f"'{key}'" for key in self.fields.values())
            self.bad(where, f"it needs {', '.join(others)} and {last}")
            return None
        path = first_file(self.pictures(folder, file, picture))
        asked = Asked(f"{file.name}-{found.get('id', number)}", path, question, answers, where, file.kind)
        return self.ask(asked, given)


def find_rows(file: Path, key: str | None) -> list[Any]:
    """The rows of a published JSON file: its list, or that under ``key``.

    Raises:
        TrialbookError: there is none.
    """
    found = read_json(file)
    rows = found.get(key) if key is not None and isinstance(found, dict) else found
    if not isinstance(rows, list):
        raise TrialbookError(f"{file}: there is no list of questions" + (f" under '{key}'" if key else ""))
    return rows


def texts(value: Any) -> tuple[str, ...] | None:
    """A text or a list of texts as texts; numbers are written out; None for anything else."""
    given = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str | int | float) and not isinstance(one, bool) for one in given):
        return None
    return tuple(str(one) for one in given)


def first_file(candidates: Iterable[Path]) -> Path:
    """The first of the files that is there; the last one where none is."""
    path = Path()
    for path in candidates:
        if path.is_file():
            return path
    return path


def split_files(
    folder: Path, given: Mapping[str, str | None], find: Callable[[str], list[Path]], source: str
) -> list[QuestionFile]:
    """A file of each split: the one that is given, or the first that ``find`` finds.

    Args:
        folder: of the set.
        given: split name to its file, where one is given.
        find: finds the files of a split.
        source: name of the set.
    Raises:
        TrialbookError: a file that is given is not there.
    """
    files = []
    for split in SPLITS:
        name = given.get(split)
        if name is not None and not (folder / name).is_file():
            raise TrialbookError(f"'{split}_file' ({name}): there is no file {folder / name}")
        found = [folder / name] if name is not None else find(split)
        files += [QuestionFile(path, split, f"{source}-{split}") for path in found[:1]]
    return files
