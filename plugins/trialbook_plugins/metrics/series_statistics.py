"""Metric ``series-statistics``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from trialbook import TrialbookError
from trialbook.contracts.datasets import Modality, Split
from trialbook_plugins.metrics._classifier import FIGURES, check_options, classify
from trialbook_plugins.metrics._statistics import statistics

_AT_ONCE = 1024


class SeriesStatistics:
    """What is known without any encoder: ``linear-probe``'s classifier on hand-made statistics of a series' windows.

    The windows are those of the splits, as the encoder gets them. Of each channel: mean, standard deviation, least, largest,
    quartiles, energy and dominant frequency; of every two channels their correlation. Figures: accuracy, macro-F1, and the
    share of the most frequent class (``majority``). They do not change while a run trains and are computed once.

    Args:
        modalities: of the task.
        series: name of the modality, which must be a series.
        c: as in ``linear-probe``.
        folds: as in ``linear-probe``.

    Raises:
        ValueError: ``series`` names no modality, or one of another kind, ``c`` is not above 0 and finite, or ``folds`` is
            below 2.

    Source: the time- and frequency-domain features usual in activity recognition (Bao and Intille 2004, section 4.1);
    classifier as in ``linear-probe``.
    """

    needs: ClassVar[tuple[str, ...]] = ("classes", "split", "train")
    produces: ClassVar[tuple[str, ...]] = tuple(f"{{series}}/{figure}" for figure in FIGURES)

    def __init__(
        self, modalities: Mapping[str, Modality], /, *, series: str, c: float | None = None, folds: int = 3
    ) -> None:
        check_options(c, folds)
        if series not in modalities:
            raise ValueError(f"series ({series}) names no modality; there are {', '.join(modalities)}")
        if modalities[series].kind != "series":
            raise ValueError(f"series ({series}) is of kind {modalities[series].kind}, which has no such statistics")
        self.series, self.c, self.folds = series, c, folds
        self._known: dict[str, dict[str, float]] = {}

    def compute(self, *, classes: Tensor, split: Split, train: Mapping[str, Any]) -> dict[str, float]:
        """Figures of a split.

        Args:
            classes: class of every group, int64 [G].
            split: the split itself.
            train: ``split`` and ``classes`` of the train split.
        Raises:
            TrialbookError: the train split has one class only, or a window has a value that is not finite.
        """
        if split.name not in self._known:
            learned, other = train["split"], train["split"].groups(self.series)
            fitted = (self._columns(learned), train["classes"].cpu().numpy()[other], other)
            scored = (self._columns(split), classes.cpu().numpy()[split.groups(self.series)])
            found = classify("series-statistics", fitted, scored, c=self.c, folds=self.folds)
            self._known[split.name] = {f"{self.series}/{figure}": value for figure, value in found.items()}
        return dict(self._known[split.name])

    def _columns(self, split: Split) -> NDArray[np.float64]:
        """Statistics of every row [R, F]."""
        count = len(split.groups(self.series))
        starts = range(0, count, _AT_ONCE)
        chunks = [split.read(self.series, np.arange(at, min(at + _AT_ONCE, count))) for at in starts]
        columns = np.concatenate([statistics(chunk) for chunk in chunks])
        if not np.isfinite(columns).all():
            row = int(np.argmin(np.isfinite(columns).all(axis=1)))
            raise TrialbookError(
                f"series-statistics: row {row} of '{self.series}' in split '{split.name}' has a value that is not finite"
            )
        return columns
