"""Contracts between the parts of an experiment, as Protocols; ``nn.Module`` is the only base class.

Shape letters, used in every docstring: B batch, R rows, G groups, N tokens in, M tokens out, D width (``dim_in``,
``dim_out``), C channels, H height, W width, P patch side, L text length, T time, V vocabulary, K heads.

How a constructor is read: **positional-only** parameters are injected by the task through the builder (dimensions, the
modality, nested parts); **keyword-only** ones are the keys of the TOML table, typed and documented in the docstring.
Injected for every component that asks for it by name: ``data_root: Path | None``, ``seed: int``,
``device: torch.device`` (where the run computes), ``files: Mapping[str, Path]`` (those that ``runner.toml`` names) and
``records: Callable[[str], Mapping[str, Any]]`` (tables of a kind that plugins offer, by name).

How a docstring is read: its first paragraph is one sentence, ``Args:`` describes every key, and ``Source:`` says which paper,
section or implementation the mathematics follows. ``trialbook.testing.check_component`` fails an encoder, a projector, a
language model, a loss or a metric whose class docstring has no ``Source:`` line.

What a user can put right (an option, a missing file or package) is raised as ``trialbook.TrialbookError`` in one sentence that
says what to do; it is shown without a traceback, with the file and line of the component's table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from trialbook.contracts.datasets import Raw
from trialbook.contracts.features import Features, FeatureTable

#: What ``Encoder.prepare`` returns: a tensor, or named tensors, with rows along the first axis. NumPy arrays among them stay on
#: the CPU: whatever decides a shape (lengths, which rows there are) is known there without waiting for a GPU.
Prepared = Any


@runtime_checkable
class Encoder(Protocol):
    """Raw rows of one modality to tokens. Injected, if asked for: ``modality: trialbook.contracts.Modality``.

    Attributes:
        accepts: class attribute: the modality kinds that it reads, e.g. ``("image",)``.
        dim: width D of its tokens.
        max_length: optional: tokens of a row at most, where ``forward`` gives fewer if all rows of a batch are shorter.
        block: optional: a row's tokens come in blocks of so many, each an image of its own (a crop of a page) with a grid of its
            own, there as a whole or not at all: projectors get one block at a time.

    Optional attribute ``random_weights``: it was made with random weights in place of a checkpoint; decisions say so.

    Optional methods: ``identity() -> Mapping[str, str]``, what its tokens depend on beside weights, options and source
    (a checkpoint's preprocessing and configuration); it is part of the address of stored features. With ``block``:
    ``blocks(raw) -> Sequence[int]``, how many blocks each row has.
    """

    accepts: ClassVar[tuple[str, ...]]
    dim: int

    def prepare(self, raw: Raw) -> Prepared:
        """Tokenise, resize, crop: deterministic, without gradient, on the CPU, each row by itself."""

    def forward(self, prepared: Prepared) -> Features:
        """Prepared rows to tokens [B, N, D]."""


@runtime_checkable
class Projector(Protocol):
    """Tokens [B, N, D_in] to tokens [B, M, D_out]. Injected, if asked for: ``dim_in: int, dim_out: int``.

    Attributes:
        keeps_tokens: output token i comes from input token i (M = N), so that the mask stays valid.
    """

    keeps_tokens: bool

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, N, D_in], mask [B, N] -> [B, M, D_out]."""


@runtime_checkable
class Loss(Protocol):
    """A scalar to minimise. Injected, if asked for: ``dim: int`` (width of the embeddings), and its nested ``parts``.

    Attributes:
        needs: class attribute: names of what the task must hand to ``forward``, by keyword.
        parts: optional class attribute: nested component tables, positional-only parameter name -> kind.
        produces: optional class attribute: names of what ``report`` returns, so that a gate may stand on it.

    ``forward`` takes what it needs by keyword and returns a scalar tensor; what it is given it may not change in place.

    Optional methods: ``report() -> Mapping[str, float | Tensor]``, scalars logged beside the loss as ``<name>/<loss>``, and
    ``after_step()``, called after every optimiser step (to clamp a scale). Any module may have ``stats() -> Mapping[str,
    float]``: facts of its last forward pass for the doctor, asked for now and then. A loss tells ``batch`` (rows), ``chance``
    (its value where nothing is known) and, with a temperature, ``random`` (its value for random embeddings), ``scale``,
    ``scale_min`` and ``scale_max``.
    """

    needs: ClassVar[tuple[str, ...]]


@runtime_checkable
class Metric(Protocol):
    """Values of a whole split, computed at evaluation. Injected, if asked for: ``dim: int`` (width of the embeddings).

    Attributes:
        needs: class attribute: names of what the task must hand to ``compute``, by keyword.
        produces: class attribute: templates of the names that ``compute`` returns, e.g. ``"{pair}@{k}"``; ``{pair}``
            stands for both directions of every pair of modalities, ``{couple}`` for every pair once
            (``image-text``), ``{modality}`` for each modality, any other for each value of
            that constructor parameter. In records they stand behind the metric's own name: ``retrieval/i2t@1``.
        lower_is_better: optional class attribute: those of ``produces`` that are better when lower.

    ``compute`` takes what it needs by keyword and returns a mapping of names to numbers: all that ``produces`` declares and no
    other. All metrics are given the same values: arrays, mappings and lists are read-only, and a metric that changes a tensor
    in place ends the run. One that is a mean over samples may return a ``trialbook.contracts.MetricValues``, which says the
    value of each sample beside it.
    """

    needs: ClassVar[tuple[str, ...]]
    produces: ClassVar[tuple[str, ...]]


class Builder(Protocol):
    """Makes the parts of a task. Core's builder implements it; tests may use a simple stand-in."""

    seed: int
    data_root: Path | None
    batch_size: int
    """Samples of one micro-batch in training, over all processes; a loss that depends on the batch is evaluated at this size."""
    eval_batch_size: int
    """Rows encoded at once in evaluation."""
    final_split: str
    """The split of the final test metrics (``[evaluate] final``)."""
    mixtures: Mapping[str, Mapping[str, float]]
    """Weights of the sources of the data by stage name (``[[stage]] data``); a stage without any is left out."""
    inputs: Mapping[str, Path]
    """Directories of the runs that this run needs (``needs = ["arm"]`` in its arm), by arm name."""

    def names(self, kind: str) -> tuple[str, ...]:
        """Names of the tables of ``kind``: modalities for encoders, given or component names for losses and metrics."""

    def make(self, kind: str, name: str | None = None, /, **injected: Any) -> Any:
        """Make the component of ``[kind]`` or ``[kind.name]``; ``injected`` offers values for positional-only parameters."""

    def option(self, kind: str, name: str | None, key: str, default: Any = None) -> Any:
        """A reserved key of a table: ``frozen``, ``weight``."""

    def declared(self, kind: str, name: str, modalities: Sequence[str] = ()) -> Sequence[str]:
        """Names of the values that a metric or probe declares with its options; a stand-in may leave this method out.

        Args:
            kind: ``metric`` or ``probe``.
            name: of its table.
            modalities: that the task works on.
        """

    def on_device(self, module: nn.Module) -> AbstractContextManager[torch.device]:
        """A context in which a frozen module is on the run's device, without gradients and outside of mixed precision.

        Afterwards it is put back to where it was. Parts that are trained are on the device from the start; a frozen encoder
        is only there while it is used, since its features are stored.
        """

    def features(self, name: str, encoder: nn.Module, dataset: Any, split: str, modality: str) -> FeatureTable:
        """Stored outputs of a frozen encoder for all rows of a split: tokens [R, N, D], and their mask.

        Args:
            name: of the encoder's table.
            encoder: made by ``make``; rows are encoded once, ever, with these weights and options.
            dataset: whose rows are read.
            split: name of the split.
            modality: whose rows.
        """

    def layer_features(
        self, name: str, encoder: nn.Module, dataset: Any, split: str, modality: str
    ) -> Mapping[str, FeatureTable]:
        """Stored tokens [R, H, W, D] of every point of a frozen ``LayerEncoder``; arguments as in ``features``.

        Points that are stored already, from whatever choice of points, are not made again; the others are made together,
        after ``verify``.

        Raises:
            TrialbookError: the encoder has no points, or fails its self-test.
        """
