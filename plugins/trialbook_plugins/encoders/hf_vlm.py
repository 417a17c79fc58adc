"""Encoder ``hf-vlm``: the image's tokens at any layers of a vision-language model or a vision encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from trialbook import TrialbookError
from trialbook.contracts import Features, LayerPoint, OrderResult, device_of, to_device
from trialbook.contracts.datasets import Raw
from trialbook_plugins.hub import config_hash, import_transformers
from trialbook_plugins.vlms import architectures as tables
from trialbook_plugins.vlms import load
from trialbook_plugins.vlms.architecture import Architecture
from trialbook_plugins.vlms.family import image_size
from trialbook_plugins.vlms.inputs import family
from trialbook_plugins.vlms.layer_reader import LayerReader
from trialbook_plugins.vlms.layers import check_layers
from trialbook_plugins.vlms.order_check import check_order
from trialbook_plugins.vlms.prompt import plain_prompt, worded_prompt

from . import _checkpoint as checkpoint

_OWN = {one.name: one for one in vars(tables).values() if isinstance(one, Architecture)}


class HFVLM(nn.Module):
    """LLaVA-NeXT, LLaVA, InternVL, CogVLM2, Qwen-VL, PaliGemma, SmolVLM, Idefics3, Kosmos-2, Florence-2, and plain vision
    encoders (CLIP, SigLIP, DINOv2, ViT, OWL-ViT), with the image's tokens at any number of layers from one forward pass.

    Points have names that each family has (``L1``…, ``I1``…, ``C1``…, ``Q1``…), or are written ``in:`` or ``out:`` and
    the path of a module. Where a name stands for a block of the language model, it is one at a share of the depth:
    ``L3`` is block 8 of 32, 7 of 28. Class tokens, registers, ends of rows and all text are dropped; what is left stands
    in raster order, [B, H, W, D]. Whether it does is tried out (``verify``), and a model that fails is refused.

    Images are stretched to one size, so that a cell covers the same share of every image. Models that cut images into
    tiles are given the whole image and its tiles; ``tiles`` says whose tokens are read. InternVL, Idefics3 and SmolVLM see the
    whole image alone; give them a larger ``image_size`` instead.

    Args:
        data_root: folder in which a relative ``model`` is looked for, too.
        records: architectures that plugins add.
        model: a folder, or a name of the hub; weights are read from safetensors only.
        revision: branch, tag or commit of a name of the hub.
        tiny: in place of ``model`` the name of an architecture: a tiny model of it with random weights. ``""`` for none, where a
            profile puts a checkpoint in its place.
        seed: of the weights of a tiny model.
        layers: which points are read; ``["all"]`` for every block and the connector.
        layer: the point whose tokens this encoder gives where only one layer is wanted; the last of ``layers`` if left
            out.
        image_size: height and width that images are stretched to; the checkpoint's own if left out.
        tiles: tokens of the image as a whole, or those of its tiles put together.
        prompt: a question that stands behind the image; in a causal model only what its template puts before the image
            has an influence. Without one the sequence is a start token and the image.
        dtype: number format of weights and computation; tokens are given as float32, or as float16 where that is it.
        attention: implementation of attention.
        tap_rows: images of one forward pass when many layers are read.
        trust_remote_code: run code that lies in the checkpoint, as CogVLM2 needs it.

    Raises:
        TrialbookError: the checkpoint cannot be found or read, is of no known architecture, or a point does not exist.

    Source: architectures of transformers, and for InternVL2 and CogVLM2 the code in their checkpoints. Deviation: images are
    stretched, not padded or cropped.
    """

    accepts: ClassVar[tuple[str, ...]] = ("image",)
    tap_choices: ClassVar[tuple[str, ...]] = ("layers", "layer")

    def __init__(
        self,
        data_root: Path | None = None,
        records: Callable[[str], Mapping[str, Any]] | None = None,
        /,
        *,
        model: str | None = None,
        revision: str | None = None,
        tiny: str = "",
        seed: int = 0,
        layers: list[str],
        layer: str | None = None,
        image_size: list[int] | None = None,
        tiles: Literal["base", "stitch"] = "base",
        prompt: str = "",
        dtype: checkpoint.Precision = "float32",
        attention: load.Attention = "sdpa",
        tap_rows: int = 8,
        trust_remote_code: bool = False,
    ) -> None:
        super().__init__()
        if (model is None) == (not tiny):
            raise TrialbookError("give 'model' or 'tiny', one of the two")
        if tap_rows < 1:
            raise TrialbookError(f"tap_rows ({tap_rows}) must be at least 1")
        known = _OWN if records is None else records("architecture")
        self.random_weights = bool(tiny)
        if tiny:
            loaded = load.tiny_model(tiny, seed, known, dtype, attention)
        else:
            loaded = load.checkpoint_model(model or "", revision, data_root, known, dtype, attention, trust_remote_code)
        self.tap_rows = tap_rows
        #: Its name is part of the names of stored weights.
        self.tapped = _layer_reader(loaded, layers, image_size, tiles, prompt, model or "", trust_remote_code)
        names = [hook.name for hook in self.tapped.hooks]
        self.layer = names[-1] if layer is None else layer
        if self.layer not in names:
            raise TrialbookError(f"layer ('{layer}') must be one of layers ({', '.join(names)})")
        self._points: dict[str, LayerPoint] | None = None
        self._freeze_unused()

    @property
    def dim(self) -> int:
        """Width of the tokens of ``layer``."""
        return self.points()[self.layer].width

    def prepare(self, raw: Raw) -> dict[str, Tensor]:
        """Images as the model's inputs, rows first."""
        return self.tapped.prepare(raw)

    def forward(self, prepared: dict[str, Tensor]) -> Features:
        """Inputs of B images -> tokens [B, N, D] of ``layer``, in raster order."""
        chosen = [hook for hook in self.tapped.hooks if hook.name == self.layer]
        return Features(self.tapped.tokens(prepared, chosen)[self.layer].flatten(1, 2).float())

    def points(self) -> Mapping[str, LayerPoint]:
        """The points that are read; found by sending one image through, once."""
        if self._points is None:
            with torch.no_grad():
                found = self.tapped.tokens(to_device(self._black(), device_of(self)))
            self._points = {
                hook.name: LayerPoint(
                    found[hook.name].shape[-1],
                    tuple(found[hook.name].shape[1:3]),
                    hook.where,
                    hook.area.order != "none",
                )
                for hook in self.tapped.hooks
            }
        return self._points

    def encode_layers(self, prepared: dict[str, Tensor]) -> dict[str, Tensor]:
        """Tokens [B, H, W, D] of every point, from one forward pass; those in bfloat16 come as float32 on the CPU."""
        found = self.tapped.tokens(prepared)
        kept = (torch.float16, torch.float32)  # a bfloat16 crosses to the CPU as it is and is widened there
        return {name: t if t.dtype in kept else t.cpu().float() for name, t in found.items()}

    def identity(self) -> dict[str, str]:
        """Return what the tokens depend on beside weights and options: see :class:`trialbook.contracts.LayerEncoder`."""
        reader = self.tapped
        return {
            "preprocessing": f"{reader.pictures.describe()} size {reader.family.size} layout {reader.family.layout}",
            "prompt": str(reader.prompt),
            "config": config_hash(reader.model.config),
            "architecture": repr(reader.architecture),
            "transformers": import_transformers().__version__,
        }

    def check_order(self) -> dict[str, OrderResult]:
        """Check that tokens stand where they are said to stand, tried on images that differ in one place."""
        return check_order(self.tapped, self.tap_rows, device_of(self))

    def verify(self) -> None:
        """Nothing, where order and layers of all points are as they are said to be.

        Raises:
            TrialbookError: they are not.
        """
        wrong = {name: result.message for name, result in self.check_order().items() if not result.passed}
        wrong |= check_layers(self.tapped, device_of(self))
        for name, what in wrong.items():
            raise TrialbookError(
                f"point '{name}' of {self.tapped.architecture.name} fails its self-test, so nothing is measured on it: {what}"
            )

    def _black(self) -> dict[str, Tensor]:
        import numpy as np

        return self.prepare(np.zeros((1, 3, *self.tapped.family.size), dtype=np.uint8))

    def _freeze_unused(self) -> None:
        """Parameters without influence on the tokens that ``forward`` gives are not trainable."""
        with torch.enable_grad():
            checkpoint.freeze_unused(self, self(self._black()).tokens)


def _layer_reader(
    loaded: load.Loaded, layers: list[str], size: list[int] | None, tiles: str, prompt: str, model: str, trust: bool
) -> LayerReader:
    config = loaded.model.config
    maker = family(loaded.architecture.inputs)
    inputs = maker(config, _size(loaded, size, maker), tiles)
    image = maker.image_token(config, loaded.folder)
    inputs.ready(loaded.model, image)
    if prompt and loaded.folder is None:
        raise TrialbookError("prompt: a tiny model has no tokenizer; leave it out")
    words = worded_prompt(loaded.folder, model, image, prompt, trust) if prompt and loaded.folder else None
    around = words or plain_prompt(config, image)
    return LayerReader(loaded.model, loaded.architecture, inputs, loaded.pictures, around, layers)


def _size(loaded: load.Loaded, wanted: list[int] | None, maker: Any) -> tuple[int, int]:
    if wanted is not None:
        if len(wanted) not in (1, 2) or min(wanted) < 1:
            raise TrialbookError("image_size must be one side or height and width, in pixels")
        return wanted[0], wanted[-1]
    config = loaded.model.config
    own = image_size(getattr(config, "vision_config", None) or config)
    found: tuple[int, int] = maker.default_size(config, loaded.size or own, loaded.architecture.image_size)
    return found
