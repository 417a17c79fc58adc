"""Questions about pictures from any data set of the ``datasets`` library."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from trialbook import TrialbookError
from trialbook.contracts.conversations import published_turns
from trialbook_plugins.datasets import _hub
from trialbook_plugins.datasets._hub_pictures import encoded_pictures, picture_counts
from trialbook_plugins.datasets._published import texts
from trialbook_plugins.datasets._questions import Asked, Questions
from trialbook_plugins.datasets._splits import SPLITS

if TYPE_CHECKING:
    import datasets

#: Columns of conversations, the likeliest first.
_CONVERSATIONS = ("conversations", "messages", "texts")


class HuggingFaceQuestions(Questions):
    """Questions about pictures (``conversation``) and the pictures (``image``) from a data set of the ``datasets`` library.

    A row holds a picture, or a list of them, and a question with its answer or answers; or, where there is no such column, a
    conversation: ``conversations`` as in LLaVA's sets, ``messages``, or ``texts`` as in The Cauldron. Rows of the same pictures
    are a group. A split without answers is left out. Annotation of a split: ``source``, the name of the data set.

    Args:
        data_root: folder that a relative ``path`` is looked up in before the hub is asked.
        path: a folder that ``save_to_disk`` wrote, a folder or file of data, or a name on the hub.
        config: configuration of the data set, where it has several.
        revision: branch, tag or commit on the hub.
        splits: our split (train, val, test) to the data set's; if left out, those of the same name (``validation`` is val).
        image: column of the pictures; ``images`` where there is no such column.
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
        self.load = self._encoded
        self._pictures: dict[Path, Callable[[], bytes]] = {}

    def folder(self) -> Path:
        """The data set's name: its pictures have no files."""
        return Path(self.root)

    def read(self, folder: Path) -> Iterable[tuple[str, Asked]]:
        """Every good row with its split."""
        for split, data in _hub.named_splits(*self.named).items():
            where = f"'{self.root}' {split}"
            image, question, answers = self.columns
            talks = next((name for name in _CONVERSATIONS if name in data.features), None)
            image = "images" if image not in data.features and "images" in data.features else image
            needed = (image, talks) if question not in data.features and talks else (image, question, answers)
            for column in needed:
                if column not in data.features:
                    has = ", ".join(data.features)
                    raise TrialbookError(f"{where} has no column '{column}'; it has {has}")
            if (kind := _hub.kind_of(data.features[image])) != "image":
                advice = "; dataset 'llava' reads conversations beside a folder of pictures" if talks else ""
                raise TrialbookError(
                    f"{where}: column '{image}' holds {kind or 'nothing known'} and no pictures{advice}"
                )
            asked = self._conversations(data, talks, where) if len(needed) == 2 else self._questions(data, where)
            encoded, counts = encoded_pictures(data, image), picture_counts(data, image)
            for row, one in asked:
                shown = [self._picture(folder, partial(encoded, row, number)) for number in range(counts[row])]
                first, more = (shown[0], tuple(shown[1:])) if shown else (None, ())
                yield split, replace(one, id=f"{self.source}-{split}-{row}", picture=first, more=more)

    def _questions(self, data: datasets.Dataset, where: str) -> Iterator[tuple[int, Asked]]:
        """Good rows of questions and answers, without their pictures."""
        questions, answers = (_hub.values_of(data, column) for column in self.columns[1:])
        if not any(answers):
            self.leave_out(where, f"its {len(data)} questions have no answers")
            return
        for row, (question, given) in enumerate(zip(questions, answers, strict=True)):
            said = texts(given)
            if said is None or not isinstance(question, str):
                self.bad(f"{where} row {row}", f"'{self.columns[1]}' and '{self.columns[2]}' must be texts")
                continue
            known = not (said and said[0].strip().lower() in self.none)
            yield row, Asked("", None, question, said, f"{where} row {row}", "", known)

    def _conversations(self, data: datasets.Dataset, column: str, where: str) -> Iterator[tuple[int, Asked]]:
        """Good rows of conversations, without their pictures."""
        for row, given in enumerate(data[column]):
            try:
                turns = published_turns(given)
            except TrialbookError as error:
                self.bad(f"{where} row {row}", str(error))
                continue
            last = (turns[-1].text,) if turns else ()
            yield row, Asked("", None, turns[0].text if turns else "", last, f"{where} row {row}", turns=turns)

    def _encoded(self, picture: Path) -> bytes:
        """The bytes of a row's picture."""
        if picture not in self._pictures:
            raise ValueError("the row has none")
        return self._pictures[picture]()

    def _picture(self, folder: Path, encoded: Callable[[], bytes]) -> Path:
        """A name for a row's picture, by its content; one that is not known where the row has none."""
        try:
            name = folder / f"{hashlib.sha256(encoded()).hexdigest()[:32]}.png"
        except (OSError, TypeError):
            return folder / "none"
        self._pictures.setdefault(name, encoded)
        return name
