"""The weights of a causal language model: read from safetensors, in 4 bits if wanted, and which of them learn."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trialbook import TrialbookError
from trialbook_plugins.hub import import_transformers, quiet

Precision = Literal["float32", "bfloat16", "float16", "auto"]
Attention = Literal["auto", "eager", "sdpa", "flash_attention_2"]
Quantize = Literal["none", "nf4"]

_QUANTISED_TOGETHER = 64
"""Weights that share a scale."""
_FINAL_NORMS = ("norm", "final_layernorm", "final_layer_norm", "ln_f", "norm_f")
"""The names that architectures give to the norm behind their blocks."""


def import_extra(name: str) -> Any:
    """A package of the extra ``llm``, imported when it is needed, as that takes seconds.

    Raises:
        TrialbookError: it is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise TrialbookError(f"no module '{error.name}': install it with pip install 'trialbook[llm]'") from error


def load_weights(
    folder: Path, dtype: Precision, attention: Attention, quantize: Quantize, unfreeze: int, device: torch.device
) -> Any:
    """The model of a folder.

    Args:
        folder: with ``config.json`` and safetensors.
        dtype: number format; with ``quantize`` of what is not quantised.
        attention: implementation.
        quantize: of the linear layers of all blocks but the last ``unfreeze``, and not of the output layer.
        unfreeze: see there.
        device: where quantised weights are made; others are read on the CPU.
    Raises:
        TrialbookError: it is no causal language model, is quantised already, or the checkpoint lacks some of its weights.
    """
    transformers = import_transformers()
    config = transformers.AutoConfig.from_pretrained(folder)
    if getattr(config, "quantization_config", None):
        raise TrialbookError("it is quantised already: give the folder of the full weights, and quantize = 'nf4'")
    given: dict[str, Any] = {"dtype": dtype if dtype == "auto" else getattr(torch, dtype)}
    if attention != "auto":
        given["attn_implementation"] = attention
    if quantize == "nf4":
        given["quantization_config"] = _nf4(transformers, _kept_whole(transformers, config, unfreeze), device)
        given["device_map"] = {"": str(device)}  # else all processes of a machine load on its first GPU
    with quiet():
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            folder, config=config, use_safetensors=True, local_files_only=True, output_loading_info=True, **given
        )
    if lost := sorted(report["missing_keys"]):
        raise TrialbookError(
            f"the checkpoint lacks {len(lost)} weights of {type(model).__name__}, the first is '{lost[0]}'"
        )
    return model


def blocks_of(model: Any) -> tuple[str, nn.ModuleList]:
    """The blocks of a language model, with their name.

    Raises:
        TrialbookError: there is no list of as many modules as the configuration has layers.
    """
    depth = model.config.get_text_config().num_hidden_layers
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return name, module
    raise TrialbookError(f"{type(model).__name__} has no list of its {depth} blocks")


def unfreeze_top(model: Any, count: int) -> None:
    """Let the last ``count`` blocks and the norm behind them learn.

    Raises:
        TrialbookError: there are not so many.
    """
    name, blocks = blocks_of(model)
    if not 0 <= count <= len(blocks):
        raise TrialbookError(f"unfreeze ({count}) must be from 0 to {len(blocks)}: there are {len(blocks)} blocks")
    if not count:
        return
    parent = model.get_submodule(name.rpartition(".")[0])
    norm = next(
        (getattr(parent, one) for one in _FINAL_NORMS if isinstance(getattr(parent, one, None), nn.Module)), None
    )
    for module in (*blocks[len(blocks) - count :], *([norm] if norm is not None else [])):
        _learn_exactly(module)


def checkpoint_blocks(model: Any) -> None:
    """Compute the inside of each block again in the backward pass, whenever a gradient goes through it, frozen or not."""
    for block in blocks_of(model)[1]:
        block.forward = _checkpointed(block.forward)


def _checkpointed(plain: Callable[..., Any]) -> Callable[..., Any]:
    def forward(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return plain(*args, **kwargs)
        return checkpoint(plain, *args, use_reentrant=False, **kwargs)

    return forward


def _learn_exactly(module: nn.Module) -> None:
    """Let a module learn in float32, whatever the rest of the model computes in: smaller formats round small updates away."""
    module.requires_grad_(True)
    if all(parameter.dtype == torch.float32 for parameter in module.parameters()):
        return
    module.float()
    kept: list[torch.dtype] = []

    def enter(_: nn.Module, args: Any, kwargs: Any) -> Any:
        first = next(
            value for value in (*args, *kwargs.values()) if isinstance(value, Tensor) and value.is_floating_point()
        )
        kept[:] = [first.dtype]
        return _cast(args, torch.float32), _cast(kwargs, torch.float32)

    def leave(_: nn.Module, args: Any, output: Any) -> Any:
        return _cast(output, kept[0])

    module.register_forward_pre_hook(enter, with_kwargs=True)
    module.register_forward_hook(leave)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """Tensors of numbers in another format, through tuples and dicts; everything else as it is."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if type(value) in (tuple, list):
        return type(value)(_cast(one, dtype) for one in value)
    if type(value) is dict:
        return {key: _cast(one, dtype) for key, one in value.items()}
    return value


def _kept_whole(transformers: Any, config: Any, unfreeze: int) -> list[str]:
    """Names of what is not quantised: the output layer, blocks that learn, and layers that blocks of 64 do not fit.

    bitsandbytes 0.50 can give wrong numbers back on a CPU where the inputs of a layer are no multiple of 64; those of large
    models are.
    """
    with torch.device("meta"):
        empty = transformers.AutoModelForCausalLM.from_config(config)
    name, blocks = blocks_of(empty)
    linear = [(path, one) for path, one in empty.named_modules() if isinstance(one, nn.Linear)]
    kept = [path for path, one in linear if not path.startswith(f"{name}.") or one.in_features % _QUANTISED_TOGETHER]
    return [*kept, *(f"{name}.{place}" for place in range(max(0, len(blocks) - unfreeze), len(blocks)))]


def _nf4(transformers: Any, kept: list[str], device: torch.device) -> Any:
    import_extra("bitsandbytes")
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if device.type == "cuda" else torch.float32,
        llm_int8_skip_modules=kept,
    )  # fmt: skip
