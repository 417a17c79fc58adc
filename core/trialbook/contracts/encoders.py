"""Contracts of encoders that read several layers or predict masked tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn

from trialbook.contracts.datasets import Raw


class LayerPoint(NamedTuple):
    """A place in a model where tokens of an image are read.

    Args:
        width: D, numbers of a token.
        grid: rows H and columns W of the tokens; cell (r, c) covers the same share of the image whatever its size.
        where: what is read, for the record: ``"out:model.language_model.layers.7"``.
        spatial: whether a token belongs to a place in the image; False for latent queries, whose grid is (1, N).
        times: grids of a clip's moments, of H / times rows each, that stand one below the other; 1 for an image.
    """

    width: int
    grid: tuple[int, int]
    where: str
    spatial: bool = True
    times: int = 1


class OrderResult(NamedTuple):
    """Result of trying whether tokens stand where they are said to stand.

    Args:
        passed: they do.
        share: of the cells that were tried, how many were found at their place.
        cells: how many were tried.
        message: what was found, in a sentence; empty where it passed.
    """

    passed: bool
    share: float
    cells: int
    message: str = ""


@runtime_checkable
class LayerEncoder(Protocol):
    """Optional for an encoder of images: it gives the tokens of many layers, all from one forward pass.

    Attributes:
        tap_rows: rows of one pass; the bits of a result may depend on it, so it is fixed.
        tap_choices: class attribute: keys of the table that choose points, and change the tokens of none.
    """

    tap_rows: int
    tap_choices: ClassVar[tuple[str, ...]]

    def points(self) -> Mapping[str, LayerPoint]:
        """The points that are read, by name, in order of the file."""

    def prepare(self, raw: Raw) -> Any:
        """As :meth:`trialbook.contracts.Encoder.prepare`."""

    def encode_layers(self, prepared: Any) -> Mapping[str, Tensor]:
        """Tokens [B, H, W, D] of every point: image tokens alone, row 0 at the top and column 0 at the left."""

    def identity(self) -> Mapping[str, str]:
        """Name all that the tokens of a point depend on beside weights, options, source and the point itself."""

    def check_order(self) -> Mapping[str, OrderResult]:
        """Try, on images that differ in one place, whether every point's tokens stand where they are said to stand."""

    def verify(self) -> None:
        """Nothing, where order and layers of all points are as they are said to be.

        Raises:
            TrialbookError: they are not: nothing may be measured on these tokens.
        """


class Reconstruction(NamedTuple):
    """Predicted tokens of a batch beside the true ones.

    Args:
        predicted: logits [B, N, V] where ``target`` holds integers, else values [B, N, P].
        target: int64 [B, N], or values [B, N, P].
        real: which values of ``target`` are data and not padding, bool [B, N, P] on the CPU; None where all are.
    """

    predicted: Tensor
    target: Tensor
    real: Tensor | None = None


@runtime_checkable
class Reconstructs(Protocol):
    """Optional for an encoder: it can be asked what stands in tokens that are hidden from it."""

    def reconstructor(self) -> nn.Module:
        """Make the module that has to be learned for that beside the encoder itself; whoever asks keeps and trains it."""

    def real_tokens(self, prepared: Any) -> Tensor:
        """Mark the tokens of prepared rows that are no padding: bool [B, N], always on the CPU, as it decides shapes."""

    def reconstruct(self, prepared: Any, hidden: Tensor, reconstructor: nn.Module) -> Mapping[str, Reconstruction]:
        """Every token from those that are not ``hidden`` (bool [B, N]), by the name of what is predicted of it."""
