"""Paired latents: deterministic, unit-variance views whose linear part fades as the non-linearity grows."""

from __future__ import annotations

import numpy as np
import pytest

from trialbook.contracts.datasets import find_overlaps
from trialbook.errors import TrialbookError
from trialbook.testing import check_component
from trialbook_plugins.datasets.paired_latents import PairedLatents

SMALL = {"train": 300, "val": 40, "test": 50}


def rows(dataset, split, modality):
    part = dataset.splits()[split]
    return part.read(modality, np.arange(len(part)))


def linear_fit(dataset):
    """Share of the latents' variance that least squares finds in held-out image vectors."""
    fit = [rows(dataset, "train", "image"), dataset.splits()["train"].labels("latents")]
    held = [rows(dataset, "test", "image"), dataset.splits()["test"].labels("latents")]
    weights = np.linalg.lstsq(fit[0], fit[1], rcond=None)[0]
    return 1 - ((held[0] @ weights - held[1]) ** 2).sum() / (held[1] ** 2).sum()


def test_it_conforms():
    check_component(PairedLatents, "dataset", options=SMALL)


def test_sizes_and_widths_are_as_asked():
    dataset = PairedLatents(image_dim=7, text_dim=5, **SMALL)
    assert {name: len(split) for name, split in dataset.splits().items()} == SMALL
    assert rows(dataset, "val", "image").shape == (40, 7)
    assert rows(dataset, "val", "text").shape == (40, 5)
    assert dataset.describe("text").shape == (5,)


@pytest.mark.parametrize("nonlinearity", [0.0, 0.5, 1.0])
def test_the_signal_has_unit_variance(nonlinearity):
    dataset = PairedLatents(nonlinearity=nonlinearity, noise=0.0, train=4000, val=0, test=0, image_dim=256)
    assert rows(dataset, "train", "image").var() == pytest.approx(1, abs=0.1)  # spread of 256 random maps


def test_noise_adds_its_variance_and_nothing_else():
    clean, noisy = (PairedLatents(noise=noise, train=2000, val=0, test=0) for noise in (0.0, 0.5))
    difference = rows(noisy, "train", "image") - rows(clean, "train", "image")
    assert difference.std() == pytest.approx(0.5, rel=0.02)  # 128,000 draws: standard error 0.2%


def test_a_linear_map_finds_less_of_the_latents_as_the_nonlinearity_grows():
    found = [linear_fit(PairedLatents(nonlinearity=a, noise=0.01, train=3000, test=500)) for a in (0.0, 0.75, 1.0)]
    assert found[0] > 0.99
    assert found[0] > found[1] > found[2]
    assert found[2] < 0.8


def test_more_training_pairs_leave_the_other_splits_as_they_are():
    few, many = (PairedLatents(**{**SMALL, "train": train}) for train in (100, 200))
    assert np.array_equal(rows(few, "test", "text"), rows(many, "test", "text"))
    assert few.fingerprint != many.fingerprint


@pytest.mark.parametrize("change", [{"seed": 1}, {"noise": 0.2}, {"nonlinearity": 0.1}, {"latent_dim": 8}])
def test_every_option_changes_the_fingerprint(change):
    assert PairedLatents(**SMALL).fingerprint != PairedLatents(**SMALL, **change).fingerprint


def test_no_content_is_in_two_splits():
    dataset = PairedLatents(**SMALL)
    assert find_overlaps(dataset.splits(), dataset.modalities) == []


@pytest.mark.parametrize("wrong", [{"nonlinearity": 1.5}, {"noise": -1}, {"train": 0}, {"latent_dim": 0}, {"val": -1}])
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(TrialbookError):
        PairedLatents(**wrong)


def test_an_unknown_modality_is_refused_with_the_known_ones():
    with pytest.raises(TrialbookError, match="image, text"):
        PairedLatents().describe("sound")
