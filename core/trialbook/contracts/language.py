"""Contracts of language models and captioners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from trialbook.contracts.conversations import Turn


class Piece(NamedTuple):
    """A piece of a conversation as a language model sees it.

    Args:
        kind: ``"prompt"`` (given), ``"answer"`` (what the assistant says, with the token that ends its turn: what is learned)
            or ``"image"``.
        ids: token ids; empty for an image.
        turn: place of the turn that it belongs to, from 0; what a template puts before the first belongs to it.
        image: number of the image, from 0; -1 for text.
    """

    kind: str
    ids: tuple[int, ...] = ()
    turn: int = 0
    image: int = -1


class Generated(NamedTuple):
    """Output of a language model: text without outer white space and special tokens, token ids without the one that ended
    it, the log-probability (natural, before temperature) of every token, the ending one included, and whether it ended itself."""

    text: str
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    stopped: bool


@runtime_checkable
class LanguageModel(Protocol):
    """A causal language model that takes embeddings in place of tokens. Injected, if asked for: ``corpus: Callable[[],
    Sequence[str]] | None``, all texts of the train split, for tokenizers that are trained on the data.

    What learns of it is what requires a gradient when it is made: adapters, unfrozen blocks, or everything.

    Attributes:
        dim: width D of its input embeddings.
        context: the longest sequence it can take, in tokens; 0 where it has no limit.
    """

    dim: int
    context: int

    def render(self, turns: Sequence[Turn], images: int, *, answer: bool) -> list[Piece]:
        """Turns in the model's own chat template (a plain one where it has none), cut into pieces.

        Images that no turn places stand before the text of the first user turn. The pieces of the same turns are the same
        whatever follows them, so that a prompt in generation is the one of training.

        Args:
            turns: as ``trialbook.contracts.conversations.Conversation`` has them.
            images: how many images the conversation has.
            answer: the last turn is an answer that is there; else it is asked for one, and ``turns`` ends with a question.
        """

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids [B, L] to input embeddings [B, L, D]."""

    def forward(self, embeds: Tensor, mask: Tensor, wanted: Tensor | None = None) -> Tensor:
        """Embeddings [B, L, D] with mask [B, L] bool (False is padding) to logits [B, L, V] of the next tokens.

        Args:
            wanted: positions [P] that logits are needed at, ascending: [B, P, V] is returned; all if left out.
        """

    def generate(
        self,
        embeds: Tensor,
        mask: Tensor,
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> list[Generated]:
        """Continue every row of embeddings [B, L, D] with mask [B, L], padded on either side: greedily at temperature 0,
        else sampled; with a key-value cache, without gradient."""


@runtime_checkable
class Captioner(Protocol):
    """Puts what is known of samples into words. Injected, if asked for: ``data_root`` and ``seed``, as for every component."""

    def caption(self, facts: Sequence[Mapping[str, Any]]) -> list[str]:
        """One text for each sample; it depends on this sample's facts alone, and is the same every time.

        Args:
            facts: what a split's ``labels("facts")`` gives: names to texts, numbers, lists and mappings of them.
        Raises:
            TrialbookError: facts that it cannot do without are missing.
        """
