"""Tiny vision checkpoints of real architectures, made offline."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers

TOWER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}
TEXT = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 99}


def pil(name: str) -> type:
    """The processor class that works without torchvision; its name has changed between releases."""
    return getattr(transformers, f"{name}Pil", None) or getattr(transformers, name)


def make_checkpoint(kind: str, folder: Path) -> Path:
    torch.manual_seed(0)
    square = {"height": 32, "width": 32}
    if kind == "clip":
        config = transformers.CLIPConfig(vision_config=TOWER, text_config=TEXT, projection_dim=8)
        model, processor = transformers.CLIPModel(config), ("CLIPImageProcessor", {"shortest_edge": 32}, square)
    elif kind == "siglip":
        config = transformers.SiglipConfig(vision_config=TOWER, text_config=TEXT)
        model, processor = transformers.SiglipModel(config), ("SiglipImageProcessor", square, None)
    elif kind == "siglip2":
        vision = {**TOWER, "num_patches": 16}
        config = transformers.Siglip2Config(vision_config=vision, text_config=TEXT)
        model, processor = transformers.Siglip2Model(config), ("Siglip2ImageProcessor", None, None)
    elif kind == "dinov2":
        model = transformers.Dinov2Model(transformers.Dinov2Config(**TOWER))
        processor = ("BitImageProcessor", {"shortest_edge": 36}, square)
    elif kind == "dinov2-registers":
        model = transformers.Dinov2WithRegistersModel(transformers.Dinov2WithRegistersConfig(**TOWER))
        processor = ("BitImageProcessor", {"shortest_edge": 36}, square)
    else:
        model = transformers.ViTForImageClassification(transformers.ViTConfig(**TOWER))
        processor = ("ViTImageProcessor", square, None)
    for name, parameter in model.named_parameters():
        if "norm" in name:  # a norm that does nothing could hide that it was left out
            torch.nn.init.normal_(parameter, 0.5, 0.3)
    model.save_pretrained(folder)
    name, size, crop = processor
    options = {"patch_size": 8, "max_num_patches": 16} if kind == "siglip2" else {"size": size}
    pil(name)(**options, **({"crop_size": crop} if crop else {})).save_pretrained(folder)
    return folder
