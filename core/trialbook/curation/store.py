"""The pictures of a folder that is being built: each stored once, under the hash of what it shows."""

from __future__ import annotations

import hashlib
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trialbook.contracts.conversation_folder import IMAGES
from trialbook.contracts.datasets import Split, content_hash


class PictureStore:
    """Stores pictures of splits.

    Args:
        folder: the folder that is being built.
        originals: pictures are kept as they are: copy the files that they come from, where there are such.

    Attributes:
        content: path of each stored picture, relative to the folder, to the SHA-256 of its file.
    """

    def __init__(self, folder: Path, *, originals: bool) -> None:
        self._folder, self._originals = folder, originals
        self._stored: dict[str, str] = {}
        self.content: dict[str, str] = {}

    def put(self, split: Split, row: int) -> str:
        """Store the picture of a row and return its path, relative to the folder.

        Raises:
            TrialbookError: it cannot be read.
        """
        pixels: NDArray[np.uint8] = split.read("image", np.array([row]))[0]
        shows = content_hash(pixels)
        if shows not in self._stored:
            file = self._original(split, row)
            name = f"{IMAGES}/{shows[:2]}/{shows[2:22]}{file.suffix.lower() if file else '.png'}"
            target = self._folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if file is not None:
                shutil.copyfile(file, target)
            else:
                target.write_bytes(_png(pixels))
            self._stored[shows] = name
            self.content[name] = hashlib.sha256(target.read_bytes()).hexdigest()
        return self._stored[shows]

    def sweep(self, wanted: set[str]) -> None:
        """Delete pictures that no conversation shows after all."""
        for name in [name for name in self.content if name not in wanted]:
            (self._folder / name).unlink()
            del self.content[name]

    def _original(self, split: Split, row: int) -> Path | None:
        find: Any = getattr(split, "image_path", None)
        return find(row) if self._originals and find is not None else None


def _png(pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(stream, "png")
    return stream.getvalue()
