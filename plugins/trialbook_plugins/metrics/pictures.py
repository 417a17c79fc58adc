"""Metric ``pictures``."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

import torch

from trialbook import TrialbookError
from trialbook.contracts import CPU, float64_device
from trialbook_plugins.metrics._pictures import by_row, with_interval
from trialbook_plugins.probes.pictures import edge_f1, foreground, spatial_iou, ssim
from trialbook_plugins.probes.rows import Rows

Figure = Literal["ssim", "edge_f1", "spatial_iou"]


class Pictures:
    """The likeness of pictures to what they should be: structural similarity, edges, and where the foreground is.

    ``spatial_iou`` is the IoU of foreground masks of picture and target, each with the same threshold from its own
    background. Each
    metric is a mean over rows with its 95% interval (``<figure>/low``, ``/high``); clips count frame by frame.

    Args:
        device: where pictures are compared; edges are looked for on the CPU.
        figures: which are taken; ``edge_f1`` needs scikit-image.
        threshold: distance of a channel from the background, in shares of its range, that makes a pixel foreground.
        tolerance: pixels by which an edge may be off.

    Raises:
        TrialbookError: an option is out of its range.

    Source: Wang et al. 2004 for SSIM; Canny 1986 for edges. "Spatial IoU" has no standard.
    """

    needs: ClassVar[tuple[str, ...]] = ("pictures", "targets")
    produces: ClassVar[tuple[str, ...]] = ("{figures}", "{figures}/low", "{figures}/high")

    def __init__(
        self,
        device: torch.device = CPU,
        /,
        *,
        figures: list[Figure] = ["ssim", "spatial_iou"],  # noqa: B006 - copied
        threshold: float = 0.2,
        tolerance: int = 2,
    ) -> None:
        if not 0 < threshold < 1 or tolerance < 0:
            raise TrialbookError(
                f"threshold ({threshold}) must be above 0 and below 1, tolerance ({tolerance}) not below 0"
            )
        self._measures = {
            "ssim": ssim,
            "edge_f1": partial(edge_f1, tolerance=tolerance),
            "spatial_iou": lambda a, b: spatial_iou(foreground(a, threshold), foreground(b, threshold)),
        }
        self.figures, self._device = list(figures), float64_device(device)

    def compute(self, *, pictures: Rows, targets: Rows) -> dict[str, float]:
        """Metrics of pictures uint8 [n, T, 3, H, W] and what they should be."""
        found: dict[str, float] = {}
        for name in self.figures:
            found |= with_interval(name, by_row(pictures, targets, self._measures[name], self._device))
        return found
