"""Where the layers of Aya Vision lie: all that the encoder ``hf-vlm`` has to know to read and check them."""

from __future__ import annotations

from typing import Any

from trialbook_plugins.vlms.architecture import Architecture, Area

AYA_VISION = Architecture(
    "aya-vision", ("aya_vision",), "plain",
    areas=(
        Area("model.vision_tower", blocks=("encoder.layers.*",)),
        Area("model.multi_modal_projector", blocks=("",)),
        Area("model.language_model", "sequence", blocks=("layers.*",), norm="norm"),
    ),
    connector="model.multi_modal_projector",
    points={
        "A1": "in:model.multi_modal_projector", "A2": "out:model.multi_modal_projector",
        "A3": "out:model.language_model.layers.{1/2}",
    },
    tiny="acme_trialbook.aya_vision:tiny",
)  # fmt: skip


def tiny() -> Any:
    """The configuration of a tiny model."""
    import transformers

    heads = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    return transformers.AyaVisionConfig(
        vision_config=transformers.SiglipVisionConfig(
            hidden_size=32, image_size=64, patch_size=8, vision_use_head=False, **heads
        ),
        text_config=transformers.Cohere2Config(
            hidden_size=32, vocab_size=64, num_key_value_heads=2, bos_token_id=1, eos_token_id=2, **heads
        ),
        image_token_index=9, downsample_factor=2, vision_feature_layer=-1, vision_feature_select_strategy="full",
    )  # fmt: skip
