"""Tables of pictures and captions: CSV, TSV and JSONL, with file and line of every bad row."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

from trialbook.errors import TrialbookError
from trialbook.testing import check_component
from trialbook_plugins.datasets.image_captions import ImageCaptions


@pytest.fixture
def root(tmp_path):
    """Twelve pictures and a table with two captions for each, one of them with a comma and a line break."""
    rng = np.random.default_rng(0)
    (tmp_path / "pics").mkdir()
    with (tmp_path / "table.csv").open("w", newline="", encoding="utf-8-sig") as file:
        table = csv.writer(file)
        table.writerow(["image", "caption", "split"])
        for i in range(12):
            Image.fromarray(rng.integers(0, 255, (9, 9, 3), dtype=np.uint8)).save(tmp_path / f"pics/{i}.png")
            part = "test" if i == 11 else "validation" if i == 10 else "train"
            table.writerow([f"pics/{i}.png", f"number {i}, plain", part])
            table.writerow([f"pics/{i}.png", f"number {i}\nbroken", part])
    return tmp_path


def make(root, **options):
    return ImageCaptions(root, **{"file": "table.csv", "size": 8, **options})


def texts(split):
    return split.read("text", np.arange(len(split.groups("text"))))


def test_it_conforms(root):
    options = {"file": "table.csv", "size": 8, "val": 0.2, "test": 0.2}
    check_component(ImageCaptions, "dataset", options=options, injected={"data_root": root})


def test_rows_of_one_picture_are_its_captions(root):
    split = make(root, split_column="split").splits()["test"]
    assert split.labels("file") == ["11.png"]
    assert texts(split) == ["number 11, plain", "number 11\nbroken"]
    assert split.groups("text").tolist() == [0, 0]


def test_the_split_column_decides(root):
    splits = make(root, split_column="split").splits()
    assert {name: len(split) for name, split in splits.items()} == {"train": 10, "val": 1, "test": 1}


def test_tsv_and_jsonl_say_the_same_as_csv(root):
    rows = list(csv.DictReader((root / "table.csv").open(newline="", encoding="utf-8-sig")))
    with (root / "table.tsv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), delimiter="\t")
        table.writeheader()
        table.writerows(rows)
    lines = [
        json.dumps({"image": f"pics/{i}.png", "caption": [row["caption"] for row in rows[2 * i : 2 * i + 2]]})
        for i in range(12)
    ]
    (root / "table.jsonl").write_text("\n\n".join(lines) + "\n")
    prints = {make(root, file=f"table.{ending}").fingerprint for ending in ("csv", "tsv", "jsonl")}
    assert len(prints) == 1


def test_columns_may_have_other_names_and_the_pictures_another_folder(root):
    (root / "tables").mkdir()
    (root / "tables/t.jsonl").write_text(
        "\n".join(json.dumps({"path": f"{i}.png", "alt": f"n {i}"}) for i in range(12))
    )
    dataset = make(root, file="tables/t.jsonl", images="../pics", image_column="path", caption_column="alt")
    assert sum(map(len, dataset.splits().values())) == 12


def jsonl(root, *lines):
    (root / "bad.jsonl").write_text('{"image": "pics/0.png", "caption": "fine", "split": "train"}\n' + "\n".join(lines))
    return make(root, file="bad.jsonl", split_column="split", test=0.0)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"image": "pics/1.png"', "2: not JSON"),
        ('["pics/1.png"]', "2: a row must be an object"),
        ('{"image": "pics/1.png", "split": "train"}', "2: no 'caption' in this row, which has image, split"),
        ('{"image": "pics/1.png", "caption": 3, "split": "train"}', "2: 'caption' must be text, not 3"),
        ('{"image": "", "caption": "x", "split": "train"}', "2: 'image' is empty"),
        ('{"image": "pics/1.png", "caption": "x", "split": "tset"}', "2: 'tset' is no split; write train, val or test"),
        (
            '{"image": "pics/0.png", "caption": "x", "split": "val"}',
            "2: pics/0.png is in val here and in train at line 1",
        ),
        ('{"image": "pics/99.png", "caption": "x", "split": "train"}', r"2: picture .*99\.png does not exist"),
        ('{"image": "pics/1.png", "caption": " ", "split": "train"}', r"2: picture .*1\.png has no caption"),
    ],
)
def test_a_bad_row_is_named_with_file_and_line(root, line, said):
    with pytest.raises(TrialbookError, match=rf"bad\.jsonl:{said}"):
        jsonl(root, line).splits()


def test_the_line_of_a_csv_row_counts_line_breaks_in_cells(root):
    with (root / "table.csv").open("a") as file:
        file.write("pics/1.png,too,many,cells\n")
    with pytest.raises(TrialbookError, match=r"table\.csv:38: more cells"):  # a header, 12 rows of 1 line, 12 of 2
        make(root).splits()


def test_a_csv_without_the_column_is_explained(root):
    with pytest.raises(TrialbookError, match=r"table\.csv:2: no 'alt' in this row, which has image, caption, split"):
        make(root, caption_column="alt").splits()


def test_equal_pictures_in_two_splits_are_refused_unless_allowed(root):
    (root / "pics/11.png").write_bytes((root / "pics/3.png").read_bytes())
    with pytest.raises(TrialbookError, match="1 of 'image' in both train and test"):
        make(root, split_column="split").splits()
    assert len(make(root, split_column="split", allow_overlap=True).splits()["test"]) == 1


def test_missing_pictures_are_counted_if_asked(root):
    (root / "pics/5.png").unlink()
    dataset = make(root, skip_missing=True)
    assert sum(map(len, dataset.splits().values())) == 11
    assert dataset.dropped.missing == 1


def test_a_table_without_train_is_refused(root):
    (root / "bad.jsonl").write_text('{"image": "pics/0.png", "caption": "x", "split": "val"}')
    with pytest.raises(TrialbookError, match="no row has 'train' in column 'split'"):
        make(root, file="bad.jsonl", split_column="split").splits()


def test_an_unknown_ending_is_refused_at_once():
    with pytest.raises(TrialbookError, match=r"\.csv, \.tsv or \.jsonl"):
        ImageCaptions(None, file="table.xlsx")
