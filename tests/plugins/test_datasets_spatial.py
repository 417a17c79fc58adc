"""Pictures and clips with boxes: what the annotations say is what the pixels show."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trialbook.errors import TrialbookError
from trialbook.testing import check_component
from trialbook_plugins.datasets._boxed import place_boxes
from trialbook_plugins.datasets._video import chosen_frames
from trialbook_plugins.datasets.coco_detection import CocoDetection
from trialbook_plugins.datasets.moving_shapes import DIRECTIONS, MovingShapes
from trialbook_plugins.datasets.shapes import Shapes
from trialbook_plugins.datasets.video_folder import VideoFolder
from trialbook_plugins.probes import pictures

DATA = Path(os.environ.get("TRIALBOOK_DATA", "/nowhere"))


def every(split, modality="image"):
    return split.read(modality, np.arange(len(split)))


@pytest.mark.parametrize("options", [{}, {"objects": 5, "min_objects": 1, "clutter": True, "size": 96}])
def test_shapes_conform(options):
    check_component(Shapes, "dataset", options={"train": 12, "test": 6, "val": 3, "size": 64, **options})


def test_boxes_and_masks_of_shapes_are_exact_to_the_pixel():
    dataset = Shapes(train=40, test=0, size=128, objects=3)
    split = dataset.splits()["train"]
    for picture, boxes, masks in zip(every(split), split.labels("boxes"), split.labels("masks"), strict=True):
        background = picture[:, 0, 0] if not masks[:, 0, 0].any() else picture[:, -1, -1]
        shown = (picture != background[:, None, None]).any(0)
        np.testing.assert_array_equal(shown, masks.any(0))
        for mask, box in zip(masks, boxes, strict=True):
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            edges = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
            np.testing.assert_array_equal(np.rint(box * 128).astype(int), edges)
            np.testing.assert_allclose(box * 128, edges)


def test_every_shape_fills_its_box_down_to_a_few_pixels():
    split = Shapes(train=300, test=0, size=64, min_side=0.05, max_side=0.2).splits()["train"]
    assert min(box[0, 2] - box[0, 0] for box in split.labels("boxes")) * 64 == 3
    for masks, box in zip(split.labels("masks"), split.labels("boxes"), strict=True):
        assert masks[0].any(1).sum() == np.rint((box[0, 3] - box[0, 1]) * 64)
        assert masks[0].any(0).sum() == np.rint((box[0, 2] - box[0, 0]) * 64)


def test_objects_keep_their_distance_and_their_number():
    split = Shapes(train=60, test=0, size=224, objects=5, gap=0.05).splits()["train"]
    for boxes in split.labels("boxes"):
        assert len(boxes) == 5
        for i in range(5):
            for j in range(i):
                apart = np.maximum(boxes[i, :2] - boxes[j, 2:], boxes[j, :2] - boxes[i, 2:]).max()
                assert apart >= 11 / 224 - 1e-9


@pytest.mark.parametrize("size", [224, 1024])
def test_shapes_come_in_many_sizes_and_cost_no_memory_until_read(size):
    dataset = Shapes(train=3000, test=0, size=size)
    split = dataset.splits()["train"]
    assert split.read("image", np.array([7])).shape == (1, 3, size, size)
    assert len(split.labels("masks")) == 3000
    assert split.labels("masks")[5].shape == (1, size, size)


def test_more_training_shapes_leave_the_test_shapes_alone():
    small, large = (Shapes(train=n, test=5, size=64).splits()["test"] for n in (3, 30))
    np.testing.assert_array_equal(every(small), every(large))


@pytest.mark.parametrize(
    "options",
    [
        {"objects": 6},
        {"objects": 2, "min_objects": 3},
        {"size": 8},
        {"min_side": 0.01, "size": 32},
        {"min_side": 0.5, "max_side": 0.4},
    ],
)
def test_shapes_refuse_what_cannot_be_drawn(options):
    with pytest.raises(TrialbookError):
        Shapes(**options)


def test_shapes_without_room_say_so():
    with pytest.raises(TrialbookError, match="no room"):
        Shapes(objects=5, min_side=0.5, max_side=0.6).splits()


def test_moving_shapes_conform():
    check_component(MovingShapes, "dataset", options={"train": 8, "test": 4, "size": 48, "frames": 5})


def test_the_foreground_of_a_clip_moves_as_its_label_says():
    split = MovingShapes(train=16, test=0, size=64, frames=5).splits()["train"]
    clips = torch.from_numpy(every(split, "video")).float() / 255
    np.testing.assert_array_equal(pictures.directions(clips), split.labels("direction"))
    assert sorted(set(split.labels("direction").tolist())) == list(range(len(DIRECTIONS)))
    np.testing.assert_array_equal(every(split), every(split, "video")[:, 2])
    for boxes, tracks in zip(split.labels("boxes"), split.labels("tracks"), strict=True):
        np.testing.assert_array_equal(boxes[0], tracks[2])


def test_a_clip_without_room_to_travel_is_refused():
    with pytest.raises(TrialbookError, match="cannot travel"):
        MovingShapes(size=64, travel=0.9)


def coco(folder: Path, count: int = 12, prefix: str = "", **changes) -> Path:
    """A small set in COCO's format: white rectangles on black."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "images").mkdir(exist_ok=True)
    rng = np.random.default_rng(sum(map(ord, prefix)))
    images, annotations = [], []
    for i in range(count):
        height, width = (int(v) for v in rng.integers(40, 90, 2))
        picture = np.zeros((height, width, 3), np.uint8)
        x, y = (int(v) for v in rng.integers(2, 12, 2))
        picture[y : y + 20, x : x + 16] = 255
        Image.fromarray(picture).save(folder / "images" / f"{prefix}{i}.png")
        images.append({"id": i, "file_name": f"{prefix}{i}.png", "width": width, "height": height})
        annotations.append(
            {"id": i, "image_id": i, "category_id": 7, "bbox": [x, y, 16, 20], "iscrowd": i % 2, "area": 320}
        )
    data = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 9, "name": "b"}, {"id": 7, "name": "a"}],
        **changes,
    }
    (folder / f"{prefix}instances.json").write_text(json.dumps(data))
    return folder


@pytest.mark.parametrize("fit", ["pad", "crop"])
def test_coco_detection_conforms(tmp_path: Path, fit: str):
    root = coco(tmp_path / "set")
    check_component(CocoDetection, "dataset", options={"root": str(root), "size": 32, "fit": fit})


@pytest.mark.parametrize(("fit", "size"), [("pad", 48), ("crop", 64), ("pad", 0)])
def test_boxes_follow_their_photo(tmp_path: Path, fit: str, size: int):
    """The box is where the white rectangle is, up to the pixel that resizing blurs."""
    dataset = CocoDetection(root=str(coco(tmp_path / "set")), size=size, fit=fit, test=0.2)
    split = dataset.splits()["train"]
    assert dataset.class_names == ("a", "b")
    for picture, boxes, classes in zip(every(split), split.labels("boxes"), split.labels("classes"), strict=True):
        assert classes.tolist() == [0] * len(boxes)
        height, width = picture.shape[1:]
        grey = picture.min(0) > 127
        for box in boxes:
            x0, y0, x1, y1 = box * (width, height, width, height)
            inside = np.zeros((height, width), bool)
            inside[int(np.ceil(y0)) + 1 : int(y1) - 1, int(np.ceil(x0)) + 1 : int(x1) - 1] = True
            assert grey[inside].all()


def test_small_boxes_and_crowds_are_left_out_where_asked(tmp_path: Path):
    root = str(coco(tmp_path / "set"))
    whole, no_crowds = CocoDetection(root=root, test=0.0), CocoDetection(root=root, test=0.0, crowds=False)
    split, part = whole.splits()["train"], no_crowds.splits()["train"]
    assert (len(split), len(part)) == (12, 6)  # every second box is a crowd, and each photo has one
    assert split.labels("count") == [1] * 12
    assert not any(crowd.any() for crowd in part.labels("crowd"))
    sides = np.array([(boxes[0, 2:] - boxes[0, :2]).min() for boxes in split.labels("boxes")])
    least = float(np.median(sides))
    kept = CocoDetection(root=root, test=0.0, min_side=least, empty=True).splits()["train"]
    assert 0 < sum(kept.labels("count")) == (sides >= least).sum() < 12
    with pytest.raises(TrialbookError, match="every side is at least 0"):
        CocoDetection(root=root, min_side=0.9).splits()
    with pytest.raises(TrialbookError, match="min_side"):
        CocoDetection(root=root, min_side=1.0)


def test_what_a_crop_cuts_away_is_left_out():
    boxes = np.array([[0, 10, 20, 30], [90, 10, 130, 30], [190.0, 10, 200, 30]])
    placed, seen = place_boxes(boxes, 200, 100, 50, "crop")
    assert seen.tolist() == [False, True, False]
    np.testing.assert_allclose(placed[1], [0.4, 0.1, 0.8, 0.3])
    padded, seen = place_boxes(boxes, 200, 100, 50, "pad")
    assert seen.all()
    np.testing.assert_allclose(padded[1], [0.45, 0.3, 0.65, 0.4], atol=0.01)


def test_lists_that_share_photos_are_refused(tmp_path: Path):
    root = coco(tmp_path / "set")
    (root / "other.json").write_text((root / "instances.json").read_text())
    options = {"root": str(root), "annotations": "instances.json", "test_annotations": "other.json", "size": 32}
    with pytest.raises(TrialbookError, match="share content"):
        CocoDetection(**options).splits()
    assert set(CocoDetection(**options, allow_overlap=True).splits()) == {"train", "test"}


def test_broken_instance_files_are_named(tmp_path: Path):
    root = coco(tmp_path / "a")
    data = json.loads((root / "instances.json").read_text())
    data["images"][0]["width"] += 1
    (root / "instances.json").write_text(json.dumps(data))
    with pytest.raises(TrialbookError, match="pixels but its boxes"):
        CocoDetection(root=str(root)).splits()
    with pytest.raises(TrialbookError, match="needs 'categories'"):
        CocoDetection(root=str(coco(tmp_path / "b", categories=None))).splits()
    with pytest.raises(TrialbookError, match="is not listed"):
        CocoDetection(root=str(coco(tmp_path / "c", categories=[{"id": 1, "name": "x"}]))).splits()


@pytest.mark.skipif(
    not (DATA / "coco-captions" / "instances.json").is_file(), reason="needs coco-captions below TRIALBOOK_DATA"
)
def test_real_photos_with_boxes_are_read():
    dataset = CocoDetection(DATA, root="coco-captions", size=64, test=0.2)
    splits = dataset.splits()
    assert sum(len(split) for split in splits.values()) == 61
    boxes = np.concatenate([box for split in splits.values() for box in split.labels("boxes")])
    assert len(boxes) == 457
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert every(splits["test"]).shape[1:] == (3, 64, 64)


def write_clip(file: Path, count: int, size: int = 32, seed: int = 0) -> None:
    """A clip whose frame t is grey of brightness 10 t."""
    av = pytest.importorskip("av")
    file.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libvpx" if file.suffix == ".webm" else "mpeg4", rate=12)
        stream.width, stream.height, stream.pix_fmt = size + 16, size, "yuv420p"
        stream.bit_rate = 4_000_000
        for t in range(count):
            frame = np.full((size, size + 16, 3), min(10 * t + 20, 250), np.uint8)
            frame[: size // 2, : (7 * seed) % size] = 0
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def something_something(root: Path, test_from: str = "90") -> Path:
    for i in range(8):
        write_clip(root / "20bn-something-something-v2" / f"{i}.webm", 12, seed=i)
    write_clip(root / "20bn-something-something-v2" / "90.webm", 12, seed=9)
    labels = root / "labels"
    labels.mkdir()
    (labels / "labels.json").write_text(
        json.dumps({"Pushing something": "1", "Holding something next to something": "0"})
    )
    templates = ["Holding [something] next to [something]", "Pushing [something]"]
    rows = [{"id": str(i), "label": "x", "template": templates[i % 2], "placeholders": ["a"]} for i in range(8)]
    (labels / "train.json").write_text(json.dumps(rows[:6]))
    (labels / "validation.json").write_text(json.dumps(rows[6:]))
    (labels / "test.json").write_text(json.dumps([{"id": test_from}]))
    return root


def test_something_something_as_published_is_read(tmp_path: Path):
    root = something_something(tmp_path / "ssv2")
    dataset = VideoFolder(root=str(root), frames=4, size=16)
    splits = dataset.splits()
    assert {name: len(split) for name, split in splits.items()} == {"train": 6, "val": 2, "test": 1}
    assert dataset.class_names == ("Holding something next to something", "Pushing something")
    assert splits["train"].labels("classes").tolist() == [0, 1, 0, 1, 0, 1]
    assert splits["test"].labels("classes").tolist() == [-1]
    dealt = {"root": str(root), "frames": 4, "size": 16, "told": True, "val": 0.34}  # two clips a split
    check_component(VideoFolder, "dataset", options=dealt)


def test_lists_that_tell_actions_make_all_splits_where_that_is_asked_for(tmp_path: Path):
    root = something_something(tmp_path / "ssv2")
    splits = VideoFolder(root=str(root), frames=4, size=16, told=True, val=0.34).splits()
    assert {name: len(split) for name, split in splits.items()} == {"train": 4, "val": 2, "test": 2}
    assert splits["test"].labels("file") == ["6.webm", "7.webm"]
    assert set(splits["train"].labels("file")) | set(splits["val"].labels("file")) == {f"{i}.webm" for i in range(6)}


def test_only_the_actions_that_were_asked_for_are_read(tmp_path: Path):
    options = {"root": str(something_something(tmp_path / "ssv2")), "frames": 4, "size": 16}
    dataset = VideoFolder(**options, actions=["Pushing something"])
    splits = dataset.splits()
    assert {name: split.labels("file") for name, split in splits.items()} == {
        "train": ["1.webm", "3.webm", "5.webm"], "val": ["7.webm"],
    }  # fmt: skip
    assert dataset.class_names == ("Pushing something",)
    assert splits["train"].labels("classes").tolist() == [0, 0, 0]
    with pytest.raises(TrialbookError, match="did you mean 'Pushing something'"):
        VideoFolder(**options, actions=["Pushing somethin"]).splits()


def test_frames_are_those_that_were_asked_for(tmp_path: Path):
    """Brightness tells the frame; lossy coding moves it by less than half a step."""
    for i in range(3):
        write_clip(tmp_path / "clips" / f"action_{i}.mp4", 20, seed=i)
    for sampling, stride, expected in (
        ("uniform", 1, [2, 7, 12, 17]),
        ("start", 3, [0, 3, 6, 9]),
        ("middle", 2, [6, 8, 10, 12]),
    ):
        options = {
            "root": str(tmp_path / "clips"),
            "frames": 4,
            "sampling": sampling,
            "stride": stride,
            "size": 16,
            "test": 0.34,
        }
        split = VideoFolder(**options).splits()["train"]
        brightness = every(split, "video")[:, :, :, 12:].mean((2, 3, 4))
        np.testing.assert_array_equal(np.rint((brightness - 20) / 10), [expected] * len(split))
        np.testing.assert_array_equal(every(split), every(split, "video")[:, 2])


def test_chosen_frames_are_ascending_and_too_few_are_refused():
    assert chosen_frames(9, 9, "uniform", 1) == list(range(9))
    assert chosen_frames(8, 9, "uniform", 1) == []
    assert chosen_frames(9, 5, "middle", 2) == [0, 2, 4, 6, 8]
    assert chosen_frames(8, 5, "start", 2) == []


def test_a_short_clip_is_an_error_or_counted(tmp_path: Path):
    for i, count in enumerate((12, 12, 12, 3)):
        write_clip(tmp_path / "clips" / "wave" / f"{i}.mp4", count, seed=i)
    options = {"root": str(tmp_path / "clips"), "frames": 9, "size": 16, "test": 0.34}
    split = VideoFolder(**options).splits()
    with pytest.raises(TrialbookError, match="too few"):
        [every(one, "video") for one in split.values()]
    dataset = VideoFolder(**options, skip_short=True)
    assert sum(len(one) for one in dataset.splits().values()) == 3
    assert dataset.dropped == 1
    assert dataset.class_names == ("wave",)


def test_lists_that_share_a_clip_are_refused(tmp_path: Path):
    with pytest.raises(TrialbookError, match="share content"):
        VideoFolder(root=str(something_something(tmp_path / "ssv2", test_from="3")), frames=4, size=16).splits()


def test_what_is_no_clip_is_named(tmp_path: Path):
    (tmp_path / "clips").mkdir()
    with pytest.raises(TrialbookError, match="no clips"):
        VideoFolder(root=str(tmp_path / "clips")).splits()
    for name in ("a", "b"):
        (tmp_path / "clips" / f"{name}.mp4").write_bytes(b"no clip " + name.encode())
    with pytest.raises(TrialbookError, match="not a readable clip"):
        every(VideoFolder(root=str(tmp_path / "clips"), test=0.5).splits()["train"], "video")


@pytest.mark.skipif(not (DATA / "clips").is_dir(), reason="needs clips below TRIALBOOK_DATA")
def test_real_clips_are_read():
    dataset = VideoFolder(DATA, root="clips", frames=9, size=64, test=0.2)
    splits = dataset.splits()
    assert dataset.class_names == ("hitting_baseball", "jesse_dance", "making_cake", "playing_guitar", "yoga")
    clips = every(splits["test"], "video")
    assert clips.shape[1:] == (9, 3, 64, 64)
    assert clips.std() > 20


def test_coco_detection_needs_only_the_root_of_coco_as_published(tmp_path: Path):
    root = coco(tmp_path / "coco")
    (root / "annotations").mkdir()
    (root / "instances.json").rename(root / "annotations" / "instances_train2017.json")
    (root / "images").rename(root / "train2017")
    coco(root, 5, "v")
    (root / "vinstances.json").rename(root / "annotations" / "instances_val2017.json")
    (root / "images").rename(root / "val2017")
    splits = CocoDetection(root=str(root), size=32, empty=True).splits()
    assert {name: len(split.labels("file")) for name, split in splits.items()} == {"train": 12, "test": 5}
