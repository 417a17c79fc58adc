"""Loss ``hard-negatives``."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trialbook.contracts.datasets import Modality
from trialbook.contracts.distributed import gather_with_grad
from trialbook_plugins.losses._duplicates import equal_rows, excluded
from trialbook_plugins.losses._pairs import of_units
from trialbook_plugins.losses._scale import add_scale, clamp_scale, scale_stats


class HardNegatives(nn.Module):
    """InfoNCE with more negatives: what went before in the other modality, kept in a queue; false negatives are left out.

    Each row looks for its partner among the batch and the rows of the queue. The queue holds the newest samples that were
    trained on, normalised and without gradient, for every modality; the oldest make room. Samples that are equal (in the
    content of either modality, or in class) are no negatives of one another, neither in the batch nor in the queue. With more
    than two modalities, the mean over their pairs. The batch is that of all ranks. The queue is part of checkpoints.

    In evaluation the queue is left alone: the loss of a split is that of the batch, whatever was trained on before.

    For the doctor it tells the same as ``info-nce``, with the geometric mean of the candidates of a row in place of the batch;
    ``random`` only where all of the queue counts.

    Args:
        modalities: of the task; the queue has a place for each.
        dim: width of the embeddings.
        queue: samples that are kept; 0 for none.
        hardest: how many rows of the queue count for each row: those closest to it; 0 for all.
        duplicates: what becomes of samples that are equal: ``"excluded"``, or ``"negatives"`` like all others.
        same: what makes samples equal: ``"content"`` (the same caption, the same recording) or ``"class"``, which lets the
            labels of the training data into training.
        warm_up: use the queue only once it is full; if false, what it holds counts from the second step on.
        temperature: the logits are cosines divided by it; where ``learn_scale`` is true, at the start.
        learn_scale: learn the logarithm of the scale (1 / temperature), kept in [0, ln 100] after every step.

    Raises:
        ValueError: ``queue`` or ``hardest`` is below 0, ``hardest`` is above ``queue``, ``temperature`` is not above 0, or is
            to be learned and outside [0.01, 1].

    Source: MoCo (He et al. 2020, section 3.2) for the queue, here of the trained encoders themselves, as the memory bank of
    Wu et al. 2018 and the cross-batch memory of Wang et al. 2020 (section 3.2) have it; CLIP, section 2.5, for the rest.
    Computed in float32 under mixed precision.
    """

    needs: ClassVar[tuple[str, ...]] = ("embeddings", "content")
    produces: ClassVar[tuple[str, ...]] = ("logit_scale", "queue_filled", "excluded")
    log_scale: Tensor
    rows: Tensor
    numbers: Tensor
    seen: Tensor

    def __init__(
        self, modalities: Mapping[str, Modality], dim: int, /, *, queue: int = 1024, hardest: int = 0,
        duplicates: Literal["excluded", "negatives"] = "excluded", same: Literal["content", "class"] = "content",
        warm_up: bool = True, temperature: float = 0.07, learn_scale: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if queue < 0:
            raise ValueError(f"queue ({queue}) must be at least 0")
        if not 0 <= hardest <= queue:
            raise ValueError(f"hardest ({hardest}) must be from 0 to queue ({queue})")
        add_scale(self, temperature, learn_scale)
        self.queue, self.hardest, self.duplicates, self.warm_up = queue, hardest, duplicates, warm_up
        self.needs = ("embeddings", "content" if same == "content" else "classes")  # type: ignore[misc]
        self._place = {name: place for place, name in enumerate(modalities)}
        self.register_buffer("rows", torch.zeros(len(self._place), queue, dim))
        self.register_buffer("numbers", torch.zeros(len(self._place), queue, dtype=torch.int64))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))  # samples that have ever entered
        self._last: tuple[int, int, Tensor, Tensor] | None = None

    def forward(
        self, *, embeddings: Mapping[str, Tensor], content: Mapping[str, Tensor] | None = None,
        classes: Mapping[str, Tensor] | None = None,
    ) -> Tensor:  # fmt: skip
        """Modality name to rows [B, D], not normalised, and to numbers [B] of their content or class -> scalar."""
        known = {name: gather_with_grad(numbers) for name, numbers in (content or classes or {}).items()}
        return of_units(embeddings, lambda units: self._of_units(units, known))

    def _of_units(self, units: Mapping[str, Tensor], known: Mapping[str, Tensor]) -> Tensor:
        size = self.queue if self.training else 0
        rows = self.rows[:, :size].clone()  # the queue moves on before the backward pass
        numbers = self.numbers[:, :size].clone()
        filled = torch.arange(size, device=rows.device) < self.seen
        counts = filled & (self.seen >= size) if self.warm_up else filled
        values, candidates, left_out = [], [], []
        for a, b in combinations(units, 2):
            own, places = (known[a], known[b]), [self._place[a], self._place[b]]
            same, stale = equal_rows(own, own), equal_rows(own, [numbers[place] for place in places])
            if self.duplicates == "negatives":
                same, stale = torch.eye(len(same), dtype=torch.bool, device=same.device), torch.zeros_like(stale)
            left_out.append(same.sum(dim=1) - 1 + (stale & counts).sum(dim=1))
            logits = excluded(self.log_scale.exp() * units[a] @ units[b].T, same)
            ways = [(logits, units[a], places[1]), (logits.T, units[b], places[0])]
            for near, queries, place in ways:
                far = self._with_queue(near, queries, rows[place], stale | ~counts)
                candidates.append(far.detach().isfinite().sum(dim=1))
                values.append(F.cross_entropy(far, torch.arange(len(far), device=far.device)))
        self._last = (*next(iter(units.values())).shape, torch.cat(candidates), torch.cat(left_out))
        if size:
            self._enqueue(units, known)
        return torch.stack([(one + other) / 2 for one, other in zip(values[::2], values[1::2], strict=True)]).mean()

    def _with_queue(self, logits: Tensor, queries: Tensor, rows: Tensor, without: Tensor) -> Tensor:
        """Logits [B, B] of the batch with those of the queue [Q, D] behind them, where they are not ``without`` [B, Q]."""
        if not len(rows):
            return logits
        more = (self.log_scale.exp() * queries @ rows.to(queries.dtype).T).masked_fill(without, -torch.inf)
        if self.hardest and self.hardest < more.shape[1]:
            more = more.topk(self.hardest, dim=1).values
        return torch.cat([logits, more], dim=1)

    @torch.no_grad()
    def _enqueue(self, units: Mapping[str, Tensor], known: Mapping[str, Tensor]) -> None:
        """Put a batch into the queue, over the oldest."""
        count = min(len(next(iter(units.values()))), self.queue)
        at = (self.seen + torch.arange(count, device=self.seen.device)) % self.queue
        for name, place in self._place.items():
            self.rows[place, at] = units[name][-count:].to(self.rows.dtype)
            self.numbers[place, at] = known[name][-count:]
        self.seen += count

    def report(self) -> Mapping[str, float | Tensor]:
        """The scale, samples in the queue, and how many equal samples were left out for a row, in the mean."""
        left_out = 0.0 if self._last is None else self._last[3].float().mean()
        filled = self.seen.clamp(max=self.queue).float()
        return {"logit_scale": self.log_scale.detach().exp(), "queue_filled": filled, "excluded": left_out}

    def stats(self) -> Mapping[str, float]:
        """Rows of the last batch, what the loss is for embeddings that know nothing, and the scale with its bounds."""
        if self._last is None:
            return {}
        rows, dim, candidates, _ = self._last
        facts = scale_stats(self.log_scale, rows, dim, candidates.double().log().mean().exp().item())
        return {key: value for key, value in facts.items() if key != "random" or not self.hardest}

    def after_step(self) -> None:
        """Keep a learned scale between 1 and 100."""
        clamp_scale(self.log_scale)
