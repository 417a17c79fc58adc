"""Language model ``small-causal``: a small Llama with random weights and a tokenizer of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trialbook import TrialbookError
from trialbook_plugins.hub import import_transformers
from trialbook_plugins.saved_tokenizer import KeptTokenizer

from ._causal import CausalLM
from ._vocabulary import Vocabulary, for_transformers, make_tokenizer


class SmallCausal(CausalLM):
    """A small Llama that is trained from scratch, all of it unless ``frozen``; for runs on a CPU and for tests.

    The tokenizer is saved with the weights; loading them restores it. That of bytes is the same whatever the data are, so
    that a run can resume from the weights of another one with other data.

    Args:
        corpus: gives the texts of the train split.
        width: width D of the embeddings.
        depth: number of blocks.
        heads: attention heads; must divide ``width`` into even parts.
        mlp_ratio: hidden width of the blocks' gated networks, over ``width``.
        context: the longest sequence, in tokens, image tokens among them.
        dropout: share of attention weights dropped in training.
        tokens: ``"byte"`` for the bytes of UTF-8; ``"character"`` for those of the corpus; ``"bpe"`` for byte pair encoding
            within words, every digit by itself.
        vocab_size: entries of the vocabulary at most, for ``"bpe"``.
        init_std: standard deviation of all weights at the start; 1 / √width if left out, since with the 0.02 of wide models
            attention of narrow ones begins too weak to find anything for long.

    Raises:
        TrialbookError: the dataset gives no texts though the tokenizer needs them, or a value is out of its range.

    Source: Touvron et al. 2023, "LLaMA", section 2.2 (pre-norm, SwiGLU, rotary positions), as transformers has it. Deviation:
    input and output embeddings are tied.
    """

    def __init__(
        self,
        corpus: Callable[[], Sequence[str]] | None = None,
        /,
        *,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        mlp_ratio: float = 2.5,
        context: int = 512,
        dropout: float = 0.0,
        tokens: Vocabulary = "byte",
        vocab_size: int = 512,
        init_std: float | None = None,
    ) -> None:
        if init_std is not None and init_std <= 0:
            raise TrialbookError(f"init_std ({init_std}) must be above 0")
        for name, value in (("width", width), ("depth", depth), ("heads", heads), ("context", context)):
            if value < 1:
                raise TrialbookError(f"{name} ({value}) must be at least 1")
        if width % (2 * heads):
            raise TrialbookError(f"heads ({heads}) must divide width ({width}) into even parts: positions turn pairs")
        if mlp_ratio <= 0 or not 0 <= dropout < 1:
            raise TrialbookError(f"mlp_ratio ({mlp_ratio}) must be above 0, and dropout ({dropout}) from 0 and below 1")
        tokenizer = make_tokenizer(corpus, tokens, vocab_size)
        wrapped = for_transformers(tokenizer)
        transformers = import_transformers()
        config = transformers.LlamaConfig(
            vocab_size=tokenizer.get_vocab_size(), hidden_size=width, intermediate_size=max(1, round(width * mlp_ratio)),
            num_hidden_layers=depth, num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=context,
            attention_dropout=dropout, tie_word_embeddings=True, bos_token_id=None, eos_token_id=wrapped.eos_token_id,
            pad_token_id=None, initializer_range=init_std or width**-0.5,
        )  # fmt: skip
        super().__init__(transformers.LlamaForCausalLM(config), wrapped, "model", "small-causal")
        self.vocabulary = KeptTokenizer(tokenizer, self._restored)

    def _restored(self) -> None:
        self.use_tokenizer(for_transformers(self.vocabulary.tokenizer), "model", self.name)
