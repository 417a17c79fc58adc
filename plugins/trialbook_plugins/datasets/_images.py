"""Encoded pictures to uint8 arrays: decoding, resizing, hashing, and a store that keeps what fits in memory."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trialbook import TrialbookError
from trialbook.contracts.data_files import note_files
from trialbook.contracts.datasets import Raw, Rows
from trialbook.contracts.pictures import UNREADABLE, check_picture, describe_unreadable, to_rgb

Picture = NDArray[np.uint8]
_Item = TypeVar("_Item")
#: Most pixels that a picture is resized to before its centre is cut out; of a thinner one the centre alone is resized.
_MOST_PIXELS = 100_000_000


def decode(data: bytes, size: int, crop: bool = True) -> Picture:
    """An encoded picture as RGB uint8 [3, H, W].

    Turned upright, on white and scaled to 8 bits as ``trialbook.contracts.pictures.to_rgb`` does it.

    Args:
        data: the bytes of a picture file.
        size: the shorter side is resized to this many pixels (bicubic, antialiased) and the centre square cut out;
            0 keeps the picture as it is.
        crop: cut the square out; else nothing is cut: the longer side is resized to ``size``, and white fills the square.
    """
    with Image.open(io.BytesIO(data)) as opened:
        picture = to_rgb(opened)
    if size and not crop:
        picture = _padded(picture, size)
    elif size:
        picture = _cropped(picture, size)
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))


def padded_size(width: int, height: int, size: int) -> tuple[int, int]:
    """Width and height of a picture whose longer side is resized to ``size``; at least a pixel each."""
    if width > height:
        return size, max(1, round(height / width * size))
    return (size if width == height else max(1, round(width / height * size))), size


def _padded(picture: Image.Image, size: int) -> Image.Image:
    """The whole picture in the middle of a white square."""
    inner = picture.resize(padded_size(*picture.size, size), Image.Resampling.BICUBIC)
    whole = Image.new("RGB", (size, size), "white")
    whole.paste(inner, (round((size - inner.width) * 0.5), round((size - inner.height) * 0.5)))
    return whole


def _cropped(picture: Image.Image, size: int) -> Image.Image:
    """The centre square, once the shorter side is resized."""
    shorter = min(picture.size)
    width, height = (max(size, round(side * size / shorter)) for side in picture.size)
    left, top = (width - size) // 2, (height - size) // 2
    if width * height > _MOST_PIXELS:
        scale = np.array(picture.size) / (width, height)
        box = (*(scale * (left, top)), *(scale * (left + size, top + size)))
        return picture.resize((size, size), Image.Resampling.BICUBIC, box=box)
    picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    return picture.crop((left, top, left + size, top + size))


class Look(NamedTuple):
    """The SHA-256 of a picture's encoded bytes, and why it cannot be read; "" where it can."""

    hash: str
    problem: str


def look_at(load: Callable[[int], bytes], count: int) -> list[Look]:
    """Read ``count`` encoded pictures and check that each is whole; pixels are decoded only where that is in doubt."""

    def one(row: int) -> Look:
        data = None
        try:
            data = load(row)
            check_picture(data)
        except UNREADABLE as error:
            return Look("" if data is None else hashlib.sha256(data).hexdigest(), describe_unreadable(error, data))
        return Look(hashlib.sha256(data).hexdigest(), "")

    return list(_in_threads(one, range(count)))


def look_at_files(files: Iterable[Path]) -> dict[Path, Look]:
    """``look_at`` for files, each once."""
    paths = list(dict.fromkeys(files))
    note_files(paths)
    return dict(zip(paths, look_at(lambda row: paths[row].read_bytes(), len(paths)), strict=True))


class Pictures:
    """Encoded pictures that are decoded when read; decoded ones stay in memory as long as there is room.

    Args:
        load: bytes of the encoded picture with this index.
        names: what each picture is called in errors.
        size: see ``decode``.
        room: bytes of decoded pictures that are kept.
        crop: see ``decode``.
        looks: what ``look_at`` says of each picture, where that was asked already.
        advice: what to do about a picture that cannot be read, behind a semicolon.
    """

    def __init__(
        self,
        load: Callable[[int], bytes],
        names: Sequence[object],
        size: int,
        room: int = 1 << 30,
        crop: bool = True,
        looks: Sequence[Look] | None = None,
        advice: str = "",
    ) -> None:
        note_files(name for name in names if isinstance(name, Path))
        self._advice = advice
        self._looks = looks
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
        """SHA-256 of every picture's encoded bytes; computed once, and each picture checked (see ``look_at``).

        Raises:
            TrialbookError: a picture cannot be read, or is no picture; names the first and says how many there are.
        """
        looks = look_at(self._load, len(self._names)) if self._looks is None else self._looks
        if bad := [row for row, look in enumerate(looks) if look.problem]:
            more = f" ({len(bad)} of {len(looks)} pictures cannot be read)" if len(bad) > 1 else ""
            raise TrialbookError(
                f"{self._names[bad[0]]}: not a readable picture: {looks[bad[0]].problem}{more}{self._advice}"
            )
        return [look.hash for look in looks]

    def _decode(self, row: int) -> Picture:
        data = None
        try:
            data = self._load(row)
            return decode(data, self._size, self._crop)
        except UNREADABLE as error:
            why = describe_unreadable(error, data)
            raise TrialbookError(f"{self._names[row]}: the picture cannot be decoded: {why}") from error


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
