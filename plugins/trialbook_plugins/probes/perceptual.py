"""LPIPS, and a distance that says of itself that it is not LPIPS."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trialbook import TrialbookError
from trialbook.contracts.data_files import note_files
from trialbook.contracts.records import Event

#: (channels in, channels out, kernel, stride, padding, pooling before) of AlexNet's convolutions; each ends a stage.
_LAYERS = (
    (3, 64, 11, 4, 2, False),
    (64, 192, 5, 1, 2, True),
    (192, 384, 3, 1, 1, True),
    (384, 256, 3, 1, 1, False),
    (256, 256, 3, 1, 1, False),
)
_PLACES = (0, 3, 6, 8, 10)  # of these convolutions in torchvision's ``features``
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
#: SHA-256, its beginning, of torchvision's files of AlexNet; the first stands in the name of the file too.
_PUBLISHED = ("7be5be79", "4df8aa71")
_SMALLEST = 63  # pixels: below it the last stages have no cell left


class Perceptual(nn.Module):
    """Distance of pictures [n, 3, H, W] in 0 to 1 by the features of AlexNet's five stages: [n], differentiable, frozen.

    Features are brought to length 1 over channels, their squared differences weighted by channel, averaged over places and summed
    over stages.

    Args:
        convolutions: weight and bias of the five convolutions.
        heads: weight of every channel of each stage.

    Attributes:
        name: ``lpips``, or ``perceptual-random`` where nothing in it was learned. Report metrics under this name only.
        doubt: why its metrics cannot be compared with those of others; empty where they can, or claim not to.

    Source: Zhang et al. 2018, version 0.1 with AlexNet.
    """

    def __init__(self, convolutions: list[tuple[Tensor, Tensor]], heads: list[Tensor], name: str) -> None:
        super().__init__()
        self.name, self.doubt = name, ""
        self.stages = nn.ModuleList()
        for (inputs, outputs, kernel, stride, padding, pooled), (weight, bias) in zip(
            _LAYERS, convolutions, strict=True
        ):
            layer = nn.Conv2d(inputs, outputs, kernel, stride, padding)
            if layer.weight.shape != weight.shape:
                raise TrialbookError(
                    f"weights {tuple(weight.shape)} are not those of AlexNet, {tuple(layer.weight.shape)}"
                )
            layer.weight.data, layer.bias.data = weight.float().clone(), bias.float().clone()
            self.stages.append(nn.Sequential(*([nn.MaxPool2d(3, 2)] if pooled else []), layer, nn.ReLU()))
        self.heads = nn.ParameterList([nn.Parameter(head.float().flatten().clone()) for head in heads])
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """[n, 3, H, W] and the same -> [n].

        Raises:
            TrialbookError: the sizes differ, or are below 63 pixels.
        """
        if a.shape != b.shape or min(a.shape[2:]) < _SMALLEST:
            raise TrialbookError(
                f"{self.name} needs pictures of one size of at least {_SMALLEST} pixels, not {tuple(a.shape)}, {tuple(b.shape)}"
            )
        found = torch.zeros(len(a), dtype=a.dtype, device=a.device)
        a, b = ((2 * one - 1 - self.shift) / self.scale for one in (a, b))
        for stage, head in zip(self.stages, self.heads, strict=True):
            a, b = stage(a), stage(b)
            apart = (_unit(a) - _unit(b)).square()
            found = found + torch.einsum("nchw,c->nhw", apart, head).mean((1, 2))
        return found


def lpips(backbone: Path | None, heads: Path | None = None) -> Perceptual:
    """LPIPS from published weights.

    Args:
        backbone: file of torchvision's AlexNet (``alexnet-owt-7be5be79.pth``, or the same as safetensors); None where none
            is set.
        heads: file of LPIPS's heads (``weights/v0.1/alex.pth``); that of the installed package ``lpips`` if None.
    Raises:
        TrialbookError: a file is missing or is something else: without its weights this would not be LPIPS.
    """
    if backbone is None:
        raise TrialbookError(
            "LPIPS needs the weights of AlexNet: set lpips_backbone to the file alexnet-owt-7be5be79.pth of torchvision, or "
            "use 'perceptual-random', which needs none and is not LPIPS"
        )
    weights = _load(backbone)
    try:
        convolutions = [(weights[f"features.{i}.weight"], weights[f"features.{i}.bias"]) for i in _PLACES]
    except KeyError as error:
        raise TrialbookError(f"{backbone}: not the weights of torchvision's AlexNet ({error} is missing)") from error
    file = heads or _packaged_heads()
    learned = _load(file)
    try:
        channels = [learned[f"lin{i}.model.1.weight"] for i in range(len(_LAYERS))]
    except KeyError as error:
        raise TrialbookError(f"{file}: not the heads of LPIPS for AlexNet ({error} is missing)") from error
    made = Perceptual(convolutions, channels, "lpips")
    found = hashlib.sha256(backbone.read_bytes()).hexdigest()
    if not found.startswith(_PUBLISHED):
        made.doubt = (
            f"the weights in {backbone} (SHA-256 {found[:8]}…) are not the file that torchvision publishes "
            f"({' or '.join(_PUBLISHED)}): compare these metrics of LPIPS with none from elsewhere"
        )
    return made


def notes_of(distance: nn.Module | None) -> Iterator[Event]:
    """Yield what must be known of metrics by this distance."""
    if doubt := getattr(distance, "doubt", ""):
        yield Event(0, "lpips-weights", doubt)


def perceptual_random(seed: int = 0) -> Perceptual:
    """The same network with random filters and equal heads, named ``perceptual-random``: not comparable with LPIPS."""
    generator = torch.Generator().manual_seed(seed)
    convolutions = []
    for inputs, outputs, kernel, *_ in _LAYERS:
        weight = torch.randn(outputs, inputs, kernel, kernel, generator=generator) * (2 / (inputs * kernel**2)) ** 0.5
        convolutions.append((weight, torch.zeros(outputs)))
    return Perceptual(
        convolutions, [torch.full((layer[1],), 1 / len(_LAYERS)) for layer in _LAYERS], "perceptual-random"
    )


def _unit(features: Tensor) -> Tensor:
    return features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)


def _packaged_heads() -> Path:
    found = find_spec("lpips")  # not imported: that would need torchvision
    for folder in (found.submodule_search_locations or []) if found is not None else []:
        file = Path(folder) / "weights" / "v0.1" / "alex.pth"
        if file.is_file():
            return file
    raise TrialbookError(
        "LPIPS needs its heads: pip install --no-deps lpips, or set lpips_heads to the file weights/v0.1/alex.pth of that package"
    )


def _load(file: Path) -> dict[str, Any]:
    note_files([file])
    if not file.is_file():
        raise TrialbookError(f"there is no file {file} with weights for LPIPS")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        return dict(torch.load(file, map_location="cpu", weights_only=True))
    except Exception as error:  # torch and safetensors raise errors of many kinds for a broken file
        raise TrialbookError(f"{file}: no weights can be read ({error})") from error
