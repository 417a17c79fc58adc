"""Frozen parts run once: their outputs lie in memory-mapped safetensors under an address of all that made them.

The address covers weights, configuration, preprocessing, layer, dtype, source and the data's fingerprint; a change to any
of them is another address, so a stale feature cannot be read. What is damaged is made again; see ``feature_file``.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trialbook.contracts import Features, FeatureTable
from trialbook.contracts.files import sync_folder
from trialbook.engine.feature_file import Damaged, FeatureFile, create, remove, rows_in, write_rows
from trialbook.errors import TrialbookError

_LOG = logging.getLogger(__name__)

#: Rows [B] to arrays by name, of every feature that one forward pass gives.
_Encode: TypeAlias = Callable[[NDArray[np.int64]], Mapping[str, Mapping[str, NDArray[Any]]]]
_Context: TypeAlias = Callable[[], AbstractContextManager[object]]

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
        self, made_of: Mapping[str, Any], rows: int, encode: Callable[[NDArray[np.int64]], Features],
        context: _Context = nullcontext,
    ) -> FeatureTable:  # fmt: skip
        """The features of ``made_of``; encoded first if they are not there yet.

        A process that is killed while it encodes is continued by the next one; two that want the same features at once
        take turns. Rows that turn out to be damaged when they are first read are encoded again then.

        Args:
            made_of: everything that the features depend on.
            rows: number of rows R of the split.
            encode: rows [B] to features of these rows.
            context: what ``encode`` is called in: has the encoder on its device.
        """

        def encode_named(places: NDArray[np.int64]) -> dict[str, dict[str, NDArray[Any]]]:
            return {"": _arrays(encode(places))}

        return self._ready({"": made_of}, _Making(rows, _CHUNK, lambda missing: encode_named, context))[""]

    def get_many(
        self,
        made_of: Mapping[str, Mapping[str, Any]],
        rows: int,
        chunk: int,
        encoder: Callable[[tuple[str, ...]], Callable[[NDArray[np.int64]], Mapping[str, Tensor]]],
        context: _Context = nullcontext,
    ) -> dict[str, FeatureTable]:
        """Several features of the same rows, [R, …] each, that one forward pass gives together; memory-mapped.

        Each lies in a file of its own under its own address, so that what is there already is not made again when others
        are wanted beside it. What is missing is made together, ``chunk`` rows at a time, which is all that memory holds.

        Args:
            made_of: name to everything that this feature depends on.
            rows: number of rows R of the split.
            chunk: rows of one forward pass; their results may depend on it, so it belongs to ``made_of``.
            encoder: names of what is missing to a function from rows [B] to a tensor [B, …] for each of them; called only if
                something is missing or damaged, so that it may prepare or refuse.
            context: what ``encoder`` and its function are called in: has the encoder on its device.
        """

        def begin(missing: tuple[str, ...]) -> _Encode:
            encode = encoder(missing)

            def encode_named(places: NDArray[np.int64]) -> dict[str, dict[str, NDArray[Any]]]:
                made = encode(places)
                return {name: _arrays(Features(made[name])) for name in missing}

            return encode_named

        return self._ready(made_of, _Making(rows, chunk, begin, context))

    def _ready(self, made_of: Mapping[str, Mapping[str, Any]], making: _Making) -> dict[str, FeatureTable]:
        """The features, made first where they are missing."""
        if making.rows == 0:
            raise TrialbookError("there are no rows to encode")
        paths = {name: self.directory / f"{address(parts)}.safetensors" for name, parts in made_of.items()}
        if missing := [name for name, path in paths.items() if not _is_whole(path, making.rows)]:
            self.directory.mkdir(parents=True, exist_ok=True)
            with ExitStack() as stack:
                for path in sorted({paths[name] for name in missing}):  # in one order: no two wait in a ring
                    stack.enter_context(_locked(path))
                names = tuple(name for name in missing if not _is_whole(paths[name], making.rows, tell=True))
                if names:
                    making.fill({name: (paths[name], made_of[name]) for name in names})
        return {name: making.table(name, path) for name, path in paths.items()}


@dataclass(frozen=True)
class _Making:
    """The way in which features of one pass are made.

    Args:
        rows: number of rows R.
        chunk: rows of one forward pass.
        begin: names to what encodes rows for them.
        context: what that is called in.
    """

    rows: int
    chunk: int
    begin: Callable[[tuple[str, ...]], _Encode]
    context: _Context

    def fill(self, files: Mapping[str, tuple[Path, Mapping[str, Any]]]) -> None:
        """Make whole files, from where a process that ended early left them.

        Args:
            files: name to the file and what it is made of.
        """
        partial = {name: path.with_suffix(".partial") for name, (path, _) in files.items()}
        done = min(self._done(path) for path in partial.values())
        with self.context():
            encode = self.begin(tuple(files))
            for start in range(done, self.rows, self.chunk):
                encoded = encode(np.arange(start, min(start + self.chunk, self.rows), dtype=np.int64))
                last = start + self.chunk >= self.rows or (start // self.chunk + 1) % max(_SYNC // self.chunk, 1) == 0
                for name, arrays in encoded.items():
                    if start == 0:
                        layout = {key: (array.dtype, (self.rows, *array.shape[1:])) for key, array in arrays.items()}
                        remove(partial[name])
                        create(partial[name], layout)
                    write_rows(partial[name], start, arrays, sync=last)
                if last:
                    for path in partial.values():
                        _write_synced(path.with_suffix(".progress"), str(start + self.chunk))
        for name, (path, made_of) in files.items():
            _write_synced(path.with_suffix(".json"), json.dumps(dict(made_of), indent=1, sort_keys=True, default=str))
            partial[name].rename(path)
            remove(path.with_suffix(".progress"))
        sync_folder(path.parent)

    def _done(self, partial: Path) -> int:
        """Rows that a process which ended early left behind, whole chunks of them."""
        try:
            done = int(partial.with_suffix(".progress").read_text())
            if done < 0 or rows_in(partial) != self.rows:
                raise Damaged("has other rows")
        except FileNotFoundError:
            return 0
        except (OSError, ValueError, Damaged) as error:
            _LOG.warning("%s: half-made features are damaged (%s); they are made again from the start", partial, error)
            return 0
        return done // self.chunk * self.chunk

    def table(self, name: str, path: Path) -> FeatureTable:
        """The features in a file, whose damaged rows are made again when they are read."""

        def repair(rows: NDArray[np.int64]) -> None:
            with _locked(path):
                left = FeatureFile(path, repair).damaged(rows)  # another process may have been first
                if not len(left):
                    return
                _LOG.warning(
                    "%s: stored features are damaged in %d rows, first row %d; these are made again",
                    path,
                    len(left),
                    left[0],
                )
                with self.context():
                    encode = self.begin((name,))
                    for start in np.unique(left // self.chunk * self.chunk).tolist():
                        made = encode(np.arange(start, min(start + self.chunk, self.rows), dtype=np.int64))
                        write_rows(path, start, made[name], sync=True)

        try:
            file = FeatureFile(path, repair)
        except Damaged as error:
            raise TrialbookError(f"{path} {error}, though it has just been made; run again") from error
        tokens = file.array("tokens")
        assert tokens is not None
        return FeatureTable(tokens, file.array("mask"))


def _is_whole(path: Path, rows: int, *, tell: bool = False) -> bool:
    """Return whether a file of features is there, of so many rows; with ``tell``, remove a damaged one with a warning."""
    try:
        if rows_in(path) != rows:
            raise Damaged("has other rows")
    except Damaged as error:
        if tell and (path.exists() or path.is_symlink()):
            _LOG.warning("%s: stored features are damaged (the file %s); they are made again", path, error)
            remove(path)
        return False
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = path.with_suffix(".lock")
    if not lock.is_file():
        remove(lock)
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _arrays(features: Features) -> dict[str, NDArray[Any]]:
    tokens = features.tokens.detach().cpu()
    stored = tokens if tokens.dtype in (torch.float32, torch.float16) else tokens.float()
    if not bool(torch.isfinite(stored).all()):
        raise TrialbookError("a frozen encoder gave NaN or infinite features; check its checkpoint and dtype")
    arrays = {"tokens": stored.contiguous().numpy()}
    if features.mask is not None:
        arrays["mask"] = features.mask.detach().cpu().bool().contiguous().numpy()
    return arrays


def _write_synced(path: Path, text: str) -> None:
    """Replace a small file whose directory is locked, by one that is on the disk."""
    temporary = path.with_name(path.name + ".new")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    if path.is_dir():
        remove(path)
    temporary.replace(path)
