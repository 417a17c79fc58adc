"""One run on several processes (``torchrun``, ``accelerate launch``): the first records, the others compute along."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from trialbook.errors import TrialbookError
from trialbook.registry.run_directory import RunDirectory


def world_size() -> int:
    """Return the number of processes that do a run together, as their launcher says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return the rank of this process among them, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_first_process() -> bool:
    """Return whether this process records and prints; true where there is only one."""
    return rank() == 0


def quiet_torch() -> None:
    """Keep torch, before it is imported, from telling on each of several processes that it looks for unused parameters."""
    if world_size() > 1:
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def processes_of(environment: Mapping[str, Any]) -> int:
    """Return the number of processes that did a run together, by its ``env.json``."""
    told = environment.get("compute", {}).get("processes") or environment.get("variables", {}).get("WORLD_SIZE")
    return int(told or 1)


def check_processes(run: RunDirectory) -> None:
    """Check that as many processes are at work as began the run; each takes ``batch_size`` samples of a step.

    Raises:
        TrialbookError: they are not.
    """
    if run.is_run() and (then := processes_of(run.read("env") or {})) != world_size():
        raise TrialbookError(f"{run.path.name} {refusal(then)}")


def refusal(then: int) -> str:
    """Explain why a run that ``then`` processes began cannot be resumed, and how it can."""
    how = f"torchrun --nproc-per-node {then} -m trialbook run …" if then > 1 else "mlrun run …, without torchrun"
    return (
        f"was begun by {then} process{'es' * (then > 1)} and cannot continue with {world_size()}, as a step would have another "
        f"batch: continue with '{how}', or delete the run with 'mlrun rm' and start again"
    )
