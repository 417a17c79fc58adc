"""COCO folders: photos with several captions, dealt by content, with every broken file named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trialbook.contracts.datasets import find_overlaps
from trialbook.errors import TrialbookError
from trialbook.testing import check_component
from trialbook_plugins.datasets.coco_captions import CocoCaptions


def write(folder: Path, count: int, file: str = "captions.json", images: str = "images", seed: int = 0) -> dict:
    """A COCO folder of ``count`` noise photos; photo i has i % 3 + 1 captions."""
    rng = np.random.default_rng(seed)
    (folder / images).mkdir(parents=True, exist_ok=True)
    data = {"images": [], "annotations": []}
    for i in range(count):
        Image.fromarray(rng.integers(0, 255, (12 + i % 5, 20, 3), dtype=np.uint8)).save(folder / images / f"{i:03}.png")
        data["images"].append({"id": 1000 + i, "file_name": f"{i:03}.png"})
        data["annotations"] += [
            {"id": 10 * i + k, "image_id": 1000 + i, "caption": f"photo {i} caption {k} "} for k in range(i % 3 + 1)
        ]
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(json.dumps(data))
    return data


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "coco", 30)
    return tmp_path


def make(folder, **options):
    return CocoCaptions(folder, root="coco", **{"size": 8, **options})


def test_it_conforms(folder):
    check_component(CocoCaptions, "dataset", options={"root": "coco", "size": 8}, injected={"data_root": folder})
    check_component(CocoCaptions, "dataset", options={"root": "coco", "size": 0}, injected={"data_root": folder})


def test_captions_belong_to_their_photo(folder):
    for split in make(folder).splits().values():
        texts = split.read("text", np.arange(len(split.groups("text"))))
        for text, group in zip(texts, split.groups("text"), strict=True):
            assert text.startswith(f"photo {int(split.labels('file')[group][:3])} caption")
            assert text == text.strip()


def test_all_photos_and_captions_are_there_once(folder):
    splits = make(folder).splits().values()
    files = sorted(file for split in splits for file in split.labels("file"))
    assert files == [f"{i:03}.png" for i in range(30)]
    assert sum(len(split.groups("text")) for split in splits) == 60


def test_pictures_are_resized_and_cut_in_the_middle(tmp_path):
    pixels = np.zeros((8, 24, 3), dtype=np.uint8)
    pixels[:, 8:16] = (255, 0, 0)  # the centre square
    write(tmp_path / "coco", 3)
    Image.fromarray(pixels).save(tmp_path / "coco/images/000.png")
    split = make(tmp_path, size=8, val=0, test=0).splits()["train"]
    picture = split.read("image", np.array([0]))[0]
    assert np.array_equal(picture, pixels[:, 8:16].transpose(2, 0, 1))


def test_size_zero_keeps_every_size(folder):
    split = make(folder, size=0, val=0, test=0).splits()["train"]
    assert [picture.shape for picture in split.read("image", np.arange(3))] == [(3, 12, 20), (3, 13, 20), (3, 14, 20)]


def test_grey_transparent_and_turned_pictures_are_read(tmp_path):
    write(tmp_path / "coco", 3)
    images = tmp_path / "coco/images"
    Image.new("L", (8, 8), 100).save(images / "000.png")
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(images / "001.png")
    turned = Image.fromarray(np.repeat(np.arange(8, dtype=np.uint8)[None] * 30, 8, axis=0))  # dark left, bright right
    exif = Image.Exif()
    exif[0x0112] = 3  # taken upside down
    turned.save(images / "002.png", exif=exif)
    grey, clear, upright = make(tmp_path, val=0, test=0).splits()["train"].read("image", np.arange(3))
    assert (grey == 100).all()
    assert (clear == 255).all()
    assert upright[0, 0, 0] == 210


def test_a_photo_that_is_there_twice_is_in_one_split(folder):
    images = folder / "coco/images"
    for i in range(10, 20):
        (images / f"{i:03}.png").write_bytes((images / f"{i - 10:03}.png").read_bytes())
    splits = make(folder, val=0.2, test=0.2).splits()
    assert find_overlaps(splits, ("image", "text")) == []
    assert sum(map(len, splits.values())) == 30


def test_split_files_of_their_own_take_no_share(folder):
    write(folder / "coco", 6, "val.json", "val", seed=1)
    splits = make(folder, val_captions="val.json", val_images="val", val=0.3, test=0.2).splits()
    assert {name: len(split) for name, split in splits.items()} == {"train": 24, "val": 6, "test": 6}
    assert list(splits) == ["train", "val", "test"]


def test_split_files_that_share_photos_are_refused_unless_allowed(folder):
    write(folder / "coco", 6, "val.json", "val", seed=0)  # the same noise as the first photos of captions.json
    options = {"val_captions": "val.json", "val_images": "val", "test": 0.0}
    with pytest.raises(TrialbookError, match=r"6 of 'image' in both train and val"):
        make(folder, **options).splits()
    assert len(make(folder, **options, allow_overlap=True).splits()["val"]) == 6


def test_a_missing_photo_is_named_or_counted(folder):
    (folder / "coco/images/007.png").unlink()
    with pytest.raises(TrialbookError, match=r"007\.png does not exist.*skip_missing"):
        make(folder).splits()
    dataset = make(folder, skip_missing=True)
    assert sum(map(len, dataset.splits().values())) == 29
    assert (dataset.dropped.missing, dataset.dropped.uncaptioned) == (1, 0)


def test_a_photo_without_caption_is_named_or_counted(folder):
    file = folder / "coco/captions.json"
    data = json.loads(file.read_text())
    data["annotations"] = [note for note in data["annotations"] if note["image_id"] != 1003]
    file.write_text(json.dumps(data))
    with pytest.raises(TrialbookError, match=r"003\.png has no caption"):
        make(folder).splits()
    dataset = make(folder, skip_missing=True)
    assert sum(map(len, dataset.splits().values())) == 29
    assert dataset.dropped.uncaptioned == 1


def test_a_file_that_is_no_picture_is_named(folder):
    (folder / "coco/images/004.png").write_bytes(b"not a picture")
    with pytest.raises(TrialbookError, match=r"004\.png: not a readable picture"):
        make(folder).splits()


def test_a_truncated_picture_is_named(folder):
    photo = folder / "coco/images/004.png"
    photo.write_bytes(photo.read_bytes()[:200])
    with pytest.raises(TrialbookError, match=r"004\.png: not a readable picture"):
        make(folder, val=0, test=0).splits()


def test_without_a_data_root_the_way_to_set_it_is_said():
    with pytest.raises(TrialbookError, match=r"TRIALBOOK_DATA.*runner\.toml"):
        CocoCaptions(None).splits()


def test_an_absolute_root_needs_no_data_root(folder):
    assert CocoCaptions(None, root=str(folder / "coco"), size=8).splits()


def test_a_missing_caption_file_is_named(tmp_path):
    with pytest.raises(TrialbookError, match=r"coco-captions: no such folder"):
        CocoCaptions(tmp_path).splits()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"images": [],\n "annotations" []}', r"captions\.json:2: not JSON"),
        ("[]", "not a COCO caption file"),
        ('{"images": [{"id": 1}], "annotations": []}', "not a COCO caption file .*file_name"),
        (
            '{"images": [], "annotations": [{"id": 5, "image_id": 9, "caption": "x"}]}',
            "annotation 5 belongs to image 9",
        ),
        ('{"images": [], "annotations": []}', "no picture with a caption"),
    ],
)
def test_a_broken_caption_file_is_explained(folder, text, said):
    (folder / "coco/captions.json").write_text(text)
    with pytest.raises(TrialbookError, match=said):
        make(folder).splits()


def test_any_change_of_content_or_preparation_changes_the_fingerprint(folder):
    seen = {make(folder).fingerprint, make(folder, size=9).fingerprint, make(folder, seed=1).fingerprint}
    file = folder / "coco/captions.json"
    file.write_text(file.read_text().replace("photo 3 caption 0", "photo 3 kaption 0"))
    seen.add(make(folder).fingerprint)
    Image.new("RGB", (12, 20), "red").save(folder / "coco/images/002.png")
    seen.add(make(folder).fingerprint)
    assert len(seen) == 5


def test_the_fingerprint_does_not_depend_on_where_the_folder_is(folder):
    before = make(folder).fingerprint
    (folder / "coco").rename(folder / "elsewhere")
    assert CocoCaptions(folder, root="elsewhere", size=8).fingerprint == before


@pytest.mark.parametrize("wrong", [{"size": -1}, {"val": 0.5, "test": 0.5}, {"val": -0.1}])
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(TrialbookError):
        CocoCaptions(None, **wrong)


def test_real_photos_are_read():
    root = os.environ.get("TRIALBOOK_DATA")
    if not root or not (Path(root) / "coco-captions").is_dir():
        pytest.skip("TRIALBOOK_DATA names no folder with coco-captions")
    dataset = CocoCaptions(Path(root), size=32)
    splits = dataset.splits()
    assert {name: len(split) for name, split in splits.items()} == {"train": 88, "val": 11, "test": 11}
    assert sum(len(split.groups("text")) for split in splits.values()) == 550
    pictures = splits["test"].read("image", np.arange(11))
    assert pictures.shape == (11, 3, 32, 32)
    assert pictures.std(axis=(1, 2, 3)).min() > 10
    assert find_overlaps(splits, dataset.modalities) == []


def test_a_folder_as_coco_publishes_it_needs_its_root_alone(tmp_path):
    root = tmp_path / "coco"
    write(root, 20, "annotations/captions_train2017.json", "train2017")
    write(root, 6, "annotations/captions_val2017.json", "val2017", seed=9)
    splits = CocoCaptions(tmp_path, root="coco", size=8).splits()
    assert len(splits["test"].labels("file")) == 6  # COCO's val: captions of its test are not published
    assert (set(splits), len(splits["train"].labels("file")) + len(splits["val"].labels("file"))) == (
        {"train", "val", "test"},
        20,
    )
    write(root, 5, "own.json", "own", seed=3)
    own = CocoCaptions(tmp_path, root="coco", size=8, test_captions="own.json", test_images="own").splits()
    assert len(own["test"].labels("file")) == 5
    write(root, 5, "annotations/captions_train2014.json", "train2014", seed=4)
    with pytest.raises(TrialbookError, match=r"'captions'.*captions_train2014\.json"):
        CocoCaptions(tmp_path, root="coco").splits()
