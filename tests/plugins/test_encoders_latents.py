"""Latents of LTX-Video, frames of clips and joined encoders, on tiny models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers")

from trialbook.contracts import Decodes, Encoder, LayerEncoder
from trialbook.contracts.datasets import Modality
from trialbook.errors import TrialbookError
from trialbook.testing import check_component
from trialbook_plugins.datasets.moving_shapes import MovingShapes
from trialbook_plugins.encoders.frames import Frames
from trialbook_plugins.encoders.hybrid import Hybrid
from trialbook_plugins.encoders.ltx_video import LTXVideo
from trialbook_plugins.encoders.patches import Patches

IMAGE = Modality("image", (3, 64, 96))
CLIP = Modality("video", (9, 3, 64, 64))


def noise(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def of_images() -> LTXVideo:
    return LTXVideo(IMAGE, tiny=True).eval()


def test_it_is_encoder_taps_and_decoder(of_images: LTXVideo) -> None:
    assert all(isinstance(of_images, kind) for kind in (Encoder, LayerEncoder, Decodes))
    check_component(
        LTXVideo, "encoder", options={"tiny": True}, injected={"modality": IMAGE}, inputs=noise((2, 3, 64, 96))
    )


def test_latents_are_those_of_diffusers_normalised_mode(of_images: LTXVideo) -> None:
    raw = noise((2, 3, 64, 96))
    with torch.no_grad():
        found = of_images.encode_layers(of_images.prepare(raw))["latents"]
        video = torch.from_numpy(raw).float()[:, :, None] / 127.5 - 1
        mode = of_images.vae.encode(video).latent_dist.mode()[:, :, 0]
    assert found.shape == (2, 2, 3, 128)
    assert of_images.points()["latents"].grid == (2, 3)
    torch.testing.assert_close(found.permute(0, 3, 1, 2), mode, rtol=1e-4, atol=1e-5)


def test_means_and_deviations_of_the_checkpoint_are_taken_off_and_put_back(of_images: LTXVideo) -> None:
    other = LTXVideo(IMAGE, tiny=True).eval()
    other.vae.latents_mean.fill_(3.0)
    other.vae.latents_std.fill_(0.5)
    pictures = of_images.prepare(noise((1, 3, 64, 96)))
    with torch.no_grad():
        plain, normalised = of_images.encode(pictures), other.encode(pictures)
        torch.testing.assert_close(normalised, (plain - 3) / 0.5)
        torch.testing.assert_close(other.decode(normalised), of_images.decode(plain), rtol=1e-3, atol=1e-4)


def test_clips_give_a_grid_for_each_moment_and_come_back_with_all_frames() -> None:
    clips = LTXVideo(CLIP, tiny=True).eval()
    pictures = clips.prepare(noise((1, 9, 3, 64, 64)))
    with torch.no_grad():
        latents = clips.encode(pictures)
        assert latents.shape == (1, 2, 2, 2, 128)
        assert clips.decode(latents).shape == pictures.shape
        assert torch.equal(
            clips.encode_layers(pictures)["latents"][0, 2:], latents[0, 1]
        )  # the later moment stands below
    assert clips.points()["latents"].grid == (4, 2)
    assert clips.points()["latents"].times == 2
    clips.verify()


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((3, 336, 336), "336: give the dataset 320 or 352"),
        ((3, 224, 336), "width in multiples of 32"),
        ((8, 3, 64, 64), "8 k [+] 1 frames, not 8: give the dataset 1 or 9"),
        ((3, 0, 0), "one size"),
    ],
)
def test_sizes_that_the_autoencoder_would_change_are_refused(shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(TrialbookError, match=said):
        LTXVideo(Modality("video" if len(shape) == 4 else "image", shape), tiny=True)


def test_rows_and_pictures_of_another_size_are_refused(of_images: LTXVideo) -> None:
    for shape in ((1, 3, 336, 336), (1, 3, 64, 64)):
        with pytest.raises(TrialbookError, match=r"336|made for rows"):
            of_images.prepare(noise(shape))
    with pytest.raises(TrialbookError, match="not 8"):
        of_images.encode(torch.zeros(1, 8, 3, 64, 64))


def test_latents_out_of_order_are_refused(of_images: LTXVideo, monkeypatch: pytest.MonkeyPatch) -> None:
    of_images.verify()
    encode = of_images.encode
    monkeypatch.setattr(of_images, "encode", lambda pictures: encode(pictures).transpose(2, 3))
    with pytest.raises(TrialbookError, match="self-test"):
        of_images.verify()


def test_the_decoder_passes_the_gradient_on_and_does_not_learn(of_images: LTXVideo) -> None:
    latents = torch.zeros(1, 1, 2, 3, 128, requires_grad=True)
    of_images.decode(latents).square().mean().backward()
    assert latents.grad is not None
    assert latents.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in of_images.parameters())


class Grid(torch.nn.Module):
    """Means of cells as tokens: taps without a model."""

    accepts, tap_choices, tap_rows, dim = ("image",), (), 6, 3
    prepare = staticmethod(lambda raw: torch.from_numpy(np.asarray(raw)).float() / 255)
    identity = staticmethod(lambda: {"cells": "4"})
    check_order = staticmethod(lambda: {})
    verify = staticmethod(lambda: None)

    def points(self) -> dict[str, Any]:
        from trialbook.contracts import LayerPoint

        return {"cells": LayerPoint(3, (4, 4), "means")}

    def encode_layers(self, prepared: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"cells": torch.nn.functional.adaptive_avg_pool2d(prepared, 4).permute(0, 2, 3, 1)}

    def forward(self, prepared: torch.Tensor) -> Any:
        from trialbook.contracts import Features

        return Features(self.encode_layers(prepared)["cells"].flatten(1, 2))


def test_frames_stack_the_grids_of_chosen_frames() -> None:
    raw = noise((2, 9, 3, 64, 64))
    encoder = Frames(CLIP, Grid(), frames=3)
    assert encoder.chosen.tolist() == [0, 4, 8]
    assert encoder.tap_rows == 2
    found = encoder.encode_layers(encoder.prepare(raw))["cells"]
    assert found.shape == (2, 12, 4, 3)
    assert encoder.points()["cells"][1:] == ((12, 4), "means", True, 3)
    torch.testing.assert_close(found[1, 4:8], Grid().encode_layers(Grid.prepare(raw[1:, 4]))["cells"][0])
    check_component(Frames, "encoder", options={"frames": 2}, injected={"modality": CLIP, "of": Grid()}, inputs=raw)
    with pytest.raises(TrialbookError, match="frames"):
        Frames(CLIP, Grid(), frames=10)


def test_a_hybrid_joins_grids_in_the_finest() -> None:
    image = Modality("image", (3, 64, 64))
    parts = {"coarse": Grid(), "fine": Patches(image, patch=8, positions=0)}
    encoder = Hybrid(image, parts, normalize=False)
    raw = noise((2, 3, 64, 64))
    found = encoder.encode_layers(encoder.prepare(raw))["joined"]
    assert found.shape == (2, 8, 8, 3 + 192)
    assert encoder.points()["joined"].grid == (8, 8)
    assert encoder.dim == 195
    own = parts["fine"](parts["fine"].prepare(raw)).tokens
    torch.testing.assert_close(found[..., 3:].flatten(1, 2), own)  # the finest is left as it is
    check_component(Hybrid, "encoder", injected={"modality": image, "of": parts}, inputs=raw)


def test_a_hybrid_is_refused_where_a_part_fails_its_self_test() -> None:
    class Wrong(Grid):
        @staticmethod
        def verify() -> None:
            raise TrialbookError("out of order")

    image = Modality("image", (3, 64, 64))
    with pytest.raises(TrialbookError, match="out of order"):
        Hybrid(image, {"a": Wrong(), "b": Patches(image, patch=8)}).verify()
    with pytest.raises(TrialbookError, match="at least two"):
        Hybrid(image, {"a": Grid()})


def test_moving_shapes_have_a_number_of_frames_that_fits() -> None:
    assert LTXVideo(MovingShapes(train=2, test=1, size=64).describe("video"), tiny=True).latents == (2, 2, 2, 128)
