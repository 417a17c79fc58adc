"""Encoder ``hf-text``: a text model, or the text tower, of a Hugging Face checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from trialbook import TrialbookError
from trialbook.contracts import Features
from trialbook.contracts.datasets import Raw
from trialbook_plugins.hub import files_hash, find_checkpoint, import_transformers, reading

from . import _checkpoint as checkpoint

_LONGEST = 512
_POSITIONS_BEHIND_PADDING = ("roberta", "xlm-roberta", "camembert")
"""Models whose positions start behind the padding token's number, so that fewer are left than they say."""
_VOCABULARY = (
    "tokenizer.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "tokenizer.model",
    "sentencepiece.bpe.model",
)
_SETTINGS = ("merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


class HFText(nn.Module):
    """CLIP and SigLIP text towers, BERT, RoBERTa, T5's encoder, Llama, Qwen and others, with their own tokenizers.

    Hidden states are counted as transformers counts them: 0 is the embeddings, k the output of block k, and the last
    (or -1) is the model's result, behind its final norm where it has one. Parameters
    without influence on them (blocks above) are not trainable.

    Texts are padded on the right. A tokenizer without a padding token (GPT-2, some Llamas) pads with its end-of-text
    token; the mask tells them apart. Models that were trained without a mask (SigLIP: its tokenizer gives none) see
    the padding, as they did in training, and all their tokens count.

    Args:
        data_root: folder in which a relative ``model`` is looked for, too.
        model: a folder, or a name of the hub; weights are read from safetensors only, and no code of a checkpoint is
            run.
        revision: branch, tag or commit of a name of the hub.
        layer: which hidden states are the tokens.
        max_length: tokens of a text at most, special ones among them; the checkpoint's own limit, but not above 512,
            if left out.
        dtype: number format of weights and computation; tokens are given as float32.

    Raises:
        TrialbookError: the checkpoint cannot be found or read, has no text tower or lacks weights of it, has no
            tokenizer or one that cannot pad, has not so many layers, or cannot read texts of ``max_length``.

    Source: architectures and tokenizers of transformers. Deviation: a padding side of its own, see above.
    """

    accepts: ClassVar[tuple[str, ...]] = ("text",)

    def __init__(
        self,
        data_root: Path | None = None,
        /,
        *,
        model: str,
        revision: str | None = None,
        layer: int = -1,
        max_length: int | None = None,
        dtype: checkpoint.Precision = "float32",
    ) -> None:
        super().__init__()
        folder = find_checkpoint(model, revision, data_root)
        self.tokenizer, self._tokenizer_hash = _tokenizer(folder, model)
        with reading("text tower", model):
            tower = checkpoint.load_tower(folder, "text", dtype)
        self.tower = tower
        self.layer = checkpoint.resolve_layer(tower.config, layer)
        self.max_length = _length(self.tokenizer, tower.config, max_length)
        self.dim: int = tower.config.hidden_size
        with torch.enable_grad():
            checkpoint.freeze_unused(tower, self(self.prepare(["a"])).tokens)

    def prepare(self, raw: Raw) -> dict[str, Any]:
        """Texts as ``input_ids`` [B, L], L = ``max_length``, and, if the model wants it, ``attention_mask`` [B, L] with its sums
        ``lengths`` [B], which stay on the CPU."""
        names = [name for name in self.tokenizer.model_input_names if name in ("input_ids", "attention_mask")]
        inputs = self.tokenizer(
            list(raw), padding="max_length", truncation=True, max_length=self.max_length, return_tensors="pt"
        )
        prepared: dict[str, Any] = {name: inputs[name].long() for name in names}
        if "attention_mask" in prepared:
            prepared["attention_mask"][:, 0] = 1  # an empty text is one padding token: nothing to look at gives NaN
            prepared["lengths"] = prepared["attention_mask"].sum(dim=1).numpy()
        return prepared

    def forward(self, prepared: Mapping[str, Any]) -> Features:
        """Token numbers [B, L] -> tokens [B, N, D] with a mask; N is the longest text of the batch."""
        mask = prepared.get("attention_mask")
        if mask is None:
            return Features(checkpoint.run_tower(self.tower, prepared, self.layer))
        longest = int(prepared["lengths"].max())
        inputs = {name: prepared[name][:, :longest] for name in ("input_ids", "attention_mask")}
        return Features(checkpoint.run_tower(self.tower, inputs, self.layer), inputs["attention_mask"].to(torch.bool))

    def identity(self) -> dict[str, str]:
        """Return what the tokens depend on beside weights and options: see :class:`trialbook.contracts.Encoder`."""
        preprocessing = f"{type(self.tokenizer).__name__} {self._tokenizer_hash} {self.max_length}"
        return checkpoint.tower_identity(self.tower, self.layer, preprocessing)


def _tokenizer(folder: Path, model: str) -> tuple[Any, str]:
    """The tokenizer of a checkpoint, made to pad and cut on the right, and the hash of its files."""
    with reading("tokenizer", model):
        tokenizer = import_transformers().AutoTokenizer.from_pretrained(folder)
    names = tokenizer.vocab_files_names.values()
    if not any((folder / name).is_file() for name in (*_VOCABULARY, *names)):
        raise TrialbookError(f"cannot load the tokenizer of model '{model}': {folder} has no file with its vocabulary")
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise TrialbookError(f"the tokenizer of model '{model}' has neither a padding nor an end-of-text token")
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    return tokenizer, files_hash(folder, (*_VOCABULARY, *_SETTINGS, *names))


def _length(tokenizer: Any, config: Any, wanted: int | None) -> int:
    """``wanted``, or the shorter of what tokenizer and model take, 512 at most."""
    places = getattr(config, "max_position_embeddings", None)  # none where positions are relative, as in T5
    if places and config.model_type in _POSITIONS_BEHIND_PADDING:
        places -= config.pad_token_id + 1
    if wanted is None:
        return int(min(tokenizer.model_max_length, places or _LONGEST, _LONGEST))
    if wanted < 1 or (places and wanted > places):
        raise TrialbookError(f"max_length ({wanted}) must be at least 1" + (f" and at most {places}" if places else ""))
    return wanted
