"""Folders of conversations, captions as conversations, and mixtures of both."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trialbook.contracts.conversations import Conversation, Turn
from trialbook.contracts.datasets import find_overlaps
from trialbook.errors import TrialbookError
from trialbook.testing import check_component
from trialbook_plugins.datasets.caption_conversations import INSTRUCTIONS, CaptionConversations
from trialbook_plugins.datasets.coco_captions import CocoCaptions
from trialbook_plugins.datasets.conversations import Conversations
from trialbook_plugins.datasets.documents import Documents
from trialbook_plugins.datasets.huggingface_questions import HuggingFaceQuestions
from trialbook_plugins.datasets.mixture import Mixture
from trialbook_plugins.datasets.paired_latents import PairedLatents
from trialbook_plugins.datasets.scenes import Scenes

REAL = Path(os.environ.get("TRIALBOOK_DATA", ""))
with_photos = pytest.mark.skipif(not (REAL / "coco-captions").is_dir(), reason="no coco-captions in TRIALBOOK_DATA")
SCENES = {"train": 30, "val": 6, "test": 6}
DOCUMENTS = {"train": 20, "val": 4, "test": 4, "size": 64}


def said(dataset, split="train"):
    part = dataset.splits()[split]
    return part.read("conversation", np.arange(len(part.groups("conversation"))))


# --- folders ----------------------------------------------------------------------------------------------------------


def line(name: str, images: list[str], question="What is it?", answer="a box", **more) -> str:
    turns = (Turn("user", question), Turn("assistant", answer))
    return Conversation(name, tuple(images), turns, (answer,), **more).as_line()


@pytest.fixture
def folder(tmp_path):
    """Written by hand, without hashes: two pictures of other sizes in train, one in val; one line about two of them."""
    for n, size in enumerate([(20, 10), (8, 16), (12, 12)]):
        pixels = np.random.default_rng(n).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / f"images/{n}.png")
    train = [
        line("a", ["images/0.png"]), line("b", ["images/1.png"], source="other"), line("c", ["images/0.png"], "And its lid?"),
        line("d", ["images/1.png", "images/0.png"], "Which is larger?"), line("e", [], "What is two and two?", "four"),
    ]  # fmt: skip
    (tmp_path / "train.jsonl").write_text("\n".join(train) + "\n\n")
    (tmp_path / "val.jsonl").write_text(line("v", ["images/2.png"]) + "\n")
    return tmp_path


def test_a_folder_groups_what_is_said_about_the_same_pictures(folder):
    dataset = Conversations(root=str(folder))
    train = dataset.splits()["train"]
    assert train.groups("conversation").tolist() == [0, 1, 0, 2, 3]
    assert train.groups("image").tolist() == [0, 1, 2, 2]
    assert train.labels("source") == ["", "other", "", ""]
    assert [picture.shape for picture in train.read("image", np.arange(4))] == [
        (3, 10, 20),
        (3, 16, 8),
        (3, 16, 8),
        (3, 10, 20),
    ]
    assert train.image_path(3) == folder / "images/0.png"
    assert [one.hash for one in said(dataset)] == train.content("conversation")
    assert len(set(train.content("conversation"))) == 5


def test_pictures_of_one_size_are_whole_and_filled_with_white(folder):
    dataset = Conversations(root=str(folder), size=20)
    assert dataset.describe("image").shape == (3, 20, 20)
    wide = dataset.splits()["train"].read("image", np.array([0]))[0]
    assert (wide[:, :5] == 255).all()
    assert (wide[:, 15:] == 255).all()
    assert wide[:, 5:15].std() > 30


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("{", "not JSON"), ('{"id": "x"}', "'turns' must be a list"), (line("a", ["images/0.png"]), "stands at .*train.jsonl:1"),
        (line("x", ["images/9.png"]), "no file"), (line("x", ["../secret.png"]), "no file"),
        (line("x", ["/etc/passwd"]), "no file"),
        (line("x", []).replace('"user"', '"reader"'), "no role 'reader'"),
    ],
)  # fmt: skip
def test_a_bad_line_is_named_with_file_and_line(folder, bad, why):
    with (folder / "train.jsonl").open("a") as file:
        file.write(bad + "\n")
    with pytest.raises(TrialbookError, match=rf"train.jsonl:7: .*{why}"):
        Conversations(root=str(folder)).splits()


def test_what_was_changed_after_it_was_built_is_refused(folder):
    (one, *_) = said(Conversations(root=str(folder)), "val")
    stored = json.dumps(one.as_dict() | {"id": "v"})
    (folder / "val.jsonl").write_text(stored + "\n")
    Conversations(root=str(folder)).splits()
    (folder / "val.jsonl").write_text(stored.replace("a box", "a hat") + "\n")
    with pytest.raises(TrialbookError, match=r"val.jsonl:1: .*changed after it was built"):
        Conversations(root=str(folder)).splits()


def test_the_fingerprint_follows_what_is_said_and_shown(folder):
    def fingerprint(**options) -> str:
        return Conversations(root=str(folder), **options).fingerprint

    before = fingerprint()
    assert fingerprint() == before != fingerprint(size=16)
    Image.new("RGB", (5, 5)).save(folder / "images/2.png")
    assert fingerprint() != before


def test_a_picture_in_two_splits_is_refused_unless_that_is_wanted(folder):
    (folder / "test.jsonl").write_text(line("t", ["images/1.png"], "Again?") + "\n")
    with pytest.raises(TrialbookError, match="splits share content"):
        Conversations(root=str(folder)).splits()
    assert list(Conversations(root=str(folder), allow_overlap=True).splits()) == ["train", "val", "test"]


def test_a_folder_conforms(folder):
    lines = (folder / "train.jsonl").read_text().splitlines()
    (folder / "train.jsonl").write_text("\n".join(lines[:4]))  # a text without a picture has no row of 'image'
    with (folder / "val.jsonl").open(
        "a"
    ) as stream:  # on one row it could not be tried whether rows depend on one another
        stream.write(line("w", ["images/3.png"]) + "\n")
    Image.fromarray(np.full((9, 9, 3), 7, dtype=np.uint8)).save(folder / "images/3.png")
    check_component(Conversations, "dataset", options={"root": str(folder)})
    with pytest.raises(TrialbookError, match="no folder"):
        Conversations(root=str(folder / "none")).splits()


# --- captions ---------------------------------------------------------------------------------------------------------


def test_captions_conform():
    check_component(CaptionConversations, "dataset", injected={"pairs": Scenes(**SCENES)})


def test_every_caption_is_an_answer_to_an_instruction_and_all_are_accepted():
    pairs = Scenes(**SCENES, captions=3)
    dataset = CaptionConversations(pairs)
    captions = pairs.splits()["train"].read("text", np.arange(90))
    found = said(dataset)
    assert [one.answer for one in found] == captions
    assert {one.question for one in found} == set(INSTRUCTIONS)
    assert all(set(one.answers) == set(captions[row // 3 * 3 : row // 3 * 3 + 3]) for row, one in enumerate(found))
    assert set(dataset.splits()["test"].labels("source")) == {"captions"}
    assert dataset.describe("image") == pairs.describe("image")
    texts = dataset.describe("conversation").corpus()
    assert set(texts) == set(INSTRUCTIONS) | set(captions)


def test_an_instruction_stays_when_others_come():
    few, many = (CaptionConversations(Scenes(**{**SCENES, "train": n})) for n in (30, 60))
    assert [one.question for one in said(few, "test")] == [one.question for one in said(many, "test")]


def test_captions_need_pictures_and_texts():
    with pytest.raises(TrialbookError, match="'pairs' must be a dataset of image and text"):
        CaptionConversations(PairedLatents())
    with pytest.raises(TrialbookError, match="instructions"):
        CaptionConversations(Scenes(**SCENES), instructions=["  "])


@with_photos
def test_real_photos_with_captions_become_conversations():
    dataset = CaptionConversations(CocoCaptions(REAL, size=32))
    assert len(said(dataset)) == 440
    assert dataset.splits()["train"].read("image", np.array([3])).shape == (1, 3, 32, 32)


# --- mixtures ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def mixture():
    return Mixture({"captions": CaptionConversations(Scenes(**SCENES, size=64)), "screens": Documents(**DOCUMENTS)})


def test_a_mixture_conforms():
    sources = {"captions": CaptionConversations(Scenes(**SCENES)), "screens": Documents(**DOCUMENTS)}
    check_component(Mixture, "dataset", injected={"sources": sources})


def test_a_mixture_holds_all_its_sources_under_their_names(mixture):
    train = mixture.splits()["train"]
    assert len(train) == 50
    assert train.labels("source") == ["captions"] * 30 + ["screens"] * 20
    found = said(mixture)
    assert {one.source for one in found} == {"captions", "screens"}
    assert len({one.id for one in found}) == len(found)
    assert [one.hash for one in found] == train.content("conversation")
    assert mixture.describe("image").shape == (3, 64, 64)


def test_rows_of_a_mixture_are_those_of_its_sources_in_any_order(mixture):
    train = mixture.splits()["train"]
    scenes, screens = (mixture.sources[name].splits()["train"] for name in ("captions", "screens"))
    read = train.read("image", np.array([45, 2, 31, 2]))
    assert isinstance(read, np.ndarray)
    assert np.array_equal(read[0], screens.read("image", np.array([15]))[0])
    assert np.array_equal(read[1], scenes.read("image", np.array([2]))[0])
    assert np.array_equal(read[1], read[3])
    assert train.groups("conversation")[-1] == 49


def test_pictures_of_other_sizes_are_a_list():
    mixed = Mixture({"small": Documents(**DOCUMENTS), "large": Documents(**{**DOCUMENTS, "size": 80, "seed": 5})})
    assert mixed.describe("image").shape == (3, 0, 0)
    assert [one.shape for one in mixed.splits()["val"].read("image", np.array([0, 7]))] == [(3, 64, 64), (3, 80, 80)]


def test_sources_that_share_pictures_across_splits_are_refused():
    class Swapped(Documents):
        def splits(self):
            own = super().splits()
            return {"train": own["test"], "test": own["train"]}

    same = {"a": Documents(**DOCUMENTS), "b": Swapped(**DOCUMENTS)}
    with pytest.raises(TrialbookError, match="splits share content"):
        Mixture(same).splits()
    assert find_overlaps(Mixture(same, allow_overlap=True).splits(), ("image",))


def test_a_source_without_conversations_is_refused():
    with pytest.raises(TrialbookError, match=r"'photos' \(Scenes\) is no dataset of conversations"):
        Mixture({"photos": Scenes(**SCENES)})


# --- the datasets library ---------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    datasets = pytest.importorskip("datasets")
    pictures = [
        Image.fromarray(np.random.default_rng(n).integers(0, 255, (9, 12, 3), dtype=np.uint8)) for n in range(6)
    ]

    def rows(places, answers):
        return {
            "image": [pictures[n] for n in places], "query": [f"what is {row}?" for row in range(len(places))], "label": answers,
        }  # fmt: skip

    features = datasets.Features(
        {"image": datasets.Image(), "query": datasets.Value("string"), "label": datasets.List(datasets.Value("string"))}
    )
    made = {
        "train": rows([0, 1, 0, 2], [["a", "A"], ["none"], ["c"], ["d"]]), "validation": rows([3, 4], [["e"], ["f"]]),
        "test": rows([5], [[]]),
    }  # fmt: skip
    parts = {name: datasets.Dataset.from_dict(table, features=features) for name, table in made.items()}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "questions"))
    return tmp_path


OPTIONS = {"path": "questions", "question": "query", "answers": "label", "unanswerable": ["none"]}


def test_questions_of_the_datasets_library_conform(saved):
    check_component(HuggingFaceQuestions, "dataset", injected={"data_root": saved}, options=OPTIONS)


def test_rows_of_one_picture_are_a_group_and_a_split_without_answers_is_left_out(saved):
    dataset = HuggingFaceQuestions(saved, **OPTIONS)
    assert list(dataset.splits()) == ["train", "val"]
    assert "1 questions have no answers" in dataset.left_out[0].why
    found = said(dataset)
    assert dataset.splits()["train"].groups("conversation").tolist() == [0, 0, 1, 2]
    assert [one.answers for one in found] == [("a", "A"), ("c",), (), ("d",)]
    assert found[2].answerable is False


def test_a_column_that_is_not_there_is_named(saved):
    with pytest.raises(TrialbookError, match="no column 'question'; it has image, query, label"):
        HuggingFaceQuestions(saved, path="questions").splits()
