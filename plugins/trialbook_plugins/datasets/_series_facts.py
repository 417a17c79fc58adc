"""The known facts of windows of a multichannel series, and their channels on one scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trialbook import TrialbookError

Scaling = Literal["zscore", "minmax", "none"]
#: Words for how much a window moves, by the quarters of the train split.
MOVEMENT = ("hardly any", "little", "moderate", "strong")
Values = NDArray[np.float32]


def fit_scaling(windows: Sequence[Values], scaling: Scaling, channels: Sequence[str]) -> tuple[Values, Values]:
    """Offset and factor of each channel, both [C], from the windows of train: ``(x - offset) * factor``.

    Args:
        windows: of train, each [T, C].
        scaling: ``"zscore"`` to mean 0 and standard deviation 1, ``"minmax"`` to 0 … 1.
        channels: their names.
    Raises:
        TrialbookError: a channel never changes in train; by name.
    """
    values = np.concatenate(windows).astype(np.float64)
    low, high = values.min(axis=0), values.max(axis=0)
    if scaling == "none":
        return np.zeros(len(channels), np.float32), np.ones(len(channels), np.float32)
    if constant := [name for name, same in zip(channels, low == high, strict=True) if same]:
        raise TrialbookError(
            f"channel '{constant[0]}' is constant over all of train: it cannot be put on a scale and tells nothing; leave it "
            "out of 'channels', or set normalise = 'none'"
        )
    offset, spread = (values.mean(axis=0), values.std(axis=0)) if scaling == "zscore" else (low, high - low)
    return offset.astype(np.float32), (1 / spread).astype(np.float32)


def series_facts(
    windows: Sequence[Values], train: NDArray[np.int64], channels: Sequence[str], rate: float | None,
    labels: Mapping[str, Sequence[str]], keys: Sequence[str],
) -> list[dict[str, Any]]:  # fmt: skip
    """Facts of every window: activity, subject, samples, seconds where the rate is known, dominant channel, amount of movement.

    Args:
        windows: each [T, C], as recorded.
        train: those of the train split, whose quarters say what counts as how much movement.
        channels: their names.
        rate: samples a second.
        labels: ``label`` and, where known, ``subject`` of each window.
        keys: content hash of each window.
    """
    spread = np.stack([window.std(axis=0, dtype=np.float64) for window in windows])  # [W, C]
    amount = np.sqrt((spread**2).sum(axis=1))
    levels = np.searchsorted(np.quantile(amount[train], (0.25, 0.5, 0.75)), amount, side="right")
    facts = []
    for number, window in enumerate(windows):
        known: dict[str, Any] = {
            "key": keys[number], "activity": labels["label"][number], "samples": len(window),
            "axis": channels[int(spread[number].argmax())], "movement": MOVEMENT[int(levels[number])],
        }  # fmt: skip
        if rate is not None:
            known["seconds"] = round(len(window) / rate, 3)
        if "subject" in labels:
            known["subject"] = labels["subject"][number]
        facts.append(known)
    return facts
