"""OWL-ViT as a plain vision encoder: its image side alone, of a checkpoint for detection."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from trialbook_plugins.encoders.hf_vlm import HFVLM

VISION = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4, "image_size": 64,
    "patch_size": 8,
}  # fmt: skip
TEXT = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 99}


@pytest.mark.parametrize(("kind", "part"), [("OwlViT", "owlvit"), ("Owlv2", "owlv2")])
def test_its_layers_are_those_of_the_image_side(kind: str, part: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(vision_config=VISION, text_config=TEXT, projection_dim=8)
    model = getattr(transformers, f"{kind}ForObjectDetection")(config).eval()
    model.save_pretrained(tmp_path)
    encoder = HFVLM(model=str(tmp_path), layers=["V2", "V4"]).eval()
    encoder.verify()
    assert {name: point.grid for name, point in encoder.points().items()} == {"V2": (8, 8), "V4": (8, 8)}
    prepared = encoder.prepare(np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64), dtype=np.uint8))
    with torch.no_grad():
        found = encoder.encode_layers(prepared)
        pixels = encoder.tapped.family.arguments(prepared)["pixel_values"].view(2, 3, 64, 64)
        states = getattr(model, part).vision_model(pixel_values=pixels, output_hidden_states=True).hidden_states
    for name, state in {"V2": states[2], "V4": states[4]}.items():
        assert torch.equal(found[name].flatten(1, 2), state[:, 1:])  # without the class token
