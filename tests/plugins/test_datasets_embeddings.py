"""Embeddings: alignment is validated before anything is trained on them."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

from trialbook.errors import TrialbookError
from trialbook.testing import check_component
from trialbook_plugins.datasets.embeddings import Embeddings

PAIR = {"image": "image", "text": "text"}


def arrays(rows=40):
    rng = np.random.default_rng(0)
    return {
        "image": rng.normal(size=(rows, 6)).astype(np.float32),
        "text": rng.normal(size=(rows, 4)).astype(np.float16),
        "id": np.array([f"sample-{i}" for i in range(rows)]),
        "other_id": np.array([f"sample-{i}" for i in range(rows)]),
        "split": np.array(["train"] * (rows - 10) + ["validation"] * 5 + ["test"] * 5),
    }


def store(folder, **changes):
    np.savez(folder / "data.npz", **{**arrays(), **changes})
    return folder


def make(folder, **options):
    return Embeddings(folder, **{"file": "data.npz", "modalities": PAIR, **options})


def test_it_conforms(tmp_path):
    options = {"file": "data.npz", "modalities": PAIR}
    check_component(Embeddings, "dataset", options=options, injected={"data_root": store(tmp_path)})


def test_rows_are_read_as_float32_in_their_order(tmp_path):
    split = make(store(tmp_path), val=0, test=0).splits()["train"]
    read = split.read("text", np.array([3, 0]))
    assert read.dtype == np.float32
    assert np.array_equal(read, arrays()["text"][[3, 0]].astype(np.float32))


def test_npz_npy_and_safetensors_say_the_same(tmp_path):
    store(tmp_path)
    numeric = {name: arrays()[name] for name in PAIR}
    save_file(numeric, tmp_path / "data.safetensors")
    for name, array in numeric.items():
        np.save(tmp_path / f"{name}.npy", array)
    prints = {
        make(tmp_path).fingerprint,
        make(tmp_path, file="data.safetensors").fingerprint,
        make(tmp_path, file=None, modalities={"image": "image.npy", "text": "data.npz:text"}).fingerprint,
    }
    assert len(prints) == 1


def test_kinds_follow_from_the_shape(tmp_path):
    dataset = make(store(tmp_path, text=np.zeros((40, 5, 3))))
    assert (dataset.describe("image").kind, dataset.describe("image").shape) == ("vector", (6,))
    assert (dataset.describe("text").kind, dataset.describe("text").shape) == ("series", (5, 3))


def test_the_split_array_decides(tmp_path):
    splits = make(store(tmp_path), split="split").splits()
    assert {name: len(split) for name, split in splits.items()} == {"train": 30, "val": 5, "test": 5}
    assert np.array_equal(splits["test"].read("image", np.arange(5)), arrays()["image"][35:])


def test_splits_may_be_numbers(tmp_path):
    numbers = np.array([0] * 30 + [1] * 5 + [2] * 5)
    by_number = make(store(tmp_path, split=numbers), split="split").fingerprint
    assert by_number == make(store(tmp_path), split="split").fingerprint


def test_several_rows_may_belong_to_a_group(tmp_path):
    owner = np.repeat(np.arange(40), 3)
    text = np.random.default_rng(1).normal(size=(120, 4))
    splits = make(store(tmp_path, text=text, owner=owner), groups={"text": "owner"}, val=0.25).splits()
    for split in splits.values():
        assert len(split.groups("text")) == 3 * len(split)
    everything = make(tmp_path, groups={"text": "owner"}, val=0, test=0).splits()["train"]
    assert np.array_equal(everything.groups("text"), owner)


@pytest.mark.parametrize(
    ("changes", "options", "said"),
    [
        ({"text": np.ones((39, 4))}, {}, "not aligned.*'image' 40, 'text' 39"),
        ({"text": np.ones(40)}, {}, r"'text' \(text\) has shape \[40\]"),
        ({"text": np.array([["a", "b"]] * 40)}, {}, "must hold real numbers"),
        ({"text": np.where(np.eye(40, 4, -17) > 0, np.nan, 1.0)}, {}, "NaN or infinity in 4 rows, first in row 17"),
        ({"text": np.where(np.eye(40, 4, -17) > 0, 1e300, 1.0)}, {}, "in 4 rows, first in row 17"),
        ({"text": np.where(np.eye(40, 4, -17) > 0, -4e38, 1.0)}, {}, "in 4 rows, first in row 17"),
        ({}, {"modalities": {"image": "imag"}}, "no array 'imag'; it has image, text"),
        ({"text": np.array([[None] * 4] * 40)}, {}, "'text' cannot be read"),
        ({"other_id": np.roll(arrays()["id"], 1)}, {}, "ids differ in 40 rows, first row 0: .* sample-0, .* sample-39"),
        ({"other_id": arrays()["id"][:39]}, {}, r"ids of 'text' have shape \[39\] for 40 rows"),
        ({"g": np.arange(40) % 39}, {"groups": {"text": "g"}}, "not aligned"),
        ({"g": np.arange(40) * 2 % 80}, {"groups": {"image": "g", "text": "g"}}, "'image' has no row for 39 groups"),
        ({"g": np.arange(40.0)}, {"groups": {"text": "g"}}, "must be 40 integers"),
        ({"split": np.array(["trian"] * 40)}, {"split": "split"}, "row 0: 'trian' is no split"),
        ({"split": np.array([1] * 40)}, {"split": "split"}, "puts no group into train"),
        ({"split": np.array([0] * 41)}, {"split": "split"}, r"shape \[41\] for 40 groups"),
    ],
)  # fmt: skip
def test_what_is_not_aligned_is_refused_by_name(tmp_path, changes, options, said):
    options = {"ids": {"image": "id", "text": "other_id"}, **options} if "other_id" in changes else options
    with pytest.raises(TrialbookError, match=said):
        make(store(tmp_path, **changes), **options).splits()


def test_equal_ids_are_accepted(tmp_path):
    assert make(store(tmp_path), ids={"image": "id", "text": "other_id"}).splits()


def test_equal_rows_are_dealt_together(tmp_path):
    image = arrays()["image"]
    image[20:] = image[:20]
    splits = make(store(tmp_path, image=image), val=0.3, test=0.3).splits()
    assert sum(map(len, splits.values())) == 40


def test_given_splits_that_share_rows_are_refused_unless_allowed(tmp_path):
    image = arrays()["image"]
    image[39] = image[0]
    store(tmp_path, image=image)
    with pytest.raises(TrialbookError, match=r"data\.npz:image: .*1 of 'image' in both train and test"):
        make(tmp_path, split="split").splits()
    assert make(tmp_path, split="split", allow_overlap=True).splits()


def test_one_text_of_two_pictures_is_no_leak(tmp_path):
    text = arrays()["text"]
    text[:] = text[0]
    assert make(store(tmp_path, text=text), split="split").splits()


def test_a_changed_value_changes_the_fingerprint(tmp_path):
    before = make(store(tmp_path)).fingerprint
    text = arrays()["text"]
    text[7, 2] += 1
    assert make(store(tmp_path, text=text)).fingerprint != before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"modalities": {}}, "at least one"),
        ({"modalities": PAIR, "ids": {"sound": "id"}}, "'ids' names sound"),
        ({"modalities": PAIR, "groups": {"sound": "id"}}, "'groups' names sound"),
    ],
)
def test_options_that_fit_no_modality_are_refused_at_once(options, said):
    with pytest.raises(TrialbookError, match=said):
        Embeddings(None, **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"file": None}, "'image' names no file"),
        ({"file": "no.npz"}, "there is no file"),
        ({"file": "x.csv"}, "must end"),
    ],
)
def test_files_that_are_not_there_are_refused(tmp_path, options, said):
    with pytest.raises(TrialbookError, match=said):
        make(tmp_path, **options).splits()
