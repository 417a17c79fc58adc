"""Photos with captions: what the datasets of image files beside caption files share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from trialbook import TrialbookError
from trialbook.contracts.datasets import Modality
from trialbook_plugins.datasets._images import Pictures, check_size, image_shape
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
    """The number of photos that were left out, and why."""

    missing: int = 0
    uncaptioned: int = 0
    examples: list[str] = field(default_factory=list)


class CaptionedPhotos(PooledDataset):
    """Photos (``image``) with captions (``text``); one photo and all its captions are a group.

    Args:
        data_root: folder that relative paths start from.
        val: share of val.
        test: share of test.
        seed: of the dealing.
        size: side of the pictures in pixels; 0 keeps their sizes.
        skip_missing: leave out photos without file or caption, and count them in ``dropped``.
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

    def describe(self, modality: str) -> Modality:
        """Kind and shape of ``image`` or ``text``."""
        return describe_pair(modality, self.size, self.splits)

    def usable(self, photos: Sequence[Photo]) -> list[Photo]:
        """The photos that exist and have a caption.

        Raises:
            TrialbookError: a photo has no file or no caption and is not to be skipped, or none is left.
        """
        kept, dropped = [], self.dropped
        for photo in photos:
            if photo.captions and photo.file.is_file():
                kept.append(photo)
                continue
            problem = "has no caption" if photo.file.is_file() else "does not exist"
            if not self.skip_missing:
                raise TrialbookError(
                    f"{photo.source}: picture {photo.file} {problem}; fix the data or set skip_missing = true"
                )
            dropped.missing += problem == "does not exist"
            dropped.uncaptioned += problem == "has no caption"
            dropped.examples.append(str(photo.file))
        if left_out := len(photos) - len(kept):
            _LOG.warning("left out %d of %d pictures, e.g. %s", left_out, len(photos), dropped.examples[-1])
        if not kept:
            raise TrialbookError(f"{photos[0].source if photos else 'captions'}: no picture with a caption is left")
        return kept

    def pool(self, photos: Sequence[Photo]) -> Pool:
        """A pool of usable photos; equal files have equal content."""
        files = [photo.file for photo in photos]
        pictures = Pictures(lambda row: files[row].read_bytes(), files, self.size)
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
