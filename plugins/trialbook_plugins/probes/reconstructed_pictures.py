"""Probe ``reconstruction``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from trialbook import TrialbookError
from trialbook.contracts import CPU, Probed, float64_device
from trialbook.contracts.records import Event
from trialbook_plugins.probes.perceptual import lpips, notes_of, perceptual_random
from trialbook_plugins.probes.pictures import edge_f1, foreground, spatial_iou, ssim
from trialbook_plugins.probes.reconstruction import ReconstructionProbe
from trialbook_plugins.probes.references import pixel_features
from trialbook_plugins.probes.resampling import bootstrap_interval
from trialbook_plugins.probes.rows import as_array, chunks, read_part

_FIGURES = ("ssim", "edge_f1", "spatial_iou")
#: Pictures that are judged at once.
_CHUNK = 32


class Reconstruction:
    """The picture itself from its tokens, by convolutions that know nothing but what the tokens say.

    Metrics, each with its interval over pictures: ``ssim``; ``edge_f1`` of Canny edges within ``tolerance`` pixels;
    ``spatial_iou`` of foreground masks, which are the pixels further than ``threshold`` from the picture's median colour; and
    ``l1``. The ceiling are tokens that hold the pixels under them.

    Args:
        files: ``lpips_backbone`` and ``lpips_heads`` of ``[files]`` in ``runner.toml``, for ``perceptual = "lpips"``.
        device: where it is trained, and its pictures are looked at.
        steps: optimiser steps.
        width: channels of the decoder's first stage.
        lr: learning rate of AdamW.
        tolerance: pixels within which an edge counts as found.
        threshold: of a channel's distance from the background, 0 to 1.
        perceptual: also take this distance, under its own name: ``lpips``, or ``perceptual-random``, which needs no weights and
            is not LPIPS. Lower is better.

    Raises:
        TrialbookError: an option is out of its range, or LPIPS is asked for without its weights.

    Source: Wang et al. 2004 (SSIM), Canny 1986; there is no standard of a spatial IoU, and this is the one declared here.
    """

    labels: ClassVar[tuple[str, ...]] = ()
    produces: ClassVar[tuple[str, ...]] = (
        *(f"{name}{end}" for name in (*_FIGURES, "{perceptual}") for end in ("", "/low", "/high")), "l1",
    )  # fmt: skip
    main: ClassVar[str] = "ssim"
    spatial: ClassVar[bool] = True

    def __init__(
        self, files: Mapping[str, Path] | None = None, device: torch.device = CPU, /, *, steps: int = 400, width: int = 64,
        lr: float = 2e-3, tolerance: int = 2, threshold: float = 0.2,
        perceptual: Literal["lpips", "perceptual-random"] | None = None,
    ) -> None:  # fmt: skip
        if steps < 1 or width < 1 or lr <= 0 or tolerance < 0 or not 0 < threshold < 1:
            raise TrialbookError(
                f"steps ({steps}) and width ({width}) must be at least 1, lr ({lr}) above 0, tolerance ({tolerance}) not "
                f"below 0, threshold ({threshold}) between 0 and 1"
            )
        self.steps, self.width, self.lr, self.tolerance, self.threshold = steps, width, lr, tolerance, threshold
        self._device, self._distance = device, None
        if perceptual is not None:
            known = files or {}
            real = perceptual == "lpips"
            self._distance = (
                lpips(known.get("lpips_backbone"), known.get("lpips_heads")) if real else perceptual_random()
            ).to(float64_device(device))

    def notes(self) -> Iterator[Event]:
        """That the weights are not the published ones, where they are not."""
        return notes_of(self._distance)

    def measure(self, train: Probed, others: Mapping[str, Probed], seed: int) -> dict[str, dict[str, float]]:
        """Metrics of the pictures that are made of each of ``others``."""
        probe = ReconstructionProbe(width=self.width, steps=self.steps, lr=self.lr, seed=seed, device=self._device)
        with torch.enable_grad():
            probe.fit(train.features, train.images)
        return {name: self._figures(probe.predict(one.features), one, seed) for name, one in others.items()}

    def _figures(self, made: Tensor, data: Probed, seed: int) -> dict[str, float]:
        found: dict[str, list[Any]] = {}
        home = float64_device(self._device)
        for part in chunks(len(made), _CHUNK):
            true = read_part(data.images, part).to(home).float() / 255
            for name, values in self._compared(made[part].to(home), true).items():
                found.setdefault(name, []).append(as_array(values))
        figures = {"l1": float(np.concatenate(found.pop("l1")).mean())}
        for name, parts in found.items():
            one = bootstrap_interval(np.concatenate(parts), seed=seed)
            figures |= {name: one.value, f"{name}/low": one.low, f"{name}/high": one.high}
        return figures

    def _compared(self, guess: Tensor, true: Tensor) -> dict[str, Any]:
        """Every metric of pairs of pictures [n, 3, S, S] in 0 to 1: [n]."""
        masks = foreground(guess, self.threshold), foreground(true, self.threshold)
        found = {
            "ssim": ssim(guess, true), "edge_f1": edge_f1(guess, true, tolerance=self.tolerance),
            "spatial_iou": spatial_iou(*masks), "l1": (guess - true).abs().mean((1, 2, 3)),
        }  # fmt: skip
        if self._distance is not None:
            found[self._distance.name] = self._distance(guess, true)
        return found

    def oracle(self, data: Probed, seed: int) -> Any:
        """The pixels under every token, all of them."""
        _, rows, columns, _ = data.features.shape
        return pixel_features(data.images, rows, columns, most=1 << 16)
