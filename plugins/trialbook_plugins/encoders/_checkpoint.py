"""One tower of a Hugging Face checkpoint, and which of its hidden states is read.

transformers is imported on use, because importing it takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from trialbook import TrialbookError
from trialbook_plugins.hub import config_hash, import_transformers, quiet

Precision = Literal["float32", "bfloat16", "float16"]
Part = Literal["vision", "text"]

_PARTS: dict[Part, tuple[str, ...]] = {
    "vision": ("vision_model", "vision_tower"),
    "text": ("text_model", "language_model"),
}
"""The attributes in which two-tower models keep a tower; the names differ between architectures and releases."""
_READS: dict[Part, str] = {"vision": "pixel_values", "text": "input_ids"}


def load_tower(folder: Path, part: Part, dtype: Precision) -> Any:
    """The vision or the text tower of a checkpoint, without its pooling head, from safetensors alone.

    Of a model with two towers only the wanted one is read, where transformers has a class of its own for it.

    Raises:
        TrialbookError: the checkpoint has no such tower, or lacks some of its weights.
    """
    transformers = import_transformers()
    config = transformers.AutoConfig.from_pretrained(folder)
    inner = getattr(config, f"{part}_config", None)
    maker = _class_of(config if inner is None else inner, part)
    if maker is not None:
        tower, missing = _read(maker, folder, dtype, inner)
        if missing and inner is None:
            raise TrialbookError(f"it lacks {len(missing)} weights of {maker.__name__}, the first is '{missing[0]}'")
        if not missing:
            return _checked(tower, part)
    # The tower has no class of its own, or its weights have other names in the whole model: read all of it.
    whole, missing = _read(transformers.AutoModel, folder, dtype, None)
    name = next((name for name in _PARTS[part] if isinstance(getattr(whole, name, None), nn.Module)), None)
    if name is None:
        raise TrialbookError(f"{type(whole).__name__} has no {part} tower (looked for {' and '.join(_PARTS[part])})")
    if lost := [key for key in missing if key.startswith(f"{name}.")]:
        raise TrialbookError(f"it lacks {len(lost)} weights of its {part} tower, the first is '{lost[0]}'")
    return _checked(_without_pooling(getattr(whole, name)), part)


def resolve_layer(config: Any, layer: int) -> int:
    """``layer`` counted from the front: 0 for the embeddings, k for the output of block k (from 1).

    Raises:
        TrialbookError: the model has not so many layers.
    """
    depth: int = config.num_hidden_layers
    if not -depth - 1 <= layer <= depth:
        raise TrialbookError(f"layer ({layer}) must be from {-depth - 1} to {depth}: there are {depth} layers")
    return layer % (depth + 1)


def run_tower(tower: Any, inputs: Mapping[str, Tensor], layer: int) -> Tensor:
    """Hidden states [B, N, D] of ``layer``, counted from the front; the last are taken behind the final norm."""
    last = layer == tower.config.num_hidden_layers
    output = tower(**inputs, output_hidden_states=not last)
    tokens: Tensor = output.last_hidden_state if last else output.hidden_states[layer]
    if tokens.ndim != 3:
        raise TrialbookError(f"{type(tower).__name__} gives {list(tokens.shape)}, not tokens [B, N, D]")
    return tokens.float()


def freeze_unused(tower: nn.Module, tokens: Tensor) -> None:
    """Mark parameters that ``tokens`` do not depend on as not trainable: blocks above the layer, mask tokens, norms."""
    used, seen = set(), set()
    waiting: list[Any] = [tokens.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):  # a leaf of the graph holds its parameter
            used.add(id(node.variable))
        waiting += [following for following, _ in node.next_functions]
    for parameter in tower.parameters():
        if id(parameter) not in used:
            parameter.requires_grad_(False)


def tower_identity(tower: Any, layer: int, preprocessing: str) -> dict[str, str]:
    """Return what the tokens of a tower depend on beside its weights."""
    return {
        "preprocessing": preprocessing,
        "config": config_hash(tower.config),
        "layer": str(layer),
        "dtype": str(tower.dtype),
        "transformers": import_transformers().__version__,
    }


def _class_of(config: Any, part: Part) -> Any:
    transformers = import_transformers()
    mappings = [transformers.MODEL_MAPPING]
    if part == "text":
        mappings.insert(0, transformers.MODEL_FOR_TEXT_ENCODING_MAPPING)
    return next((mapping[type(config)] for mapping in mappings if type(config) in mapping), None)


def _read(maker: Any, folder: Path, dtype: Precision, config: Any) -> tuple[nn.Module, list[str]]:
    """A model and the names of those of its weights that the checkpoint lacks."""
    given = {"use_safetensors": True, "local_files_only": True, **({} if config is None else {"config": config})}
    with quiet():  # it reports every weight of the other tower
        model, report = maker.from_pretrained(folder, dtype=getattr(torch, dtype), output_loading_info=True, **given)
    tower = _without_pooling(model)
    missing = sorted(set(report["missing_keys"]) & set(model.state_dict()))
    if getattr(model.config, "is_encoder_decoder", False):
        tower = model.get_encoder()
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False
    return tower, missing


def _without_pooling(tower: Any) -> nn.Module:
    """The tower without the head behind its tokens: unused, and random where a checkpoint lacks it."""
    if getattr(tower, "pooler", None) is not None:
        tower.pooler = None
    if getattr(tower, "use_head", False):
        tower.use_head, tower.head = False, None
    result: nn.Module = tower
    return result


def _checked(tower: nn.Module, part: Part) -> nn.Module:
    reads = getattr(tower, "main_input_name", _READS[part])
    if reads != _READS[part]:
        raise TrialbookError(f"{type(tower).__name__} reads '{reads}': it is no {part} tower")
    return tower
