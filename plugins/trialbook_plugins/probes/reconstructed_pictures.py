"""Probe ``reconstruction``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from trialbook.contracts import Probed
from trialbook.errors import TrialbookError
from trialbook_plugins.probes.pictures import edge_f1, foreground, spatial_iou, ssim
from trialbook_plugins.probes.reconstruction import ReconstructionProbe
from trialbook_plugins.probes.references import pixel_features
from trialbook_plugins.probes.resampling import bootstrap_interval
from trialbook_plugins.probes.rows import chunks, read_part

_FIGURES = ("ssim", "edge_f1", "spatial_iou")
#: Pictures that are judged at once.
_CHUNK = 32


class Reconstruction:
    """The picture itself from its tokens, by convolutions that know nothing but what the tokens say.

    Figures, each with its interval over pictures: ``ssim``; ``edge_f1`` of Canny edges within ``tolerance`` pixels;
    ``spatial_iou`` of foreground masks, which are the pixels further than ``threshold`` from the picture's median colour; and
    ``l1``. The ceiling are tokens that hold the pixels under them.

    Args:
        steps: optimiser steps.
        width: channels of the decoder's first stage.
        lr: learning rate of AdamW.
        tolerance: pixels within which an edge counts as found.
        threshold: of a channel's distance from the background, 0 to 1.

    Raises:
        TrialbookError: an option is out of its range.

    Source: Wang et al. 2004 (SSIM), Canny 1986; there is no standard of a spatial IoU, and this is the one declared here.
    """

    labels: ClassVar[tuple[str, ...]] = ()
    produces: ClassVar[tuple[str, ...]] = (
        *(f"{name}{end}" for name in _FIGURES for end in ("", "/low", "/high")), "l1",
    )  # fmt: skip
    main: ClassVar[str] = "ssim"
    spatial: ClassVar[bool] = True

    def __init__(
        self, *, steps: int = 400, width: int = 64, lr: float = 2e-3, tolerance: int = 2, threshold: float = 0.2
    ) -> None:
        if steps < 1 or width < 1 or lr <= 0 or tolerance < 0 or not 0 < threshold < 1:
            raise TrialbookError(
                f"steps ({steps}) and width ({width}) must be at least 1, lr ({lr}) above 0, tolerance ({tolerance}) not "
                f"below 0, threshold ({threshold}) between 0 and 1"
            )
        self.steps, self.width, self.lr, self.tolerance, self.threshold = steps, width, lr, tolerance, threshold

    def measure(self, train: Probed, others: Mapping[str, Probed], seed: int) -> dict[str, dict[str, float]]:
        """Figures of the pictures that are made of each of ``others``."""
        probe = ReconstructionProbe(width=self.width, steps=self.steps, lr=self.lr, seed=seed)
        with torch.enable_grad():
            probe.fit(train.features, train.images)
        return {name: self._figures(probe.predict(one.features), one, seed) for name, one in others.items()}

    def _figures(self, made: Tensor, data: Probed, seed: int) -> dict[str, float]:
        found: dict[str, list[Any]] = {name: [] for name in (*_FIGURES, "l1")}
        for part in chunks(len(made), _CHUNK):
            true, guess = read_part(data.images, part).float() / 255, made[part]
            found["ssim"].append(ssim(guess, true).numpy())
            found["edge_f1"].append(edge_f1(guess, true, tolerance=self.tolerance))
            masks = foreground(guess, self.threshold), foreground(true, self.threshold)
            found["spatial_iou"].append(spatial_iou(*masks).numpy())
            found["l1"].append((guess - true).abs().mean((1, 2, 3)).numpy())
        figures = {"l1": float(np.concatenate(found["l1"]).mean())}
        for name in _FIGURES:
            one = bootstrap_interval(np.concatenate(found[name]), seed=seed)
            figures |= {name: one.value, f"{name}/low": one.low, f"{name}/high": one.high}
        return figures

    def oracle(self, data: Probed, seed: int) -> Any:
        """The pixels under every token, all of them."""
        _, rows, columns, _ = data.features.shape
        return pixel_features(data.images, rows, columns, most=1 << 16)
