"""Scenes: what the annotations and sentences say is what the pictures show."""

from __future__ import annotations

import time

import numpy as np
import pytest

from trialbook.contracts.datasets import find_overlaps
from trialbook.errors import TrialbookError
from trialbook.testing import check_component
from trialbook_plugins.datasets._scene_shapes import COLOURS
from trialbook_plugins.datasets.scenes import Scenes

SMALL = {"train": 120, "val": 20, "test": 40}


def every(split, modality):
    return split.read(modality, np.arange(len(split.groups(modality))))


@pytest.fixture(scope="module")
def train():
    return Scenes(**{**SMALL, "train": 300}).splits()["train"]


def test_it_conforms():
    check_component(Scenes, "dataset", options=SMALL)


def test_pictures_have_the_size_that_was_asked_for():
    dataset = Scenes(size=48, **SMALL)
    assert every(dataset.splits()["val"], "image").shape == (20, 3, 48, 48)
    assert dataset.describe("image").shape == (3, 48, 48)


def test_the_middle_of_every_filled_box_has_the_colour_that_is_annotated(train):
    pictures, seen = every(train, "image"), 0
    palette = np.array(list(COLOURS.values()))
    for picture, boxes, classes, colours in zip(
        pictures, train.labels("boxes"), train.labels("classes"), train.labels("colours"), strict=True
    ):
        for (x0, y0, x1, y1), shape, colour in zip(boxes, classes, colours, strict=True):
            if Scenes.class_names[shape] != "ring":
                x, y = int((x0 + x1) / 2), int((y0 + y1) / 2)
                assert np.abs(picture[:, y, x].astype(int) - palette[colour]).max() <= 2  # rounding of blended pixels
                seen += 1
    assert seen > 200


def test_outside_the_boxes_there_is_one_grey(train):
    for picture, boxes in zip(every(train, "image"), train.labels("boxes"), strict=True):
        outside = np.ones(picture.shape[1:], dtype=bool)
        for x0, y0, x1, y1 in boxes:
            around = [max(int(np.floor(low)) - 1, 0) for low in (y0, x0)]
            outside[around[0] : int(np.ceil(y1)) + 1, around[1] : int(np.ceil(x1)) + 1] = False
        assert len(np.unique(picture[:, outside])) == 1


def test_boxes_are_tight(train):
    """A box from the pixels that differ from the ground; a shape's edge may fade over half a pixel on either side."""
    single = [scene for scene, boxes in enumerate(train.labels("boxes")) if len(boxes) == 1]
    assert len(single) > 20
    for scene in single:
        picture = train.read("image", np.array([scene]))[0].astype(int)
        y, x = np.nonzero(np.abs(picture - np.median(picture)).max(axis=0) > 3)
        measured = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
        assert np.abs(measured - train.labels("boxes")[scene][0]).max() < 1.6


def test_every_sentence_names_each_object_with_its_attributes(train):
    sentences, owner = every(train, "text"), train.groups("text")
    synonyms = {"small": ("small", "little"), "large": ("large", "big")}
    for sentence, scene in zip(sentences, owner, strict=True):
        annotated = zip(*(train.labels(name)[scene] for name in ("sizes", "colours", "classes")), strict=True)
        for size, colour, shape in annotated:
            names = [
                f"{word} {Scenes.colour_names[colour]} {Scenes.class_names[shape]}"
                for word in synonyms[Scenes.size_names[size]]
            ]
            assert any(name in sentence for name in names), (sentence, names)


def test_a_lone_object_lies_where_its_sentences_say(train):
    rows, columns = (("top", "upper"), ("middle",), ("bottom", "lower")), ("left", "centre", "right")
    checked = 0
    for scene, boxes in enumerate(train.labels("boxes")):
        if len(boxes) == 1:
            x, y = (boxes[0][:2] + boxes[0][2:]) / 2 // (32 / 3)
            for sentence in train.read("text", np.flatnonzero(train.groups("text") == scene)):
                assert any(f"{word} {columns[int(x)]}" in sentence for word in rows[int(y)])
                checked += 1
    assert checked > 50


def test_relations_hold():
    split = Scenes(train=200, val=0, test=0, min_objects=2, max_objects=2, grid=2).splits()["train"]
    checked = 0
    for sentence, scene in zip(every(split, "text"), split.groups("text"), strict=True):
        if sentence.startswith("the "):
            first, second = sentence.split(" is ")
            where = dict.fromkeys(("top", "upper", "left"), 0) | dict.fromkeys(("bottom", "lower", "right"), 1)
            row, column = (where[word] for word in first.split()[-2:])
            to_row, to_column = (where[word] for word in second.split()[-2:])
            if second.startswith(("above", "over", "below", "under")):
                assert (row < to_row) == second.startswith(("above", "over")), (scene, sentence)
            else:
                assert row == to_row
                assert (column < to_column) == (" left of " in f" {second}"), (scene, sentence)
            checked += 1
    assert checked > 100


def test_the_sentences_of_a_scene_are_worded_differently(train):
    sentences, owner = np.array(every(train, "text")), train.groups("text")
    assert all(len(set(sentences[owner == scene])) == 4 for scene in range(len(train)))


def test_sentences_tell_scenes_apart():
    """Of 512 scenes, at least 95% have a description (the set of sized, coloured, placed shapes) of their own."""
    split = Scenes(train=512, val=0, test=0).splits()["train"]
    parts = zip(*(split.labels(name) for name in ("sizes", "colours", "classes", "boxes")), strict=True)
    described = [
        frozenset((s, c, k, *((b[:2] + b[2:]) / 2 // (32 / 3))) for s, c, k, b in zip(*scene, strict=True))
        for scene in parts
    ]
    _, counts = np.unique([str(sorted(map(repr, one))) for one in described], return_counts=True)
    assert (counts == 1).sum() >= 0.95 * 512


def test_objects_do_not_overlap(train):
    for boxes in train.labels("boxes"):
        for i, a in enumerate(boxes):
            for b in boxes[i + 1 :]:
                assert (np.minimum(a[2:], b[2:]) <= np.maximum(a[:2], b[:2]) + 1e-4).any()


def test_the_numbers_of_objects_are_as_asked():
    split = Scenes(min_objects=2, max_objects=3, **SMALL).splits()["train"]
    assert {len(boxes) for boxes in split.labels("boxes")} == {2, 3}


def test_repeated_pictures_are_drawn_again():
    """Without jitter a lone object on a 2 × 2 grid shows one of 384 × 90 pictures: among 1,500 some repeat at first."""
    options = {"max_objects": 1, "jitter": 0.0, "grid": 2, "captions": 1}
    splits = Scenes(train=1000, val=0, test=500, **options).splits()
    hashes = [*splits["train"].content("image"), *splits["test"].content("image")]
    assert len(set(hashes)) == 1500


def test_more_training_scenes_leave_the_test_scenes_as_they_are():
    few, many = (Scenes(**{**SMALL, "train": train}).splits()["test"] for train in (60, 200))
    assert few.content("image") == many.content("image")
    assert every(few, "text") == every(many, "text")


def test_no_content_is_in_two_splits():
    dataset = Scenes(**SMALL)
    assert find_overlaps(dataset.splits(), dataset.modalities) == []


def test_equal_sentences_of_different_pictures_are_no_leak():
    dataset = Scenes(train=1500, val=0, test=1000, max_objects=1, captions=1)
    splits = dataset.splits()
    assert set(every(splits["train"], "text")) & set(every(splits["test"], "text"))
    assert find_overlaps(splits, ("text",)) == []


@pytest.mark.parametrize("change", [{"seed": 1}, {"size": 40}, {"captions": 3}, {"jitter": 0.1}, {"grid": 2}])
def test_every_option_changes_the_fingerprint(change):
    assert Scenes(**SMALL).fingerprint != Scenes(**SMALL, **change).fingerprint


def test_ten_thousand_scenes_take_seconds():
    start = time.process_time()
    Scenes(train=10_000, val=0, test=0).splits()
    assert time.process_time() - start < 8  # about 1 on an idle core


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 16},
        {"captions": 5},
        {"min_objects": 3, "max_objects": 2},
        {"max_objects": 4},
        {"jitter": 2},
        {"grid": 5},
    ],
)
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(TrialbookError):
        Scenes(**wrong)


def test_the_corpus_is_the_training_sentences(train):
    dataset = Scenes(**SMALL)
    assert dataset.describe("text").corpus() == every(dataset.splits()["train"], "text")
