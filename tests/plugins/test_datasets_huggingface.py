"""The datasets library: saved folders, data files and pictures; a name that cannot be found is refused quickly."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from PIL import Image

from trialbook.contracts.datasets import find_overlaps
from trialbook.errors import TrialbookError
from trialbook.testing import check_component
from trialbook_plugins.datasets import _hub
from trialbook_plugins.datasets.huggingface import HuggingFace
from trialbook_plugins.datasets.huggingface_questions import HuggingFaceQuestions

hf = pytest.importorskip("datasets", reason="the datasets library is an optional dependency")

COLUMNS = {"image": "photo", "text": "captions"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(hf.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    hf.disable_progress_bars()


def table(rows=20, seed=0):
    rng = np.random.default_rng(seed)
    features = hf.Features(
        {
            "photo": hf.Image(),
            "captions": hf.Sequence(hf.Value("string")),
            "vector": hf.Sequence(hf.Value("float32")),
            "series": hf.Array2D((3, 2), "float32"),
            "kind": hf.ClassLabel(names=["cat", "dog"]),
            "number": hf.Value("int64"),
        }
    )
    data = {
        "photo": [Image.fromarray(rng.integers(0, 255, (10, 14, 3), dtype=np.uint8)) for _ in range(rows)],
        "captions": [[f"first of {i}", f" second of {i} "] for i in range(rows)],
        "vector": rng.normal(size=(rows, 5)).tolist(),
        "series": rng.normal(size=(rows, 3, 2)).tolist(),
        "kind": [i % 2 for i in range(rows)],
        "number": list(range(rows)),
    }
    return hf.Dataset.from_dict(data, features=features)


@pytest.fixture
def saved(tmp_path):
    table().save_to_disk(tmp_path / "saved")
    return tmp_path


def make(root, **options):
    return HuggingFace(root, **{"path": "saved", "columns": COLUMNS, "size": 8, **options})


def test_it_conforms(saved):
    columns = {"image": "photo", "text": "captions", "vector": "vector", "series": "series", "class": "kind"}
    check_component(
        HuggingFace, "dataset", options={"path": "saved", "columns": columns, "size": 8}, injected={"data_root": saved}
    )


def test_kinds_follow_from_the_features(saved):
    columns = {"image": "photo", "text": "captions", "vector": "vector", "series": "series", "class": "kind"}
    described = {name: make(saved, columns=columns).describe(name) for name in columns}
    assert {name: (d.kind, d.shape) for name, d in described.items()} == {
        "image": ("image", (3, 8, 8)), "text": ("text", ()), "vector": ("vector", (5,)), "series": ("series", (3, 2)),
        "class": ("text", ()),
    }  # fmt: skip


def test_rows_of_all_modalities_belong_together(saved):
    columns = {"text": "captions", "class": "kind", "vector": "vector"}
    source = table()
    for split in make(saved, columns=columns, labels=["number"]).splits().values():
        numbers = split.labels("number")
        for text, group in zip(
            split.read("text", np.arange(len(split.groups("text")))), split.groups("text"), strict=True
        ):
            assert text in (f"first of {numbers[group]}", f"second of {numbers[group]}")
        assert split.read("class", np.arange(len(split))) == [("cat", "dog")[number % 2] for number in numbers]
        vectors = np.array([source[number]["vector"] for number in numbers], dtype=np.float32)
        assert np.array_equal(split.read("vector", np.arange(len(split))), vectors)


def test_pictures_are_those_of_the_library(saved):
    split = make(saved, size=0, val=0, test=0).splits()["train"]
    expected = np.asarray(table()[4]["photo"]).transpose(2, 0, 1)
    assert np.array_equal(split.read("image", np.array([4]))[0], expected)


def test_own_splits_are_kept_and_missing_ones_are_dealt(tmp_path):
    hf.DatasetDict({"train": table(20), "validation": table(4, seed=1)}).save_to_disk(tmp_path / "saved")
    splits = make(tmp_path, val=0.5, test=0.1).splits()
    assert {name: len(split) for name, split in splits.items()} == {"train": 18, "val": 4, "test": 2}
    assert find_overlaps(splits, COLUMNS) == []


def test_splits_may_be_named(tmp_path):
    hf.DatasetDict({"a": table(9), "b": table(4, seed=1)}).save_to_disk(tmp_path / "saved")
    with pytest.raises(TrialbookError, match="has the splits a, b"):
        make(tmp_path).splits()
    splits = make(tmp_path, splits={"train": "a", "test": "b"}, val=0.0).splits()
    assert {name: len(split) for name, split in splits.items()} == {"train": 9, "test": 4}


def test_own_splits_that_share_content_are_refused_unless_allowed(tmp_path):
    hf.DatasetDict({"train": table(20), "test": table(3)}).save_to_disk(tmp_path / "saved")
    with pytest.raises(TrialbookError, match="3 of 'image' in both train and test"):
        make(tmp_path, val=0.0).splits()
    assert len(make(tmp_path, val=0.0, allow_overlap=True).splits()["test"]) == 3


def test_folders_of_parquet_are_read(tmp_path):
    (tmp_path / "files").mkdir()
    table(12).to_parquet(tmp_path / "files" / "train.parquet")
    table(3, seed=1).to_parquet(tmp_path / "files" / "test.parquet")
    splits = make(tmp_path, path="files", val=0.0).splits()
    assert {name: len(split) for name, split in splits.items()} == {"train": 12, "test": 3}
    assert splits["test"].read("text", np.arange(2)) == ["first of 0", "second of 0"]


def test_a_single_csv_is_read(tmp_path):
    (tmp_path / "pairs.csv").write_text("en,de\n" + "\n".join(f"word {i},Wort {i}" for i in range(20)))
    splits = make(tmp_path, path="pairs.csv", columns={"english": "en", "german": "de"}).splits()
    assert {name: len(split) for name, split in splits.items()} == {"train": 16, "val": 2, "test": 2}
    assert splits["test"].read("german", np.array([0]))[0].startswith("Wort")


def test_a_folder_of_pictures_with_metadata_is_read(tmp_path):
    (tmp_path / "pictures").mkdir()
    lines = []
    for i in range(10):
        Image.new("RGB", (6, 6), (20 * i, 0, 0)).save(tmp_path / f"pictures/{i}.png")
        lines.append(json.dumps({"file_name": f"{i}.png", "text": f"red {i}"}))
    (tmp_path / "pictures/metadata.jsonl").write_text("\n".join(lines))
    split = make(tmp_path, path="pictures", columns={"image": "image", "text": "text"}, val=0, test=0).splits()["train"]
    pictures, texts = split.read("image", np.arange(10)), split.read("text", np.arange(10))
    assert all(picture[0, 0, 0] == 20 * int(text.split()[1]) for picture, text in zip(pictures, texts, strict=True))


@pytest.mark.parametrize("value", [-1, None])
def test_a_class_without_a_name_is_no_label(tmp_path, value):
    data = table(12)
    numbers = [value if row in (4, 7) else number for row, number in enumerate(data["kind"])]
    data = data.remove_columns("kind").add_column("kind", numbers, feature=data.features["kind"])
    data.save_to_disk(tmp_path / "saved")
    columns = {"image": "photo", "text": "kind"}
    with pytest.raises(TrialbookError, match=r"column 'kind' .* in 2 rows, the first is row 4.*skip_missing"):
        make(tmp_path, columns=columns).splits()
    dataset = make(tmp_path, columns=columns, skip_missing=True, val=0, test=0)
    said = dataset.splits()["train"].read("text", np.arange(10))
    assert dataset.dropped == 2
    assert said == [("cat", "dog")[row % 2] for row in range(12) if row not in (4, 7)]


def test_classes_as_answers_are_their_names(tmp_path):
    data = table(6).add_column("question", ["which?"] * 6)
    numbers = [-1 if row == 2 else number for row, number in enumerate(data["kind"])]
    data = data.remove_columns("kind").add_column("kind", numbers, feature=data.features["kind"])
    data.save_to_disk(tmp_path / "saved")
    options = {"path": "saved", "image": "photo", "answers": "kind", "size": 8}
    with pytest.raises(TrialbookError, match="row 2"):
        HuggingFaceQuestions(tmp_path, **options).splits()
    dataset = HuggingFaceQuestions(tmp_path, **options, skip_bad=True)
    said = dataset.splits()["train"].read("conversation", np.arange(5))
    assert [one.answer for one in said] == ["cat", "dog", "dog", "cat", "dog"]


def test_rows_with_an_empty_cell_are_named_or_counted(tmp_path):
    data = table().to_list()
    data[3]["captions"] = [" ", None]
    data[5]["photo"] = None
    hf.Dataset.from_list(data, features=table(1).features).save_to_disk(tmp_path / "saved")
    with pytest.raises(TrialbookError, match=r"column 'photo' is empty in 1 rows, the first is row 5.*skip_missing"):
        make(tmp_path).splits()
    dataset = make(tmp_path, skip_missing=True)
    assert sum(map(len, dataset.splits().values())) == 18
    assert dataset.dropped == 2


def test_an_unknown_column_is_refused_with_the_known_ones(saved):
    with pytest.raises(TrialbookError, match=r"no column 'caption' in train; it has photo, captions"):
        make(saved, columns={"text": "caption"}).splits()


def test_a_column_of_no_known_kind_is_refused(saved):
    with pytest.raises(TrialbookError, match=r"column 'number' .* not image, text or numbers"):
        make(saved, columns={"text": "captions", "n": "number"}).splits()


def test_vectors_of_different_widths_are_refused(tmp_path):
    hf.Dataset.from_dict({"v": [[1.0, 2.0], [1.0]] * 6}).save_to_disk(tmp_path / "saved")
    with pytest.raises(TrialbookError, match="rows of column 'v' differ in shape"):
        make(tmp_path, columns={"v": "v"}).splits()


def test_an_unknown_name_is_refused_quickly_where_the_hub_cannot_be_reached(tmp_path, monkeypatch):
    monkeypatch.setattr(_hub, "_hub_answers", lambda: False)
    start = time.monotonic()
    with pytest.raises(TrialbookError, match=r"'nobody/nothing' was not found locally .* hub cannot be reached"):
        make(tmp_path, path="nobody/nothing").splits()
    assert time.monotonic() - start < 10
    assert not hf.config.HF_HUB_OFFLINE


def test_a_hub_that_does_not_answer_is_given_up_on_within_seconds(monkeypatch):
    monkeypatch.setattr(hf.config, "HF_ENDPOINT", "http://127.0.0.1:9")  # nothing listens on the discard port
    monkeypatch.setattr(hf.config, "HF_HUB_OFFLINE", False)
    start = time.monotonic()
    assert not _hub._hub_answers()
    assert time.monotonic() - start < 10


def test_a_missing_absolute_path_is_named(tmp_path):
    with pytest.raises(TrialbookError, match=f"there is no {tmp_path}/nowhere"):
        make(None, path=str(tmp_path / "nowhere")).splits()


def test_any_change_changes_the_fingerprint(tmp_path, saved):
    hf.concatenate_datasets([table(19), table(1, seed=9)]).save_to_disk(tmp_path / "changed")
    prints = [
        make(saved).fingerprint, make(saved, size=9).fingerprint, make(saved, seed=1).fingerprint,
        make(saved, path="changed").fingerprint,
    ]  # fmt: skip
    assert len(set(prints)) == 4
    assert make(saved).fingerprint == prints[0]


@pytest.mark.parametrize("wrong", [{"columns": {}}, {"splits": {"val": "x"}}, {"splits": {"train": "x", "dev": "y"}}])
def test_wrong_options_are_refused_at_once(wrong):
    with pytest.raises(TrialbookError):
        HuggingFace(None, **{"path": "x", "columns": COLUMNS, **wrong})
