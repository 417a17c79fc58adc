"""The entry point of the first-party plugin: what it offers, as strings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from trialbook.hookspec import Component, hookimpl

if TYPE_CHECKING:
    import click

_HERE = "trialbook_plugins"


@hookimpl
def mlrun_tasks() -> Iterable[Component]:
    """Tasks."""
    yield Component("align", f"{_HERE}.tasks.align:Align", "two or more modalities into one space")
    yield Component(
        "instruct",
        f"{_HERE}.tasks.instruct:Instruct",
        "images into a language model, which answers questions about them",
    )


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
    yield Component(
        "documents", f"{at}.documents:Documents", "generated documents and screens with questions about them"
    )
    yield Component("conversations", f"{at}.conversations:Conversations", "a folder that mlrun data build made")
    yield Component(
        "caption-conversations",
        f"{at}.caption_conversations:CaptionConversations",
        "pictures with captions, as conversations",
    )
    yield Component("mixture", f"{at}.mixture:Mixture", "several datasets of conversations, each under a name")
    yield Component("docvqa", f"{at}.docvqa:DocVQA", "DocVQA as it is published")
    yield Component("textvqa", f"{at}.textvqa:TextVQA", "TextVQA as it is published")
    yield Component("chartqa", f"{at}.chartqa:ChartQA", "ChartQA as it is published, or one list of its questions")
    yield Component("receipts", f"{at}.receipts:Receipts", "SROIE's receipts, asked for their fields")
    yield Component(
        "huggingface-questions", f"{at}.huggingface_questions:HuggingFaceQuestions", "questions of the datasets library"
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
    yield Component(
        "pixel-shuffle", f"{at}.pixel_shuffle:PixelShuffle", "squares of neighbouring tokens as one, then two layers"
    )
    yield Component("perceiver", f"{at}.perceiver:Perceiver", "Perceiver resampler: latents that attend to the tokens")


@hookimpl
def mlrun_llms() -> Iterable[Component]:
    """Language models."""
    at = f"{_HERE}.llms"
    yield Component(
        "hf-causal", f"{at}.hf_causal:HFCausal", "Qwen, Llama, Gemma, Phi … by name or folder; LoRA, 4 bits"
    )
    yield Component(
        "small-causal", f"{at}.small_causal:SmallCausal", "a small Llama, trained from scratch, own tokenizer"
    )


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
    at = f"{_HERE}.metrics"
    yield Component("retrieval", f"{at}.retrieval:Retrieval", "recall@K in both directions, ties not counted as hits")
    yield Component(
        "matryoshka-retrieval", f"{at}.matryoshka_retrieval:MatryoshkaRetrieval", "recall@K of embeddings cut to sizes"
    )
    yield Component(
        "alignment-uniformity", f"{at}.alignment_uniformity:AlignmentUniformity", "closeness of partners, spread of all"
    )
    yield Component(
        "effective-rank", f"{at}.effective_rank:EffectiveRank", "how many directions each modality's embeddings use"
    )
    yield Component(
        "modality-gap", f"{at}.modality_gap:ModalityGap", "distance of centroids; cosines of matching and other pairs"
    )
    yield Component("exact-match", f"{at}.exact_match:ExactMatch", "share of accepted answers, exactly or normalised")
    yield Component("anls", f"{at}.anls:ANLS", "edit similarity of answers, by both definitions (paper, script)")
    yield Component(
        "vqa-accuracy", f"{at}.vqa_accuracy:VQAAccuracy", "agreement with ten annotators, by both definitions"
    )
    yield Component(
        "relaxed-accuracy", f"{at}.relaxed_accuracy:RelaxedAccuracy", "answers within 5% of a number, or the same text"
    )
    yield Component("token-f1", f"{at}.token_f1:TokenF1", "overlap of the words of answers, as SQuAD takes it")
    yield Component("abstention", f"{at}.abstention:Abstention", "abstaining where there is no answer, and only there")
    yield Component(
        "risk-coverage", f"{at}.risk_coverage:RiskCoverage", "risk of the answers that stay above a confidence"
    )


#: Check of the doctor -> its summary; each is the function ``check`` of the module named after it.
_CHECKS = {
    "loss-at-chance": "training loss where knowing nothing would put it",
    "loss-above-chance": "training loss above that: a saturated temperature, or worse",
    "scale-at-clamp": "logit scale at a bound, at the start or at the end",
    "diverged": "training loss that fell and rose again",
    "still-falling": "training loss that still falls steeply at the end",
    "always-clipped": "gradient cut to a tenth at nearly every step",
    "lr-not-reached": "warm-up that does not end: the learning rate of the file is never reached",
    "not-finite": "NaN or infinity, and the module that first made it",
    "not-optimized": "parts that no optimiser was given",
    "no-gradient": "parameters that never get a gradient",
    "no-update": "parameters that no step changes",
    "not-moved": "trained parts that are where they began",
    "frozen-moved": "frozen parts that are trained or changed",
    "vanishing": "modules whose gradient all but vanishes",
    "exploding": "updates, weights, gradients or outputs out of proportion",
    "dead-units": "units that are 0 for every row",
    "uniform-attention": "attention that is a mean",
    "saturated-attention": "attention that looks at one key",
    "collapsed-embeddings": "embeddings that are all but the same",
    "low-rank-embeddings": "embeddings in few directions",
    "modality-gap": "modalities that lie apart",
    "batch-of-one": "contrastive loss over one row",
    "other-batch": "losses over batches of different size",
    "ties-as-hits": "recall that counts ties as hits",
    "split-overlap": "content that stands in two splits",
    "misaligned-pairs": "pairs that are off by a few rows",
    "evaluation-at-chance": "split at chance though training learned",
    "over-fitting": "loss of a split that rose while training's fell",
    "small-evaluation": "split of the answer with few groups",
    "changed-midway": "run that went on with other data or numbers",
}


@hookimpl
def mlrun_checks() -> Iterable[Component]:
    """Checks of the doctor."""
    for name, summary in _CHECKS.items():
        yield Component(name, f"{_HERE}.checks.{name.replace('-', '_')}:check", summary)


@hookimpl
def mlrun_commands(cli: click.Group) -> None:
    """Commands."""
    from trialbook_plugins.demo.command import demo

    cli.add_command(demo, "demo")
