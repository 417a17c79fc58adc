"""What one run keeps another reads unchanged, and nothing is joined to samples that it was not made of."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from trialbook.contracts.datasets import Modality
from trialbook.contracts.records import Artifact
from trialbook.errors import TrialbookError
from trialbook.testing import PartsBuilder, check_component
from trialbook_plugins.captioners.sensor_templates import SensorTemplates
from trialbook_plugins.datasets.embeddings import Embeddings
from trialbook_plugins.datasets.samples import Samples
from trialbook_plugins.datasets.scenes import Scenes
from trialbook_plugins.datasets.smart_home import SmartHome
from trialbook_plugins.datasets.stored import keep, read_kept, sample_keys
from trialbook_plugins.datasets.stored_texts import Caption, Vectors, write_captions
from trialbook_plugins.encoders.pooled import Pooled
from trialbook_plugins.encoders.token_embedding import TokenEmbedding
from trialbook_plugins.tasks._tags import content_numbers
from trialbook_plugins.tasks.caption import CaptionSamples
from trialbook_plugins.tasks.embed import Embed
from trialbook_plugins.tasks.sample import Sample


@pytest.fixture(scope="module")
def home() -> SmartHome:
    return SmartHome(residents=1, days=8, window=1200)


@pytest.fixture(scope="module")
def folder(home: SmartHome, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of samples with one of captions and one of vectors beside them."""
    root = tmp_path_factory.mktemp("kept")
    for name in ("samples", "captions", "vectors"):
        (root / name).mkdir()
    for name, write in keep(home, ["sensor", "text"], ["label", "facts", "nothing"]).files():
        write(root / "samples" / name)
    captions, groups, keys, start = [], [], [], 0
    for name, split in home.splits().items():
        own = sample_keys(split, "sensor")
        captions += [Caption(name, group, own[group], f"window {start + group}") for group in range(len(split))]
        keys += own
        start += len(split)
    write_captions(root / "captions" / "captions.jsonl", captions)
    groups = np.arange(start)
    vectors = np.arange(start * 3, dtype=np.float32).reshape(start, 3)
    made = Vectors(vectors, groups, keys, [f"{number}" for number in range(start)], ["same"] * start)
    made.write_safetensors(root / "vectors" / "embeddings.safetensors")
    made.write_npz(root / "vectors" / "embeddings.npz")
    return root


def read_all(root: Path, **modalities: str) -> Samples:
    return Samples(root, {}, modalities=modalities)


def test_events_texts_labels_and_splits_come_back_as_they_were(home: SmartHome, folder: Path) -> None:
    kept = read_all(folder, sensor="samples", text="samples")
    assert list(kept.splits()) == list(home.splits())
    for name, split in home.splits().items():
        other, rows = kept.splits()[name], np.arange(len(split))[::-1]
        for window, again in zip(split.read("sensor", rows), other.read("sensor", rows), strict=True):
            assert again._fields == window._fields
            assert all(np.array_equal(a, b) for a, b in zip(window, again, strict=True))
        assert other.read("text", rows) == split.read("text", rows)
        assert list(other.labels("label")) == list(split.labels("label"))
        assert list(other.content("sensor")) == list(split.content("sensor"))
        assert list(other.labels("facts")) == json.loads(json.dumps(list(split.labels("facts"))))
    assert kept.describe("sensor") == home.describe("sensor")
    assert list(kept.describe("text").corpus()) == list(home.describe("text").corpus())
    with pytest.raises(KeyError):
        kept.splits()["train"].labels("nothing")


def test_pictures_of_one_size_are_kept_as_one_array(tmp_path: Path) -> None:
    scenes = Scenes(train=6, val=2, test=2)
    for name, write in keep(scenes, ["image", "text"], []).files():
        write(tmp_path / name)
    kept = read_kept(tmp_path)
    assert kept.rows["image"].read(np.array([7])).shape == (1, *scenes.describe("image").shape)
    again = Samples(tmp_path, modalities={"image": str(tmp_path), "text": str(tmp_path)})
    assert np.array_equal(
        again.splits()["val"].read("image", np.arange(2)), scenes.splits()["val"].read("image", np.arange(2))
    )
    check_component(Samples, "dataset", options={"modalities": {"image": str(tmp_path), "text": str(tmp_path)}})


@pytest.mark.parametrize("only", ["embeddings.safetensors", "embeddings.npz"])
def test_captions_and_vectors_join_the_samples_that_they_are_of(folder: Path, tmp_path: Path, only: str) -> None:
    shutil.copytree(folder, tmp_path / "all")
    for file in (tmp_path / "all" / "vectors").iterdir():
        if file.name != only:
            file.unlink()
    told = read_all(tmp_path / "all", sensor="samples", text="captions")
    test = told.splits()["test"]
    start = sum(len(told.splits()[name]) for name in list(told.splits())[:-1])
    assert test.read("text", np.array([1])) == [f"window {start + 1}"]
    embedded = read_all(tmp_path / "all", sensor="samples", text="vectors")
    assert embedded.describe("text").shape == (3,)
    assert embedded.splits()["test"].read("text", np.array([1])).tolist() == [
        [3 * start + 3, 3 * start + 4, 3 * start + 5]
    ]


def test_whatever_the_order_of_their_lines_captions_stay_with_their_samples(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "all")
    file = tmp_path / "all" / "captions" / "captions.jsonl"
    lines = file.read_text().splitlines()
    order = np.random.default_rng(0).permutation(len(lines))
    file.write_text("\n".join(lines[place] for place in order) + "\n")
    shuffled, straight = (read_all(root, sensor="samples", text="captions") for root in (tmp_path / "all", folder))
    for name, split in straight.splits().items():
        other = shuffled.splits()[name]
        groups = other.groups("text")
        texts = other.read("text", np.arange(len(groups)))
        expected = split.read("text", np.arange(len(split)))
        assert [texts[row] for row in np.argsort(groups)] == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:-1], r"'text' \(captions\) has no row for 1 of \d+ samples"),
        (lambda lines: [lines[1].replace('"group": 1', '"group": 0'), *lines[1:]], "was made of other samples: 1 of"),
        (lambda lines: [*lines, lines[0].replace('"group": 0', '"group": 99999')], "has rows of 100000 samples"),
        (lambda lines: [lines[0].replace('"split": "train"', '"split": "dev"'), *lines[1:]], "captions of split 'dev'"),
        (lambda lines: [lines[0][:-4], *lines[1:]], r"captions.jsonl:1: no caption"),
    ],
)
def test_captions_of_other_samples_are_refused(folder: Path, tmp_path: Path, change: object, message: str) -> None:
    shutil.copytree(folder, tmp_path / "all")
    file = tmp_path / "all" / "captions" / "captions.jsonl"
    file.write_text("\n".join(change(file.read_text().splitlines())) + "\n")  # type: ignore[operator]
    with pytest.raises(TrialbookError, match=message):
        read_all(tmp_path / "all", sensor="samples", text="captions").splits()


def test_vectors_of_other_lengths_or_with_nan_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "all")
    (tmp_path / "all" / "vectors" / "embeddings.safetensors").unlink()
    file = tmp_path / "all" / "vectors" / "embeddings.npz"
    arrays = dict(np.load(file))
    np.savez(file, **{**arrays, "groups": arrays["groups"][:-2]})
    with pytest.raises(TrialbookError, match=r"embeddings.npz: lengths do not agree: vectors (\d+), groups \d+"):
        read_all(tmp_path / "all", sensor="samples", text="vectors").splits()
    arrays["vectors"][4, 1] = np.nan
    np.savez(file, **arrays)
    with pytest.raises(TrialbookError, match="NaN or infinity in 1 rows, first in row 4"):
        read_all(tmp_path / "all", sensor="samples", text="vectors").splits()


def _equals(dataset: Samples | Embeddings) -> list[list[int]]:
    """Rows of the texts of train that count as equal to each of them."""
    numbers = content_numbers(dataset.splits()["train"], "text")
    return [np.flatnonzero(numbers == one).tolist() for one in numbers]


@pytest.mark.parametrize("only", ["embeddings.safetensors", "embeddings.npz"])
def test_equal_captions_are_equal_when_they_are_stored_as_vectors(home: SmartHome, tmp_path: Path, only: str) -> None:
    for name in ("samples", "captions", "vectors"):
        (tmp_path / name).mkdir()
    for name, write in keep(home, ["sensor", "text"], []).files():
        write(tmp_path / "samples" / name)
    says = ["someone cooks", "someone sleeps", "cooks someone"]  # the first and the last have equal vectors
    captions = [
        Caption(name, group, key, says[group % 3])
        for name, split in home.splits().items()
        for group, key in enumerate(sample_keys(split, "sensor"))
    ]
    write_captions(tmp_path / "captions" / "captions.jsonl", captions)
    told = read_all(tmp_path, sensor="samples", text="captions")
    encoder, encoded = Pooled(TokenEmbedding(told.describe("text"), width=8)), list[int]()
    encoder.register_forward_hook(lambda *given: encoded.append(len(given[2][0])))
    task = Embed(PartsBuilder({"dataset": told, "encoder": {"text": encoder}}))
    task.setup()
    for item in task.measurements():
        if isinstance(item, Artifact) and item.name == only:
            item.write(tmp_path / "vectors" / only)
    assert sum(encoded) == 3
    stored = read_all(tmp_path, sensor="samples", text="vectors")
    assert _equals(stored) == _equals(told)
    assert _equals(read_all(tmp_path, sensor="samples", text="samples")) != _equals(told)
    train = stored.splits()["train"]
    assert len(set(train.content("text"))) == len(train)  # as before: equal captions of other samples are no leak


def test_equal_rows_of_embeddings_are_equal_by_their_bits_or_by_what_is_said_to_be(tmp_path: Path) -> None:
    text = np.array([[0, 1], [1, 0], [0, 1], [1, 1]], np.float32)[[0, 1, 2, 3, 0, 0, 1, 2]]
    words = np.array(["a", "b", "c", "d", "a", "a", "b", "c"])
    image = np.eye(8, dtype=np.float32)
    np.savez(tmp_path / "all.npz", image=image, text=text, words=words, split=np.zeros(8, int))
    options = {"file": "all.npz", "modalities": {"image": "image", "text": "text"}, "split": "split"}
    assert _equals(Embeddings(tmp_path, **options))[0] == [0, 2, 4, 5, 7]
    said = Embeddings(tmp_path, identity={"text": "words"}, **options)
    assert _equals(said)[0] == [0, 4, 5]
    assert said.fingerprint != Embeddings(tmp_path, **options).fingerprint
    with pytest.raises(TrialbookError, match="'identity' of 'text' has shape"):
        Embeddings(tmp_path, identity={"text": "image"}, **options).splits()


def test_vectors_that_a_strange_file_holds_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "all")
    file = tmp_path / "all" / "vectors" / "embeddings.safetensors"
    for content in (b"", file.read_bytes()[:200], b"{}" * 400):
        file.write_bytes(content)
        with pytest.raises(TrialbookError, match="no embeddings can be read"):
            read_all(tmp_path / "all", sensor="samples", text="vectors").splits()


def test_a_place_that_is_neither_step_nor_folder_is_said(folder: Path) -> None:
    with pytest.raises(TrialbookError, match=r"'smaples' is neither a step that this run needs \(none\) nor a folder"):
        read_all(folder, sensor="smaples").splits()
    with pytest.raises(TrialbookError, match="have sensor, text, and no 'sensors'"):
        read_all(folder, sensors="samples").splits()
    with pytest.raises(TrialbookError, match="holds no samples"):
        read_all(folder, sensor="vectors").splits()


def test_pooled_is_the_mean_of_the_real_tokens(home: SmartHome) -> None:
    torch.manual_seed(0)
    inner = TokenEmbedding(home.describe("text"), width=8)
    encoder = Pooled(inner)
    texts = ["movement in the kitchen", "the kitchen"]
    tokens, mask = inner(inner.prepare(texts))
    expected = torch.stack([row[real].mean(0) for row, real in zip(tokens, mask, strict=True)])
    torch.testing.assert_close(
        encoder(encoder.prepare(texts)).tokens[:, 0], expected, atol=1e-6, rtol=0
    )  # order of sums
    assert encoder(encoder.prepare(texts)).mask is None


def test_the_tasks_of_the_steps_keep_their_contract(home: SmartHome, folder: Path) -> None:
    told = read_all(folder, sensor="samples", text="captions")
    samples = read_all(folder, sensor="samples")
    parts = {
        Sample: {"dataset": home},
        CaptionSamples: {"dataset": samples, "captioner": SensorTemplates()},
        Embed: {"dataset": told, "encoder": {"text": Pooled(TokenEmbedding(told.describe("text"), width=8))}},
    }
    for task, given in parts.items():
        check_component(task, "task", injected={"builder": PartsBuilder(given)})


def test_pooled_keeps_its_contract() -> None:
    modality = Modality("text", (), lambda: ["a red circle", "a blue square"])
    check_component(Pooled, "encoder", injected={"modality": modality, "of": TokenEmbedding(modality, width=8)})
