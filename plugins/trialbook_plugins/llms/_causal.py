"""The common base of all causal language models here: embeddings in, logits or text out."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trialbook import TrialbookError
from trialbook.contracts import Generated, Piece
from trialbook.contracts.conversations import Turn

from ._adapters import save_merged
from ._generate import continue_rows
from ._template import ChatTemplate, Template


class CausalLM(nn.Module):
    """A causal language model of transformers behind :class:`trialbook.contracts.LanguageModel`.

    Embeddings enter where those of tokens do: behind the scaling that Gemma has, before learned positions where there are any.

    Args:
        model: of transformers, with its weights.
        tokenizer: of transformers.
        template: ``"model"`` or ``"plain"``.
        name: of the model, for errors.
    Raises:
        TrialbookError: the model needs the ids of tokens beside their embeddings, or the template is of no use.
    """

    def __init__(self, model: Any, tokenizer: Any, template: Template, name: str) -> None:
        super().__init__()
        self.model, self.name = model, name
        self.dim: int = model.get_input_embeddings().weight.shape[1]
        self.context: int = int(getattr(model.config.get_text_config(), "max_position_embeddings", 0) or 0)
        self.use_tokenizer(tokenizer, template, name)
        taken = inspect.signature(model.forward).parameters
        self._takes_positions, self._takes_wanted = "position_ids" in taken, "logits_to_keep" in taken
        if "inputs_embeds" not in taken:
            raise TrialbookError(f"model '{name}' ({type(model).__name__}) takes no embeddings in place of tokens")
        # What a checkpoint says of generation (sampling, penalties) must not creep into an evaluation.
        self._generation, model.generation_config = model.generation_config, type(model.generation_config)()

    def use_tokenizer(self, tokenizer: Any, template: Template, name: str) -> None:
        """Write conversations with this tokenizer from now on."""
        self.tokenizer = tokenizer
        self.template = ChatTemplate(tokenizer, template, name)

    @property
    def adapted(self) -> bool:
        """True if it has adapters, which can be saved by themselves."""
        return False

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the embeddings."""
        found: torch.dtype = self.model.get_input_embeddings().weight.dtype
        return found

    def render(self, turns: Sequence[Turn], images: int, *, answer: bool) -> list[Piece]:
        """Turns as pieces; numbers of images ascend from the first piece to the last, those that no turn places come first."""
        return self.template.render(turns, images, answer=answer)

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids [B, L] to input embeddings [B, L, D]."""
        embeds: Tensor = self.model.get_input_embeddings()(ids)
        return embeds

    def forward(self, embeds: Tensor, mask: Tensor, wanted: Tensor | None = None) -> Tensor:
        """Embeddings [B, L, D] with mask [B, L] to logits [B, L or P, V], in the model's number format."""
        given: dict[str, Any] = {"attention_mask": mask.long(), "use_cache": False}
        if self._takes_positions:
            given["position_ids"] = (mask.long().cumsum(dim=1) - 1).clamp(min=0)
        if wanted is not None and self._takes_wanted:
            given["logits_to_keep"] = wanted
        logits: Tensor = self.model(inputs_embeds=embeds.to(self.dtype), **given).logits
        return logits if wanted is None or self._takes_wanted else logits[:, wanted]

    def generate(
        self, embeds: Tensor, mask: Tensor, *, max_new_tokens: int, temperature: float = 0.0, top_p: float = 1.0,
        seed: int = 0,
    ) -> list[Generated]:  # fmt: skip
        """Continue every row; what comes of a row does not depend on the rows beside it, but for the rounding of sums.

        Raises:
            TrialbookError: a value is out of its range, a row has no token, or the longest has no room for the new ones.
        """
        if max_new_tokens < 1 or temperature < 0 or not 0 < top_p <= 1:
            raise TrialbookError(
                f"max_new_tokens ({max_new_tokens}) must be at least 1, temperature ({temperature}) not below 0, "
                f"and top_p ({top_p}) above 0 and at most 1"
            )
        lengths: list[int] = mask.sum(dim=1).tolist()
        if not all(lengths):
            raise TrialbookError("a row to be continued has no tokens")
        if self.context and (longest := max(lengths)) + max_new_tokens > self.context:
            raise TrialbookError(
                f"a prompt of {longest} tokens and max_new_tokens ({max_new_tokens}) are more than the {self.context} "
                "that the language model can take"
            )
        tokens, logprobs = continue_rows(
            self.model, embeds.to(self.dtype), mask.bool(), self.template.stops, max_new_tokens=max_new_tokens,
            temperature=temperature, top_p=top_p, seed=seed,
        )  # fmt: skip
        return [self._generated(row, sums) for row, sums in zip(tokens, logprobs, strict=True)]

    def aliases(self) -> dict[str, str]:
        """Names that adapted layers had without their adapters, as checkpoints of such runs have them -> their own."""
        return {name.replace(".base_layer.", "."): name for name in self.state_dict() if ".base_layer." in name}

    def save_merged(self, folder: Path) -> str:
        """Write the whole model, adapters merged into its weights, as ``save_pretrained`` does; returns what it is."""
        save_merged(self.model, self._generation, self.tokenizer, folder)
        return "the whole language model with its tokenizer; AutoModelForCausalLM.from_pretrained reads it"

    def _generated(self, tokens: list[int], logprobs: list[float]) -> Generated:
        stopped = tokens[-1] in self.template.stops
        kept = tokens[:-1] if stopped else tokens
        text = self.tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return Generated(text.strip(), tuple(kept), tuple(logprobs), stopped)
