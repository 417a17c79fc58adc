"""Arrays by name from NPZ, NPY and safetensors files, without unpickling anything."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from trialbook import TrialbookError
from trialbook.contracts.data_files import note_files
from trialbook_plugins.datasets._paths import locate

_SUFFIXES = (".npz", ".npy", ".safetensors")


def as_float32(values: Any) -> NDArray[np.float32]:
    """Numbers as float32, in which they are read from then on; what is too large for it becomes infinite, without a warning."""
    with np.errstate(over="ignore"):
        return np.asarray(values).astype(np.float32, copy=False)


class Arrays:
    """Arrays that are named by a key in one file, or by ``path:key``.

    Args:
        data_root: folder that relative paths start from.
        file: where bare keys are looked up.
    """

    def __init__(self, data_root: Path | None, file: str | None) -> None:
        self._data_root = data_root
        self._file = file

    def whole_name(self, name: str) -> str:
        """``path:key`` of an array (``path`` alone for NPY)."""
        path, key = self._parts(name)
        return f"{path}:{key}" if key else path

    def get(self, name: str) -> NDArray[Any]:
        """The array with this name; an NPY file is memory-mapped.

        Raises:
            TrialbookError: there is no such file or key, or its type is not one of numpy's.
        """
        path, key = self._parts(name)
        file = locate(self._data_root, path)
        note_files([file])
        if not file.is_file():
            raise TrialbookError(f"there is no file {file}")
        try:
            if file.suffix.lower() == ".npy":
                array: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
                return array
            return _from_npz(file, key) if file.suffix.lower() == ".npz" else _from_safetensors(file, key)
        except (OSError, ValueError, TypeError, zipfile.BadZipFile, SafetensorError) as error:
            raise TrialbookError(
                f"{file}: '{key}' cannot be read ({error}); save it as float16, float32 or fixed-width strings"
            ) from error

    def _parts(self, name: str) -> tuple[str, str]:
        path, colon, key = name.rpartition(":")
        if colon and path.lower().endswith(_SUFFIXES):
            return path, key
        if name.lower().endswith(".npy"):
            return name, ""
        if self._file is None:
            raise TrialbookError(f"'{name}' names no file: give 'file', or write it as path.npz:key")
        if not self._file.lower().endswith((".npz", ".safetensors")):
            raise TrialbookError(f"file ({self._file}) must end in .npz or .safetensors")
        return self._file, name


def _from_npz(file: Path, key: str) -> NDArray[Any]:
    with np.load(file, allow_pickle=False) as stored:
        _check_key(file, key, stored)
        array: NDArray[Any] = stored[key]
        return array


def _from_safetensors(file: Path, key: str) -> NDArray[Any]:
    with safe_open(file, framework="numpy") as stored:
        _check_key(file, key, dict.fromkeys(stored.keys()))
        array: NDArray[Any] = stored.get_tensor(key)
        return array


def _check_key(file: Path, key: str, known: Mapping[str, Any]) -> None:
    if key not in known:
        raise TrialbookError(f"{file} has no array '{key}'; it has {', '.join(known) or 'none'}")
