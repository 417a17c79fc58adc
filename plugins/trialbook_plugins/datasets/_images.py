"""Encoded pictures to uint8 arrays: decoding, resizing, hashing, and a store that keeps what fits in memory."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from trialbook import TrialbookError
from trialbook.contracts.datasets import Raw, Rows

Picture = NDArray[np.uint8]
_Item = TypeVar("_Item")
_UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


def decode(data: bytes, size: int, crop: bool = True) -> Picture:
    """An encoded picture as RGB uint8 [3, H, W].

    Turned upright as its EXIF orientation says; transparency lies on white; 16-bit grey keeps its upper 8 bits.

    Args:
        data: the bytes of a picture file.
        size: the shorter side is resized to this many pixels (bicubic, antialiased) and the centre square cut out;
            0 keeps the picture as it is.
        crop: cut the square out; else nothing is cut: the longer side is resized to ``size``, and white fills the square.
    """
    with Image.open(io.BytesIO(data)) as opened:
        picture = _to_rgb(ImageOps.exif_transpose(opened))
    if size and not crop:
        picture = ImageOps.pad(picture, (size, size), Image.Resampling.BICUBIC, "white")
    elif size:
        shorter = min(picture.size)
        width, height = (max(size, round(side * size / shorter)) for side in picture.size)
        left, top = (width - size) // 2, (height - size) // 2
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
        picture = picture.crop((left, top, left + size, top + size))
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
    if "A" in picture.getbands() or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return picture.convert("RGB")


def is_picture(file: Path) -> bool:
    """Return whether a file begins as a picture does."""
    try:
        with Image.open(file):
            return True
    except _UNREADABLE:
        return False


class Pictures:
    """Encoded pictures that are decoded when read; decoded ones stay in memory as long as there is room.

    Args:
        load: bytes of the encoded picture with this index.
        names: what each picture is called in errors.
        size: see ``decode``.
        room: bytes of decoded pictures that are kept.
        crop: see ``decode``.
    """

    def __init__(
        self,
        load: Callable[[int], bytes],
        names: Sequence[object],
        size: int,
        room: int = 1 << 30,
        crop: bool = True,
    ) -> None:
        self._load = load
        self._names = names
        self._size = size
        self._crop = crop
        self._room = room
        self._kept: dict[int, Picture] = {}

    def read(self, rows: Rows) -> Raw:
        """uint8 [B, 3, S, S], or a list of [3, H, W] where sizes are kept.

        Raises:
            TrialbookError: a picture cannot be decoded; names it.
        """
        wanted = [int(row) for row in rows]
        missing = [row for row in dict.fromkeys(wanted) if row not in self._kept]
        fresh = dict(zip(missing, _in_threads(self._decode, missing), strict=True))
        for row, picture in fresh.items():
            if picture.nbytes <= self._room:
                self._kept[row] = picture
                self._room -= picture.nbytes
        pictures = [fresh[row] if row in fresh else self._kept[row] for row in wanted]
        if not self._size:
            return pictures
        return np.stack(pictures) if pictures else np.empty((0, 3, self._size, self._size), np.uint8)

    @cached_property
    def hashes(self) -> list[str]:
        """SHA-256 of every picture's encoded bytes; computed once, with a look at each picture's header.

        Raises:
            TrialbookError: a picture cannot be read, or is no picture; names it.
        """
        return list(_in_threads(self._hash, range(len(self._names))))

    def _decode(self, row: int) -> Picture:
        try:
            return decode(self._load(row), self._size, self._crop)
        except _UNREADABLE as error:
            raise TrialbookError(f"{self._names[row]}: the picture cannot be decoded ({error})") from error

    def _hash(self, row: int) -> str:
        try:
            data = self._load(row)
            with Image.open(io.BytesIO(data)):
                return hashlib.sha256(data).hexdigest()
        except _UNREADABLE as error:
            raise TrialbookError(f"{self._names[row]}: not a readable picture ({error})") from error


def _in_threads(work: Callable[[int], _Item], rows: Sequence[int]) -> Iterable[_Item]:
    """``work`` of every row in order; reading, decoding and hashing let go of the interpreter's lock."""
    workers = min(8, os.cpu_count() or 1, len(rows))
    if workers < 2:
        return [work(row) for row in rows]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, rows))


def image_shape(size: int) -> tuple[int, ...]:
    """Shape of a row: ``(3, size, size)``, or ``(3, 0, 0)`` where sizes differ."""
    return (3, size, size)


def check_size(size: Any) -> int:
    """``size`` if it can be a side in pixels, or 0.

    Raises:
        TrialbookError: it is below 0.
    """
    if size < 0:
        raise TrialbookError(f"size ({size}) must be a side in pixels, or 0 to keep pictures as they are")
    return int(size)
