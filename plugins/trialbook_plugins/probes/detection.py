"""Detection probe in DETR's way: learned queries look at the tokens, and are matched to the objects while they learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trialbook.contracts import CPU, to_device
from trialbook_plugins.probes.boxes import BoxLists, as_boxes, assign, generalized_iou, to_centres, to_corners
from trialbook_plugins.probes.references import check_grid
from trialbook_plugins.probes.rows import Rows, channel_moments, chunks, read_part
from trialbook_plugins.probes.spatial import FoundBoxes

_L1, _GIOU, _NOTHING = 5.0, 2.0, 0.1  # weights of DETR's loss, and of the class "nothing"


class DetectionHead(nn.Module):
    """Queries that attend to each other and to tokens [B, N, D] with their places: class logits and boxes.

    Args:
        dim: width D of the tokens.
        rows: rows of the token grid.
        columns: columns of the token grid.
        classes: number of classes C.
        queries: most objects that can be found.
        width: inner width.
        depth: layers.
        heads: attention heads.

    Source: Carion et al. 2020: decoder, heads and loss; no encoder, so that what is found was in the tokens.
    """

    def __init__(
        self, dim: int, rows: int, columns: int, classes: int, *, queries: int = 10, width: int = 64, depth: int = 2,
        heads: int = 4,
    ) -> None:  # fmt: skip
        super().__init__()
        self.enter = nn.Linear(dim, width)
        self.places = nn.Parameter(torch.randn(rows * columns, width) * 0.02)
        y, x = torch.meshgrid((torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij")
        self.register_buffer("corners", torch.stack([x, y, x * x, y * y], -1).reshape(-1, 4), persistent=False)
        self.where = nn.Linear(4, width)
        self.queries = nn.Parameter(torch.randn(queries, width))
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(width, heads, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.kind = nn.Linear(width, classes + 1)
        self.box = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """[B, N, D] -> logits [B, Q, C + 1], the last of them "nothing", and boxes [B, Q, 4] (centre and size, 0 to 1)."""
        memory = self.enter(tokens) + self.where(self.corners) + self.places
        state = self.queries.expand(len(tokens), -1, -1)
        for layer in self.layers:
            state = layer(state, memory)
        state = self.norm(state)
        return self.kind(state), self.box(state).sigmoid()


def detection_loss(
    logits: Tensor, boxes: Tensor, true_boxes: Sequence[Tensor], true_classes: Sequence[Tensor]
) -> Tensor:
    """Class cross-entropy + 5 L1 + 2 (1 - GIoU) after Hungarian matching by the same costs.

    Args:
        logits: [B, Q, C + 1].
        boxes: [B, Q, 4], centre and size.
        true_boxes: centre and size of each picture's objects [m, 4].
        true_classes: int64 [m].
    """
    wanted = torch.full(logits.shape[:2], logits.shape[2] - 1, dtype=torch.int64, device=logits.device)
    chosen, truths = [], []
    for i, (truth, kinds) in enumerate(zip(true_boxes, true_classes, strict=True)):
        with torch.no_grad():
            apart = torch.cdist(boxes[i], truth, p=1)
            overlap = generalized_iou(to_corners(boxes[i])[:, None], to_corners(truth)[None])
            cost = _L1 * apart - _GIOU * overlap - logits[i].softmax(-1)[:, kinds]
        rows, columns = (index.to(logits.device) for index in assign(cost))
        wanted[i, rows] = kinds[columns]
        chosen.append(boxes[i, rows])
        truths.append(truth[columns])
    weights = torch.ones(logits.shape[2], device=logits.device, dtype=logits.dtype)
    weights[-1] = _NOTHING
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), weight=weights)
    found, truth = torch.cat(chosen), torch.cat(truths)
    count = max(len(truth), 1)
    overlaps = generalized_iou(to_corners(found), to_corners(truth))
    return loss + (_L1 * (found - truth).abs().sum() + _GIOU * (1 - overlaps).sum()) / count


class DetectionProbe:
    """A ``DetectionHead`` that is trained on stored features [n, H, W, D], and its detections.

    Args:
        class_count: number of classes.
        queries: most objects that can be found.
        width: inner width.
        depth: layers.
        steps: optimiser steps.
        batch: pictures of a step.
        lr: learning rate of AdamW, cosine to 0.
        weight_decay: decoupled.
        seed: of the first weights and the order of pictures.
        device: where it is trained.
    """

    def __init__(
        self, class_count: int = 1, *, queries: int = 10, width: int = 64, depth: int = 2, steps: int = 600, batch: int = 16,
        lr: float = 1e-3, weight_decay: float = 1e-4, seed: int = 0, device: torch.device = CPU,
    ) -> None:  # fmt: skip
        self.class_count, self.seed, self.device = class_count, seed, device
        self.size = {"queries": queries, "width": width, "depth": depth}
        self.steps, self.batch, self.lr, self.weight_decay = steps, batch, lr, weight_decay
        self._head: DetectionHead | None = None
        self._moments: tuple[Tensor, Tensor] | None = None

    def fit(self, features: Rows, boxes: BoxLists, classes: Sequence[Any] | None = None) -> DetectionProbe:
        """Learn from pictures, their boxes (corners, shares of the picture) and the class of each box; one class if None."""
        n, rows, columns, width = check_grid(features)
        truths = [to_centres(as_boxes(one)).float().to(self.device) for one in boxes]
        kinds = [torch.zeros(len(one), dtype=torch.int64, device=self.device) if classes is None
                 else torch.tensor(list(classes[i]), dtype=torch.int64, device=self.device)
                 for i, one in enumerate(truths)]  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self._head = DetectionHead(width, rows, columns, self.class_count, **self.size).to(self.device)
        self._moments = to_device(channel_moments(features), self.device)
        optimiser = torch.optim.AdamW(self._head.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps)
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.empty(0, dtype=torch.int64)
        for _ in range(self.steps):
            if len(order) < min(self.batch, n):
                order = torch.randperm(n, generator=generator)
            chosen, order = order[: self.batch].sort().values, order[self.batch :]
            logits, found = self._head(self._tokens(features, chosen.numpy()))
            loss = detection_loss(logits, found, [truths[i] for i in chosen], [kinds[i] for i in chosen])
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self._head.parameters(), 1.0)
            optimiser.step()
            rates.step()
        return self

    @torch.no_grad()
    def predict(self, features: Rows) -> FoundBoxes:
        """Every query's box with its likeliest class, best first; scores are the probabilities of that class."""
        if self._head is None:
            raise RuntimeError("fit the probe first")
        n, *_ = check_grid(features)
        found = FoundBoxes([], [], [])
        for part in chunks(n, 64):
            logits, boxes = self._head.eval()(self._tokens(features, part))
            scores, kinds = logits.softmax(-1)[..., :-1].max(-1)
            for one, score, kind in zip(to_corners(boxes), scores, kinds, strict=True):
                order = score.argsort(descending=True, stable=True)
                found.boxes.append(one[order].cpu().double())
                found.scores.append(score[order].cpu().double())
                found.classes.append(kind[order].cpu())
        return found

    def _tokens(self, features: Rows, chosen: Any) -> Tensor:
        mean, scale = self._moments or to_device(channel_moments(features), self.device)
        tokens: Tensor = to_device(read_part(features, chosen), self.device).float().flatten(1, 2)
        return (tokens - mean) / scale
