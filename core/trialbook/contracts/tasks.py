"""Contracts of tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from trialbook.contracts.predictions import Prediction
from trialbook.contracts.records import Event, Facts, Measured


@runtime_checkable
class Task(Protocol):
    """Puts components together and says what is optimised or measured. Injected: ``builder: Builder``.

    Attributes:
        takes: class attribute: component kind -> ``"one"``, ``"optional"``, ``"named"`` or ``"many"``; for kinds that
            are named after a
            modality of the dataset ``"modality"``. Other kinds in the file are refused.
        provides: class attribute: names of what it can hand to losses and metrics.
        produces: class attribute: templates of the names it records itself (see ``Metric.produces``; ``{loss}`` for
            each loss).

    A task also implements ``Trainable``, ``Measurable`` or both. The constructor checks and stores; ``setup`` makes the
    parts.
    """

    takes: ClassVar[Mapping[str, str]]
    provides: ClassVar[tuple[str, ...]]
    produces: ClassVar[tuple[str, ...]]

    def setup(self) -> None:
        """Make the parts and read what must be read; called once, before training or measuring."""


@runtime_checkable
class SupportsEvidence(Protocol):
    """Optional for a task: lets the doctor and the plots see what it evaluated."""

    def shown(self, split: str) -> Mapping[str, Any]:
        """Show what the last evaluation, if it was of ``split``, handed to metrics; empty otherwise.

        Understood are ``embeddings`` (modality -> [R, D]), ``groups`` (modality -> [R]), ``classes`` ([G] of integers),
        ``predictions`` (a list of ``trialbook.contracts.predictions.Prediction``) and ``per_sample`` (name of a value ->
        float64 [n], see ``trialbook.contracts.MetricValues``), which a run keeps as ``arrays/<split>-per-sample.safetensors``.
        """


@runtime_checkable
class SupportsWeights(Protocol):
    """Optional for a task whose loss is a mean over something else than samples (tokens, say)."""

    def weigh(self, samples: NDArray[np.int64], epoch: int, step: Step) -> float:
        """Count the things that the loss of the batch of these samples is the mean of.

        The micro-batches of a step, on all processes, count by it, so that a step does not depend on how it is split.
        """


@runtime_checkable
class SupportsNotes(Protocol):
    """Optional for a task and its parts: what it has to say when it is set up, such as samples that it had to shorten."""

    def notes(self) -> Iterator[Event | Facts]:
        """Facts, merged into ``data.json``, and events; taken when a run begins or is resumed."""


@runtime_checkable
class SupportsAnswers(Protocol):
    """Optional for a task: it answers questions about images that are no part of its data."""

    def answer(
        self, images: Sequence[NDArray[np.uint8]], question: str, *, max_new_tokens: int | None = None,
        temperature: float = 0.0, seed: int = 0,
    ) -> Prediction:  # fmt: skip
        """The answer to a question about images [3, H, W]."""


@runtime_checkable
class SupportsExport(Protocol):
    """Optional for a task: it can write its trained parts in the formats of other libraries."""

    def export(self, folder: Path, *, merged: bool) -> list[str]:
        """Write into an empty folder and say in a sentence each what lies where.

        Args:
            folder: where.
            merged: put adapters into the weights of what they adapt.
        """


class Step(NamedTuple):
    """Position in training: the optimiser step (from 0, over all stages), the stage's name, the run's seed."""

    number: int
    stage: str
    seed: int


@runtime_checkable
class Trainable(Protocol):
    """A task with something to optimise; the engine owns the loop, the order of samples and the optimiser."""

    def module(self) -> nn.Module:
        """All parts as one module whose first two name levels are those of the file: ``projector.image.…``."""

    def size(self, stage: str) -> int:
        """Number of training samples (groups) in ``stage``."""

    def batch(self, samples: NDArray[np.int64], epoch: int, step: Step) -> Any:
        """Tensors (nested tuples, lists, dicts) of the samples [B]; a function of its arguments alone."""

    def losses(self, batch: Any) -> dict[str, Tensor]:
        """Forward pass: scalar tensors; ``"loss"`` is minimised, all are recorded."""

    def evaluate(self, split: str) -> Mapping[str, float]:
        """Metrics of ``split``; an empty mapping where there is no such split."""

    def after_step(self) -> None:
        """Called after every optimiser step."""


@runtime_checkable
class Measurable(Protocol):
    """A task with something to measure, without an optimiser or after it (closed-form probes, similarity)."""

    def measurements(self) -> Iterator[Measured]:
        """Yield records in a fixed order, and what goes with them; a run that was killed skips the records that it has, so each
        must be independent. Artifacts come before the record that speaks of them: a record that is there says that they are.
        """

    def measured(self, done: int) -> None:
        """``done`` records of ``measurements`` are there already: start with the next."""
