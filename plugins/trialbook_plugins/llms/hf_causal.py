"""Language model ``hf-causal``: any causal language model of the Hugging Face kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from trialbook import TrialbookError
from trialbook.contracts import CPU
from trialbook_plugins.hub import find_checkpoint, import_transformers, reading
from trialbook_plugins.vlms.rounding import tolerances

from ._adapters import add_adapters
from ._causal import CausalLM
from ._template import Template
from ._weights import Attention, Precision, Quantize, checkpoint_blocks, load_weights, unfreeze_top


class HFCausal(CausalLM):
    """Qwen, Llama, Gemma, Phi, Mistral and every other ``AutoModelForCausalLM`` that takes embeddings, with its tokenizer.

    Nothing of the model learns unless it is asked for: ``lora_rank`` adds adapters, ``unfreeze`` lets the last blocks and
    the norm behind them learn (the output layer and the embeddings stay), and ``train_all`` everything. A stage's ``train``
    patterns choose among what learns: ``llm.*lora*`` are the adapters. What learns is kept in float32 and computes in it, or
    in the autocast format of ``[train] precision``, whatever ``dtype`` the rest has: updates would be rounded away otherwise.

    Args:
        data_root: folder in which a relative ``model`` is looked for, too.
        device: where weights are quantised and stay; others are brought there with the rest of the run.
        model: a folder, or a name of the hub; weights are read from safetensors only, and no code of a checkpoint is run.
        revision: branch, tag or commit of a name of the hub.
        dtype: number format of weights and computation; ``"auto"`` takes the checkpoint's. What is quantised keeps 4 bits.
        attention: implementation of attention; ``"auto"`` leaves it to transformers.
        template: ``"model"`` takes the tokenizer's chat template where it has one, ``"plain"`` never.
        gradient_checkpointing: compute each block again in the backward pass; memory for time.
        lora_rank: rank of the adapters; 0 adds none.
        lora_alpha: the adapters' update counts ``lora_alpha / lora_rank``.
        lora_dropout: share of an adapter's inputs dropped in training.
        lora_targets: names of the linear layers that get adapters (``["q_proj", "v_proj"]``); all of the blocks, those of
            attention and of the MLP, if left out.
        quantize: ``"nf4"`` keeps the blocks' frozen linear layers in 4 bits with double quantisation, and computes in
            bfloat16 on a CUDA device, in float32 elsewhere.
        unfreeze: how many of the last blocks learn.
        train_all: the whole model learns; neither with adapters nor with quantisation.

    Raises:
        TrialbookError: the checkpoint cannot be found or read, is no causal language model, lacks weights, or needs token ids
            beside embeddings; options contradict each other; its chat template is of no use.

    Source: architectures and chat templates of transformers; adapters: Hu et al. 2022, "LoRA"; 4 bits: Dettmers et al. 2023,
    "QLoRA", section 3 (NF4, double quantisation).
    """

    def __init__(
        self,
        data_root: Path | None = None,
        device: torch.device = CPU,
        /,
        *,
        model: str,
        revision: str | None = None,
        dtype: Precision = "float32",
        attention: Attention = "auto",
        template: Template = "model",
        gradient_checkpointing: bool = False,
        lora_rank: int = 0,
        lora_alpha: float = 16.0,
        lora_dropout: float = 0.0,
        lora_targets: list[str] | None = None,
        quantize: Quantize = "none",
        unfreeze: int = 0,
        train_all: bool = False,
    ) -> None:
        if lora_rank < 0:
            raise TrialbookError(f"lora_rank ({lora_rank}) must not be below 0")
        if train_all and (lora_rank or unfreeze or quantize != "none" or dtype != "float32"):
            raise TrialbookError(
                "train_all lets every weight learn: it goes with dtype 'float32' ([train] precision = 'bf16' computes in less), "
                "and neither with lora_rank, unfreeze nor quantize"
            )
        folder = find_checkpoint(model, revision, data_root)
        with reading("tokenizer", model):
            tokenizer = import_transformers().AutoTokenizer.from_pretrained(folder)
        with reading("language model", model):
            weights = load_weights(folder, dtype, attention, quantize, unfreeze, device)
        weights.name_or_path = (
            str(folder) if folder.name == Path(model).name else model
        )  # which adapters are saved with
        super().__init__(weights, tokenizer, template, model)
        if attention != "flash_attention_2":  # which computes on a GPU only
            _check_embeddings(weights, model)
        self.quantize = quantize
        weights.requires_grad_(train_all)
        self._adapters: list[Any] = []  # peft's wrapper, in a list so that it is no part of this module's names
        if lora_rank:
            self._adapters.append(add_adapters(weights, lora_rank, lora_alpha, lora_dropout, lora_targets))
        unfreeze_top(weights, unfreeze)
        self._learns_base = bool(unfreeze) or train_all
        if gradient_checkpointing:
            checkpoint_blocks(weights)

    @property
    def adapted(self) -> bool:
        """True if it has adapters, which can be saved by themselves."""
        return bool(self._adapters)

    def save_adapter(self, folder: Path) -> str:
        """Write the adapters in peft's own format; returns what it is.

        Raises:
            TrialbookError: there are none, or other weights learn beside them.
        """
        if not self._adapters:
            raise TrialbookError("the language model has no adapters (lora_rank is 0): export it merged")
        if self._learns_base:
            raise TrialbookError("adapters alone are not what was trained: blocks are unfrozen, too; export it merged")
        self._adapters[0].save_pretrained(folder, save_embedding_layers=False)  # else it asks the hub about them
        return f"the adapters of '{self.name}' in peft's format; PeftModel.from_pretrained reads them"

    def save_merged(self, folder: Path) -> str:
        """Write the whole model, adapters merged into its weights, as ``save_pretrained`` does; returns what it is.

        Weights that are kept in 4 bits are written as the numbers that these stand for, which the adapters were trained on.
        """
        told = super().save_merged(folder)
        if self.quantize == "none":
            return told
        return f"{told}; its weights are what their 4 bits stand for, not the original ones: adapters were trained on these"


def _check_embeddings(weights: Any, name: str) -> None:
    """Some models look at the ids of tokens again behind their embeddings (Gemma 3n); images have none."""
    ids = torch.tensor([[3, 5, 7]], device=weights.get_input_embeddings().weight.device)
    weights.eval()
    with torch.no_grad():
        by_ids = weights(input_ids=ids).logits
        by_embeddings = weights(inputs_embeds=weights.get_input_embeddings()(ids)).logits
    allowed = {name: max(1e-3, value) for name, value in tolerances(by_embeddings).items()}
    if not torch.allclose(by_ids, by_embeddings, **allowed, equal_nan=True):
        raise TrialbookError(
            f"model '{name}' ({type(weights).__name__}) needs token ids beside embeddings: images have none"
        )
