"""The stages of a training run: where each begins and ends, what it trains, which samples a step takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from trialbook.config.options import StageOptions
from trialbook.contracts import Trainable
from trialbook.contracts.randomness import derive_seed
from trialbook.engine import optim
from trialbook.engine.seeding import epoch_order
from trialbook.errors import TrialbookError


@dataclass(frozen=True)
class StagePlan:
    """A stage with its place among all steps: it holds the steps ``start`` … ``stop - 1``."""

    options: StageOptions
    start: int
    stop: int
    per_epoch: int
    trained: tuple[str, ...]

    @property
    def steps(self) -> int:
        """Number of optimiser steps."""
        return self.stop - self.start


def plan_stages(task: Trainable, module: nn.Module, stages: list[StageOptions], ranks: int) -> list[StagePlan]:
    """Lay the stages out one after the other.

    Raises:
        TrialbookError: a stage trains nothing, or its batch over all processes is larger than its data.
    """
    plans, start = [], 0
    for options in stages:
        size, samples = options.batch_size * ranks, task.size(options.name)
        per_epoch = samples // size
        if not per_epoch:
            raise TrialbookError(
                f"batch_size ({size} over all processes) is larger than the {samples} training samples"
            )
        steps = options.steps if options.steps is not None else max(1, round((options.epochs or 0) * per_epoch))
        trained = tuple(optim.trainable_names(module, options.train))
        plans.append(StagePlan(options, start, start + steps, per_epoch, trained))
        start += steps
    return plans


class SampleOrder:
    """The samples that a step takes on this process: a slice of the epoch's order, a function of (seed, epoch, step).

    Args:
        task: tells how many samples a stage has.
        seed: the run's seed.
        rank, ranks: this process and how many there are.
    """

    def __init__(self, task: Trainable, seed: int, rank: int, ranks: int) -> None:
        self.task, self.seed, self.rank, self.ranks = task, seed, rank, ranks
        self._order: tuple[tuple[str, int], NDArray[np.int64]] | None = None

    def at(self, stage: StagePlan, local: int) -> tuple[int, NDArray[np.int64]]:
        """Epoch and samples [B] of step ``local`` (from 0) of a stage."""
        size, name = stage.options.batch_size, stage.options.name
        epoch, position = divmod(local, stage.per_epoch)
        if self._order is None or self._order[0] != (name, epoch):
            order = epoch_order(derive_seed(self.seed, name), epoch, self.task.size(name))
            self._order = ((name, epoch), order)
        start = position * size * self.ranks + self.rank * size
        return epoch, self._order[1][start : start + size]
