"""Pairs of vectors that come from one latent vector: the smallest problem of joining two modalities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trialbook import TrialbookError
from trialbook.contracts.datasets import Modality
from trialbook_plugins.datasets._splits import (
    SPLITS,
    Pool,
    PooledDataset,
    PoolSplit,
    array_column,
    unknown_modality,
)

_WAVES = 4  # width of the random expansion, as a multiple of latent_dim
_FREQUENCY = 1.5  # standard deviation of a wave's argument, in radians


class PairedLatents(PooledDataset):
    """Vectors ``image`` and ``text`` that two random views, partly non-linear, make of one latent vector.

    z ~ N(0, I). A view is x = (1 − a)·L(z) + a·S(z), scaled to unit variance, plus noise: L is a random linear map, S a
    random linear map of sin(Wz + b) with random W and b, and a the non-linearity. A linear head can undo L, and S but
    in small part; a non-linear one can undo more of it. Annotation of a split: ``latents``, the vectors z.

    Args:
        latent_dim: width of z.
        image_dim: width of ``image``.
        text_dim: width of ``text``.
        nonlinearity: a: 0 is linear, 1 has no linear part.
        noise: standard deviation of the noise on each coordinate, whose signal has a standard deviation of 1.
        train: pairs of the train split.
        val: pairs of the val split; 0 leaves it out.
        test: pairs of the test split; 0 leaves it out.
        seed: draws other maps and pairs. Every split has its own stream: more training pairs leave the test pairs
            as they are.
    Raises:
        TrialbookError: a width or size is out of its range.
    Source: the random waves are those of Rahimi and Recht, "Random Features for Large-Scale Kernel Machines" (2007),
        section 3.1.
    """

    modalities = {"image": "vector", "text": "vector"}
    counted = {"train": "train", "val": "val", "test": "test"}

    def __init__(
        self,
        *,
        latent_dim: int = 16,
        image_dim: int = 64,
        text_dim: int = 48,
        nonlinearity: float = 0.75,
        noise: float = 0.1,
        train: int = 8192,
        val: int = 512,
        test: int = 512,
        seed: int = 0,
    ) -> None:
        if min(latent_dim, image_dim, text_dim, train) < 1 or min(val, test) < 0:
            raise TrialbookError("widths and 'train' must be at least 1, 'val' and 'test' at least 0")
        if not 0 <= nonlinearity <= 1 or noise < 0:
            raise TrialbookError(f"nonlinearity ({nonlinearity}) is from 0 to 1, noise ({noise}) at least 0")
        self.latent_dim = latent_dim
        self.widths = {"image": image_dim, "text": text_dim}
        self.nonlinearity = nonlinearity
        self.noise = noise
        self.sizes = {"train": train, "val": val, "test": test}
        self.seed = seed

    def describe(self, modality: str) -> Modality:
        """Kind and shape of ``image`` or ``text``."""
        if modality not in self.widths:
            raise unknown_modality(modality, tuple(self.widths))
        return Modality("vector", (self.widths[modality],))

    def _cut(self) -> dict[str, PoolSplit]:
        drawn = {}
        for stream, name in enumerate(SPLITS, start=1):
            if self.sizes[name]:
                rng = np.random.default_rng([self.seed, stream])
                latents = rng.standard_normal((self.sizes[name], self.latent_dim))
                columns = {modality: array_column(self._view(latents, modality, rng)) for modality in self.widths}
                drawn[name] = Pool(len(latents), columns, {"latents": latents.astype(np.float32)}).split(name)
        return drawn

    def _view(self, latents: NDArray[np.float64], modality: str, rng: np.random.Generator) -> NDArray[np.float32]:
        """One view [G, D] of latents [G, Z]: its maps are drawn by seed and modality, its noise from ``rng``."""
        width, waves = self.widths[modality], _WAVES * self.latent_dim
        maps = np.random.default_rng([self.seed, 0, list(self.widths).index(modality)])
        linear = _times(latents, maps.standard_normal((self.latent_dim, width)) / np.sqrt(self.latent_dim))
        frequencies = maps.standard_normal((self.latent_dim, waves)) * (_FREQUENCY / np.sqrt(self.latent_dim))
        bent = np.sqrt(2) * np.sin(_times(latents, frequencies) + maps.uniform(0, 2 * np.pi, waves))
        bent = _times(bent, maps.standard_normal((waves, width)) / np.sqrt(waves))
        a = self.nonlinearity
        signal = ((1 - a) * linear + a * bent) / np.hypot(1 - a, a)
        noisy: NDArray[np.float32] = (signal + self.noise * rng.standard_normal(signal.shape)).astype(np.float32)
        return noisy


def _times(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrix product summed in a fixed order, so that the number of BLAS threads cannot change a bit."""
    product: NDArray[np.float64] = np.einsum("nk,kd->nd", left, right)
    return product
