"""Layers of vision-language models in bfloat16: are they the ones that they are said to be, and how fast are they read?"""

from __future__ import annotations

import torch

from benchmarks import extraction
from benchmarks.gpu.bench import Bench
from trialbook_plugins.encoders.hf_vlm import HFVLM
from trialbook_plugins.vlms import architectures as tables
from trialbook_plugins.vlms.layers import check_layers
from trialbook_plugins.vlms.order_check import check_order

_TINY = ("llava-next", "internvl", "qwen2.5-vl", "cogvlm2")
_SMALL = tuple(model for model in extraction.TINY if model.architecture.connector)
_REAL = tuple(model for model in extraction.REAL if model.architecture.connector)
_IMAGES, _BATCH, _ROUNDS = 32, 16, 2


def measure(bench: Bench) -> None:
    """The encoder's own self-test on a tiny model of each family; then test and speed of models of the real sizes."""
    for name in _TINY:
        _verify(bench, name)
    models = bench.size((*_REAL, extraction.Model("PaliGemma-3B", tables.PALIGEMMA, paligemma)), _SMALL)
    for model in models:
        reader = extraction._layer_reader(model, bench.device, torch.bfloat16)
        _check(bench, model.name, reader)
        subject = extraction.Subject(model.name, reader, bench.size(_BATCH, 2))
        for row in extraction._measured(subject, bench.size(_IMAGES, 4), bench.device, bench.size(_ROUNDS, 1)):
            bound = ">= 0.95" if row["unit"] == "x" else ""
            bench.rows.add(row["what"], row["value"], row["unit"], bound, at_size=True)
        del reader, subject
        bench.free()


def paligemma() -> object:
    """PaliGemma-3B at 448 pixels: SigLIP so400m, Gemma-2B."""
    import transformers as hf

    vision = {
        "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16,
        "image_size": 448, "patch_size": 14, "vision_use_head": False, "projection_dim": 2048,
        "model_type": "siglip_vision_model",
    }  # fmt: skip
    text = {
        "model_type": "gemma", "hidden_size": 2048, "intermediate_size": 16384, "num_hidden_layers": 18,
        "num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 256, "vocab_size": 257216,
    }  # fmt: skip
    return hf.PaliGemmaConfig(
        vision_config=vision, text_config=text, image_token_id=257152, projection_dim=2048, hidden_size=2048
    )


def _verify(bench: Bench, name: str) -> None:
    """``verify`` of a tiny model."""
    from trialbook.errors import TrialbookError

    known = {one.name: one for one in vars(tables).values() if isinstance(one, tables.Architecture)}
    encoder = HFVLM(None, lambda _: known, tiny=name, layers=["all"], dtype="bfloat16").to(bench.device)
    try:
        encoder.verify()
    except TrialbookError as error:
        bench.rows.check(f"{name}, tiny, bfloat16: self-test", False, str(error))
    else:
        bench.rows.check(f"{name}, tiny, bfloat16: self-test", True)


def _check(bench: Bench, name: str, reader: extraction.LayerReader) -> None:
    """Check what ``verify`` looks at, on a model that lies on the device already."""
    device = torch.device(bench.device)
    with torch.no_grad():
        wrong = {point: found.message for point, found in check_order(reader, 4, device).items() if not found.passed}
        wrong |= check_layers(reader, device)
    bench.rows.check(
        f"{name}, bfloat16: self-test", not wrong, "; ".join(f"{point}: {what}" for point, what in wrong.items())
    )
