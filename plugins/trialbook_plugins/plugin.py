"""The entry point of the first-party plugin: what it offers, as strings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from trialbook import Component, hookimpl

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
    yield Component("sample", f"{_HERE}.tasks.sample:Sample", "a dataset read once and kept for the runs that follow")
    yield Component("caption", f"{_HERE}.tasks.caption:CaptionSamples", "kept samples in words")
    yield Component(
        "probe", f"{_HERE}.tasks.probe:ProbeLayers", "what can be read out of each layer of a frozen encoder"
    )
    yield Component("similarity", f"{_HERE}.tasks.similarity:Similarity", "how alike two encoders are, layer by layer")
    yield Component("embed", f"{_HERE}.tasks.embed:Embed", "the rows of one modality as vectors, kept")
    yield Component(
        "reconstruct", f"{_HERE}.tasks.reconstruct:Reconstruct", "pictures back from frozen tokens, through a decoder"
    )
    yield Component(
        "speed", f"{_HERE}.tasks.speed:Speed", "seconds and memory an image of encoders, beside one another"
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
        "sensor-series", f"{at}.sensor_series:SensorSeries", "multichannel series from folders of text, .ts, CSV or NPZ"
    )
    yield Component("sensor-events", f"{at}.sensor_events:SensorEvents", "smart-home logs as CASAS publishes them")
    yield Component("samples", f"{at}.samples:Samples", "what earlier steps kept, captioned and embedded")
    yield Component("smart-home", f"{at}.smart_home:SmartHome", "generated smart-home logs, with the truth behind them")
    yield Component(
        "shapes", f"{at}.shapes:Shapes", "generated pictures of 1 to 5 shapes, boxes and masks exact to the pixel"
    )
    yield Component("moving-shapes", f"{at}.moving_shapes:MovingShapes", "generated clips of a shape that moves")
    yield Component("coco-detection", f"{at}.coco_detection:CocoDetection", "photos with boxes in COCO format")
    yield Component("video-folder", f"{at}.video_folder:VideoFolder", "Something-Something v2, or a folder of clips")
    yield Component(
        "huggingface-questions", f"{at}.huggingface_questions:HuggingFaceQuestions", "questions of the datasets library"
    )
    yield Component(
        "grounding", f"{at}.grounding:Grounding", "pictures of shapes, and where one of them is, in a family's words"
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
    yield Component(
        "hf-vlm", f"{at}.hf_vlm:HFVLM", "LLaVA-NeXT, InternVL, Qwen-VL … and plain vision encoders, at any layers"
    )
    yield Component("pooled", f"{at}.pooled:Pooled", "the mean of another encoder's tokens")
    yield Component("tiles", f"{at}.tiles:Tiles", "large pages as a grid of crops and the whole, for another encoder")
    yield Component("hf-text", f"{at}.hf_text:HFText", "CLIP, SigLIP, BERT … text checkpoint by name or folder")
    yield Component("token-embedding", f"{at}.token_embedding:TokenEmbedding", "learned token vectors, own tokenizer")
    yield Component(
        "text-transformer", f"{at}.text_transformer:TextTransformer", "a small text transformer, own tokenizer"
    )
    yield Component(
        "sensor-transformer",
        f"{at}.sensor_transformer:SensorTransformer",
        "a small transformer over patches of series or events",
    )
    yield Component("ltx-video", f"{at}.ltx_video:LTXVideo", "latents of LTX-Video's autoencoder, of images and clips")
    yield Component("frames", f"{at}.frames:Frames", "another encoder of images, on some frames of a clip")
    yield Component("hybrid", f"{at}.hybrid:Hybrid", "tokens of several encoders of one image, side by side")


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
    yield Component(
        "mlp-adapter", f"{at}.mlp_adapter:MLPAdapter", "latents on a grid, each from the tokens in its cell"
    )
    yield Component(
        "cross-attention-adapter",
        f"{at}.cross_attention_adapter:CrossAttentionAdapter",
        "latents on a grid, which look at all tokens",
    )


@hookimpl
def mlrun_decoders() -> Iterable[Component]:
    """Decoders."""
    yield Component("ltx-video", f"{_HERE}.encoders.ltx_video:LTXVideo", "pictures and clips from LTX-Video's latents")


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
    yield Component(
        "hard-negatives", f"{at}.hard_negatives:HardNegatives", "InfoNCE with a queue of negatives, without false ones"
    )
    yield Component("siglip", f"{at}.siglip:SigLIP", "pairwise sigmoid loss")
    yield Component("matryoshka", f"{at}.matryoshka:Matryoshka", "another loss at nested sizes of the embedding")
    yield Component(
        "masked-modelling",
        f"{at}.masked_modelling:MaskedModelling",
        "an encoder fills in tokens that are hidden from it",
    )
    yield Component("lpips", f"{at}.perceptual:LPIPS", "learned perceptual distance of pictures")
    yield Component(
        "perceptual-random", f"{at}.perceptual:PerceptualRandom", "the same with random filters, which is not LPIPS"
    )
    yield Component("l2", f"{at}.l2:L2", "mean squared difference of pictures or latents")


@hookimpl
def mlrun_probes() -> Iterable[Component]:
    """Probes."""
    at = f"{_HERE}.probes"
    yield Component("token-boxes", f"{at}.token_boxes:TokenBoxes", "boxes of objects, from each token's own cell")
    yield Component(
        "pooled-boxes", f"{at}.pooled_boxes:PooledBoxes", "boxes of objects, from one vector of the picture"
    )
    yield Component(
        "detection", f"{at}.detection_queries:Detection", "objects and their classes, by learned queries (DETR)"
    )
    yield Component(
        "reconstruction", f"{at}.reconstructed_pictures:Reconstruction", "the picture itself, by convolutions"
    )
    yield Component("attribute", f"{at}.attribute:Attribute", "a class or numbers of a sample, by ridge regression")


@hookimpl
def mlrun_captioners() -> Iterable[Component]:
    """Captioners."""
    at = f"{_HERE}.captioners"
    yield Component(
        "sensor-templates", f"{at}.sensor_templates:SensorTemplates", "windows of sensor data in words, by rules"
    )
    yield Component(
        "hf-captions", f"{at}.hf_captions:HFCaptions", "captions that a causal language model writes from facts"
    )


@hookimpl
def mlrun_metrics() -> Iterable[Component]:
    """Metrics."""
    at = f"{_HERE}.metrics"
    yield Component("retrieval", f"{at}.retrieval:Retrieval", "recall@K in both directions, ties not counted as hits")
    yield Component(
        "label-retrieval", f"{at}.label_retrieval:LabelRetrieval", "precision, recall and mAP of rows of the same class"
    )
    yield Component(
        "zero-shot", f"{at}.zero_shot:ZeroShot", "one modality classified by the other's captions of classes"
    )
    yield Component("clustering", f"{at}.clustering:Clustering", "k-means and SCAN clusters against the classes")
    yield Component("linear-probe", f"{at}.linear_probe:LinearProbe", "logistic regression on the embeddings")
    yield Component(
        "series-statistics", f"{at}.series_statistics:SeriesStatistics", "logistic regression on hand-made statistics"
    )
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
    yield Component(
        "pictures", f"{at}.pictures:Pictures", "SSIM, edges and foreground of pictures against what they should be"
    )
    yield Component("lpips", f"{at}.perceptual:LPIPS", "learned perceptual distance of pictures")
    yield Component(
        "perceptual-random", f"{at}.perceptual:PerceptualRandom", "the same with random filters, which is not LPIPS"
    )
    yield Component(
        "redetection", f"{at}.redetection:Redetection", "mAP of a detector of true pictures on those that were made"
    )
    yield Component(
        "pretrained-detection",
        f"{at}.pretrained_detection:PretrainedDetection",
        "mAP of a detector's checkpoint on pictures that were made",
    )
    yield Component("direction", f"{at}.direction:Direction", "share of clips that move where they should")
    yield Component("grounding", f"{at}.grounding:Grounding", "IoU of boxes that a language model wrote")


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
def mlrun_trackers() -> Iterable[Component]:
    """Trackers."""
    at = f"{_HERE}.trackers"
    yield Component("tensorboard", f"{at}.tensorboard:TensorBoard", "event files in the run's directory")
    yield Component("wandb", f"{at}.wandb:WeightsAndBiases", "Weights & Biases, offline unless told otherwise")
    yield Component("mlflow", f"{at}.mlflow:MLflow", "an MLflow server, or a database beside the runs")


@hookimpl
def mlrun_architectures() -> Iterable[Component]:
    """Where the layers of vision-language models lie."""
    at = f"{_HERE}.vlms.tables"
    yield Component("llava-next", f"{at}:LLAVA_NEXT", "points L1 to L5")
    yield Component("llava", f"{at}:LLAVA", "points L1 to L5; llava-next-interleave-qwen is one")
    yield Component("internvl", f"{at}:INTERNVL", "points I1 to I5")
    yield Component("internvl-chat", f"{at}:INTERNVL_CHAT", "points I1 to I5, with the code of InternVL2's checkpoints")
    yield Component("cogvlm2", f"{at}:COGVLM2", "points C1 to C4, with the code of its checkpoints")
    yield Component("qwen2.5-vl", f"{at}:QWEN2_5_VL", "points Q1 to Q7")
    yield Component("qwen2-vl", f"{at}:QWEN2_VL", "points Q1 to Q7")
    yield Component("qwen3-vl", f"{at}:QWEN3_VL", "points Q1 to Q7")
    yield Component("paligemma", f"{at}:PALIGEMMA", "points P1 to P6")
    yield Component("idefics3", f"{at}:IDEFICS3", "points S1 to S6")
    yield Component("smolvlm", f"{at}:SMOLVLM", "points S1 to S6")
    yield Component("kosmos-2", f"{at}:KOSMOS2", "points K1 to K6; from K3 on latents without a place")
    yield Component("florence-2", f"{at}:FLORENCE2", "points F1 to F7")
    yield Component("vision", f"{at}:VISION", "points V1 to V4 of CLIP, SigLIP, DINOv2, ViT, OWL-ViT")


@hookimpl
def mlrun_commands(cli: click.Group) -> None:
    """Commands."""
    from trialbook_plugins.demo.command import demo

    cli.add_command(demo, "demo")
