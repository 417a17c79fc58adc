"""Encoder ``pooled``: another encoder's tokens, averaged to one."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from trialbook.contracts import Features, Prepared
from trialbook.contracts.datasets import Raw


class Pooled(nn.Module):
    """Mean of the real tokens that another encoder gives: [B, N, D] -> [B, 1, D].

    With it a text that is embedded once (task ``embed``) and one that is embedded in every step are the same to all that follows.

    Args:
        of: the encoder; its table stands in ``of``.

    Source: mean pooling over real tokens, as Reimers and Gurevych 2019 (Sentence-BERT), section 3.
    """

    accepts = ("image", "text", "vector", "series", "events")
    parts = {"of": "encoder"}

    def __init__(self, of: nn.Module, /) -> None:
        super().__init__()
        self.of = of
        self.dim: int = of.dim  # type: ignore[assignment]

    def identity(self) -> Mapping[str, str]:
        """Return what the other encoder's tokens depend on beside its weights."""
        return dict(self.of.identity()) if hasattr(self.of, "identity") else {}  # type: ignore[operator]

    def prepare(self, raw: Raw) -> Prepared:
        """As the other encoder does."""
        return self.of.prepare(raw)  # type: ignore[operator]

    def forward(self, prepared: Prepared) -> Features:
        """Prepared rows to one token each."""
        return Features(Features(*self.of(prepared)).mean().unsqueeze(1))
