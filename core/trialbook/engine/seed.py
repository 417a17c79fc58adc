"""Random numbers of one step or evaluation."""

from __future__ import annotations

import torch

from trialbook.seeding import derive_seed, seed_numpy

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
