"""Photos with captions: what the datasets of image files beside caption files share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from trialbook import TrialbookError
from trialbook.contracts.data_files import note_files
from trialbook.contracts.datasets import Modality
from trialbook_plugins.datasets._images import Look, Pictures, check_size, image_shape, look_at_files
from trialbook_plugins.datasets._splits import (
    Column,
    Pool,
    PooledDataset,
    PoolSplit,
    joined,
    shares_of,
    text_column,
    unknown_modality,
)

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Photo:
    """A picture file and what is said of it; ``source`` is where that was read (file, or file and line)."""

    file: Path
    captions: Sequence[str]
    source: str


@dataclass
class Dropped:
    """Numbers of photos that were left out, by reason; ``nulls`` are captions that are null, or not there at all."""

    missing: int = 0
    uncaptioned: int = 0
    unreadable: int = 0
    nulls: int = 0
    examples: list[str] = field(default_factory=list)


class CaptionedPhotos(PooledDataset):
    """Photos (``image``) with captions (``text``); one photo and all its captions are a group.

    Args:
        data_root: folder that relative paths start from.
        val: share of val.
        test: share of test.
        seed: of the dealing.
        size: side of the pictures in pixels; 0 keeps their sizes.
        skip_missing: leave out photos without caption or readable file, and count them in ``dropped``.
        allow_overlap: accept splits that share photos.
    """

    modalities = {"image": "image", "text": "text"}

    def __init__(
        self,
        data_root: Path | None,
        val: float,
        test: float,
        seed: int,
        size: int,
        skip_missing: bool,
        allow_overlap: bool,
    ) -> None:
        self.data_root = data_root
        self.shares = shares_of(val, test)
        self.seed = seed
        self.size = check_size(size)
        self.preparation = (size,)
        self.skip_missing = skip_missing
        self.allow_overlap = allow_overlap
        self.dropped = Dropped()
        self._looks: dict[Path, Look] = {}

    def describe(self, modality: str) -> Modality:
        """Kind and shape of ``image`` or ``text``."""
        return describe_pair(modality, self.size, self.splits)

    def usable(self, photos: Sequence[Photo]) -> list[Photo]:
        """The photos that can be read and have a caption; their files are read and hashed.

        Raises:
            TrialbookError: a photo has no readable file or no caption and is not to be skipped, or none is left.
        """
        note_files(photo.file for photo in photos)  # those that are missing as well: they may come
        kept, dropped = [], self.dropped
        there = {photo.file for photo in photos if photo.file.is_file()}
        if not self.skip_missing:
            self._refuse(photos, there)
        self._looks |= look_at_files(photo.file for photo in photos if photo.file in there)
        for photo in photos:
            look = self._looks.get(photo.file)
            if look is not None and photo.captions and not look.problem:
                kept.append(photo)
                continue
            if look is not None and photo.captions and not self.skip_missing:
                raise TrialbookError(
                    f"{photo.source}: {photo.file}: not a readable picture: {look.problem}; fix the data or set "
                    "skip_missing = true"
                )
            dropped.missing += look is None
            dropped.uncaptioned += look is not None and not photo.captions
            dropped.unreadable += look is not None and bool(photo.captions)
            dropped.examples.append(str(photo.file))
        if left_out := len(photos) - len(kept):
            _LOG.warning("left out %d of %d pictures, e.g. %s", left_out, len(photos), dropped.examples[-1])
        if not kept:
            raise TrialbookError(f"{photos[0].source if photos else 'captions'}: no picture with a caption is left")
        return kept

    def _refuse(self, photos: Sequence[Photo], there: Container[Path]) -> None:
        """Stop at the first photo without a file or caption, before any file is read."""
        for photo in photos:
            if photo.file not in there or not photo.captions:
                problem = "has no caption" if photo.file in there else "does not exist"
                raise TrialbookError(
                    f"{photo.source}: picture {photo.file} {problem}; fix the data or set skip_missing = true"
                )

    def pool(self, photos: Sequence[Photo]) -> Pool:
        """A pool of usable photos; equal files have equal content."""
        files = [photo.file for photo in photos]
        looks = [self._looks[file] for file in files]
        pictures = Pictures(lambda row: files[row].read_bytes(), files, self.size, looks=looks)
        owner = np.repeat(np.arange(len(photos)), [len(photo.captions) for photo in photos])
        texts = [caption for photo in photos for caption in photo.captions]
        columns = {
            "image": Column(np.arange(len(photos)), pictures.read, lambda: pictures.hashes),
            "text": joined(text_column(texts, owner), lambda: pictures.hashes),
        }
        labels = {"file": [file.name for file in files]}
        return Pool(len(photos), columns, labels, path=files.__getitem__)


def describe_pair(modality: str, size: int, splits: Callable[[], Mapping[str, PoolSplit]]) -> Modality:
    """Kind and shape of ``image`` or ``text``.

    Args:
        modality: one of the two.
        size: side of the pictures in pixels; 0 where sizes differ.
        splits: gives the splits, for the texts of the train split.
    Raises:
        TrialbookError: there is no such modality.
    """
    if modality == "image":
        return Modality("image", image_shape(size))
    if modality == "text":
        return Modality("text", corpus=lambda: all_texts(splits()["train"], "text"))
    raise unknown_modality(modality, ("image", "text"))


def all_texts(split: PoolSplit, modality: str) -> list[str]:
    """Every text of ``split``, in order."""
    texts: list[str] = split.read(modality, np.arange(len(split.groups(modality))))
    return texts
