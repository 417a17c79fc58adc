"""Frozen parts run once: their outputs lie in memory-mapped safetensors under an address of all that made them.

The address covers weights, configuration, preprocessing, layer, dtype, source and the data's fingerprint; a change to
any of
them is another address, so a stale feature cannot be read.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trialbook.contracts import Features
from trialbook.errors import TrialbookError

_DTYPES: dict[np.dtype[Any], str] = {np.dtype("float32"): "F32", np.dtype("float16"): "F16", np.dtype("bool"): "BOOL"}
_NUMPY = {name: dtype for dtype, name in _DTYPES.items()}
_CHUNK = 64
"""Rows encoded at once. Fixed, because the bits of a result may depend on the batch that it was computed in."""


class Stored(NamedTuple):
    """Memory-mapped tokens [R, N, D] and mask [R, N], or None where every token is real."""

    tokens: NDArray[Any]
    mask: NDArray[np.bool_] | None


def weights_hash(module: nn.Module) -> str:
    """SHA-256 of names, dtypes, shapes and bytes of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict(keep_vars=False).items()):
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        data = tensor.detach().cpu().contiguous()
        digest.update(data.reshape(-1).view(torch.uint8).numpy().data if data.numel() else b"")
    return digest.hexdigest()


def address(parts: Mapping[str, Any]) -> str:
    """Content address: SHA-256 of the parts' canonical JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


class FeatureStore:
    """Stored outputs of frozen encoders.

    Args:
        directory: one safetensors file an address, with what made it beside it as JSON.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def get(self, made_of: Mapping[str, Any], rows: int, encode: Callable[[NDArray[np.int64]], Features]) -> Stored:
        """The features of ``made_of``; encoded first if they are not there yet.

        A process that is killed while it encodes is continued by the next one; two that want the same features at once
        take turns.

        Args:
            made_of: everything that the features depend on.
            rows: number of rows R of the split.
            encode: rows [B] to features of these rows.
        """
        if rows == 0:
            raise TrialbookError("there are no rows to encode")
        path = self.directory / f"{address(made_of)}.safetensors"
        if not path.exists():
            self.directory.mkdir(parents=True, exist_ok=True)
            with _locked(path.with_suffix(".lock")):
                if not path.exists():
                    _fill(path, made_of, rows, encode)
        return _open(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fill(path: Path, made_of: Mapping[str, Any], rows: int, encode: Callable[[NDArray[np.int64]], Features]) -> None:
    partial, progress = path.with_suffix(".partial"), path.with_suffix(".progress")
    done = int(progress.read_text()) if progress.exists() and partial.exists() else 0
    for start in range(done, rows, _CHUNK):
        features = encode(np.arange(start, min(start + _CHUNK, rows), dtype=np.int64))
        arrays = _arrays(features)
        if start == 0:
            _create(partial, {name: (array.dtype, (rows, *array.shape[1:])) for name, array in arrays.items()})
        _write(partial, start, arrays)
        _replace_text(progress, str(start + _CHUNK))
    path.with_suffix(".json").write_text(json.dumps(dict(made_of), indent=1, sort_keys=True, default=str))
    partial.rename(path)
    progress.unlink(missing_ok=True)


def _arrays(features: Features) -> dict[str, NDArray[Any]]:
    tokens = features.tokens.detach().cpu()
    if not bool(torch.isfinite(tokens).all()):
        raise TrialbookError("a frozen encoder gave NaN or infinite features; check its checkpoint and dtype")
    stored = tokens if tokens.dtype in (torch.float32, torch.float16) else tokens.float()
    arrays = {"tokens": stored.contiguous().numpy()}
    if features.mask is not None:
        arrays["mask"] = features.mask.detach().cpu().bool().contiguous().numpy()
    return arrays


def _create(path: Path, layout: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]) -> None:
    """Lay out an empty safetensors file: its header and its full length."""
    header, offset = {}, 0
    for name, (dtype, shape) in layout.items():
        size = int(np.prod(shape)) * dtype.itemsize
        header[name] = {"dtype": _DTYPES[dtype], "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + offset)


class _Place(NamedTuple):
    """Where an array lies in a file."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int


def _places(path: Path) -> dict[str, _Place]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    start = 8 + length
    end = max(entry["data_offsets"][1] for entry in header.values())
    if path.stat().st_size != start + end:
        raise TrialbookError(f"{path} is cut short; delete it and run again")
    return {
        name: _Place(_NUMPY[entry["dtype"]], tuple(entry["shape"]), start + int(entry["data_offsets"][0]))
        for name, entry in header.items()
    }


def _write(path: Path, start: int, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Put rows in their place. Not through a memory map: there a full disk is no error but the end of the process."""
    places = _places(path)
    if places.keys() != arrays.keys():
        raise TrialbookError("a frozen encoder must give a mask with all rows or with none")
    with path.open("r+b") as file:
        for name, array in arrays.items():
            dtype, shape, offset = places[name]
            if shape[1:] != array.shape[1:]:
                raise TrialbookError(
                    f"a frozen encoder must give one shape for all rows, not {shape[1:]} and {array.shape[1:]}"
                )
            file.seek(offset + start * int(np.prod(shape[1:])) * dtype.itemsize)
            file.write(array.astype(dtype, copy=False).tobytes())
        file.flush()
        os.fsync(file.fileno())


def _open(path: Path) -> Stored:
    maps = {
        name: np.memmap(path, dtype=place.dtype, mode="r", offset=place.offset, shape=place.shape)
        for name, place in _places(path).items()
    }
    return Stored(maps["tokens"], maps.get("mask"))


def _replace_text(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text)
    temporary.replace(path)


def take(stored: Stored, rows: NDArray[np.int64]) -> Features:
    """The features of ``rows`` [B] as tensors, copied out of the map."""
    mask: Tensor | None = None if stored.mask is None else torch.from_numpy(stored.mask[rows])
    return Features(torch.from_numpy(stored.tokens[rows]), mask)
