"""Looking at modules during one forward pass: what they put out, and where their attention goes.

Hooks stand for one pass only. Attention is seen where it is computed: ``scaled_dot_product_attention`` and ``softmax`` of
``torch.nn.functional`` are replaced by functions that look at the arguments and call the original. Nothing that is computed
changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Samples and queries of an attention that are looked at.
_SAMPLES, _QUERIES, _HEADS = 4, 64, 16
#: Samples whose outputs are compared, and numbers of a sample that are (an even choice of more).
_SPREAD, _COMPARED = 16, 1 << 20
#: Modules that put out what they take in.
_SILENT = (nn.Identity, nn.Dropout)


class ActivationHooks:
    """Hooks that see the modules below ``root`` in one forward pass.

    Args:
        root: the trained module; names are relative to it.
    """

    def __init__(self, root: nn.Module) -> None:
        self.root = root
        self._outputs: dict[str, tuple[str, int, Tensor]] = {}
        self._attention: dict[str, list[tuple[int, Tensor]]] = {}
        self._within: list[str] = []

    @contextmanager
    def during(self) -> Iterator[None]:
        """Look at the forward passes made inside."""
        handles = []
        for name, module in self.root.named_modules():
            if not name or isinstance(module, nn.ModuleDict | nn.ModuleList):
                continue
            handles.append(module.register_forward_pre_hook(self._entering(name)))
            handles.append(module.register_forward_hook(self._leaving(name), always_call=True))
        attend, softmax = F.scaled_dot_product_attention, F.softmax
        F.scaled_dot_product_attention = self._seen_attention(attend)
        F.softmax = self._seen_softmax(softmax)
        try:
            yield
        finally:
            F.scaled_dot_product_attention, F.softmax = attend, softmax
            for handle in handles:
                handle.remove()

    def modules(self) -> dict[str, dict[str, Any]]:
        """Module without children -> type, units, dead, spread, largest; see ``trialbook.doctor.evidence``."""
        if not self._outputs:
            return {}
        numbers = torch.stack([values for _, _, values in self._outputs.values()]).tolist()
        return {
            name: {"type": kind, "units": units, "dead": dead, "spread": spread, "largest": largest}
            for (name, (kind, units, _)), (dead, spread, largest) in zip(self._outputs.items(), numbers, strict=True)
        }

    def attention(self) -> dict[str, dict[str, Any]]:
        """Module that attends -> entropy, lowest, highest (of its heads), keys."""
        found = {}
        for name, calls in self._attention.items():
            heads = torch.stack([torch.stack((h.mean(), h.min(), h.max())) for _, h in calls]).mean(dim=0).tolist()
            entropy, lowest, highest = heads
            found[name] = {"entropy": entropy, "lowest": lowest, "highest": highest, "keys": calls[0][0]}
        return found

    def _entering(self, name: str) -> Callable[[nn.Module, Any], None]:
        def hook(module: nn.Module, inputs: Any) -> None:
            self._within.append(name)

        return hook

    def _leaving(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if self._within:
                self._within.pop()
            first = output[0] if isinstance(output, tuple) and output else output
            alone = next(module.children(), None) is None and not isinstance(module, _SILENT)
            if alone and isinstance(first, Tensor) and first.is_floating_point() and first.ndim and first.numel():
                self._outputs[name] = (type(module).__name__, first.shape[-1], _describe(first.detach()))

        return hook

    def _seen_attention(self, attend: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def seen(query: Tensor, key: Tensor, *more: Any, **named: Any) -> Tensor:
            with torch.no_grad():
                self._note(_weights(query.detach(), key.detach(), *more[1:], **named))
            return attend(query, key, *more, **named)

        return seen

    def _seen_softmax(self, softmax: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def seen(values: Tensor, dim: int | None = None, *more: Any, **named: Any) -> Tensor:
            weights = softmax(values, dim, *more, **named)
            if dim in (-1, values.ndim - 1) and values.ndim >= 3:
                some = _SAMPLES if values.ndim > 3 else _SAMPLES * _HEADS  # [B, K, N, M], or [B * K, N, M]
                with torch.no_grad():
                    self._note(weights.detach()[:some, ..., :_QUERIES, :].float())
            return weights

        return seen

    def _note(self, weights: Tensor) -> None:
        """Keep the entropy of attention weights [B, (K,) N, M] for each head."""
        if not self._within or weights.shape[-1] < 2:
            return
        open_to = (weights > 0).sum(dim=-1)
        entropy = -(weights * weights.clamp(min=1e-30).log()).sum(dim=-1)
        share = entropy / open_to.clamp(min=2).log()
        heads = share.mean(dim=(0, -1)) if share.ndim == 3 else share.mean().reshape(1)
        self._attention.setdefault(self._within[-1], []).append((weights.shape[-1], heads))


def _describe(output: Tensor) -> Tensor:
    """Share of units [U] that are 0 throughout, standard deviation over the batch, largest absolute value."""
    output = output if output.ndim > 1 else output.reshape(-1, 1)
    low, high = output.reshape(-1, output.shape[-1]).aminmax(dim=0)  # no copy: logits of a large model have gigabytes
    dead = ((low == 0) & (high == 0)).float().mean()
    batch = output[:_SPREAD]
    if batch[0].numel() > _COMPARED:
        batch = batch.flatten(1)[:, :: batch[0].numel() // _COMPARED]
    batch = batch.float()
    spread = (batch - batch.mean(dim=0)).square().mean(dim=0).sqrt().mean()
    return torch.stack((dead, spread, torch.maximum(low.abs(), high.abs()).max().float()))


def _weights(
    query: Tensor, key: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, is_causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """Attention weights [B, K, N, M] of a few samples and queries, as the function itself computes them."""
    length, keys = query.shape[-2], key.shape[-2]
    places = torch.linspace(0, length - 1, min(length, _QUERIES), device=query.device).long()
    q, k = query[:_SAMPLES].float().index_select(-2, places), key[:_SAMPLES].float()
    if enable_gqa:
        k = k.repeat_interleave(q.shape[-3] // k.shape[-3], dim=-3)
    scores = q @ k.transpose(-2, -1) * (scale if scale is not None else 1 / math.sqrt(query.shape[-1]))
    if is_causal:
        scores = scores.masked_fill(torch.arange(keys, device=query.device) > places[:, None], -math.inf)
    if attn_mask is not None:
        mask = attn_mask.expand(*attn_mask.shape[:-2], length, keys).index_select(-2, places)
        mask = mask[:_SAMPLES] if mask.ndim == scores.ndim and len(mask) > 1 else mask
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask.float()
    return torch.nan_to_num(scores.softmax(dim=-1))
