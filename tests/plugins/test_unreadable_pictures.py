"""Pictures that cannot be read, captions that are not there, and very thin pictures, in every reader of pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trialbook import TrialbookError
from trialbook_plugins.datasets._boxed import place_boxes
from trialbook_plugins.datasets._images import decode
from trialbook_plugins.datasets.chartqa import ChartQA
from trialbook_plugins.datasets.coco_captions import CocoCaptions
from trialbook_plugins.datasets.coco_detection import CocoDetection
from trialbook_plugins.datasets.huggingface import HuggingFace
from trialbook_plugins.datasets.huggingface_questions import HuggingFaceQuestions
from trialbook_plugins.datasets.image_captions import ImageCaptions
from trialbook_plugins.demo.images import BadPicture, read_picture

COUNT = 12


def write_pictures(folder: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    files = [folder / f"{number:02}.png" for number in range(COUNT)]
    for file in files:
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(file)
    return files


def image_captions(root: Path, skip: bool) -> Any:
    lines = [json.dumps({"image": f"pics/{i:02}.png", "caption": f"number {i}"}) for i in range(COUNT)]
    (root / "table.jsonl").write_text("\n".join(lines))
    return ImageCaptions(root, file="table.jsonl", size=8, skip_missing=skip)


def coco_captions(root: Path, skip: bool) -> Any:
    images = [{"id": i, "file_name": f"{i:02}.png"} for i in range(COUNT)]
    notes = [{"id": i, "image_id": i, "caption": f"number {i}"} for i in range(COUNT)]
    (root / "captions.json").write_text(json.dumps({"images": images, "annotations": notes}))
    return CocoCaptions(root, root=".", images="pics", size=8, skip_missing=skip)


def coco_detection(root: Path, skip: bool) -> Any:
    images = [{"id": i, "file_name": f"{i:02}.png"} for i in range(COUNT)]
    notes = [{"id": i, "image_id": i, "category_id": 1, "bbox": [0, 0, 4, 4]} for i in range(COUNT)]
    content = {"images": images, "annotations": notes, "categories": [{"id": 1, "name": "thing"}]}
    (root / "instances.json").write_text(json.dumps(content))
    return CocoDetection(root, root=".", images="pics", size=8, skip_missing=skip)


def chartqa(root: Path, skip: bool) -> Any:
    (root / "png").symlink_to(root / "pics")
    rows = [{"imgname": f"{i:02}.png", "query": f"what is {i}?", "label": str(i)} for i in range(COUNT)]
    (root / "questions.json").write_text(json.dumps(rows))
    return ChartQA(root, root=".", size=8, skip_bad=skip)


def saved(root: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"image": datasets.Image(), "question": datasets.Value("string"), "answers": datasets.Value("string")}
    )
    cells = [{"bytes": file.read_bytes(), "path": None} for file in sorted((root / "pics").iterdir())]
    texts = [f"number {i}" for i in range(COUNT)]
    data = datasets.Dataset.from_dict({"image": cells, "question": texts, "answers": texts}, features=features)
    data.save_to_disk(root / "saved")


def huggingface(root: Path, skip: bool) -> Any:
    saved(root)
    columns = {"image": "image", "text": "question"}
    return HuggingFace(root, path="saved", columns=columns, size=8, skip_missing=skip)


def huggingface_questions(root: Path, skip: bool) -> Any:
    saved(root)
    return HuggingFaceQuestions(root, path="saved", size=8, val=0.1, test=0.1, skip_bad=skip)


def dropped(dataset: Any) -> int:
    if hasattr(dataset, "left_out"):
        return len(dataset.left_out)
    found = dataset.dropped
    return found if isinstance(found, int) else found.unreadable


@pytest.mark.parametrize(
    "make", [image_captions, coco_captions, coco_detection, chartqa, huggingface, huggingface_questions]
)
def test_pictures_that_cannot_be_read_are_named_or_left_out_and_counted(
    tmp_path: Path, make: Callable[[Path, bool], Any]
) -> None:
    files = write_pictures(tmp_path / "pics")
    whole = files[3].read_bytes()
    files[3].write_bytes(whole[: len(whole) // 2])
    files[5].write_bytes(b"")
    files[7].write_bytes(b"<!DOCTYPE html><p>404</p>")
    with pytest.raises(TrialbookError) as caught:
        make(tmp_path, False).splits()
    assert "object at" not in str(caught.value)
    assert "skip_" in str(caught.value)
    assert any(name in str(caught.value) for name in ("03.png", "05.png", "row 3"))
    for made in (*tmp_path.glob("*.json*"), tmp_path / "png"):
        made.unlink(missing_ok=True)
    dataset = make(tmp_path, True)
    assert sum(len(split) for split in dataset.splits().values()) == COUNT - 3
    assert dropped(dataset) == 3
    for split in dataset.splits().values():
        assert split.read("image", np.arange(len(split))).shape[1:] == (3, 8, 8)


@pytest.mark.parametrize("size", [(3000, 2), (2, 3000), (1, 900), (900, 1)])
def test_a_picture_thinner_than_a_pixel_keeps_one(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, "red").save(tmp_path / "thin.png")
    picture = decode((tmp_path / "thin.png").read_bytes(), 16, crop=False)
    assert picture.shape == (3, 16, 16)
    assert (picture[1] == 0).sum() == 16
    boxes, seen = place_boxes(np.array([[0.0, 0, *size]]), *size, 16, "pad")
    assert seen.all()
    red = np.argwhere(picture[1] == 0)
    np.testing.assert_allclose(boxes[0] * 16, [*red.min(0)[::-1], *(red.max(0)[::-1] + 1)])


def test_the_centre_of_a_very_thin_picture_is_cut_without_blowing_it_up(tmp_path: Path) -> None:
    Image.new("RGB", (60_000, 1), "red").save(tmp_path / "thin.png")
    picture = decode((tmp_path / "thin.png").read_bytes(), 224)
    assert picture[:, 0, 0].tolist() == [255, 0, 0]
    assert picture.shape == (3, 224, 224)


@pytest.mark.parametrize("mode", ["I;16", "I", "F", "L", "RGBA", "P"])
def test_the_demo_reads_what_training_reads(tmp_path: Path, mode: str) -> None:
    rng = np.random.default_rng(0)
    if mode == "RGBA":
        image = Image.fromarray(rng.integers(0, 256, (12, 12, 4), dtype=np.uint8))
    elif mode == "P":
        image = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).quantize(8)
    elif mode in ("I;16", "I"):
        image = Image.fromarray(rng.integers(0, 65536, (12, 12)).astype(np.uint16 if mode == "I;16" else np.int32))
    else:
        image = Image.fromarray(rng.random((12, 12)).astype(np.float32)) if mode == "F" else Image.new("L", (12, 12), 9)
    file = tmp_path / ("a.tiff" if mode in ("I", "F") else "a.png")
    image.save(file)
    if file.suffix == ".tiff":  # the demo takes no TIFF
        with pytest.raises(BadPicture):
            read_picture(file)
    else:
        np.testing.assert_array_equal(read_picture(file).pixels, decode(file.read_bytes(), 0))
