"""The faults that are planted, and the sound runs beside them."""

from __future__ import annotations

from dataclasses import dataclass

#: Vectors of 16 numbers seen through two random maps: a linear head finds most partners within 120 steps.
BASE = """
[task]
use = "align"
dim = 32
[dataset]
use = "paired-latents"
train = 1024
val = 128
test = 128
nonlinearity = 0.0
[encoder.image]
use = "identity"
[encoder.text]
use = "identity"
[projector.image]
use = "linear"
[projector.text]
use = "linear"
[[loss]]
use = "info-nce"
[[metric]]
use = "retrieval"
[train]
steps = 120
batch_size = 32
lr = 3e-3
log_every = 4
[evaluate]
every = 30
[doctor]
every = 30
"""
#: Pictures of shapes as patches, with captions.
SCENES = """
[task]
use = "align"
dim = 32
[dataset]
use = "scenes"
train = 512
val = 96
test = 96
[encoder.image]
use = "patches"
frozen = true
[encoder.text]
use = "token-embedding"
width = 32
[projector.image]
use = "mlp"
pool = "attention"
heads = 4
[projector.text]
use = "linear"
[[loss]]
use = "info-nce"
[[metric]]
use = "retrieval"
[train]
steps = 100
batch_size = 32
lr = 2e-3
log_every = 4
[evaluate]
every = 25
[doctor]
every = 25
"""


@dataclass(frozen=True)
class Fault:
    """A fault and how it must be named.

    Args:
        name: of the fault.
        sets: keys that plant it in the experiment.
        checks: names of checks; any of them must find it.
        parts: the finding's part is one of these, or stands in one; none for the run as a whole.
        text: the experiment that it is planted in.
        least: ``warning``, or ``note`` where the fault does no harm by itself.
        state: how the run ends.
    """

    name: str
    sets: tuple[str, ...]
    checks: str
    parts: str
    text: str = BASE
    least: str = "warning"
    state: str = "finished"


def _image(use: str, *more: str) -> tuple[str, ...]:
    return (f"projector.image.use={use}", *more)


def _data(fault: str, *more: str) -> tuple[str, ...]:
    return ("dataset.use=tampered", f"dataset.fault={fault}", *more)


_MLP = tuple(f"projector.{name}.{key}" for name in ("image", "text") for key in ("use=mlp", "hidden=128"))

_PERCEIVER = (
    "projector.image.use=perceiver", "projector.image.depth=1", "projector.image.latents=8", "projector.image.width=32",
    "projector.image.heads=2", "projector.image.head_dim=16",
)  # fmt: skip

FAULTS = (
    Fault("collapsed embeddings", _image("collapses"),
          "collapsed-embeddings", "val.image test.image"),
    Fault("input that is the same for all rows", _data("constant"),
          "collapsed-embeddings", "val.image test.image"),
    Fault("embeddings on a line", _image("one-direction"),
          "low-rank-embeddings", "val.image test.image"),
    Fault("evaluation at batch 1", ("task.use=one-by-one",),
          "batch-of-one", "val test"),
    Fault("micro-batches of one row", ("train.batch_size=8", "train.accumulate=8", "train.steps=60"),
          "batch-of-one", "loss"),
    Fault("scale saturated at the start", ("loss.0.temperature=0.01",),
          "scale-at-clamp", "loss.info-nce"),
    Fault("scale stuck at its clamp",
          _data("train-shuffled", "dataset.train=4096", "train.lr=1e-4", 'train.lr_multipliers={"loss" = 1000.0}'),
          "scale-at-clamp", "loss.info-nce"),
    Fault("projector left out of the trained module", ("task.use=leaves-out",),
          "not-optimized", "projector.text"),
    Fault("part that no stage trains", ('stage=[{train = ["projector.image", "loss"]}]',),
          "not-optimized", "projector.text"),
    Fault("detached graph", _image("detaches"),
          "no-gradient", "projector.image"),
    Fault("branch that is never taken", _image("half-used"),
          "no-gradient", "projector.image"),
    Fault("learning rate 0 for a part", ('train.lr_multipliers={"projector.image" = 0.0}',),
          "no-update", "projector.image"),
    Fault("steps lost in bf16 weights", _image("half-weights", 'train.lr_multipliers={"projector.image" = 1e-4}'),
          "no-update not-moved", "projector.image"),
    Fault("part that hardly moves", ('train.lr_multipliers={"projector.image" = 1e-6}',),
          "not-moved no-update", "projector.image"),
    Fault("weights written back", _image("undoes"),
          "not-moved no-update", "projector.image"),
    Fault("warm-up longer than the run", ("train.warmup=1000",),
          "lr-not-reached", "train"),
    Fault("labels shuffled in training", _data("train-shuffled"),
          "loss-at-chance loss-above-chance evaluation-at-chance", "loss.info-nce val test"),
    Fault("labels shuffled in evaluation", _data("evaluation-shuffled"),
          "evaluation-at-chance", "val test"),
    Fault("pairs off by one in evaluation", _data("evaluation-shifted"),
          "misaligned-pairs", "val test"),
    Fault("pairs off by one in training", _data("train-shifted"),
          "loss-at-chance loss-above-chance evaluation-at-chance misaligned-pairs", "loss.info-nce val test"),
    Fault("train and test overlap", _data("overlap"),
          "split-overlap", "train+test"),
    Fault("NaN in a forward pass", _image("spoils-forward"),
          "not-finite", "projector.image", state="failed"),
    Fault("NaN in a backward pass", _image("spoils-backward"),
          "not-finite", "projector.image", state="failed"),
    Fault("infinite rows", _data("infinite"),
          "not-finite", "image", state="failed"),
    Fault("rows with missing values", _data("missing"),
          "not-finite", "image", state="failed"),
    Fault("frozen batch norm that keeps statistics", _image("keeps-statistics", "projector.image.frozen=true"),
          "frozen-moved", "projector.image"),
    Fault("frozen encoder that drifts", ("encoder.image.use=drifts", "encoder.image.frozen=true"),
          "frozen-moved", "encoder.image"),
    Fault("frozen encoder trained by mistake", ("task.use=thaws", "encoder.text.frozen=true"),
          "frozen-moved", "encoder.text", SCENES),
    Fault("dead ReLU head", _image("dead-relu"),
          "dead-units", "projector.image"),
    Fault("outputs that explode", _image("gains"),
          "exploding", "projector.image"),
    Fault("learning rate of a part far too high", (*_MLP, 'train.lr_multipliers={"projector.text" = 1000.0}'),
          "exploding", "projector.text"),
    Fault("vanishing gradients", _image("sigmoid-stack"),
          "vanishing no-gradient", "projector.image"),
    Fault("uniform attention", _image("fixed-queries", "projector.image.size=1e-4"),
          "uniform-attention", "projector.image", SCENES),
    Fault("uniform attention of a Perceiver",
          (*_PERCEIVER, "projector.image.init_std=1e-4", "projector.image.query_norm=false",
           'train.lr_multipliers={"projector.image" = 0.1}'),
          "uniform-attention", "projector.image", SCENES),
    Fault("saturated attention", _image("fixed-queries", "projector.image.size=1e4"),
          "saturated-attention", "projector.image", SCENES),
    Fault("ties counted as hits", _image("collapses", "projector.image.left=1e-8", "metric.0.use=optimistic"),
          "ties-as-hits", "val test"),
    Fault("over-fitting", ("dataset.train=256", "dataset.noise=1.0", "train.steps=240", *_MLP,
           'train.lr_multipliers={"loss" = 30.0}'),
          "over-fitting", "val"),
    Fault("modality gap", _image("adds-constant", "projector.text.use=adds-constant"),
          "modality-gap", "val test", least="note"),
    Fault("one modality far off", _data("offset"),
          "modality-gap collapsed-embeddings", "val test"),
    Fault("saturated temperature on embeddings that say nothing",
          _data("train-shuffled", "loss.0.temperature=0.01", "loss.0.learn_scale=false", "train.lr=1e-4"),
          "loss-above-chance", "loss.info-nce"),
    Fault("learning rate far too high", (*_MLP, "train.lr=3.0", "train.max_grad_norm=0.0"),
          "exploding diverged loss-above-chance", "projector loss"),
    Fault("something else in training than in evaluation", _image("batch-centred"),
          "collapsed-embeddings not-finite evaluation-at-chance", "val test"),
)  # fmt: skip


@dataclass(frozen=True)
class Healthy:
    """A sound run."""

    name: str
    sets: tuple[str, ...] = ()
    text: str = BASE


_VIT = ("encoder.image.use=vit", "encoder.image.width=32", "encoder.image.depth=1", "encoder.image.heads=2")
_TEXTS = ("encoder.text.use=text-transformer", "encoder.text.width=32", "encoder.text.depth=1", "encoder.text.heads=2")
_STAGES = 'stage=[{name = "image", train = ["projector.image", "loss"], steps = 60}, {name = "both", steps = 90}]'
#: A language model and a ridge probe of a package that is not ours.
NEXT_TOKEN = """
[task]
use = "next-token"
[dataset]
use = "progressions"
[llm]
use = "gru-lm"
[train]
steps = 120
batch_size = 32
lr = 1e-2
[evaluate]
every = 60
[doctor]
every = 40
"""
RIDGE = """
[task]
use = "ridge-probe"
ridge = [0.001, 1, 100]
[dataset]
use = "linear-targets"
[encoder.vector]
use = "random-features"
frozen = true
width = 128
"""

HEALTHY = (
    Healthy("linear heads"),
    Healthy("mlp heads", _MLP),
    Healthy("frozen encoders", ("encoder.image.frozen=true", "encoder.text.frozen=true")),
    Healthy("siglip", ("loss.0.use=siglip",)),
    Healthy("matryoshka", ("loss.0.use=matryoshka", "loss.0.of=info-nce", "loss.0.dims=[8, 32]")),
    Healthy("two losses", ('loss=[{use = "info-nce"}, {use = "siglip", weight = 0.5}]',)),
    Healthy("large batch", ("train.batch_size=128",)),
    Healthy("small batch", ("train.batch_size=16",)),
    Healthy("two micro-batches", ("train.accumulate=2",)),
    Healthy("two stages", (_STAGES,)),
    Healthy("low learning rate", ("train.lr=5e-4", "train.steps=200")),
    Healthy("constant rate without warm-up", ('train.schedule="constant"', "train.warmup=0.0")),
    Healthy("weight decay and dropout", (*_MLP, "projector.image.dropout=0.2", "train.weight_decay=0.1")),
    Healthy("noisy data", ("dataset.noise=0.5",)),
    Healthy("curved data", ("dataset.nonlinearity=0.75", "dataset.train=2048", "train.steps=200", *_MLP)),
    Healthy("epochs", ("train.epochs=4",), BASE.replace("steps = 120\n", "")),
    Healthy("half precision", ('train.precision="bf16"',)),
    Healthy("fixed temperature", ("loss.0.learn_scale=false",)),
    Healthy("a stranger's projector", ("projector.image.use=gated",)),
    Healthy("every row twice in evaluation", _data("evaluation-doubled")),
    Healthy("scenes", (), SCENES),
    Healthy("scenes, linear head on the mean", ("projector.image.use=linear", 'projector.image.pool="mean"'), SCENES),
    Healthy("scenes, perceiver", _PERCEIVER, SCENES),
    Healthy("scenes, perceiver with mean pooling", (*_PERCEIVER, 'projector.image.pool="mean"'), SCENES),
    Healthy("scenes, siglip", ("loss.0.use=siglip", "train.steps=200", "train.lr=5e-3"), SCENES),
    Healthy("scenes, perceiver with attention pooling", (*_PERCEIVER, 'projector.image.pool="attention"'), SCENES),
    Healthy("scenes, vit trained", (*_VIT, "encoder.image.frozen=false", "train.lr=1e-3"), SCENES),
    Healthy("scenes, vit frozen", (*_VIT, "encoder.image.frozen=true"), SCENES),
    Healthy("scenes, texts by a transformer", (*_TEXTS, "train.lr=1e-3"), SCENES),
    Healthy("a stranger's language model", (), NEXT_TOKEN),
    Healthy("a stranger's probe", (), RIDGE),
)  # fmt: skip
