"""Every random number is a function of the run's seed and of where it is drawn, so that no generator state can be lost."""

from __future__ import annotations

import random

import numpy as np
import torch
from numpy.typing import NDArray

from trialbook.contracts.randomness import derive_seed


def seed_numpy(seed: int) -> None:
    """Seed Python's and numpy's global generators; torch's is seeded where torch is imported."""
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)


def epoch_order(seed: int, epoch: int, size: int) -> NDArray[np.int64]:
    """The order of ``size`` samples in ``epoch``: a permutation that depends on its arguments alone."""
    generator = np.random.Generator(np.random.Philox(derive_seed(seed, "order", epoch)))
    return generator.permutation(size).astype(np.int64)


_MPS = torch.backends.mps.is_available()


def seed_step(seed: int, *place: str | int) -> None:
    """Seed Python, numpy and torch for one step or evaluation.

    ``torch.manual_seed`` would do, but where CUDA was never used it queues a call with its traceback each time, which takes
    most of a millisecond.
    """
    derived = derive_seed(seed, "step", *place)
    seed_numpy(derived)
    torch.default_generator.manual_seed(derived)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(derived)
    if _MPS:
        torch.mps.manual_seed(derived)
