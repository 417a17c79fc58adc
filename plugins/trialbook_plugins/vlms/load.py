"""A model of an architecture that is known: from a checkpoint, or tiny and random from its configuration."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from trialbook import TrialbookError, suggest
from trialbook_plugins.hub import find_checkpoint, import_transformers, quiet, reading
from trialbook_plugins.vlms.architecture import Architecture
from trialbook_plugins.vlms.pictures import STATISTICS, Pictures

Attention = Literal["sdpa", "eager", "flash_attention_2"]
Precision = Literal["float32", "bfloat16", "float16"]


_BEHIND = ("pooler.", "head.", "lm_head.")
"""Modules that no image token passes on its way to a point."""


class Loaded(NamedTuple):
    """A model, what is known of it, how it wants its pictures and where it lies (None if it was made here)."""

    model: Any
    architecture: Architecture
    pictures: Pictures
    folder: Path | None
    size: tuple[int, int] | None = None


def tiny_model(
    name: str, seed: int, known: Mapping[str, Architecture], dtype: Precision, attention: Attention
) -> Loaded:
    """A tiny model with random weights; the same seed gives the same ones, and global random numbers are left alone.

    Raises:
        TrialbookError: there is no such architecture, or no tiny configuration of it.
    """
    small = {one.name: one for one in known.values() if one.tiny}
    if name not in small:
        near = suggest(name, small)
        more = f"did you mean '{near}'?" if near else f"there are {', '.join(sorted(small))}"
        raise TrialbookError(f"tiny: there is no tiny '{name}'; {more}")
    architecture = small[name]
    transformers = import_transformers()
    module, _, function = architecture.tiny.partition(":")
    maker = transformers.AutoModelForImageTextToText if architecture.connector else transformers.AutoModel
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        made = getattr(importlib.import_module(module), function)()
        if architecture.remote:  # there is no code for a configuration: it is a model already
            model = made.to(getattr(torch, dtype))
        else:
            model = maker.from_config(made, attn_implementation=attention, dtype=getattr(torch, dtype))
        for weight in model.parameters():  # a map that starts at zero, as Gemma 3's connector, would hide the picture
            if weight.dim() == 2 and not weight.any():
                torch.nn.init.normal_(weight, std=0.02)
    return Loaded(model.eval(), architecture, Pictures(*STATISTICS[architecture.statistics]), None)


def checkpoint_model(
    name: str, revision: str | None, data_root: Path | None, known: Mapping[str, Architecture], dtype: Precision,
    attention: Attention, trust: bool,
) -> Loaded:  # fmt: skip
    """The model of a folder or of a name of the hub, weights from safetensors alone.

    Raises:
        TrialbookError: it cannot be found or read, lacks weights, is of no known architecture, or wants to run code of
            its own and may not.
    """
    transformers = import_transformers()
    folder = find_checkpoint(name, revision, data_root, code=trust)
    kind, _ = transformers.PretrainedConfig.get_config_dict(folder)
    architecture = of_type(str(kind.get("model_type")), known)
    if architecture.remote and not trust:
        raise TrialbookError(
            f"model '{name}' runs code that lies in its checkpoint: read it, then set trust_remote_code = true"
        )
    with reading("model", name), quiet():
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=trust)
        maker, config = _maker(transformers, config, architecture)
        model, report = maker.from_pretrained(
            folder, config=config, dtype=getattr(torch, dtype), attn_implementation=attention, use_safetensors=True,
            local_files_only=True, output_loading_info=True, trust_remote_code=trust,
        )  # fmt: skip
        _check_missing(model, sorted(set(report["missing_keys"]) & set(model.state_dict())))
    pictures, size = _pictures(folder, name, architecture)
    return Loaded(model.eval(), architecture, pictures, folder, size)


def of_type(model_type: str, known: Mapping[str, Architecture]) -> Architecture:
    """The architecture that lists ``model_type``.

    Raises:
        TrialbookError: none does.
    """
    for architecture in known.values():
        if model_type in architecture.model_types:
            return architecture
    types = ", ".join(sorted(kind for one in known.values() for kind in one.model_types))
    raise TrialbookError(
        f"models of type '{model_type}' are not known (but {types}); a plugin can add a table with mlrun_architectures"
    )


def _check_missing(model: Any, missing: list[str]) -> None:
    """Refuse a model without some of its weights, but for those behind all points, which are made the same every time."""
    if vital := [name for name in missing if not name.startswith(_BEHIND)]:
        raise TrialbookError(f"it lacks {len(vital)} weights, the first is '{vital[0]}'")
    with torch.no_grad():
        for name in missing:
            model.get_parameter(name).zero_()


def _maker(transformers: Any, config: Any, architecture: Architecture) -> tuple[Any, Any]:
    """Return what makes the model, and of which configuration."""
    if architecture.remote:
        causal = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
        return (transformers.AutoModelForCausalLM if causal else transformers.AutoModel), config
    if architecture.connector:
        return transformers.AutoModelForImageTextToText, config
    vision = getattr(config, "vision_config", None)  # of two towers the one that sees
    if vision is None:
        return transformers.AutoModel, config
    if type(vision) in transformers.MODEL_MAPPING:
        return transformers.MODEL_MAPPING[type(vision)], vision
    return getattr(transformers, type(vision).__name__.replace("Config", "Model")), vision  # OWL-ViT's is in no mapping


def _pictures(folder: Path, name: str, architecture: Architecture) -> tuple[Pictures, tuple[int, int] | None]:
    """The checkpoint's own preprocessing and its size, or those that its architecture is known for."""
    names = ("preprocessor_config.json", "processor_config.json")
    if architecture.remote or not any((folder / file).is_file() for file in names):
        return Pictures(*STATISTICS[architecture.statistics]), None
    with reading("image preprocessing", name):
        processor = import_transformers().AutoImageProcessor.from_pretrained(folder, backend="pil")
    size = getattr(processor, "crop_size", None) or getattr(processor, "size", None) or {}
    height, width = size.get("height"), size.get("width")
    return Pictures.of(processor), (height, width) if height and width else None
