"""The storage of captions and vectors of samples, for tasks and datasets alike: ``captions.jsonl`` and ``embeddings.*``.

Both name the content of the samples that they belong to, so that they are never joined to others.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trialbook import TrialbookError
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
    """Vectors [R, D] of rows; group of each row, counted through all splits; content of each row's group and of the row."""

    vectors: NDArray[np.float32]
    groups: Rows
    samples: Sequence[str]
    content: Sequence[str]

    def write_safetensors(self, file: Path) -> None:
        """As safetensors, with contents in the metadata."""
        from safetensors.numpy import save_file

        told = {"samples": json.dumps(list(self.samples)), "content": json.dumps(list(self.content))}
        save_file({"vectors": self.vectors, "groups": self.groups}, file, metadata=told)

    def write_npz(self, file: Path) -> None:
        """As NPZ, which dataset ``embeddings`` reads too."""
        with file.open("wb") as stream:
            np.savez(
                stream,
                vectors=self.vectors,
                groups=self.groups,
                samples=np.array(self.samples),
                content=np.array(self.content),
            )


def read_vectors(folder: Path) -> Vectors:
    """The vectors of a folder, from safetensors or, where there are none, from NPZ.

    Raises:
        TrialbookError: there are none, their numbers do not agree, or one is not finite.
    """
    from safetensors import safe_open

    file = folder / EMBEDDINGS
    if file.is_file():
        with safe_open(file, "numpy") as stream:
            told = stream.metadata()
            found = Vectors(
                stream.get_tensor("vectors"), stream.get_tensor("groups"),
                json.loads(told["samples"]), json.loads(told["content"]),
            )  # fmt: skip
    elif (file := folder / EMBEDDINGS_NPZ).is_file():
        with np.load(file, allow_pickle=False) as arrays:
            found = Vectors(arrays["vectors"], arrays["groups"], arrays["samples"].tolist(), arrays["content"].tolist())
    else:
        raise TrialbookError(f"{folder} holds no embeddings; a run of task 'embed' makes them")
    sizes = {name: len(value) for name, value in found._asdict().items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise TrialbookError(f"{file}: lengths do not agree: {listed}")
    if len(bad := np.flatnonzero(~np.isfinite(found.vectors).all(axis=1))):
        raise TrialbookError(f"{file}: NaN or infinity in {len(bad)} rows, first in row {bad[0]}")
    return found
