"""The architectures that come with the runner."""

from __future__ import annotations

from trialbook_plugins.vlms.architecture import Architecture, Area

_TINY = "trialbook_plugins.vlms.tiny"
_VISION = ("encoder.layers.*",)

LLAVA_NEXT = Architecture(
    "llava-next", ("llava_next",), "llava-next",
    areas=(
        Area("model.vision_tower", blocks=_VISION),
        Area("model.multi_modal_projector", blocks=("",)),
        Area("model.language_model", "sequence", blocks=("layers.*",), norm="norm"),
    ),
    connector="model.multi_modal_projector",
    points={
        "L1": "in:model.multi_modal_projector", "L2": "out:model.multi_modal_projector",
        "L3": "out:model.language_model.layers.{1/4}", "L4": "out:model.language_model.layers.{1/2}",
        "L5": "out:model.language_model.layers.{1}",
    },
    statistics="clip", tiny=f"{_TINY}:llava_next",
)  # fmt: skip

LLAVA = Architecture(
    "llava", ("llava",), "plain", areas=LLAVA_NEXT.areas, connector=LLAVA_NEXT.connector, points=LLAVA_NEXT.points,
    statistics="clip", tiny=f"{_TINY}:llava",
)  # fmt: skip

INTERNVL = Architecture(
    "internvl", ("internvl",), "plain",
    areas=(
        Area("model.vision_tower", blocks=("encoder.layer.*",), norm="layernorm"),
        Area("model.multi_modal_projector", blocks=("",)),
        Area("model.language_model", "sequence", blocks=("layers.*",), norm="norm"),
    ),
    connector="model.multi_modal_projector",
    points={
        "I1": "out:model.vision_tower.encoder.layer.{8/15}", "I2": "out:model.vision_tower.layernorm",
        "I3": "in:model.multi_modal_projector", "I4": "out:model.language_model.layers.{1/4}",
        "I5": "out:model.language_model.layers.{1/2}",
    },
    statistics="imagenet", tiny=f"{_TINY}:internvl",
)  # fmt: skip

INTERNVL_CHAT = Architecture(
    "internvl-chat", ("internvl_chat",), "internvl-chat",
    areas=(
        Area("vision_model", blocks=_VISION),
        Area("mlp1", blocks=("",)),
        Area("language_model", "sequence", blocks=("model.layers.*",)),
    ),
    connector="mlp1",
    points={
        "I1": "out:vision_model.encoder.layers.{8/15}", "I2": "out:vision_model.encoder.layers.{1}", "I3": "in:mlp1",
        "I4": "out:language_model.model.layers.{1/4}", "I5": "out:language_model.model.layers.{1/2}",
    },
    statistics="imagenet", remote=True,
)  # fmt: skip

COGVLM2 = Architecture(
    "cogvlm2", ("cogvlm", "cogvlm2"), "cogvlm",
    areas=(
        Area("model.vision.transformer", blocks=("layers.*",)),
        Area("model.vision.linear_proj"),
        Area("model.layers", "sequence", blocks=("*",)),
    ),
    connector="model.vision.linear_proj",
    points={
        "C1": "out:model.vision.transformer", "C2": "out:model.layers.{1/4}",
        "C3": "out:model.layers.{1/2}", "C4": "out:model.layers.{1}",
    },
    statistics="clip", image_size=1344, remote=True, tiny="trialbook_plugins.vlms.tiny_cogvlm:TinyCogVLM",
)  # fmt: skip

_QWEN_BEFORE = (("model.language_model", "model"),)

QWEN2_5_VL = Architecture(
    "qwen2.5-vl", ("qwen2_5_vl",), "qwen",
    areas=(
        Area("model.visual.patch_embed", order="blocks", blocks=("",)),
        Area("model.visual", order="windows", blocks=("blocks.*", "merger")),
        Area("model.language_model", "sequence", blocks=("layers.*",), norm="norm"),
    ),
    connector="model.visual.merger",
    points={
        "Q1": "out:model.visual.patch_embed", "Q2": "out:model.visual.blocks.{1/2}", "Q3": "out:model.visual.blocks.{1}",
        "Q4": "out:model.visual.merger", "Q5": "out:model.language_model.layers.{1/4}",
        "Q6": "out:model.language_model.layers.{1/2}", "Q7": "out:model.language_model.layers.{1}",
    },
    aliases=_QWEN_BEFORE, statistics="clip", tiny=f"{_TINY}:qwen2_5_vl",
)  # fmt: skip

_BLOCKS = (Area("model.visual", order="blocks", blocks=("patch_embed", "blocks.*", "merger")), QWEN2_5_VL.areas[2])

QWEN2_VL = Architecture(
    "qwen2-vl", ("qwen2_vl",), "qwen", areas=_BLOCKS, connector="model.visual.merger", points=QWEN2_5_VL.points,
    aliases=_QWEN_BEFORE, statistics="clip", tiny=f"{_TINY}:qwen2_vl",
)  # fmt: skip

QWEN3_VL = Architecture(
    "qwen3-vl", ("qwen3_vl", "qwen3_vl_moe"), "qwen", areas=_BLOCKS, connector="model.visual.merger",
    points=QWEN2_5_VL.points, tiny=f"{_TINY}:qwen3_vl",
)  # fmt: skip

PALIGEMMA = Architecture(
    "paligemma", ("paligemma",), "paligemma", areas=LLAVA_NEXT.areas, connector="model.multi_modal_projector",
    points={
        "P1": "out:model.vision_tower.encoder.layers.{1/2}", "P2": "in:model.multi_modal_projector",
        "P3": "out:model.multi_modal_projector", "P4": "out:model.language_model.layers.{1/4}",
        "P5": "out:model.language_model.layers.{1/2}", "P6": "out:model.language_model.layers.{1}",
    },
    tiny=f"{_TINY}:paligemma",
)  # fmt: skip

IDEFICS3 = Architecture(
    "idefics3", ("idefics3",), "idefics3",
    areas=(
        Area("model.vision_model", blocks=_VISION),
        Area("model.connector", blocks=("",)),
        Area("model.text_model", "sequence", blocks=("layers.*",), norm="norm"),
    ),
    connector="model.connector",
    points={
        "S1": "out:model.vision_model.encoder.layers.{1/2}", "S2": "in:model.connector", "S3": "out:model.connector",
        "S4": "out:model.text_model.layers.{1/4}", "S5": "out:model.text_model.layers.{1/2}",
        "S6": "out:model.text_model.layers.{1}",
    },
    tiny=f"{_TINY}:idefics3",
)  # fmt: skip

SMOLVLM = Architecture(
    "smolvlm", ("smolvlm",), "idefics3", areas=IDEFICS3.areas, connector=IDEFICS3.connector, points=IDEFICS3.points,
    tiny=f"{_TINY}:smolvlm",
)  # fmt: skip

KOSMOS2 = Architecture(
    "kosmos-2", ("kosmos-2",), "kosmos-2",
    areas=(
        Area("vision_model", blocks=("model.encoder.layers.*",)),
        Area("image_to_text_projection.dense", blocks=("",)),
        Area("image_to_text_projection", order="none", blocks=("",)),
        Area("text_model", "sequence", order="none", blocks=("model.layers.*",), norm="model.layer_norm"),
    ),
    connector="image_to_text_projection",
    points={
        "K1": "out:vision_model.model.encoder.layers.{1/2}", "K2": "in:image_to_text_projection.dense",
        "K3": "out:image_to_text_projection", "K4": "out:text_model.model.layers.{1/4}",
        "K5": "out:text_model.model.layers.{1/2}", "K6": "out:text_model.model.layers.{1}",
    },
    statistics="clip", tiny=f"{_TINY}:kosmos2",
)  # fmt: skip

FLORENCE2 = Architecture(
    "florence-2", ("florence2",), "plain",
    areas=(
        Area("model.vision_tower", "map", blocks=("blocks.*.*",), overlap=True),
        Area("model.multi_modal_projector", blocks=("",), overlap=True),
        Area("model.language_model.encoder", "sequence", blocks=("layers.*",)),
    ),
    connector="model.multi_modal_projector",
    points={
        "F1": "out:model.vision_tower.blocks.{1/4}.{1}", "F2": "out:model.vision_tower.blocks.{1/2}.{1}",
        "F3": "out:model.vision_tower.blocks.{3/4}.{1}", "F4": "out:model.vision_tower.blocks.{1}.{1}",
        "F5": "out:model.multi_modal_projector", "F6": "out:model.language_model.encoder.layers.{1/2}",
        "F7": "out:model.language_model.encoder.layers.{1}",
    },
    statistics="imagenet", image_size=768, tiny=f"{_TINY}:florence2",
)  # fmt: skip

_PLAIN = {"V1": "out:encoder.layers.{1/4}", "V2": "out:encoder.layers.{1/2}", "V3": "out:encoder.layers.{3/4}"}

VISION = Architecture(
    "vision",
    ("clip", "clip_vision_model", "siglip", "siglip_vision_model", "dinov2", "dinov2_with_registers", "vit", "deit", "owlvit",
     "owlv2"),
    "plain", areas=(Area("", blocks=_VISION),), points={**_PLAIN, "V4": "out:encoder.layers.{1}"},
    image_size=224, tiny=f"{_TINY}:vision",
)  # fmt: skip
