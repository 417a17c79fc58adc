"""Published sets of questions about pictures: rows checked and gathered into documents, bad ones counted or refused."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trialbook import TrialbookError
from trialbook.contracts.conversations import IMAGE, Conversation, Turn
from trialbook.contracts.datasets import LeftOut, Modality
from trialbook_plugins.datasets._conversations import (
    MODALITIES,
    conversation_column,
    describe_conversations,
    question_turns,
)
from trialbook_plugins.datasets._images import Look, Pictures, check_size, look_at
from trialbook_plugins.datasets._leakage import linked_keys
from trialbook_plugins.datasets._paths import locate
from trialbook_plugins.datasets._splits import (
    Column,
    Pool,
    PooledDataset,
    PoolSplit,
    deal_rest,
    group_keys,
    refuse_overlap,
    shares_of,
)

_LOG = logging.getLogger(__name__)
_SHOWN = 3  # examples of bad rows in a message


@dataclass(frozen=True)
class Asked:
    """A question as a published set has it.

    Args:
        id: unique in its set.
        picture: the picture's file; None where there is none.
        question: what is asked.
        answers: accepted answers, the best one first; empty where there is none.
        where: file and place of the row.
        kind: kind of the question.
        answerable: whether the picture holds the answer.
        more: further pictures of the same question.
        turns: of a conversation that says more than the question and its answer.
    """

    id: str
    picture: Path | None
    question: str
    answers: tuple[str, ...]
    where: str
    kind: str = ""
    answerable: bool = True
    more: tuple[Path, ...] = ()
    turns: tuple[Turn, ...] = ()

    @property
    def pictures(self) -> tuple[Path, ...]:
        """All pictures, in their order."""
        return (self.picture, *self.more) if self.picture is not None else self.more


class Questions(PooledDataset):
    """The base of all sets of questions about pictures: rows of each split, read late, gathered by picture.

    A set that reads files implements ``read``, which yields an ``Asked`` for each good row and notes a bad one with ``bad``.

    Args:
        data_root: folder that a relative ``root`` starts from.
        root: folder of the set.
        size: side of the pictures, 0 to keep them as they are.
        val: share of val, where the set has none of its own.
        test: share of test, where the set has none of its own.
        seed: of the dealing.
        skip_bad: leave bad rows out instead of stopping.
        allow_overlap: accept splits that share pictures.
    """

    modalities = {"image": "image", "conversation": "conversation"}
    source = ""
    #: Gives the bytes of a picture that is no file.
    load: Callable[[Path], bytes] | None = None

    def __init__(
        self, data_root: Path | None, root: str, size: int, val: float, test: float, seed: int, skip_bad: bool,
        allow_overlap: bool,
    ) -> None:  # fmt: skip
        self.data_root = data_root
        self.root = root
        self.size = check_size(size)
        self.preparation = (size,)
        self.shares = shares_of(val, test)
        self.seed = seed
        self.skip_bad = skip_bad
        self.allow_overlap = allow_overlap
        self.left_out: list[LeftOut] = []
        self._bad: list[LeftOut] = []
        self._looks: dict[Path, Look] = {}

    @abstractmethod
    def read(self, folder: Path) -> Iterable[tuple[str | None, Asked]]:
        """Every good row with its split; None for the split where the set has none of its own."""

    def folder(self) -> Path:
        """Return where the set lies.

        Raises:
            TrialbookError: there is no such folder.
        """
        folder = locate(self.data_root, self.root)
        if not folder.is_dir():
            raise TrialbookError(f"'root' ({self.root}): there is no folder {folder}")
        return folder

    def bad(self, where: str, why: str) -> None:
        """Note a row that cannot be used."""
        self._bad.append(LeftOut(where, why))

    def leave_out(self, where: str, why: str) -> None:
        """Note something that is left out though nothing is wrong with it."""
        self.left_out.append(LeftOut(where, why))

    def describe(self, modality: str) -> Modality:
        """Kind and shape of ``image`` or ``conversation``."""
        return describe_conversations(modality, self.size, self.splits)

    def _cut(self) -> dict[str, PoolSplit]:
        folder = self.folder()
        rows: dict[str | None, list[Asked]] = {}
        for split, one in self._checked(self.read(folder)):
            rows.setdefault(split, []).append(one)
        self._tell(folder, sum(map(len, rows.values())))
        pools = {
            split: question_pool(asked, folder, self.source, self.size, self._looks, self.load)
            for split, asked in rows.items()
        }
        main = pools.pop(None, None) or pools.pop("train", None)
        if main is None:
            raise TrialbookError(f"{folder}: there is no train split, only {', '.join(map(str, pools))}")
        own = {str(split): pool for split, pool in pools.items()}
        image = main.columns["image"]
        linked = linked_keys(image.group.tolist(), image.content(), main.size)
        texts = [] if all(linked) else group_keys(main.columns["conversation"], main.size)
        keys = [key or texts[place] for place, key in enumerate(linked)]
        splits = deal_rest(main, "image", self.shares, self.seed, own, keys)
        if not self.allow_overlap:
            refuse_overlap(splits, MODALITIES, folder)
        return splits

    def _checked(self, rows: Iterable[tuple[str | None, Asked]]) -> Iterable[tuple[str | None, Asked]]:
        """The rows whose question is a text, whose answers are, and whose picture can be read; each id once."""
        seen: dict[str, str] = {}
        rows = list(rows)
        pictures = list(dict.fromkeys(picture for _, one in rows for picture in one.pictures))
        read = self.load or Path.read_bytes
        looks = look_at(lambda row: read(pictures[row]), len(pictures))
        self._looks |= dict(zip(pictures, looks, strict=True))
        for split, one in rows:
            unreadable = next((file for file in one.pictures if self._looks[file].problem), None)
            if unreadable is not None:
                self.bad(one.where, f"no picture can be read from {unreadable}: {self._looks[unreadable].problem}")
            elif not one.pictures and not one.turns:
                self.bad(one.where, "there is no picture")
            elif one.turns:
                if self._fits(one):
                    yield split, one
            elif not one.question.strip():
                self.bad(one.where, "the question is empty")
            elif IMAGE in one.question:
                self.bad(one.where, f"the question holds '{IMAGE}', which stands for a picture here")
            elif one.answerable and not any(answer.strip() for answer in one.answers):
                self.bad(one.where, "there is no answer")
            elif one.id in seen:
                self.bad(one.where, f"the id '{one.id}' stands at {seen[one.id]} already")
            else:
                seen[one.id] = one.where
                yield split, one

    def _fits(self, one: Asked) -> bool:
        """Return whether turns follow each other, and place no more pictures than there are; note the row where they do not."""
        try:
            _conversation(one, Path(), self.source)
        except TrialbookError as error:
            self.bad(one.where, str(error))
            return False
        return True

    def _tell(self, folder: Path, good: int) -> None:
        """Stop for bad rows, or say how many are left out."""
        examples = "; ".join(f"{one.where}: {one.why}" for one in self._bad[:_SHOWN])
        said = f"{len(self._bad)} of {good + len(self._bad)} rows are bad ({examples})"
        if self._bad and not self.skip_bad:
            raise TrialbookError(f"{folder}: {said}; fix them or set skip_bad = true")
        if not good:
            raise TrialbookError(
                f"{folder}: no question with an answer and a picture" + (f": {said}" * bool(self._bad))
            )
        if self._bad:
            _LOG.warning("%s: left out: %s", folder, said)
        self.left_out += self._bad


def question_pool(
    asked: Sequence[Asked], folder: Path, source: str, size: int, looks: Mapping[Path, Look],
    load: Callable[[Path], bytes] | None = None,
) -> Pool:  # fmt: skip
    """A pool of questions: a picture, or several that are shown together, with all that is asked about it is a group.

    Args:
        asked: the questions.
        folder: where the paths of pictures start.
        source: name of the set.
        size: side of the pictures, 0 to keep them as they are; nothing is cut off.
        looks: the hash of each picture.
        load: bytes of a picture that is no file of its own.
    """
    places: dict[tuple[Path, ...] | str, int] = {}
    place_of = [places.setdefault(one.pictures or one.id, len(places)) for one in asked]
    shown = [key if isinstance(key, tuple) else () for key in places]
    files = [file for group in shown for file in group]
    order = sorted(range(len(asked)), key=place_of.__getitem__)
    ordered, owner = [asked[i] for i in order], np.array(place_of, dtype=np.int64)[order]
    read = load or Path.read_bytes
    names = files if load is None else [str(file) for file in files]
    pictures = Pictures(lambda row: read(files[row]), names, size, crop=False, looks=[looks[file] for file in files])
    of_picture = np.repeat(np.arange(len(shown)), [len(group) for group in shown])
    image = Column(of_picture, pictures.read, lambda: pictures.hashes)
    said = [_conversation(one, folder, source) for one in ordered]
    columns = {"image": image, "conversation": conversation_column(said, owner, image)}
    labels = {"source": [source] * len(shown), "file": [", ".join(file.name for file in group) for group in shown]}
    return Pool(len(shown), columns, labels, path=files.__getitem__ if load is None else None)


def _conversation(one: Asked, folder: Path, source: str) -> Conversation:
    answers = tuple(answer.strip() for answer in one.answers if answer.strip()) if one.answerable else ()
    names = tuple(str(file.relative_to(folder)) if file.is_relative_to(folder) else str(file) for file in one.pictures)
    turns = one.turns or question_turns(one.question.strip(), answers)
    return Conversation(one.id, names, turns, answers, one.answerable, source, one.kind)
