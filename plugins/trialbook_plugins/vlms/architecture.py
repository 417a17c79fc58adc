"""The known facts of an architecture, as a table: where its image tokens pass, and in which order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Rows = Literal["tokens", "map", "sequence"]
Statistics = Literal["clip", "imagenet", "half"]


@dataclass(frozen=True)
class Area:
    """Modules under one path whose outputs hold image tokens in one order.

    Args:
        path: path of the module; what lies below it belongs to the area, unless a longer path of another does.
        rows: ``"tokens"``: [B, N, D], or [B·N, D], special tokens first; ``"map"``: [B, D, H, W]; ``"sequence"``: the image's
            positions in the sequence of the language model, [B, S, D].
        order: in which order they stand, one of :data:`trialbook_plugins.vlms.order.ORDERS`; ``"none"`` where tokens
            have no place in the image (latent queries).
        blocks: paths below ``path`` of what ``layers = ["all"]`` reads, ``*`` for every number: ``"encoder.layers.*"``.
        overlap: tokens were made by strided convolutions with odd kernels, as in DaViT: they see into neighbouring cells,
            and are centred on the top left corner of their own, half a cell off.
        norm: the module behind the last block, below ``path``, for the check of hidden states.
    """

    path: str
    rows: Rows = "tokens"
    order: str = "raster"
    blocks: tuple[str, ...] = ()
    overlap: bool = False
    norm: str = ""


@dataclass(frozen=True)
class Architecture:
    """An architecture, so that its points can be read. A plugin adds one with the hook ``mlrun_architectures``.

    Args:
        name: what stands after ``tiny =``.
        model_types: values of ``model_type`` in the configurations of its checkpoints.
        inputs: how the model's inputs are made, one of :data:`trialbook_plugins.vlms.inputs.FAMILIES`, or
            ``"package.module:Class"`` of a family of your own.
        areas: where image tokens pass, and how they stand there.
        connector: the last module that works on each image alone: what it gives enters the language model. Empty for
            plain vision encoders.
        points: name of a point to ``in:`` or ``out:`` and a module path. ``layers.{1/4}`` is the block at a quarter of
            the depth: of 32 blocks number 8, with index 7; ``{1}`` is the last one.
        aliases: pairs of path pieces that stand for one another in other releases, beside those that are known anyway.
        statistics: mean and standard deviation of pixels where a checkpoint has no preprocessing file.
        image_size: side of images where neither checkpoint nor experiment says one.
        remote: the code lies in the checkpoint: it is run only with ``trust_remote_code = true``.
        tiny: ``"package.module:function"`` that returns the configuration of a tiny model.
    """

    name: str
    model_types: tuple[str, ...]
    inputs: str
    areas: tuple[Area, ...]
    connector: str = ""
    points: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[tuple[str, str], ...] = ()
    statistics: Statistics = "half"
    image_size: int = 448
    remote: bool = False
    tiny: str = ""
