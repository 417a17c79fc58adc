"""A file of stored features: plain safetensors, with a checksum of every row beside it that is compared when it is first read.

Beside ``NAME.safetensors`` lie ``NAME.sums`` (CRC-32 of the header and of every row of every array, uint32) and
``NAME.checked`` (size, times and inode of the file for which rows were compared, int64 [4], then a byte for each of these
rows), so that a row is compared once, whichever process reads it first.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from trialbook.errors import TrialbookError

_DTYPES: dict[np.dtype[Any], str] = {np.dtype("float32"): "F32", np.dtype("float16"): "F16", np.dtype("bool"): "BOOL"}
_NUMPY = {name: dtype for dtype, name in _DTYPES.items()}
#: Bytes of a file's size, times and inode, before what is known of its rows.
_IDENTITY = 32

Index: TypeAlias = "slice | NDArray[np.int64]"


class Damaged(Exception):
    """A file is not what was written; says how."""


class _Place(NamedTuple):
    """The place of an array in a file; ``order`` counts arrays."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int
    order: int

    @property
    def row_bytes(self) -> int:
        return int(np.prod(self.shape[1:])) * self.dtype.itemsize


def create(file: Path, layout: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]) -> None:
    """Lay out an empty file: header, full length, checksums that no row has yet.

    Args:
        file: where.
        layout: array name to dtype and shape [R, …]; R is the same for all.
    """
    header, offset = {}, 0
    for name, (dtype, shape) in layout.items():
        size = int(np.prod(shape)) * dtype.itemsize
        header[name] = {"dtype": _DTYPES[dtype], "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    start = len(text).to_bytes(8, "little") + text
    rows = next(iter(layout.values()))[1][0]
    with file.open("wb") as stream:
        stream.write(start)
        stream.truncate(len(start) + offset)
    remove(file.with_suffix(".sums"))
    with file.with_suffix(".sums").open("wb") as stream:
        stream.write(_sum(start).to_bytes(4, "little"))
        stream.truncate(4 + 4 * rows * len(layout))


def write_rows(file: Path, start: int, arrays: Mapping[str, NDArray[Any]], *, sync: bool) -> None:
    """Put rows in their place. Not through a memory map: there a full disk is no error but the end of the process.

    Args:
        file: laid out by ``create``.
        start: index of the first row.
        arrays: name to rows [B, …].
        sync: force it to the disk.
    Raises:
        TrialbookError: the arrays are not those that the file was laid out for.
    """
    places = _places(file)
    if places.keys() != arrays.keys():
        raise TrialbookError("a frozen encoder must give a mask with all rows or with none")
    with file.open("r+b") as stream, file.with_suffix(".sums").open("r+b") as sums:
        for name, array in arrays.items():
            place = places[name]
            if place.shape[1:] != array.shape[1:]:
                raise TrialbookError(
                    f"a frozen encoder must give one shape for all rows, not {place.shape[1:]} and {array.shape[1:]}"
                )
            rows = np.ascontiguousarray(array, dtype=place.dtype)
            stream.seek(place.offset + start * place.row_bytes)
            stream.write(rows.data)
            sums.seek(4 * (1 + place.order * place.shape[0] + start))
            sums.write(np.array([_sum(row) for row in rows], "<u4").data)
        for one in (stream, sums):
            one.flush()
            if sync:
                os.fsync(one.fileno())


def _sum(data: Any) -> int:
    return zlib.crc32(data)


def remove(file: Path) -> None:
    """Remove a file, or whatever else stands in its place."""
    if file.is_dir() and not file.is_symlink():
        shutil.rmtree(file)
    else:
        file.unlink(missing_ok=True)


def _places(file: Path) -> dict[str, _Place]:
    """Arrays of a file by name.

    Raises:
        Damaged: it is no regular file, its header is not the one that was written, or its length is not what that says.
    """
    try:
        about = file.stat()
        if not all(stat.S_ISREG(one.stat().st_mode) for one in (file, file.with_suffix(".sums"))):
            raise Damaged("is no file")
        with file.open("rb") as stream, file.with_suffix(".sums").open("rb") as sums:
            length = int.from_bytes(stream.read(8), "little")
            if length > about.st_size:
                raise Damaged("has a damaged header")
            stream.seek(0)
            text = stream.read(8 + length)
            if sums.read(4) != _sum(text).to_bytes(4, "little"):
                raise Damaged("has a damaged header")
            known = os.fstat(sums.fileno()).st_size
        header = json.loads(text[8:])
        ends = max(entry["data_offsets"][1] for entry in header.values())
        places = {
            name: _Place(
                _NUMPY[entry["dtype"]], tuple(entry["shape"]), 8 + length + int(entry["data_offsets"][0]), order
            )
            for order, (name, entry) in enumerate(header.items())
        }
        rows = {place.shape[0] for place in places.values()}
    except FileNotFoundError as error:
        raise Damaged(f"lacks {Path(error.filename).name}") from error
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise Damaged(f"cannot be read ({error})") from error
    if about.st_size != 8 + length + ends:
        raise Damaged("is cut short")
    if len(rows) != 1 or known != 4 * (1 + rows.pop() * len(places)):
        raise Damaged("has checksums that are cut short")
    return places


def rows_in(file: Path) -> int:
    """Number of rows that a file was laid out for.

    Raises:
        Damaged: it is not whole.
    """
    return next(iter(_places(file).values())).shape[0]


class StoredArray:
    """Rows of an array in a file, with as much of ``numpy.ndarray`` as a ``FeatureTable`` needs.

    Args:
        array: memory-mapped values [R, …].
        check: called with the rows that are about to be read.
    """

    def __init__(self, array: NDArray[Any], check: Callable[[Index], None]) -> None:
        self._array, self._check = array, check

    @property
    def shape(self) -> tuple[int, ...]:
        """[R, …]."""
        return tuple(self._array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        return self._array.dtype

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, index: Index) -> NDArray[Any]:
        self._check(index)
        taken: NDArray[Any] = self._array[index]
        return taken

    def reshape(self, *shape: int) -> StoredArray:
        """The same rows in another shape [R, …]."""
        return StoredArray(self._array.reshape(shape), self._check)


class FeatureFile:
    """A file that is read.

    Args:
        file: the safetensors file.
        repair: makes rows again, int64 [K] ascending, and writes them into the file.
    Raises:
        Damaged: the file is not whole, whatever its rows hold.
    """

    def __init__(self, file: Path, repair: Callable[[NDArray[np.int64]], None]) -> None:
        self._file, self._repair, self._places = file, repair, _places(file)
        self._bytes = np.asarray(np.memmap(file, dtype=np.uint8, mode="r"))
        self._identity = _identity(file)
        self._rows = next(iter(self._places.values())).shape[0]
        self._known = self._read_known()
        self._whole = dict.fromkeys(self._places, False)

    def array(self, name: str) -> StoredArray | None:
        """The array of this name [R, …]; None where there is none."""
        if name not in self._places:
            return None
        place = self._places[name]
        values = self._bytes_of(place).view(place.dtype).reshape(place.shape)
        return StoredArray(values, lambda index: self._check(name, index))

    def _bytes_of(self, place: _Place) -> NDArray[np.uint8]:
        found: NDArray[np.uint8] = self._bytes[place.offset : place.offset + place.shape[0] * place.row_bytes]
        return found

    @cached_property
    def _sums(self) -> NDArray[np.uint32]:
        """Checksum of every row of every array [A, R]."""
        sums = np.fromfile(self._file.with_suffix(".sums"), "<u4", offset=4)
        return sums.reshape(len(self._places), self._rows)

    def _check(self, name: str, index: Index) -> None:
        """Compare those rows with their checksums that nobody has compared yet, and have damaged ones made again."""
        if self._whole[name]:
            return
        known = self._known[self._places[name].order]
        rows = np.arange(*index.indices(self._rows)) if isinstance(index, slice) else index
        unseen = np.unique(rows[~known[rows]])
        if not len(unseen):
            self._whole[name] = bool(known.all())
            return
        if len(damaged := self._damaged(name, unseen)):
            self._made_again(name, damaged)
        known[unseen] = True
        self._remember(self._places[name].order, unseen)

    def _damaged(self, name: str, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        place = self._places[name]
        data, sums = self._bytes_of(place).reshape(place.shape[0], -1), self._sums[place.order]
        return np.array([row for row in rows.tolist() if _sum(data[row]) != sums[row]], np.int64)

    def _made_again(self, name: str, rows: NDArray[np.int64]) -> None:
        self._repair(rows)
        if (identity := _identity(self._file))[-8:] != self._identity[-8:]:
            raise TrialbookError(f"{self._file}: another process made these features again; run again to read them")
        del self._sums
        if len(left := self._damaged(name, rows)):
            raise TrialbookError(f"{self._file}: row {left[0]} is not read as it was written; is the disk failing?")
        with suppress(OSError), self._file.with_suffix(".checked").open("r+b") as stream:
            if stream.read(_IDENTITY) == self._identity:
                stream.seek(0)
                stream.write(identity)
        self._identity = identity

    def damaged(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of the rows of which any array is not what its checksum says."""
        return np.unique(np.concatenate([self._damaged(name, rows) for name in self._places]))

    def _read_known(self) -> NDArray[np.bool_]:
        """Return which rows have been compared with their checksums as the file is now, [A, R]; none, if that is not known."""
        file, count = self._file.with_suffix(".checked"), len(self._places) * self._rows
        with suppress(OSError):
            content = file.read_bytes() if file.is_file() else b""
            if content[:_IDENTITY] == self._identity and len(content) == _IDENTITY + count:
                known: NDArray[np.bool_] = np.frombuffer(content, np.uint8, offset=_IDENTITY) == 1
                return known.reshape(-1, self._rows)
            if not file.is_file():
                remove(file)
            file.write_bytes(self._identity + bytes(count))
        return np.zeros((len(self._places), self._rows), bool)

    def _remember(self, order: int, rows: NDArray[np.int64]) -> None:
        """Write down that rows [K], ascending, have been compared; a store that cannot be written is compared by each process."""
        with suppress(OSError), self._file.with_suffix(".checked").open("r+b", buffering=0) as stream:
            if stream.read(_IDENTITY) != self._identity:
                return
            for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1):
                os.pwrite(stream.fileno(), b"\1" * len(run), _IDENTITY + order * self._rows + int(run[0]))


def _identity(file: Path) -> bytes:
    """Size, times of change and inode of a file."""
    about = file.stat()
    return np.array([about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino], "<i8").tobytes()
