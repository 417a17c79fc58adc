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
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trialbook.contracts import Features, FeatureTable
from trialbook.errors import TrialbookError

_DTYPES: dict[np.dtype[Any], str] = {np.dtype("float32"): "F32", np.dtype("float16"): "F16", np.dtype("bool"): "BOOL"}
_NUMPY = {name: dtype for dtype, name in _DTYPES.items()}
_CHUNK = 64
"""Rows encoded at once. Fixed, because the bits of a result may depend on the batch that it was computed in."""
_SYNC = 64
"""Rows after which what was written is forced to the disk and counts as done."""


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

    def get(
        self, made_of: Mapping[str, Any], rows: int, encode: Callable[[NDArray[np.int64]], Features]
    ) -> FeatureTable:
        """The features of ``made_of``; encoded first if they are not there yet.

        A process that is killed while it encodes is continued by the next one; two that want the same features at once
        take turns.

        Args:
            made_of: everything that the features depend on.
            rows: number of rows R of the split.
            encode: rows [B] to features of these rows.
        """

        def encode_named(places: NDArray[np.int64]) -> dict[str, dict[str, NDArray[Any]]]:
            return {"": _arrays(encode(places))}

        path = self._ready({"": made_of}, rows, _CHUNK, lambda missing: encode_named)[""]
        return _open(path)

    def get_many(
        self,
        made_of: Mapping[str, Mapping[str, Any]],
        rows: int,
        chunk: int,
        encoder: Callable[[tuple[str, ...]], Callable[[NDArray[np.int64]], Mapping[str, Tensor]]],
    ) -> dict[str, FeatureTable]:
        """Several features of the same rows, [R, …] each, that one forward pass gives together; memory-mapped.

        Each lies in a file of its own under its own address, so that what is there already is not made again when others
        are wanted beside it. What is missing is made together, ``chunk`` rows at a time, which is all that memory holds.

        Args:
            made_of: name to everything that this feature depends on.
            rows: number of rows R of the split.
            chunk: rows of one forward pass; their results may depend on it, so it belongs to ``made_of``.
            encoder: names of what is missing to a function from rows [B] to a tensor [B, …] for each of them; called only if
                something is missing, so that it may prepare or refuse.
        """

        def begin(missing: tuple[str, ...]) -> Callable[[NDArray[np.int64]], dict[str, dict[str, NDArray[Any]]]]:
            encode = encoder(missing)

            def encode_named(places: NDArray[np.int64]) -> dict[str, dict[str, NDArray[Any]]]:
                made = encode(places)
                return {name: _arrays(Features(made[name])) for name in missing}

            return encode_named

        paths = self._ready(made_of, rows, chunk, begin)
        return {name: _open(path) for name, path in paths.items()}

    def _ready(
        self,
        made_of: Mapping[str, Mapping[str, Any]],
        rows: int,
        chunk: int,
        begin: Callable[[tuple[str, ...]], Callable[[NDArray[np.int64]], Mapping[str, Mapping[str, NDArray[Any]]]]],
    ) -> dict[str, Path]:
        """The files of the features, made first where they are missing."""
        if rows == 0:
            raise TrialbookError("there are no rows to encode")
        paths = {name: self.directory / f"{address(parts)}.safetensors" for name, parts in made_of.items()}
        if missing := [name for name, path in paths.items() if not path.exists()]:
            self.directory.mkdir(parents=True, exist_ok=True)
            with ExitStack() as stack:
                for path in sorted(
                    {paths[name] for name in missing}
                ):  # in one order, so that two cannot wait in a ring
                    stack.enter_context(_locked(path.with_suffix(".lock")))
                names = tuple(name for name in missing if not paths[name].exists())
                if names:
                    _fill({name: (paths[name], made_of[name]) for name in names}, rows, chunk, begin(names))
        return paths


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fill(
    files: Mapping[str, tuple[Path, Mapping[str, Any]]],
    rows: int,
    chunk: int,
    encode: Callable[[NDArray[np.int64]], Mapping[str, Mapping[str, NDArray[Any]]]],
) -> None:
    partial = {name: path.with_suffix(".partial") for name, (path, _) in files.items()}
    progress = {name: path.with_suffix(".progress") for name, (path, _) in files.items()}
    done = min(_done(partial[name], progress[name], chunk) for name in files)
    for start in range(done, rows, chunk):
        encoded = encode(np.arange(start, min(start + chunk, rows), dtype=np.int64))
        last = start + chunk >= rows or (start // chunk + 1) % max(_SYNC // chunk, 1) == 0
        for name, arrays in encoded.items():
            if start == 0:
                _create(partial[name], {key: (array.dtype, (rows, *array.shape[1:])) for key, array in arrays.items()})
            _write(partial[name], start, arrays, sync=last)
        if last:
            for name in files:
                _replace_text(progress[name], str(start + chunk))
    for name, (path, made_of) in files.items():
        path.with_suffix(".json").write_text(json.dumps(dict(made_of), indent=1, sort_keys=True, default=str))
        partial[name].rename(path)
        progress[name].unlink(missing_ok=True)


def _done(partial: Path, progress: Path, chunk: int) -> int:
    """Rows that a process which ended early left behind, whole chunks of them."""
    if not (progress.exists() and partial.exists()):
        return 0
    return int(progress.read_text()) // chunk * chunk


def _arrays(features: Features) -> dict[str, NDArray[Any]]:
    tokens = features.tokens.detach().cpu()
    stored = tokens if tokens.dtype in (torch.float32, torch.float16) else tokens.float()
    if not bool(torch.isfinite(stored).all()):
        raise TrialbookError("a frozen encoder gave NaN or infinite features; check its checkpoint and dtype")
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
    """The place of an array in a file."""

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


def _write(path: Path, start: int, arrays: Mapping[str, NDArray[Any]], *, sync: bool) -> None:
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
            file.write(np.ascontiguousarray(array, dtype=dtype).data)
        file.flush()
        if sync:
            os.fsync(file.fileno())


def _open(path: Path) -> FeatureTable:
    maps = {
        name: np.memmap(path, dtype=place.dtype, mode="r", offset=place.offset, shape=place.shape)
        for name, place in _places(path).items()
    }
    return FeatureTable(maps["tokens"], maps.get("mask"))


def _replace_text(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text)
    temporary.replace(path)
