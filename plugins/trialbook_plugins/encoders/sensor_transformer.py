"""Encoder ``sensor-transformer``: a small transformer over patches of series or events of logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from trialbook import TrialbookError
from trialbook.contracts import Features, Reconstruction, to_device
from trialbook.contracts.datasets import Modality, Raw
from trialbook_plugins.projectors.pooling import Pool, make_pool

from ._sensor_tokens import EventRows, EventTokens, Reconstructor, SeriesRows, SeriesTokens
from ._transformer import Transformer, prepend


class SensorTransformer(nn.Module):
    """A pre-norm transformer over windows of sensor data, which may be of different lengths; padding changes nothing.

    A series is cut into patches that are mapped by one linear layer. An event is the sum of vectors of its sensor, its state, the
    number that it brings, and its times: since the window began, since the event before (logarithms), and of day. Places are told
    by sines and cosines. Gives one token, pooled, or with ``pool = "none"`` a token for each patch or event. It can be asked what
    stands in hidden tokens (``masked-modelling``): of events it is told when they happened, of patches where they are.

    Args:
        modality: of kind ``series``, of one length or many, or ``events``.
        patch: samples of a patch, for series.
        width: width D of the tokens.
        depth: number of transformer blocks.
        heads: attention heads; must divide ``width``.
        mlp_ratio: hidden width of the blocks' networks, over ``width``.
        dropout: share of values dropped in training.
        pool: ``"mean"`` of the tokens, ``"class"`` for a learned token before them, ``"attention"`` of a learned query, or
            ``"none"``.
        max_length: patches or events of a row at most; longer rows are cut at the end.

    Raises:
        TrialbookError: ``heads`` does not divide ``width``, or a value is out of its range.

    Source: patches of Nie et al. 2023 (PatchTST), section 3.1, all channels in one patch; blocks of Dosovitskiy et al. 2021;
    places of Vaswani et al. 2017, section 3.5. Deviations from PatchTST: channels are not kept apart, LayerNorm instead of
    BatchNorm.
    """

    accepts: ClassVar[tuple[str, ...]] = ("series", "events")

    def __init__(
        self,
        modality: Modality,
        /,
        *,
        patch: int = 8,
        width: int = 128,
        depth: int = 3,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        pool: Pool = "mean",
        max_length: int = 512,
    ) -> None:
        super().__init__()
        if max_length < 1:
            raise TrialbookError(f"max_length ({max_length}) must be at least 1")
        if width % 2:
            raise TrialbookError(f"width ({width}) must be even")
        self.dim = width
        self.transformer = Transformer(width, depth, heads, mlp_ratio, dropout)
        self.reader: SeriesTokens | EventTokens = (
            EventTokens(modality, width, max_length)
            if modality.kind == "events"
            else SeriesTokens(modality, width, patch, max_length)
        )
        self.max_length = 1 if pool != "none" else self.reader.count or max_length
        self.class_token = nn.Parameter(0.02 * torch.randn(1, 1, width)) if pool == "class" else None
        self.pool = make_pool(pool, width, heads)
        self.pools = pool != "none"
        self.dropout = nn.Dropout(dropout)

    def prepare(self, raw: Raw) -> SeriesRows | EventRows:
        """Rows of any lengths, filled up with 0 to the longest of them."""
        return self.reader.prepare(raw)

    def forward(self, prepared: SeriesRows | EventRows) -> Features:
        """Prepared rows [B, …] -> [B, 1, D], or [B, N, D] with a mask without pooling."""
        tokens, mask = self._encode(prepared)
        if not self.pools:
            return Features(tokens, mask)
        return Features(self.pool(tokens, mask))

    def _encode(
        self, prepared: SeriesRows | EventRows, hidden: Tensor | None = None, stand_in: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Tokens [B, N, D] with their mask, the class token first; ``stand_in`` [D] is in place of what is ``hidden`` [B, N]."""
        tokens, told = self.reader(prepared)
        mask = to_device(self.real_tokens(prepared), tokens.device)
        if hidden is not None:
            tokens = torch.where(hidden[..., None], stand_in, tokens)
        tokens = tokens + _places(tokens.shape[1], self.dim, tokens)
        if told is not None:
            tokens = tokens + told
        tokens, mask = prepend(self.class_token, tokens, mask)
        seen = None if self.reader.count else mask  # nothing is padded where all rows are of one length
        return self.transformer(self.dropout(tokens), seen), mask

    def reconstructor(self) -> nn.Module:
        """A stand-in for hidden tokens, and heads for what they are."""
        return Reconstructor(self.dim, self.reader.sizes())

    def real_tokens(self, prepared: SeriesRows | EventRows) -> Tensor:
        """Return which patches or events are no padding: [B, N], on the CPU."""
        return self.reader.mask(prepared)  # type: ignore[arg-type]  # rows and reader are of one kind

    def reconstruct(
        self, prepared: SeriesRows | EventRows, hidden: Tensor, reconstructor: nn.Module
    ) -> Mapping[str, Reconstruction]:
        """Values of patches, or sensors and states of events, from the tokens that are not ``hidden`` [B, N]."""
        assert isinstance(reconstructor, Reconstructor)
        tokens, _ = self._encode(prepared, hidden, reconstructor.token)
        tokens = tokens[:, int(self.class_token is not None) :]
        predicted = {name: head(tokens) for name, head in reconstructor.heads.items()}
        return self.reader.reconstructions(prepared, predicted)  # type: ignore[arg-type]


def _places(count: int, width: int, like: Tensor) -> Tensor:
    """Sines and cosines of the places 0 … count - 1 at falling frequencies: [N, D]."""
    frequencies = 10_000.0 ** (-torch.arange(0, width, 2, device=like.device) / width)
    angles = torch.arange(count, device=like.device)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1).to(like.dtype)
