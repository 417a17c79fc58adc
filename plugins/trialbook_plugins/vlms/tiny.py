"""Configurations of tiny models of the real architectures, for trying a question out without a download."""

from __future__ import annotations

from typing import Any

import transformers as hf

_IDS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
IMAGE = 5
"""Id of the image's token."""


def _tower(size: int, patch: int = 8, **more: Any) -> dict[str, Any]:
    return {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
        "image_size": size, "patch_size": patch, **more,
    }  # fmt: skip


def _language(**more: Any) -> dict[str, Any]:
    return {
        "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 64, "max_position_embeddings": 1024, **_IDS, **more,
    }  # fmt: skip


def llava_next() -> Any:
    """LLaVA-NeXT: CLIP at 32 pixels, tiles, Llama."""
    return hf.LlavaNextConfig(
        vision_config=hf.CLIPVisionConfig(**_tower(32)), text_config=hf.LlamaConfig(**_language()), image_token_id=IMAGE,
        image_grid_pinpoints=[[32, 64], [64, 32], [64, 64]], vision_feature_layer=-2,
    )  # fmt: skip


def llava() -> Any:
    """LLaVA with SigLIP and Qwen2, as ``llava-next-interleave-qwen``."""
    return hf.LlavaConfig(
        vision_config=hf.SiglipVisionConfig(**_tower(64, vision_use_head=False)),
        text_config=hf.Qwen2Config(**_language()), image_token_id=IMAGE, vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )  # fmt: skip


def internvl() -> Any:
    """InternVL: InternViT at 64 pixels, pixel shuffle, Qwen2."""
    vision = hf.InternVLVisionConfig(**{**_tower(64), "image_size": [64, 64], "patch_size": [8, 8]})
    text = hf.Qwen2Config(**_language())
    return hf.InternVLConfig(vision_config=vision, text_config=text, image_token_id=IMAGE, image_seq_length=16)


def qwen2_5_vl() -> Any:
    """Qwen2.5-VL: windows of 2 x 2 merged tokens."""
    vision = {
        "depth": 4, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4, "patch_size": 4,
        "image_size": 32, "window_size": 16, "out_hidden_size": 48, "fullatt_block_indexes": [1, 3],
    }  # fmt: skip
    return hf.Qwen2_5_VLConfig(text_config=_qwen_language(), vision_config=vision, image_token_id=IMAGE, **_qwen_ids())


def qwen2_vl() -> Any:
    """Qwen2-VL."""
    vision = {
        "depth": 4,
        "embed_dim": 32,
        "num_heads": 4,
        "patch_size": 4,
        "mlp_ratio": 2,
        "hidden_size": 48,
        "image_size": 32,
    }
    return hf.Qwen2VLConfig(text_config=_qwen_language(), vision_config=vision, image_token_id=IMAGE, **_qwen_ids())


def qwen3_vl() -> Any:
    """Qwen3-VL, with features of two vision blocks added to the first two of the language model."""
    vision = {
        "depth": 4, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4, "patch_size": 4,
        "image_size": 32, "out_hidden_size": 48, "num_position_embeddings": 64, "deepstack_visual_indexes": [1, 2],
    }  # fmt: skip
    return hf.Qwen3VLConfig(
        text_config=_qwen_language(head_dim=12), vision_config=vision, image_token_id=IMAGE, **_qwen_ids()
    )


def paligemma() -> Any:
    """PaliGemma: SigLIP, Gemma."""
    return hf.PaliGemmaConfig(
        vision_config=_tower(32, 4, model_type="siglip_vision_model", vision_use_head=False, projection_dim=48),
        text_config=_language(model_type="gemma", head_dim=12), image_token_id=IMAGE, projection_dim=48, hidden_size=48,
    )  # fmt: skip


def idefics3() -> Any:
    """Idefics3: pixel shuffle in its connector, Llama."""
    return hf.Idefics3Config(
        vision_config=_tower(64), text_config=_language(model_type="llama"), image_token_id=IMAGE, scale_factor=2
    )


def smolvlm() -> Any:
    """SmolVLM."""
    return hf.SmolVLMConfig(
        vision_config=_tower(64), text_config=_language(model_type="llama"), image_token_id=IMAGE, scale_factor=2
    )


def kosmos2() -> Any:
    """Kosmos-2: its 4 latents have no place in the image."""
    text = {
        "vocab_size": 64, "embed_dim": 48, "layers": 4, "ffn_dim": 64, "attention_heads": 4, "max_position_embeddings": 128,
        **_IDS,
    }  # fmt: skip
    return hf.Kosmos2Config(text_config=text, vision_config=_tower(32, 4), latent_query_num=4)


def florence2() -> Any:
    """Florence-2 at 128 pixels: DaViT in four stages, BART."""
    vision = {
        "depths": (1, 1, 2, 1), "embed_dim": (16, 16, 32, 32), "num_heads": (2, 2, 4, 4), "num_groups": (2, 2, 4, 4),
        "window_size": 4, "projection_dim": 48, "image_size": 128,
    }  # fmt: skip
    text = {
        "model_type": "bart", "d_model": 48, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 4,
        "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "vocab_size": 64,
        "max_position_embeddings": 128, "decoder_start_token_id": 1, "forced_eos_token_id": None, **_IDS,
    }  # fmt: skip
    return hf.Florence2Config(text_config=text, vision_config=vision, image_token_id=IMAGE)


def vision() -> Any:
    """A ViT with a class token."""
    return hf.ViTConfig(**_tower(64))


def _qwen_language(**more: Any) -> dict[str, Any]:
    rope = {"rope_type": "default", "mrope_section": [2, 2, 2], "rope_theta": 10000.0}
    return _language(rope_parameters=rope, **more)


def _qwen_ids() -> dict[str, int]:
    return {"video_token_id": 6, "vision_start_token_id": 7, "vision_end_token_id": 8}
