"""Clips in a folder: Something-Something v2 as it is published, or files that are named after what happens in them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from trialbook import TrialbookError, suggest
from trialbook.contracts.datasets import Modality
from trialbook_plugins.datasets._clip_lists import Clip, list_clips
from trialbook_plugins.datasets._paths import locate
from trialbook_plugins.datasets._splits import (
    Column,
    Pool,
    PooledDataset,
    PoolSplit,
    ordered,
    refuse_overlap,
    shares_of,
    unknown_modality,
)
from trialbook_plugins.datasets._video import Clips, Sampling

_LOG = logging.getLogger(__name__)


class VideoFolder(PooledDataset):
    """Clips (``video``, uint8 [B, T, 3, S, S]) with what happens in them, and their middle frames (``image``).

    Two layouts are known. Something-Something v2 as published: ``labels.json``, ``train.json``, ``validation.json`` and
    ``test.json`` (also with ``something-something-v2-`` in front), in ``root`` or ``root/labels``, and a folder of
    ``<id>.webm``. Else a folder of clips: in subfolders named after their action, or themselves named so; then clips are
    dealt into splits by the content of their files. Splits that share a file's content are refused.

    Annotations of a split, a value for each clip: ``classes`` (int64, index into ``class_names``; -1 where the action is not
    told, as in the published test list) and ``file``.

    Args:
        data_root: folder that a relative ``root`` starts from.
        root: folder of the clips.
        videos: folder of the clip files, in ``root``, for Something-Something; the only folder with clips in it if left out.
        frames: frames T of a clip.
        sampling: ``uniform``: the middles of T equal parts; ``start``, ``middle``: every ``stride``-th frame from the first
            on, or around the middle.
        stride: of ``start`` and ``middle``.
        size: side of the frames; the shorter side is resized to it and the centre square cut out.
        val: share of the clips that go to val where there are no lists; of train's list with ``told``.
        test: share of the clips that go to test where there are no lists.
        told: of published lists take those that tell actions: the list of validation is test, and val is dealt from train's.
        actions: names of actions, in words as they are listed; only their clips are read. All if left out.
        limit: most clips of each split, the first by content hash; 0 for all.
        skip_short: leave out clips of too few frames, and count them in ``dropped``, instead of stopping.
        seed: another seed deals the clips differently.
        allow_overlap: accept lists that share clips.
    Raises:
        TrialbookError: an option is out of its range; on first reading: a clip is missing, unreadable or too short, or lists
            share clips.
    Source: Goyal et al. 2017, "The something something video database", and its second version's files.
    """

    modalities = {"video": "video", "image": "image"}

    def __init__(
        self,
        data_root: Path | None = None,
        /,
        *,
        root: str = "something-something-v2",
        videos: str | None = None,
        frames: int = 9,
        sampling: Sampling = "uniform",
        stride: int = 1,
        size: int = 224,
        val: float = 0.0,
        test: float = 0.2,
        told: bool = False,
        actions: list[str] | None = None,
        limit: int = 0,
        skip_short: bool = False,
        seed: int = 0,
        allow_overlap: bool = False,
    ) -> None:
        if frames < 1 or stride < 1 or size < 1 or limit < 0:
            raise TrialbookError(
                f"frames ({frames}), stride ({stride}) and size ({size}) must be at least 1, limit at least 0"
            )
        self.data_root = data_root
        self.root = root
        self.videos = videos
        self.frames = frames
        self.sampling: Sampling = sampling
        self.stride = stride
        self.size = size
        self.shares = shares_of(val, test)
        self.told = told
        self.actions = actions
        self.limit = limit
        self.skip_short = skip_short
        self.seed = seed
        self.allow_overlap = allow_overlap
        self.dropped = 0

    def describe(self, modality: str) -> Modality:
        """Kind and shape of ``video`` (T, 3, S, S) or ``image``."""
        if modality == "video":
            return Modality("video", (self.frames, 3, self.size, self.size))
        if modality == "image":
            return Modality("image", (3, self.size, self.size))
        raise unknown_modality(modality, tuple(self.modalities))

    @property
    def preparation(self) -> tuple[object, ...]:  # type: ignore[override]
        """The frames that are read, how, and the classes."""
        return (self.frames, self.sampling, self.stride, self.size, self.class_names)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Names of the actions in the order of their numbers, or of the alphabet."""
        return self._wanted[1]

    @cached_property
    def _wanted(self) -> tuple[dict[str, list[Clip]], tuple[str, ...]]:
        """Clips by split ("" where they are to be dealt) and the names of actions: of ``actions`` alone, if it is given."""
        listed, names = self._listed()
        if self.told and "val" in listed:
            listed = {"train": listed["train"], "test": listed["val"]}
        if self.actions is None:
            return listed, names
        for action in self.actions:
            if action not in names:
                near = suggest(action, names)
                hint = f"; did you mean '{near}'?" if near else ""
                raise TrialbookError(f"actions: there is no action '{action}'{hint}")
        kept = {split: [clip for clip in clips if clip.action in self.actions] for split, clips in listed.items()}
        return {split: clips for split, clips in kept.items() if clips}, tuple(n for n in names if n in self.actions)

    def _listed(self) -> tuple[dict[str, list[Clip]], tuple[str, ...]]:
        """All clips by split and the names of all actions."""
        root = locate(self.data_root, self.root)
        if not root.is_dir():
            raise TrialbookError(f"there is no folder {root}")
        return list_clips(root, self.videos)

    def _cut(self) -> dict[str, PoolSplit]:
        listed, names = self._wanted
        places = {name: place for place, name in enumerate(names)}
        splits: dict[str, PoolSplit] = {}
        for name, clips in listed.items():
            pool, hashes = self._pool(self._kept(clips), places)
            if not name:
                splits |= pool.deal(hashes, self.shares, self.seed)
            elif name == "train" and self.told:
                splits |= pool.deal(hashes, shares_of(self.shares["val"], 0), self.seed)
            else:
                splits[name] = pool.split(name)
        if not self.allow_overlap:
            refuse_overlap(splits, ("video",), locate(self.data_root, self.root))
        return ordered(splits)

    def _kept(self, clips: list[Clip]) -> list[Clip]:
        if self.limit and len(clips) > self.limit:
            hashes = self._clips(clips).hashes
            clips = [clips[i] for i in sorted(sorted(range(len(clips)), key=hashes.__getitem__)[: self.limit])]
        if self.skip_short:
            files = self._clips(clips)
            kept = [clip for row, clip in enumerate(clips) if files.has_enough(row)]
            self.dropped += len(clips) - len(kept)
            if len(kept) < len(clips):
                _LOG.warning("left out %d of %d clips that have too few frames", len(clips) - len(kept), len(clips))
            clips = kept
        if not clips:
            raise TrialbookError(f"{locate(self.data_root, self.root)}: no clip is left")
        return clips

    def _clips(self, clips: Sequence[Clip]) -> Clips:
        return Clips([clip.file for clip in clips], self.size, self.frames, self.sampling, self.stride)

    def _pool(self, clips: Sequence[Clip], places: Mapping[str, int]) -> tuple[Pool, Sequence[str]]:
        files = self._clips(clips)
        group = np.arange(len(clips))
        columns = {
            "video": Column(group, files.read, lambda: files.hashes),
            "image": Column(group, files.read_middle, lambda: files.hashes),
        }
        labels: dict[str, Any] = {
            "classes": np.array([places.get(clip.action, -1) for clip in clips], dtype=np.int64),
            "file": [clip.file.name for clip in clips],
        }
        return Pool(len(clips), columns, labels), files.hashes
