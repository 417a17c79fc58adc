"""Hand-made statistics of windows of a multichannel series."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def statistics(windows: Any) -> Array:
    """Statistics [B, F] of windows [B, T, C], or of a list of windows [T, C] of any lengths.

    Of each channel: mean, standard deviation, least, largest, quartiles, energy (mean square) and the dominant frequency, in
    cycles a sample: that of the largest Fourier coefficient behind the mean, 0 for a constant channel. Of every two channels:
    their correlation, 0 where one is constant.
    """
    if isinstance(windows, np.ndarray) and windows.ndim == 3:
        return _statistics(windows.astype(np.float64))
    return np.concatenate([_statistics(np.asarray(window, dtype=np.float64)[None]) for window in windows])


def _statistics(x: Array) -> Array:
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
