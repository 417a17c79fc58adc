"""Contracts of probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable


class Probed(NamedTuple):
    """Data that a probe is fitted on, or evaluated on: samples [n] of one split.

    Args:
        features: tokens of every sample, [n, H, W, D], in raster order; a tensor, or something larger than memory with a
            ``shape``, a length and slices ``features[a:b]`` that are tensors, such as a ``FeatureTable``.
        labels: annotation to one value for every sample.
        images: the pictures themselves, uint8 [n, 3, S, S], read in slices.
    """

    features: Any
    labels: Mapping[str, Sequence[Any]]
    images: Any


class PredictedBoxes(NamedTuple):
    """Boxes that a probe found in each picture.

    Args:
        boxes: corners x0, y0, x1, y1 as shares of the picture, [k, 4] for each picture.
        scores: how sure the probe is of each box, [k].
        classes: class of each box, [k]; None where any true box may match.
    """

    boxes: Sequence[Any]
    scores: Sequence[Any]
    classes: Sequence[Any] | None = None


@runtime_checkable
class Probe(Protocol):
    """Reads something out of features that others made, to say whether it is in them.

    Attributes:
        labels: class attribute: annotations of the data that it needs.
        produces: class attribute: names of its values, with templates as a metric's.
        main: class attribute: the value that says which of several layers is best.
        spatial: class attribute: it reads where things are, so that tokens out of order or averaged must do badly.
        doubtful_when: optional class attribute: option to its values with which no gate may stand on the probe, and why.
    """

    labels: ClassVar[tuple[str, ...]]
    produces: ClassVar[tuple[str, ...]]
    main: ClassVar[str]
    spatial: ClassVar[bool]

    def measure(self, train: Probed, others: Mapping[str, Probed], seed: int) -> Mapping[str, Mapping[str, float]]:
        """Fit on ``train`` and give the values of each other split; ``<name>/low`` and ``/high`` are its 95% interval over
        samples."""

    def oracle(self, data: Probed, seed: int) -> Any:
        """Features [n, H, W, D'] in which everything that it looks for is written plainly: the ceiling of its values."""


@runtime_checkable
class FindsBoxes(Protocol):
    """A probe whose boxes can be shown on the pictures; it needs the annotation ``boxes``."""

    def find(self, train: Probed, others: Mapping[str, Probed], seed: int) -> Mapping[str, PredictedBoxes]:
        """Fit on ``train`` and give the boxes of each other split: with the arguments of ``measure`` those of its values."""


@runtime_checkable
class TellsLimits(Protocol):
    """A probe that knows why its values stay below those of a perfect one where everything is told."""

    def limits(self, data: Probed) -> str:
        """Say what is in its way in the samples of a split; empty where nothing is known to be."""
