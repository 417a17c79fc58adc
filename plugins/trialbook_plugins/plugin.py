"""The entry point of the first-party plugin: what it offers, as strings."""

from __future__ import annotations

from collections.abc import Iterable

from trialbook.hookspec import Component, hookimpl

_HERE = "trialbook_plugins"


@hookimpl
def mlrun_tasks() -> Iterable[Component]:
    """Tasks."""
    yield Component("align", f"{_HERE}.tasks.align:Align", "two or more modalities into one space")


@hookimpl
def mlrun_datasets() -> Iterable[Component]:
    """Datasets."""
    at = f"{_HERE}.datasets"
    yield Component("paired-latents", f"{at}.paired_latents:PairedLatents", "paired vectors from one latent space")
    yield Component("scenes", f"{at}.scenes:Scenes", "generated pictures of coloured shapes with captions and boxes")
    yield Component(
        "coco-captions", f"{at}.coco_captions:CocoCaptions", "a folder in COCO format, several captions a photo"
    )
    yield Component(
        "image-captions", f"{at}.image_captions:ImageCaptions", "a CSV or JSONL file beside an image folder"
    )
    yield Component("embeddings", f"{at}.embeddings:Embeddings", "precomputed embeddings from NPZ or safetensors")
    yield Component(
        "huggingface", f"{at}.huggingface:HuggingFace", "any data set of the datasets library, by name or folder"
    )


@hookimpl
def mlrun_encoders() -> Iterable[Component]:
    """Encoders."""
    at = f"{_HERE}.encoders"
    yield Component("identity", f"{at}.identity:Identity", "vectors as they are")
    yield Component(
        "patches", f"{at}.patches:Patches", "pixels of image patches with their positions; nothing to learn"
    )
    yield Component("vit", f"{at}.vit:ViT", "a small vision transformer, trained from scratch")
    yield Component("hf-vision", f"{at}.hf_vision:HFVision", "CLIP, SigLIP, DINOv2, ViT … checkpoint by name or folder")
    yield Component("hf-text", f"{at}.hf_text:HFText", "CLIP, SigLIP, BERT … text checkpoint by name or folder")
    yield Component("token-embedding", f"{at}.token_embedding:TokenEmbedding", "learned token vectors, own tokenizer")
    yield Component(
        "text-transformer", f"{at}.text_transformer:TextTransformer", "a small text transformer, own tokenizer"
    )


@hookimpl
def mlrun_projectors() -> Iterable[Component]:
    """Projectors."""
    at = f"{_HERE}.projectors"
    yield Component("linear", f"{at}.linear:Linear", "one linear map")
    yield Component("mlp", f"{at}.mlp:MLP", "linear layers with GELU; mean, attention or class-token pooling")
    yield Component("perceiver", f"{at}.perceiver:Perceiver", "Perceiver resampler: latents that attend to the tokens")


@hookimpl
def mlrun_losses() -> Iterable[Component]:
    """Losses."""
    at = f"{_HERE}.losses"
    yield Component("info-nce", f"{at}.info_nce:InfoNCE", "CLIP's symmetric cross-entropy over the batch")
    yield Component("siglip", f"{at}.siglip:SigLIP", "pairwise sigmoid loss")
    yield Component("matryoshka", f"{at}.matryoshka:Matryoshka", "another loss at nested sizes of the embedding")


@hookimpl
def mlrun_metrics() -> Iterable[Component]:
    """Metrics."""
    yield Component(
        "retrieval", f"{_HERE}.metrics.retrieval:Retrieval", "recall@K in both directions, ties not counted as hits"
    )
