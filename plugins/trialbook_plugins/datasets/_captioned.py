"""Photos with captions: what the datasets of image files beside caption files share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from trialbook import TrialbookError
from trialbook.contracts.datasets import Modality
from trialbook_plugins.datasets._images import Pictures, image_shape
from trialbook_plugins.datasets._splits import Column, Pool, PoolSplit, joined, text_column, unknown_modality

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Photo:
    """A picture file and what is said of it; ``source`` is where that was read (file, or file and line)."""

    file: Path
    captions: Sequence[str]
    source: str


@dataclass
class Dropped:
    """How many photos were left out, and why."""

    missing: int = 0
    uncaptioned: int = 0
    examples: list[str] = field(default_factory=list)


def usable(photos: Sequence[Photo], skip: bool, dropped: Dropped) -> list[Photo]:
    """The photos that exist and have a caption.

    Args:
        photos: all that are listed.
        skip: leave out the others and count them in ``dropped``, instead of stopping.
        dropped: counts, written to.
    Raises:
        TrialbookError: a photo has no file or no caption and ``skip`` is false, or none is left.
    """
    kept = []
    for photo in photos:
        if photo.captions and photo.file.is_file():
            kept.append(photo)
            continue
        problem = "has no caption" if photo.file.is_file() else "does not exist"
        if not skip:
            raise TrialbookError(
                f"{photo.source}: picture {photo.file} {problem}; mend the data or set skip_missing = true"
            )
        dropped.missing += problem == "does not exist"
        dropped.uncaptioned += problem == "has no caption"
        dropped.examples.append(str(photo.file))
    if len(kept) < len(photos):
        _LOG.warning("left out %d of %d pictures, e.g. %s", len(photos) - len(kept), len(photos), dropped.examples[-1])
    if not kept:
        raise TrialbookError(f"{photos[0].source if photos else 'captions'}: no picture with a caption is left")
    return kept


class CaptionedPool:
    """A pool with modalities ``image`` and ``text``: one photo a group, all its captions.

    Args:
        photos: the groups, each with at least one caption.
        size: side of the pictures in pixels; 0 keeps their sizes.
    """

    def __init__(self, photos: Sequence[Photo], size: int) -> None:
        files = [photo.file for photo in photos]
        self._pictures = Pictures(lambda row: files[row].read_bytes(), files, size)
        owner = np.repeat(np.arange(len(photos)), [len(photo.captions) for photo in photos])
        texts = [caption for photo in photos for caption in photo.captions]
        columns = {
            "image": Column(np.arange(len(photos)), self._pictures.read, self.keys),
            "text": joined(text_column(texts, owner), self.keys),
        }
        self.pool = Pool(len(photos), columns, {"file": [file.name for file in files]}, path=files.__getitem__)

    def keys(self) -> list[str]:
        """Content key of every photo: equal files have equal keys."""
        return self._pictures.hashes


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
