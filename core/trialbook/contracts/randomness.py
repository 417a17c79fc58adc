"""Random numbers as a function of a run's seed and of where they are drawn."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def derive_seed(seed: int, *place: str | int) -> int:
    """A 63-bit seed for ``place`` (``"build", "projector.image"`` or ``"step", 17``) of a run with ``seed``."""
    text = "\x00".join(map(str, (seed, *place)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def epoch_uniform(seed: int, epoch: int, place: str, size: int) -> NDArray[np.float64]:
    """Numbers in [0, 1) for choices within an epoch (which caption of a photo), [size]."""
    generator = np.random.Generator(np.random.Philox(derive_seed(seed, "choice", place, epoch)))
    return generator.random(size)
