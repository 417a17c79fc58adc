"""Low-rank adapters on the blocks of a language model, and their way into files and into its weights."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trialbook import TrialbookError
from trialbook_plugins.hub import first_line, import_transformers

from ._weights import blocks_of, import_extra

_ADAPTER = "default"
"""The name that peft gives an adapter."""
_OWN = re.compile(r"\.lora_(A|B|embedding_A|embedding_B|magnitude_vector)\.")


def add_adapters(model: Any, rank: int, alpha: float, dropout: float, targets: Sequence[str] | None) -> Any:
    """Put adapters into ``model`` itself; all else is frozen.

    Args:
        model: a causal language model.
        rank: of the update of each weight, at least 1.
        alpha: the update counts ``alpha / rank``.
        dropout: share of inputs dropped before the adapters.
        targets: names of modules, the last level or more; every linear layer of the blocks if None.
    Returns:
        peft's wrapper, for saving.
    Raises:
        TrialbookError: a target fits no module.

    Source: Hu et al. 2022, "LoRA", section 4, as peft has it.
    """
    if alpha <= 0 or not 0 <= dropout < 1:
        raise TrialbookError(f"lora_alpha ({alpha}) must be above 0, and lora_dropout ({dropout}) from 0 and below 1")
    blocks, linear = blocks_of(model)[0], _linear_layers(model)
    for target in targets or ():
        if not any(name == target or name.endswith(f".{target}") for name in linear):
            known = ", ".join(sorted({name.rpartition(".")[2] for name in linear}))
            raise TrialbookError(
                f"lora_targets: no linear layer of the blocks is called '{target}' (they are: {known})"
            )
    names = sorted(set(targets) if targets else {name.rpartition(".")[2] for name in linear})
    chosen = (
        rf"{re.escape(blocks)}\.(.+\.)?({'|'.join(map(re.escape, names))})"  # of the blocks, and of nothing beside them
    )
    peft = import_extra("peft")
    turned = not any(
        isinstance(module, nn.Linear) for module in blocks_of(model)[1].modules()
    )  # weights as GPT-2 has them
    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=chosen,
        fan_in_fan_out=turned,
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers for what this renames
            return peft.get_peft_model(model, config)
    except ValueError as error:
        raise TrialbookError(f"lora_targets: {first_line(error)}") from error


def merged_weights(model: Any, dtype: torch.dtype) -> dict[str, Tensor]:
    """All weights under the names of the model without adapters, with these added and 4-bit weights as numbers again; on the CPU,
    as a GPU that holds the model has no room for a second one."""
    layers = dict(model.named_modules())
    merged: dict[str, Tensor] = {}
    for name, tensor in _tensors(model):
        if _OWN.search(name):
            continue
        holder = name.rpartition(".")[0]
        value = _numbers(tensor)
        if holder.endswith(".base_layer"):
            layer = layers[holder.removesuffix(".base_layer")]
            if name.endswith(".weight"):
                value = value.float() + layer.get_delta_weight(_ADAPTER).to(value.device)
            name = name.replace(".base_layer.", ".")
        merged[name] = value.detach().to(dtype).cpu()
    return merged


def save_merged(model: Any, generation: Any, tokenizer: Any, folder: Path) -> None:
    """Write a model with its adapters merged as ``save_pretrained`` writes one.

    Args:
        model: with or without adapters, quantised or not.
        generation: its generation configuration.
        tokenizer: saved beside it.
        folder: where.
    """
    dtype, config = model.get_input_embeddings().weight.dtype, copy.deepcopy(model.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"), torch.no_grad():
        whole = import_transformers().AutoModelForCausalLM.from_config(config, dtype=dtype)
    whole.load_state_dict(merged_weights(model, dtype), strict=True, assign=True)
    whole.tie_weights()
    whole.generation_config = generation
    whole.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _linear_layers(model: Any) -> list[str]:
    """Names of the linear layers of the blocks; GPT-2 has its own kind of them."""
    kinds = (nn.Linear, import_transformers().pytorch_utils.Conv1D)
    return [name for name, module in blocks_of(model)[1].named_modules() if isinstance(module, kinds)]


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and the buffers that are saved, tied ones under each of their names."""
    yield from model.named_parameters(remove_duplicate=False)
    for name, module in model.named_modules():
        for key, buffer in module._buffers.items():
            if buffer is not None and key not in module._non_persistent_buffers_set:
                yield (f"{name}.{key}" if name else key), buffer


def _numbers(tensor: Tensor) -> Tensor:
    """A weight as floating-point numbers."""
    state = getattr(tensor, "quant_state", None)
    if state is None:
        return tensor
    values: Tensor = import_extra("bitsandbytes").functional.dequantize_4bit(tensor.data, state)
    return values
