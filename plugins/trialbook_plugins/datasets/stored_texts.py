"""The storage of captions and vectors of samples, for tasks and datasets alike: ``captions.jsonl`` and ``embeddings.*``.

Both name the content of the samples that they belong to, so that they are never joined to others.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trialbook import TrialbookError
from trialbook.contracts.data_files import note_files
from trialbook.contracts.datasets import Rows

CAPTIONS = "captions.jsonl"
EMBEDDINGS, EMBEDDINGS_NPZ = "embeddings.safetensors", "embeddings.npz"


class Caption(NamedTuple):
    """A text about a sample: the sample's place in its split, its content, the text."""

    split: str
    group: int
    sample: str
    text: str


def write_captions(file: Path, captions: Iterable[Caption]) -> None:
    """One caption a line."""
    with file.open("w", encoding="utf-8") as stream:
        for one in captions:
            stream.write(json.dumps(one._asdict(), ensure_ascii=False) + "\n")


def read_captions(folder: Path) -> list[Caption]:
    """The captions of a folder.

    Raises:
        TrialbookError: there are none, or a line is none.
    """
    file = folder / CAPTIONS
    note_files([file])
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise TrialbookError(f"{folder} holds no captions; a run of task 'caption' makes them") from error
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(Caption(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise TrialbookError(f"{file}:{number}: no caption: {error}") from error
    return found


class Vectors(NamedTuple):
    """Vectors [R, D] of rows, and what each row belongs to and says.

    Args:
        vectors: float32 [R, D].
        groups: group of each row, counted through all splits.
        samples: content of each row's group.
        content: content of the row that the vector was made of.
        identity: hash of what that row says by itself: of a text, its words; None in files that do not tell.
    """

    vectors: NDArray[np.float32]
    groups: Rows
    samples: Sequence[str]
    content: Sequence[str]
    identity: Sequence[str] | None = None

    def write_safetensors(self, file: Path) -> None:
        """As safetensors, with contents in the metadata."""
        from safetensors.numpy import save_file

        told = {name: json.dumps(list(values)) for name, values in self._texts().items()}
        save_file({"vectors": self.vectors, "groups": self.groups}, file, metadata=told)

    def write_npz(self, file: Path) -> None:
        """As NPZ, which dataset ``embeddings`` reads too."""
        with file.open("wb") as stream:
            np.savez(
                stream,
                vectors=self.vectors,
                groups=self.groups,
                **{name: np.array(values) for name, values in self._texts().items()},
            )

    def _texts(self) -> dict[str, Sequence[str]]:
        texts = {"samples": self.samples, "content": self.content}
        return texts if self.identity is None else {**texts, "identity": self.identity}


def read_vectors(folder: Path) -> Vectors:
    """The vectors of a folder, from safetensors or, where there are none, from NPZ.

    Raises:
        TrialbookError: there are none, a file is damaged, their numbers do not agree, or one is not finite.
    """
    from safetensors import SafetensorError

    file = next((folder / name for name in (EMBEDDINGS, EMBEDDINGS_NPZ) if (folder / name).is_file()), None)
    if file is None:
        raise TrialbookError(f"{folder} holds no embeddings; a run of task 'embed' makes them")
    note_files([file])
    try:
        held = _arrays_of(file)
        found = Vectors(*(held[name] for name in Vectors._fields[:-1]), held.get("identity"))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, SafetensorError) as error:
        raise TrialbookError(
            f"{file}: no embeddings can be read ({error}); a run of task 'embed' makes them"
        ) from error
    sizes = {name: len(value) for name, value in found._asdict().items() if value is not None}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise TrialbookError(f"{file}: lengths do not agree: {listed}")
    if len(bad := np.flatnonzero(~np.isfinite(found.vectors).all(axis=1))):
        raise TrialbookError(f"{file}: NaN or infinity in {len(bad)} rows, first in row {bad[0]}")
    return found


def _arrays_of(file: Path) -> dict[str, Any]:
    """Arrays by name; texts as lists."""
    from safetensors import safe_open

    if file.name == EMBEDDINGS:
        with safe_open(file, "numpy") as stream:
            told = {name: json.loads(text) for name, text in (stream.metadata() or {}).items()}
            return {name: stream.get_tensor(name) for name in ("vectors", "groups")} | told
    with np.load(file, allow_pickle=False) as stream:
        arrays = {name: stream[name] for name in stream.files}
    return {name: one.tolist() if one.dtype.kind == "U" else one for name, one in arrays.items()}
