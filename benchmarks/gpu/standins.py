"""Stand-ins for what would be downloaded: checkpoints of random weights, photos and conversations that are made up."""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trialbook.contracts.conversations import Conversation, Turn

_LETTERS = np.array(list(string.ascii_lowercase + " "))
QUESTION = "What does it say?"
_BLUR = 8
"""Pixels over which a made-up photo is smooth: noise by the pixel would be as large as no JPEG ever is."""


def clip_config(*, small: bool) -> Any:
    """CLIP ViT-L/14, or something tiny of its kind."""
    import transformers as hf

    if small:
        sides = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
        vision = {**sides, "image_size": 32, "patch_size": 8}
        return hf.CLIPConfig(vision_config=vision, text_config={**sides, "vocab_size": 512}, projection_dim=16)
    vision = {
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
        "image_size": 224, "patch_size": 14,
    }  # fmt: skip
    text = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    return hf.CLIPConfig(vision_config=vision, text_config=text, projection_dim=768)


def qwen_config(*, small: bool) -> Any:
    """Qwen2-1.5B, or something tiny of its kind; layers are multiples of 64 wide, as 4 bits need."""
    import transformers as hf

    if small:
        return hf.Qwen2Config(
            hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            vocab_size=512, max_position_embeddings=512, tie_word_embeddings=True,
        )  # fmt: skip
    return hf.Qwen2Config(
        hidden_size=1536, intermediate_size=8960, num_hidden_layers=28, num_attention_heads=12, num_key_value_heads=2,
        vocab_size=151936, max_position_embeddings=32768, tie_word_embeddings=True,
    )  # fmt: skip


def save_clip(folder: Path, *, small: bool) -> Path:
    """A CLIP checkpoint with random weights, its preprocessing and a tokenizer of bytes."""
    import torch
    import transformers as hf

    config = clip_config(small=small)
    torch.manual_seed(0)
    hf.CLIPModel(config).save_pretrained(folder)
    side = config.vision_config.image_size
    processor = getattr(hf, "CLIPImageProcessorPil", None) or hf.CLIPImageProcessor  # the name differs between releases
    processor(size={"shortest_edge": side}, crop_size={"height": side, "width": side}).save_pretrained(folder)
    _save_tokenizer(folder)
    return folder


def save_qwen(folder: Path, *, small: bool, device: str) -> Path:
    """A Qwen2 checkpoint in bfloat16 with random weights, made on a device, and a tokenizer of bytes."""
    import torch
    import transformers as hf

    torch.manual_seed(0)
    with torch.device(device):
        model = hf.AutoModelForCausalLM.from_config(qwen_config(small=small), dtype=torch.bfloat16)
    model.save_pretrained(folder)
    _save_tokenizer(folder)
    return folder


def _save_tokenizer(folder: Path) -> None:
    from trialbook_plugins.llms._vocabulary import for_transformers, make_tokenizer

    for_transformers(make_tokenizer(None, "byte", 0)).save_pretrained(folder)


def save_photos(folder: Path, count: int, side: int) -> list[str]:
    """JPEGs that are smooth here and there, as photos are; returns their names."""
    random = np.random.default_rng(0)
    names = [f"{number:05d}.jpg" for number in range(count)]
    folder.mkdir(parents=True)
    for name in names:
        coarse = random.integers(0, 256, (side // _BLUR + 1, side // _BLUR + 1, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(folder / name, quality=90)
    return names


def save_coco(folder: Path, count: int, side: int) -> Path:
    """Photos with two captions each, as ``coco-captions`` reads them."""
    names = save_photos(folder / "images", count, side)
    captions = _texts(2 * count, 40)
    data = {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(names)],
        "annotations": [
            {"id": number, "image_id": number // 2, "caption": caption} for number, caption in enumerate(captions)
        ],
    }
    (folder / "captions.json").write_text(json.dumps(data))
    return folder


def save_conversations(folder: Path, sizes: dict[str, int], side: int, characters: int) -> Path:
    """One question about a photo each, with an answer of so many characters, as ``conversations`` reads them."""
    names = iter(save_photos(folder / "images", sum(sizes.values()), side))
    for split, count in sizes.items():
        said = [_conversation(next(names), text).as_line() for text in _texts(count, characters)]
        (folder / f"{split}.jsonl").write_text("\n".join(said) + "\n")
    return folder


def _conversation(photo: str, answer: str) -> Conversation:
    turns = (Turn("user", QUESTION), Turn("assistant", answer))
    return Conversation(photo, (f"images/{photo}",), turns, (answer,))


def _texts(count: int, characters: int) -> Sequence[str]:
    """Texts of lower-case letters and spaces, all of one length; spaces stand neither at their ends nor beside one another."""
    drawn = np.random.default_rng(1).choice(_LETTERS, (count, characters))
    drawn[:, ::2] = np.where(drawn[:, ::2] == " ", "e", drawn[:, ::2])
    drawn[:, -1] = "."
    return ["".join(row) for row in drawn]
