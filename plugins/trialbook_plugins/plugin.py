"""The entry point of the first-party plugin: a table of its components, which is read without importing any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from trialbook import Component, hookimpl

if TYPE_CHECKING:
    import click

#: Kind of component -> name -> class and summary. The class is in the module named after the component, in the package named
#: after the kind; one that is elsewhere has its path below ``trialbook_plugins``.
_COMPONENTS = {
    "tasks": {
        "align": ("Align", "two or more modalities into one space"),
        "instruct": ("Instruct", "images into a language model, which answers questions about them"),
        "sample": ("Sample", "a dataset read once and kept for the runs that follow"),
        "caption": ("CaptionSamples", "kept samples in words"),
        "probe": ("ProbeLayers", "what can be read out of each layer of a frozen encoder"),
        "similarity": ("Similarity", "how alike two encoders are, layer by layer"),
        "embed": ("Embed", "the rows of one modality as vectors, kept"),
        "reconstruct": ("Reconstruct", "pictures back from frozen tokens, through a decoder"),
        "speed": ("Speed", "seconds and memory an image of encoders, beside one another"),
    },
    "datasets": {
        "paired-latents": ("PairedLatents", "paired vectors from one latent space"),
        "scenes": ("Scenes", "generated pictures of coloured shapes with captions and boxes"),
        "coco-captions": ("CocoCaptions", "a folder in COCO format, several captions a photo"),
        "image-captions": ("ImageCaptions", "a CSV or JSONL file beside an image folder"),
        "embeddings": ("Embeddings", "precomputed embeddings from NPZ or safetensors"),
        "huggingface": ("HuggingFace", "any data set of the datasets library, by name or folder"),
        "documents": ("Documents", "generated documents and screens with questions about them"),
        "conversations": ("Conversations", "a folder that mlrun data build made"),
        "caption-conversations": ("CaptionConversations", "pictures with captions, as conversations"),
        "mixture": ("Mixture", "several datasets of conversations, each under a name"),
        "docvqa": ("DocVQA", "DocVQA as it is published"),
        "textvqa": ("TextVQA", "TextVQA as it is published"),
        "chartqa": ("ChartQA", "ChartQA as it is published, or one list of its questions"),
        "receipts": ("Receipts", "SROIE's receipts, asked for their fields"),
        "sensor-series": ("SensorSeries", "multichannel series from folders of text, .ts, CSV or NPZ"),
        "sensor-events": ("SensorEvents", "smart-home logs as CASAS publishes them"),
        "samples": ("Samples", "what earlier steps kept, captioned and embedded"),
        "smart-home": ("SmartHome", "generated smart-home logs, with the truth behind them"),
        "shapes": ("Shapes", "generated pictures of 1 to 5 shapes, boxes and masks exact to the pixel"),
        "moving-shapes": ("MovingShapes", "generated clips of a shape that moves"),
        "coco-detection": ("CocoDetection", "photos with boxes in COCO format"),
        "video-folder": ("VideoFolder", "Something-Something v2, or a folder of clips"),
        "llava": ("Llava", "conversations in LLaVA's JSON beside a folder of pictures"),
        "huggingface-questions": ("HuggingFaceQuestions", "questions of the datasets library"),
        "grounding": ("Grounding", "pictures of shapes, and where one of them is, in a family's words"),
    },
    "encoders": {
        "identity": ("Identity", "vectors as they are"),
        "patches": ("Patches", "pixels of image patches with their positions; nothing to learn"),
        "vit": ("ViT", "a small vision transformer, trained from scratch"),
        "hf-vision": ("HFVision", "CLIP, SigLIP, DINOv2, ViT … checkpoint by name or folder"),
        "hf-vlm": ("HFVLM", "LLaVA-NeXT, InternVL, Qwen-VL … and plain vision encoders, at any layers"),
        "pooled": ("Pooled", "the mean of another encoder's tokens"),
        "tiles": ("Tiles", "large pages as a grid of crops and the whole, for another encoder"),
        "hf-text": ("HFText", "CLIP, SigLIP, BERT … text checkpoint by name or folder"),
        "token-embedding": ("TokenEmbedding", "learned token vectors, own tokenizer"),
        "text-transformer": ("TextTransformer", "a small text transformer, own tokenizer"),
        "sensor-transformer": ("SensorTransformer", "a small transformer over patches of series or events"),
        "ltx-video": ("LTXVideo", "latents of LTX-Video's autoencoder, of images and clips"),
        "frames": ("Frames", "another encoder of images, on some frames of a clip"),
        "hybrid": ("Hybrid", "tokens of several encoders of one image, side by side"),
    },
    "projectors": {
        "linear": ("Linear", "one linear map"),
        "mlp": ("MLP", "linear layers with GELU; mean, attention or class-token pooling"),
        "pixel-shuffle": ("PixelShuffle", "squares of neighbouring tokens as one, then two layers"),
        "perceiver": ("Perceiver", "Perceiver resampler: latents that attend to the tokens"),
        "mlp-adapter": ("MLPAdapter", "latents on a grid, each from the tokens in its cell"),
        "cross-attention-adapter": ("CrossAttentionAdapter", "latents on a grid, which look at all tokens"),
    },
    "decoders": {
        "ltx-video": ("encoders.ltx_video:LTXVideo", "pictures and clips from LTX-Video's latents"),
    },
    "llms": {
        "hf-causal": ("HFCausal", "Qwen, Llama, Gemma, Phi … by name or folder; LoRA, 4 bits"),
        "small-causal": ("SmallCausal", "a small Llama, trained from scratch, own tokenizer"),
    },
    "losses": {
        "info-nce": ("InfoNCE", "CLIP's symmetric cross-entropy over the batch"),
        "hard-negatives": ("HardNegatives", "InfoNCE with a queue of negatives, without false ones"),
        "siglip": ("SigLIP", "pairwise sigmoid loss"),
        "matryoshka": ("Matryoshka", "another loss at nested sizes of the embedding"),
        "masked-modelling": ("MaskedModelling", "an encoder fills in tokens that are hidden from it"),
        "lpips": ("losses.perceptual:LPIPS", "learned perceptual distance of pictures"),
        "perceptual-random": ("losses.perceptual:PerceptualRandom", "the same with random filters, which is not LPIPS"),
        "l2": ("L2", "mean squared difference of pictures or latents"),
    },
    "probes": {
        "token-boxes": ("TokenBoxes", "boxes of objects, from each token's own cell"),
        "pooled-boxes": ("PooledBoxes", "boxes of objects, from one vector of the picture"),
        "detection": ("probes.detection_queries:Detection", "objects and their classes, by learned queries (DETR)"),
        "reconstruction": ("probes.reconstructed_pictures:Reconstruction", "the picture itself, by convolutions"),
        "attribute": ("Attribute", "a class or numbers of a sample, by ridge regression"),
    },
    "captioners": {
        "sensor-templates": ("SensorTemplates", "windows of sensor data in words, by rules"),
        "hf-captions": ("HFCaptions", "captions that a causal language model writes from facts"),
    },
    "metrics": {
        "retrieval": ("Retrieval", "recall@K in both directions, ties not counted as hits"),
        "label-retrieval": ("LabelRetrieval", "precision, recall and mAP of rows of the same class"),
        "zero-shot": ("ZeroShot", "one modality classified by the other's captions of classes"),
        "clustering": ("Clustering", "k-means and SCAN clusters against the classes"),
        "linear-probe": ("LinearProbe", "logistic regression on the embeddings"),
        "series-statistics": ("SeriesStatistics", "logistic regression on hand-made statistics"),
        "matryoshka-retrieval": ("MatryoshkaRetrieval", "recall@K of embeddings cut to sizes"),
        "alignment-uniformity": ("AlignmentUniformity", "closeness of partners, spread of all"),
        "effective-rank": ("EffectiveRank", "how many directions each modality's embeddings use"),
        "modality-gap": ("ModalityGap", "distance of centroids; cosines of positive and negative pairs"),
        "exact-match": ("ExactMatch", "share of accepted answers, exactly or normalised"),
        "anls": ("ANLS", "edit similarity of answers, by both definitions (paper, script)"),
        "vqa-accuracy": ("VQAAccuracy", "agreement with ten annotators, by both definitions"),
        "relaxed-accuracy": ("RelaxedAccuracy", "answers within 5% of a number, or the same text"),
        "token-f1": ("TokenF1", "overlap of the words of answers, as SQuAD takes it"),
        "abstention": ("Abstention", "abstaining where there is no answer, and only there"),
        "risk-coverage": ("RiskCoverage", "risk of the answers that stay above a confidence"),
        "pictures": ("Pictures", "SSIM, edges and foreground of pictures against what they should be"),
        "lpips": ("metrics.perceptual:LPIPS", "learned perceptual distance of pictures"),
        "perceptual-random": (
            "metrics.perceptual:PerceptualRandom",
            "the same with random filters, which is not LPIPS",
        ),
        "redetection": ("Redetection", "mAP of a detector of true pictures on those that were made"),
        "pretrained-detection": ("PretrainedDetection", "mAP of a detector's checkpoint on pictures that were made"),
        "direction": ("Direction", "share of clips that move where they should"),
        "grounding": ("Grounding", "IoU of boxes that a language model wrote"),
    },
    "checks": {
        "loss-at-chance": ("check", "training loss where knowing nothing would put it"),
        "loss-above-chance": ("check", "training loss above that: a saturated temperature, or worse"),
        "scale-at-clamp": ("check", "logit scale at a bound, at the start or at the end"),
        "shared-duplicates": ("check", "targets shared among equal rows with equal embeddings: no effect"),
        "diverged": ("check", "training loss that fell and rose again"),
        "still-falling": ("check", "training loss that still falls steeply at the end"),
        "always-clipped": ("check", "gradient cut to a tenth at nearly every step"),
        "lr-not-reached": ("check", "warm-up that does not end: the learning rate of the file is never reached"),
        "not-finite": ("check", "NaN or infinity, and the module that first made it"),
        "not-optimized": ("check", "parts that no optimiser was given"),
        "no-gradient": ("check", "parameters that never get a gradient"),
        "no-update": ("check", "parameters that no step changes"),
        "not-moved": ("check", "trained parts that are where they began"),
        "frozen-moved": ("check", "frozen parts that are trained or changed"),
        "vanishing": ("check", "modules whose gradient all but vanishes"),
        "exploding": ("check", "updates, weights, gradients or outputs out of proportion"),
        "dead-units": ("check", "units that are 0 for every row"),
        "uniform-attention": ("check", "attention that is a mean"),
        "saturated-attention": ("check", "attention that looks at one key"),
        "collapsed-embeddings": ("check", "embeddings that are all but the same"),
        "low-rank-embeddings": ("check", "embeddings in few directions"),
        "modality-gap": ("check", "modalities that lie apart"),
        "batch-of-one": ("check", "contrastive loss over one row"),
        "other-batch": ("check", "losses over batches of different size"),
        "ties-as-hits": ("check", "recall that counts ties as hits"),
        "split-overlap": ("check", "content that stands in two splits"),
        "misaligned-pairs": ("check", "pairs that are off by a few rows"),
        "evaluation-at-chance": ("check", "split at chance though training learned"),
        "over-fitting": ("check", "loss of a split that rose while training's fell"),
        "small-evaluation": ("check", "test split with few groups"),
        "changed-midway": ("check", "run that resumed with other data or numbers"),
    },
    "trackers": {
        "tensorboard": ("TensorBoard", "event files in the run's directory"),
        "wandb": ("WeightsAndBiases", "Weights & Biases, offline unless told otherwise"),
        "mlflow": ("MLflow", "an MLflow server, or a database beside the runs"),
    },
    "architectures": {
        "llava-next": ("vlms.architectures:LLAVA_NEXT", "points L1 to L5"),
        "llava": ("vlms.architectures:LLAVA", "points L1 to L5; llava-next-interleave-qwen is one"),
        "internvl": ("vlms.architectures:INTERNVL", "points I1 to I5"),
        "internvl-chat": (
            "vlms.architectures:INTERNVL_CHAT",
            "points I1 to I5, with the code of InternVL2's checkpoints",
        ),
        "cogvlm2": ("vlms.architectures:COGVLM2", "points C1 to C4, with the code of its checkpoints"),
        "qwen2.5-vl": ("vlms.architectures:QWEN2_5_VL", "points Q1 to Q7"),
        "qwen2-vl": ("vlms.architectures:QWEN2_VL", "points Q1 to Q7"),
        "qwen3-vl": ("vlms.architectures:QWEN3_VL", "points Q1 to Q7"),
        "paligemma": ("vlms.architectures:PALIGEMMA", "points P1 to P6"),
        "idefics3": ("vlms.architectures:IDEFICS3", "points S1 to S6"),
        "smolvlm": ("vlms.architectures:SMOLVLM", "points S1 to S6"),
        "kosmos-2": ("vlms.architectures:KOSMOS2", "points K1 to K6; from K3 on latents without a place"),
        "florence-2": ("vlms.architectures:FLORENCE2", "points F1 to F7"),
        "vision": ("vlms.architectures:VISION", "points V1 to V4 of CLIP, SigLIP, DINOv2, ViT, OWL-ViT"),
    },
}


def _hook(kind: str) -> Callable[[], Iterable[Component]]:
    """The hook that yields the components of a kind."""

    @hookimpl
    def components() -> Iterable[Component]:
        for name, (target, summary) in _COMPONENTS[kind].items():
            path = target if ":" in target else f"{kind}.{name.replace('-', '_')}:{target}"
            yield Component(name, f"trialbook_plugins.{path}", summary)

    return components


mlrun_tasks = _hook("tasks")
mlrun_datasets = _hook("datasets")
mlrun_encoders = _hook("encoders")
mlrun_projectors = _hook("projectors")
mlrun_decoders = _hook("decoders")
mlrun_llms = _hook("llms")
mlrun_losses = _hook("losses")
mlrun_probes = _hook("probes")
mlrun_captioners = _hook("captioners")
mlrun_metrics = _hook("metrics")
mlrun_checks = _hook("checks")
mlrun_trackers = _hook("trackers")
mlrun_architectures = _hook("architectures")


@hookimpl
def mlrun_commands(cli: click.Group) -> None:
    """Commands."""
    from trialbook_plugins.demo.command import demo

    cli.add_command(demo, "demo")
