"""Encoder and decoder ``ltx-video``: the latents of LTX-Video's autoencoder, and pictures from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from trialbook import TrialbookError
from trialbook.contracts import Features, LatentShape, LayerPoint, OrderResult, device_of
from trialbook.contracts.data_files import find_files, note_files
from trialbook.contracts.datasets import Modality, Raw
from trialbook_plugins.hub import config_hash, reading

#: Pixels of a latent's side, and frames of a latent behind the first, which has one.
SIDE, FRAMES = 32, 8
POINT = "latents"
_TINY: Mapping[str, Any] = {
    "block_out_channels": (8, 16, 32, 32), "decoder_block_out_channels": (8, 16, 32, 32),
    "layers_per_block": (1,) * 5, "decoder_layers_per_block": (1,) * 5,
}  # fmt: skip
_CANVAS = 8  # cells of a side of the self-test's pictures
_ALIKE = 0.7  # 0.97 is found with random weights, below 0.4 where rows and columns change places


class LTXVideo(nn.Module):
    """The causal video autoencoder of LTX-Video: 8 × 32 × 32 pixels a latent, an image being a clip of one frame.

    Latents are the mode of the posterior, normalised by the checkpoint's means and deviations. As an encoder it gives them in
    raster order, those of a clip's later moments below those of the earlier ones (``LayerPoint.times``); as a decoder it makes
    pictures of them, differentiably. It never learns.

    Pictures must have the one size of the data, height and width in multiples of 32, and clips 8 k + 1 frames (9, 17,
    …). Others are
    refused: the autoencoder itself would change them silently (336 pixels to 352, 8 frames to 1).

    Args:
        modality: images or clips that it reads.
        data_root: folder in which a relative ``model`` is looked for, too.
        model: a folder, or a name of the hub; weights are read from safetensors only.
        revision: branch, tag or commit of a name of the hub.
        subfolder: where in it the autoencoder lies; the folder itself counts where it has no such part.
        tiny: in place of ``model`` the architecture in small, with random weights.
        seed: of the weights of a tiny model.
        dtype: number format of weights and computation; latents and pictures are float32.
        tap_rows: rows of one forward pass when latents are stored.

    Raises:
        TrialbookError: the size of the data does not fit, the checkpoint cannot be found or read, or its decoder adds noise.

    Source: HaCohen et al. 2024 (LTX-Video), section 2.1; ``AutoencoderKLLTXVideo`` of diffusers.
    """

    accepts: ClassVar[tuple[str, ...]] = ("image", "video")
    tap_choices: ClassVar[tuple[str, ...]] = ()
    learns: ClassVar[bool] = False

    def __init__(
        self, modality: Modality, data_root: Path | None = None, /, *, model: str | None = None, revision: str | None = None,
        subfolder: str = "vae", tiny: bool = False, seed: int = 0,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32", tap_rows: int = 4,
    ) -> None:  # fmt: skip
        super().__init__()
        if (model is None) == (not tiny):
            raise TrialbookError("give 'model' or 'tiny = true', one of the two")
        if tap_rows < 1:
            raise TrialbookError(f"tap_rows ({tap_rows}) must be at least 1")
        self.tap_rows = tap_rows
        self.shape = modality.shape if len(modality.shape) == 4 else (1, *modality.shape)  # T, 3, H, W
        check_size(self.shape)
        number = getattr(torch, dtype)
        self.random_weights = model is None
        self.vae = _tiny(seed, number) if model is None else _read(model, revision, subfolder, data_root, number)
        self.vae.requires_grad_(False).eval()
        frames, _, height, width = self.shape
        channels = int(self.vae.config.latent_channels)
        self.latents = LatentShape(1 + (frames - 1) // FRAMES, height // SIDE, width // SIDE, channels)
        self.dim = channels

    # --- as a decoder -----------------------------------------------------------------------------------------------

    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures [B, T, 3, H, W] in 0 to 1 to normalised latents [B, t, h, w, C].

        Raises:
            TrialbookError: their size or number of frames does not fit.
        """
        check_size(tuple(pictures.shape[1:]))
        video = (2 * pictures - 1).transpose(1, 2).to(self.vae.dtype)
        mode = self.vae.encode(video).latent_dist.mode().float()  # [B, C, t, h, w]
        mean, std = self._statistics()
        return ((mode - mean) * self.vae.config.scaling_factor / std).permute(0, 2, 3, 4, 1)

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised latents [B, t, h, w, C] to pictures [B, T, 3, H, W], about 0 to 1."""
        mean, std = self._statistics()
        raw = latents.permute(0, 4, 1, 2, 3) * std / self.vae.config.scaling_factor + mean
        video: Tensor = self.vae.decode(raw.to(self.vae.dtype)).sample
        return (video.float().transpose(1, 2) + 1) / 2

    def _statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each channel [C, 1, 1, 1]."""
        mean, std = (one.float().view(-1, 1, 1, 1) for one in (self.vae.latents_mean, self.vae.latents_std))
        return mean, std

    # --- as an encoder ----------------------------------------------------------------------------------------------

    def prepare(self, raw: Raw) -> Tensor:
        """Images uint8 [B, 3, H, W] or clips [B, T, 3, H, W] as pictures [B, T, 3, H, W] in 0 to 1."""
        rows = [np.asarray(one) if np.ndim(one) == 4 else np.asarray(one)[None] for one in raw]
        if other := [row.shape for row in rows if row.shape != tuple(self.shape)]:
            check_size(other[0])
            raise TrialbookError(f"the autoencoder was made for rows of shape {list(self.shape)}, not {list(other[0])}")
        return torch.from_numpy(np.stack(rows)).float() / 255

    def forward(self, prepared: Tensor) -> Features:
        """Pictures to latents as tokens [B, t h w, C]."""
        return Features(self.encode_layers(prepared)[POINT].flatten(1, 2))

    def points(self) -> Mapping[str, LayerPoint]:
        """The only point, ``latents``."""
        shape = self.latents
        return {
            POINT: LayerPoint(
                shape.channels, (shape.times * shape.rows, shape.columns), "mode, normalised", times=shape.times
            )
        }

    def encode_layers(self, prepared: Tensor) -> dict[str, Tensor]:
        """Latents [B, t h, w, C], later moments below earlier ones."""
        return {POINT: self.encode(prepared).flatten(1, 2)}

    def identity(self) -> dict[str, str]:
        """Return what the latents depend on beside weights and options."""
        import diffusers

        return {"config": _config_hash(self.vae), "diffusers": diffusers.__version__}

    @torch.no_grad()
    def check_order(self) -> dict[str, OrderResult]:
        """Check that what moves by a cell moves by a cell among the latents, and what comes later changes later latents alone.

        An autoencoder of convolutions may mix neighbours, so that the latent that changes most says little; but what it
        makes of a
        square elsewhere is what it makes of that square, elsewhere.
        """
        place = _CANVAS // 2 - 1
        here, right, below = (self._answer(place + down, place + aside) for down, aside in ((0, 0), (0, 1), (1, 0)))
        found = {"right": _alike(here[:, :-1], right[:, 1:]), "down": _alike(here[:-1], below[1:])}
        if self.latents.times > 1:
            found["later"] = self._later()
        worst = min(found, key=lambda name: found[name])
        message = (
            ""
            if found[worst] >= _ALIKE
            else f"what moves {worst} in pictures does not among the latents ({found[worst]:.2f})"
        )
        return {POINT: OrderResult(not message, found[worst], len(found), message)}

    def verify(self) -> None:
        """Nothing, where latents stand where they are said to stand.

        Raises:
            TrialbookError: they do not.
        """
        result = self.check_order()[POINT]
        if not result.passed:
            raise TrialbookError(
                f"the latents of the autoencoder fail their self-test, so nothing is measured on them: {result.message}"
            )

    def _answer(self, row: int, column: int) -> Tensor:
        """Return what a square in one cell changes among the latents of a grey picture [h, w, C]."""
        side, device = _CANVAS * SIDE, device_of(self)
        square = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).to(device)
        pictures = torch.full((2, 1, 3, side, side), 0.5, device=device)
        pictures[1, :, :, row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE] = square
        still, changed = self.encode(pictures)
        return (changed - still)[0]

    def _later(self) -> float:
        """1 where the last frames change the last latents alone, else 0."""
        pictures = torch.full((2, *self.shape), 0.5, device=device_of(self))
        pictures[1, -FRAMES:] = 1.0
        still, changed = self.encode_layers(pictures)[POINT].unflatten(1, (self.latents.times, -1))
        apart = (changed - still).flatten(1).norm(dim=1)  # [t]
        return float(apart[-1] > 0 and bool((apart[:-1] <= 1e-4 * apart[-1]).all()))


def _alike(one: Tensor, other: Tensor) -> float:
    """Cosine of two maps."""
    return float(nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0))


def check_size(shape: Sequence[int]) -> None:
    """Nothing, for pictures (T, 3, H, W) that the autoencoder takes as they are.

    Raises:
        TrialbookError: it would change their size or drop frames.
    """
    frames, _, height, width = shape
    if not height or not width or not frames:
        raise TrialbookError("LTX-Video needs pictures of one size: the data's differ; give the dataset a 'size'")
    for name, pixels in {"height": height, "width": width}.items():
        if pixels % SIDE:
            below = pixels // SIDE * SIDE
            near = f"{below} or {below + SIDE}" if below else str(SIDE)
            raise TrialbookError(
                f"LTX-Video takes a {name} in multiples of {SIDE} pixels, not {pixels}: give the dataset {near}"
            )
    if (frames - 1) % FRAMES:
        below = (frames - 1) // FRAMES * FRAMES + 1
        raise TrialbookError(
            f"LTX-Video takes 8 k + 1 frames, not {frames}: give the dataset {below} or {below + FRAMES}"
        )


def _import() -> Any:
    try:
        from diffusers import AutoencoderKLLTXVideo
    except ModuleNotFoundError as error:
        raise TrialbookError(f"no module '{error.name}': install it with pip install 'trialbook[spatial]'") from error
    return AutoencoderKLLTXVideo


def _tiny(seed: int, dtype: torch.dtype) -> Any:
    maker = _import()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = maker(**_TINY)
    return vae if dtype == torch.float32 else vae.to(dtype)


def _read(model: str, revision: str | None, subfolder: str, data_root: Path | None, dtype: torch.dtype) -> Any:
    maker = _import()
    folders = [Path(model).expanduser(), *([data_root / model] if data_root else [])]
    folder = next((one for one in folders if one.is_dir()), None)
    if folder is not None:
        note_files(file for file in find_files(folder, "**/*") if file.is_file())
    inside = subfolder if folder is None or (folder / subfolder / "config.json").is_file() else None
    with reading("autoencoder", model):
        vae = maker.from_pretrained(
            str(folder or model), subfolder=inside, revision=revision, use_safetensors=True, torch_dtype=dtype
        )
    if vae.config.timestep_conditioning or any(vae.config.decoder_inject_noise):
        raise TrialbookError(
            f"the decoder of model '{model}' adds noise, so that no picture comes out twice; take the release without (0.9.0)"
        )
    return vae


def _config_hash(vae: Any) -> str:
    """SHA-256 of the configuration, without where it came from."""

    class Config:
        """The class that ``config_hash`` reads."""

        @staticmethod
        def to_dict() -> dict[str, Any]:
            return {key: value for key, value in vae.config.items() if not key.startswith("_")}

    return config_hash(Config)
