"""Continuing rows of embeddings: transformers' own loop and cache, with the choice of tokens made here.

On a GPU one token is waited for at a time: transformers asks after each whether every row has ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from trialbook_plugins.hub import import_transformers

_ONE_AT_A_TIME = Lock()
"""Held while transformers' table of masks, which all threads share, is another one."""


class _Choice:
    """Chooses the next token of every row and notes it with its log-probability; a logits processor of transformers.

    A row is drawn with the same random numbers whatever rows stand beside it, from a generator of its own, on the CPU: they are
    the same on every device.
    """

    def __init__(self, temperature: float, top_p: float, seed: int) -> None:
        self.temperature, self.top_p = temperature, top_p
        self.generator = torch.Generator().manual_seed(seed)
        self.tokens: list[Tensor] = []
        self.logprobs: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B, V] that leave the chosen token alone."""
        scores = scores.float()
        chosen = (self._drawn(scores) if self.temperature > 0 else scores.argmax(dim=-1))[:, None]
        self.tokens.append(chosen[:, 0])
        self.logprobs.append(scores.log_softmax(dim=-1).gather(1, chosen)[:, 0])
        return torch.full_like(scores, -torch.inf).scatter(1, chosen, 0.0)

    def _drawn(self, scores: Tensor) -> Tensor:
        """Tokens [B] by inversion: the first whose summed probability, from the likeliest on, passes a uniform number.

        Source: nucleus sampling of Holtzman et al. 2020, section 3.1.
        """
        probabilities, order = (scores / self.temperature).softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
        sums = probabilities.cumsum(dim=-1)
        kept = sums - probabilities < self.top_p  # the first always, and those that are needed to reach top_p
        reach = (sums * kept).amax(dim=-1, keepdim=True)
        uniform = torch.rand(1, generator=self.generator).item()
        place = (sums <= uniform * reach).sum(dim=-1, keepdim=True)
        return order.gather(1, place.clamp(max=scores.shape[1] - 1))[:, 0]


def continue_rows(
    model: Any, embeds: Tensor, mask: Tensor, stops: Sequence[int], *, max_new_tokens: int, temperature: float,
    top_p: float, seed: int,
) -> tuple[list[list[int]], list[list[float]]]:  # fmt: skip
    """New tokens of every row, up to and with the first of ``stops``, and their log-probabilities.

    Args:
        model: a causal language model of transformers.
        embeds: [B, L, D], in its number format.
        mask: [B, L], bool; at least one real token a row.
        stops: ids that end a row.
        max_new_tokens: of a row, at least 1.
        temperature: 0 takes the likeliest token.
        top_p: share of probability that is drawn from.
        seed: of the drawing.
    """
    embeds, mask, padded = _left_padded(embeds, mask)
    choice = _Choice(temperature, top_p, seed)
    transformers = import_transformers()
    config = transformers.GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=False, use_cache=True, eos_token_id=list(stops), pad_token_id=stops[0]
    )
    unasked = _masks_unasked() if padded and embeds.device.type != "cpu" else nullcontext()
    with _evaluating(model), unasked, torch.no_grad():
        model.generate(
            inputs_embeds=embeds, attention_mask=mask.long(), generation_config=config,
            logits_processor=transformers.LogitsProcessorList([choice]),
        )  # fmt: skip
    tokens, logprobs = torch.stack(choice.tokens, dim=1).tolist(), torch.stack(choice.logprobs, dim=1).tolist()
    lengths = [next((i + 1 for i, token in enumerate(row) if token in stops), len(row)) for row in tokens]
    cut = [row[:length] for row, length in zip(tokens, lengths, strict=True)]
    return cut, [row[:length] for row, length in zip(logprobs, lengths, strict=True)]


def _left_padded(embeds: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, bool]:
    """The same rows with their real tokens at the end, no longer than the longest, and whether any is shorter."""
    lengths = mask.sum(dim=1).tolist()
    longest = max(lengths)
    order = mask.long().argsort(dim=1, stable=True)[:, -longest:]
    mask = mask.gather(1, order)
    embeds = embeds.gather(1, order[..., None].expand(-1, -1, embeds.shape[2]))
    return embeds * mask[..., None], mask, min(lengths) < longest


@contextmanager
def _masks_unasked() -> Iterator[None]:
    """Within, transformers makes masks of padded rows without asking the device, at every token, whether any is padded."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS as functions

    def unasked(*args: Any, **named: Any) -> Any:
        return asking(*args, **{**named, "allow_is_causal_skip": False})

    with _ONE_AT_A_TIME:
        asking = functions["sdpa"]
        functions["sdpa"] = unasked
        try:
            yield
        finally:
            functions["sdpa"] = asking


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Without dropout, whatever mode the parts are in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
