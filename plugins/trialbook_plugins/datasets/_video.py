"""Encoded clips to frames: counting, choosing, decoding."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trialbook import TrialbookError
from trialbook.contracts.data_files import note_files
from trialbook.contracts.datasets import Rows

Sampling = Literal["uniform", "start", "middle"]
#: What a file of a clip may end in.
ENDINGS = (".webm", ".mp4", ".mkv", ".avi", ".mov", ".mpg", ".mpeg", ".m4v")


def chosen_frames(count: int, frames: int, sampling: Sampling, stride: int) -> list[int]:
    """Choose which of ``count`` frames a clip of ``frames`` is made of, ascending; empty where there are too few.

    ``uniform`` divides the clip into equal parts and takes the middle of each; ``start`` and ``middle`` take every
    ``stride``-th frame from the first on, or around the middle.
    """
    if sampling == "uniform":
        return [] if count < frames else [int((i + 0.5) * count / frames) for i in range(frames)]
    span = (frames - 1) * stride + 1
    if count < span:
        return []
    first = 0 if sampling == "start" else (count - span) // 2
    return [first + i * stride for i in range(frames)]


class Clips:
    """Clip files that are decoded when they are read; nothing decoded is kept.

    Args:
        files: of every clip.
        size: side S of the frames: the shorter side is resized to it (bicubic, antialiased) and the centre square cut out.
        frames: frames T of a row.
        sampling: see ``chosen_frames``.
        stride: see ``chosen_frames``.
    """

    def __init__(self, files: Sequence[Path], size: int, frames: int, sampling: Sampling, stride: int) -> None:
        note_files(files)
        self._files = files
        self._size = size
        self._frames = frames
        self._sampling: Sampling = sampling
        self._stride = stride

    def read(self, rows: Rows) -> NDArray[np.uint8]:
        """uint8 [B, T, 3, S, S].

        Raises:
            TrialbookError: a clip cannot be decoded, or has too few frames; names it.
        """
        clips = [self._decode(row, None) for row in rows.tolist()]
        return np.stack(clips) if clips else np.empty((0, self._frames, 3, self._size, self._size), np.uint8)

    def read_middle(self, rows: Rows) -> NDArray[np.uint8]:
        """The middle one of each clip's frames, uint8 [B, 3, S, S]."""
        frames = [self._decode(row, self._frames // 2)[0] for row in rows.tolist()]
        return np.stack(frames) if frames else np.empty((0, 3, self._size, self._size), np.uint8)

    @cached_property
    def hashes(self) -> list[str]:
        """SHA-256 of every clip's file."""
        return [_hash_file(file) for file in self._files]

    def has_enough(self, row: int) -> bool:
        """Return whether the clip has as many frames as a row needs."""
        return bool(self._choose(count_frames(self._files[row])))

    def _choose(self, count: int) -> list[int]:
        return chosen_frames(count, self._frames, self._sampling, self._stride)

    def _decode(self, row: int, only: int | None) -> NDArray[np.uint8]:
        file = self._files[row]
        count = count_frames(file)
        pictures, seen = self._pick(file, self._wanted(file, count, only))
        if seen != count:  # the container told another number than the decoder gave
            pictures, _ = self._pick(file, self._wanted(file, seen, only))
        return np.stack(pictures)

    def _wanted(self, file: Path, count: int, only: int | None) -> list[int]:
        wanted = self._choose(count)
        if not wanted:
            raise TrialbookError(
                f'{file}: {count} frames are too few for frames = {self._frames} (sampling = "{self._sampling}"); lower frames '
                "or stride, or set skip_short = true"
            )
        return wanted if only is None else [wanted[only]]

    def _pick(self, file: Path, wanted: Sequence[int]) -> tuple[list[NDArray[np.uint8]], int]:
        """The frames with these ascending indices, and how many the clip has."""
        places, pictures, seen = set(wanted), [], 0
        with _open(file) as container:
            for seen, frame in enumerate(container.decode(video=0), start=1):
                if seen - 1 in places:
                    pictures.append(_square(frame.to_image(), self._size))
        return pictures, seen


def count_frames(file: Path) -> int:
    """Number of frames of a clip, by its packets: nothing is decoded.

    Raises:
        TrialbookError: it is no readable clip.
    """
    with _open(file) as container:
        return sum(1 for packet in container.demux(video=0) if packet.size)


class _open:
    """An opened clip; errors of decoding inside become errors that name the file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            import av
        except ImportError as error:
            raise TrialbookError("reading clips needs PyAV: pip install 'trialbook[spatial]'") from error
        self._av = av

    def __enter__(self) -> Any:
        try:
            self._container = self._av.open(str(self._file))
        except (OSError, self._av.error.FFmpegError) as error:
            raise TrialbookError(f"{self._file}: not a readable clip ({error})") from error
        if not self._container.streams.video:
            self._container.close()
            raise TrialbookError(f"{self._file}: there is no video in it")
        return self._container

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._container.close()
        if isinstance(error, self._av.error.FFmpegError):
            raise TrialbookError(f"{self._file}: the clip cannot be decoded ({error})") from error


def _square(picture: Any, size: int) -> NDArray[np.uint8]:
    from PIL import Image

    shorter = min(picture.size)
    width, height = (max(size, round(side * size / shorter)) for side in picture.size)
    left, top = (width - size) // 2, (height - size) // 2
    picture = picture.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(picture.crop((left, top, left + size, top + size))).transpose(2, 0, 1))


def _hash_file(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return (
                hashlib.file_digest(opened, "sha256").hexdigest()
                if hasattr(hashlib, "file_digest")
                else _hash_parts(opened)
            )
    except OSError as error:
        raise TrialbookError(f"{file}: cannot be read ({error.strerror})") from error


def _hash_parts(opened: Any) -> str:
    digest = hashlib.sha256()
    while part := opened.read(1 << 20):
        digest.update(part)
    return digest.hexdigest()
