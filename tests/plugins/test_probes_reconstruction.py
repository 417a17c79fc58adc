"""Probe ``reconstruction``: a perceptual distance beside its metrics, under its own name."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from trialbook.contracts import Probed
from trialbook.errors import TrialbookError
from trialbook_plugins.probes import reconstructed_pictures
from trialbook_plugins.probes.perceptual import perceptual_random
from trialbook_plugins.probes.reconstructed_pictures import Reconstruction


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.randint(0, 256, (5, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_the_distance_is_that_of_the_pictures_that_were_made(
    pictures: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = pictures.flip(0).float() / 255

    class Known:
        """Makes the same pictures of anything."""

        def __init__(self, **options: Any) -> None:
            pass

        def fit(self, features: Any, images: Any) -> None:
            pass

        def predict(self, features: Any) -> torch.Tensor:
            return made

    monkeypatch.setattr(reconstructed_pictures, "ReconstructionProbe", Known)
    data = Probed(torch.zeros(5, 8, 8, 4), {}, pictures)
    found = Reconstruction(perceptual="perceptual-random").measure(data, {"test": data}, 0)["test"]
    expected = float(perceptual_random()(made, pictures.float() / 255).mean())
    assert found["perceptual-random"] == pytest.approx(expected, abs=1e-6)
    assert found["perceptual-random/low"] <= found["perceptual-random"] <= found["perceptual-random/high"]
    assert found["perceptual-random"] > 0
    plain = Reconstruction().measure(data, {"test": data}, 0)["test"]
    assert {name: value for name, value in found.items() if "perceptual" not in name} == plain


def test_lpips_without_its_weights_is_refused() -> None:
    with pytest.raises(TrialbookError, match="lpips_backbone"):
        Reconstruction({}, perceptual="lpips")
