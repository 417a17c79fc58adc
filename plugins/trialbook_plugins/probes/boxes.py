"""Boxes as x0, y0, x1, y1 in shares of the picture: overlaps, matching, and their footprints on a grid of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trialbook.contracts import Probed

#: Boxes of each picture: [n_i, 4].
BoxLists = Sequence[NDArray[Any] | Tensor]


def as_boxes(boxes: NDArray[Any] | Tensor) -> Tensor:
    """Float64 [n, 4]."""
    if isinstance(boxes, Tensor):
        return boxes.double().reshape(-1, 4)
    return torch.from_numpy(np.array(boxes, dtype=np.float64)).reshape(-1, 4)


def scored_boxes(boxes: BoxLists, scores: Sequence[Any]) -> list[Tensor]:
    """Boxes of every picture, float64 [n, 4]; NaN where the score [n] is NaN, so that they match nothing."""
    found = []
    for own, score in zip(boxes, scores, strict=True):
        known = torch.as_tensor(score, dtype=torch.float64, device="cpu").isnan().logical_not()
        found.append(torch.where(known[:, None], as_boxes(own).cpu(), torch.nan))
    return found


def classed(data: Probed) -> Probed:
    """The same data without the boxes that have no class (a negative one)."""
    kept = [np.asarray(kinds) >= 0 for kinds in data.labels["classes"]]
    if all(one.all() for one in kept):
        return data
    both = {
        name: [np.asarray(values)[keep] for values, keep in zip(data.labels[name], kept, strict=True)]
        for name in ("boxes", "classes")
    }
    return data._replace(labels={**data.labels, **both})


def areas(boxes: Tensor) -> Tensor:
    """Areas [...]; 0 where an edge is beyond its opposite."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes [..., 4] that broadcast; 0 where both are empty."""
    inner = areas(torch.cat([torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])], dim=-1))
    union = areas(a) + areas(b) - inner
    return inner / union.clamp(min=torch.finfo(union.dtype).tiny)


def generalized_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU less the share of the enclosing box that neither covers: -1 to 1 (Rezatofighi et al. 2019)."""
    low, high = torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])
    inner = areas(torch.cat([torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])], dim=-1))
    union = areas(a) + areas(b) - inner
    around = (high - low).clamp(min=0).prod(-1)
    tiny = torch.finfo(union.dtype).tiny
    return inner / union.clamp(min=tiny) - (around - union) / around.clamp(min=tiny)


def to_corners(boxes: Tensor) -> Tensor:
    """Centre and size (cx, cy, w, h) to corners (x0, y0, x1, y1), [..., 4]."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def to_centres(boxes: Tensor) -> Tensor:
    """Corners to centre and size, [..., 4]."""
    return torch.cat([(boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]], dim=-1)


def assign(cost: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of the cheapest one-to-one assignment of a cost matrix [a, b] (Kuhn 1955)."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(cost.detach().cpu().numpy())
    return torch.from_numpy(rows).long(), torch.from_numpy(columns).long()


@dataclass(frozen=True)
class BoxScores:
    """The scores of boxes that were found, each true box matched to one predicted box of its picture.

    Args:
        iou: IoU of every true box, 0 where none is left for it: [m], in the order of the pictures.
        picture: picture of every true box [m]: the cluster of an interval.
        predicted: number of predicted boxes over all pictures.
    """

    iou: NDArray[np.float64]
    picture: NDArray[np.int64]
    predicted: int

    def recall(self, threshold: float = 0.5) -> float:
        """Share of true boxes that were found with at least this IoU."""
        return float((self.iou >= threshold).mean()) if len(self.iou) else float("nan")

    def precision(self, threshold: float = 0.5) -> float:
        """Share of predicted boxes that match a true one with at least this IoU."""
        return float((self.iou >= threshold).sum() / self.predicted) if self.predicted else 0.0


def match_boxes(
    predicted: BoxLists,
    true: BoxLists,
    predicted_classes: Sequence[Any] | None = None,
    true_classes: Sequence[Any] | None = None,
) -> BoxScores:
    """Hungarian matching by IoU in every picture, whatever the order of boxes; a box with a NaN matches nothing.

    Args:
        predicted: boxes of every picture.
        true: boxes of every picture.
        predicted_classes: class of every predicted box; with ``true_classes`` only boxes of one class match.
        true_classes: class of every true box.
    """
    found: list[NDArray[np.float64]] = []
    for i, (guess, truth) in enumerate(zip(predicted, true, strict=True)):
        guess, truth = as_boxes(guess), as_boxes(truth)
        best = np.zeros(len(truth))
        overlap = iou(guess[:, None], truth[None]).nan_to_num(0.0)
        if predicted_classes is not None and true_classes is not None:
            same = np.asarray(predicted_classes[i])[:, None] == np.asarray(true_classes[i])[None]
            overlap = overlap * torch.from_numpy(same)
        rows, columns = assign(-overlap)
        best[columns.numpy()] = overlap[rows, columns].numpy()
        found.append(best)
    pictures = np.repeat(np.arange(len(found)), [len(one) for one in found])
    return BoxScores(np.concatenate(found) if found else np.zeros(0), pictures, sum(len(one) for one in predicted))


def coverage(boxes: NDArray[Any] | Tensor, rows: int, columns: int) -> Tensor:
    """Share of every cell of a grid that each box covers: boxes [n, 4] -> [n, rows, columns], float64."""
    boxes = as_boxes(boxes)

    def along(low: Tensor, high: Tensor, cells: int) -> Tensor:
        edges = torch.arange(cells + 1, dtype=torch.float64) / cells
        inner = torch.minimum(high[:, None], edges[1:]) - torch.maximum(low[:, None], edges[:-1])
        return (inner * cells).clamp(0, 1)

    x, y = along(boxes[:, 0], boxes[:, 2], columns), along(boxes[:, 1], boxes[:, 3], rows)
    return y[:, :, None] * x[:, None, :]


def occupancy(boxes: NDArray[Any] | Tensor, rows: int, columns: int, classes: Any = None, count: int = 1) -> Tensor:
    """Share of every cell that boxes cover [channels, rows, columns]: one channel, or one for each of ``count`` classes."""
    covered = coverage(boxes, rows, columns)
    found = torch.zeros(count if classes is not None else 1, rows, columns, dtype=torch.float64)
    kinds = np.zeros(len(covered), dtype=np.int64) if classes is None else np.asarray(classes)
    for one, kind in zip(covered, kinds.tolist(), strict=True):
        found[kind] = torch.maximum(found[kind], one)
    return found
