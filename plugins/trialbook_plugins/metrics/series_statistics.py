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

_AT_ONCE = 1024


class SeriesStatistics:
    """A baseline without any encoder: ``linear-probe``'s classifier on hand-made statistics of a series' windows.

    The windows are those of the splits, as the encoder gets them. Of each channel: mean, standard deviation, least, largest,
    quartiles, energy and dominant frequency; of every two channels their correlation. Metrics: accuracy, macro-F1, and the
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
        """Metrics of a split.

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


def statistics(windows: Any) -> NDArray[np.float64]:
    """Statistics [B, F] of windows [B, T, C], or of a list of windows [T, C] of any lengths.

    Of each channel: mean, standard deviation, least, largest, quartiles, energy (mean square) and the dominant frequency, in
    cycles a sample: that of the largest Fourier coefficient behind the mean, 0 for a constant channel. Of every two channels:
    their correlation, 0 where one is constant.
    """
    if isinstance(windows, np.ndarray) and windows.ndim == 3:
        return _statistics(windows.astype(np.float64))
    return np.concatenate([_statistics(np.asarray(window, dtype=np.float64)[None]) for window in windows])


def _statistics(x: NDArray[np.float64]) -> NDArray[np.float64]:
    mean, deviation = x.mean(axis=1), x.std(axis=1)
    centred = x - mean[:, None]
    still = deviation <= 1e-12 * np.abs(x).max(axis=1)
    quartiles = np.quantile(x, (0.25, 0.5, 0.75), axis=1)
    columns = [mean, deviation, x.min(axis=1), x.max(axis=1), *quartiles, (x**2).mean(axis=1)]
    strongest = np.abs(np.fft.rfft(centred, axis=1))[:, 1:] if x.shape[1] > 1 else np.zeros((len(x), 1, x.shape[2]))
    columns.append(np.where(still, 0.0, (strongest.argmax(axis=1) + 1) / x.shape[1]))
    first, second = np.triu_indices(x.shape[2], 1)
    if len(first):
        moments = (centred[:, :, first] * centred[:, :, second]).mean(axis=1)
        spread = deviation[:, first] * deviation[:, second]
        fixed = still[:, first] | still[:, second]
        columns.append(np.where(fixed, 0.0, moments / np.where(fixed, 1.0, spread)))
    return np.concatenate(columns, axis=1)
