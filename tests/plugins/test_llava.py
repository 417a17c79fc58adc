"""Conversations as they are published, and rows with several pictures: read from files, folders and the datasets library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trialbook import TrialbookError
from trialbook.contracts.conversation_folder import read_folder
from trialbook.contracts.conversations import Turn, published_turns
from trialbook.curation.build import build_folder
from trialbook.curation.show import as_page, choose
from trialbook.curation.stats import figures
from trialbook.testing import check_component
from trialbook_plugins.datasets._leakage import linked_keys
from trialbook_plugins.datasets.caption_conversations import CaptionConversations
from trialbook_plugins.datasets.conversations import Conversations
from trialbook_plugins.datasets.huggingface import HuggingFace
from trialbook_plugins.datasets.huggingface_questions import HuggingFaceQuestions
from trialbook_plugins.datasets.llava import Llava

COUNT = 12


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "pics").mkdir()
    for number in range(COUNT):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"pics/{number:02}.png")
    return tmp_path


def row(number: int, **change: Any) -> dict[str, Any]:
    turns = [{"from": "human", "value": "<image>\nWhat number?"}, {"from": "gpt", "value": str(number)}]
    return {"id": number, "image": f"{number:02}.png", "conversations": turns, **change}


def rows() -> list[dict[str, Any]]:
    """Ordinary ones, one without a place for its picture, one of two pictures, one without any, and an id that stands twice."""
    talk = [
        {"from": "human", "value": "Hello?"}, {"from": "gpt", "value": "Yes"}, {"from": "human", "value": "Bye"},
        {"from": "gpt", "value": "Bye"},
    ]  # fmt: skip
    found = [row(number) for number in range(COUNT - 3)]
    found.append(row(9, conversations=[{"from": "human", "value": "And?"}, {"from": "gpt", "value": "9"}]))
    both = [{"from": "human", "value": "<image> or <image>?"}, {"from": "gpt", "value": "both"}]
    found.append({"id": "pair", "image": ["10.png", "11.png"], "conversations": both})
    found.append({"id": 0, "conversations": talk, "model": ""})
    return found


def said(dataset: Any) -> list[Any]:
    splits = dataset.splits().values()
    return [one for split in splits for one in split.read("conversation", np.arange(len(split.groups("conversation"))))]


def make(root: Path, content: list[dict[str, Any]], ending: str = ".json", **options: Any) -> Llava:
    text = json.dumps(content) if ending == ".json" else "\n".join(map(json.dumps, content))
    (root / f"llava{ending}").write_text(text)
    return Llava(root, root=".", file=f"llava{ending}", images="pics", **{"size": 8, **options})


def test_it_conforms(root: Path) -> None:
    make(root, rows()[:-1])
    options = {"root": ".", "file": "llava.json", "images": "pics", "size": 8, "val": 0.25, "test": 0.25}
    check_component(Llava, "dataset", options=options, injected={"data_root": root})


@pytest.mark.parametrize("ending", [".json", ".jsonl"])
def test_conversations_of_llava_are_read(root: Path, ending: str) -> None:
    dataset = make(root, rows(), ending, val=0, test=0)
    found = {one.id: one for one in said(dataset)}
    assert len(found) == COUNT
    assert found["train-3"].turns == (Turn("user", "<image>\nWhat number?"), Turn("assistant", "3"))
    assert found["train-3"].answers == ("3",)
    assert found["train-9"].images == ("pics/09.png",)
    assert found["train-pair"].images == ("pics/10.png", "pics/11.png")
    assert [len(one.turns) for one in found.values() if not one.images] == [4]
    split = dataset.splits()["train"]
    assert np.bincount(split.groups("image"), minlength=COUNT).tolist() == [1] * 10 + [2, 0]
    assert split.read("image", np.arange(COUNT)).shape == (COUNT, 3, 8, 8)


def test_messages_and_parts_are_read_alike() -> None:
    parts = [{"type": "image"}, {"type": "text", "text": "\nWhat?"}]
    expected = (Turn("system", "Be brief."), Turn("user", "<image>\nWhat?"), Turn("assistant", "A cat"))
    for given in (
        [("system", "Be brief."), ("user", parts), ("assistant", "A cat")],
        [("system", "Be brief."), ("user", "<image>\nWhat?"), ("assistant", "A cat")],
    ):
        assert published_turns([{"role": role, "content": content} for role, content in given]) == expected
    pairs = published_turns({"user": ["a?", "b?"], "assistant": ["c", "d"], "source": ["x", "y"]})
    assert [turn.text for turn in pairs] == ["a?", "c", "b?", "d"]


@pytest.mark.parametrize(
    "change",
    [
        {"conversations": []}, {"conversations": None}, {"conversations": [{"from": "human", "value": "?"}]},
        {"conversations": [{"from": "bot", "value": "?"}]}, {"conversations": [{"from": "human"}]}, {"image": 3},
        {"image": "none.png"}, {"image": None}, {"conversations": "hello"}, {"conversations": [3]},
        {"image": None, "video": "a.mp4", "conversations": row(4)["conversations"]}, {"image": ["04.png", None]},
    ],
)  # fmt: skip
def test_bad_rows_are_named_or_left_out_and_listed(root: Path, change: dict[str, Any]) -> None:
    content = [row(number, **(change if number == 4 else {})) for number in range(COUNT)]
    with pytest.raises(TrialbookError, match=r"llava\.json: row 4.*skip_bad"):
        make(root, content).splits()
    dataset = make(root, content, skip_bad=True)
    assert len(said(dataset)) == COUNT - 1
    assert [one.where.endswith("row 4") for one in dataset.left_out] == [True]


def test_rows_that_share_a_picture_go_to_one_split(root: Path) -> None:
    pairs = [row(i, image=[f"{i:02}.png", f"{i + 1:02}.png"]) for i in (0, 1, 2, 6)]
    content = [*pairs, *(row(number) for number in range(COUNT))]
    for seed in range(3):
        splits = make(root, content, val=0.3, test=0.3, seed=seed).splits()
        homes = {
            one.id: name
            for name, split in splits.items()
            for one in split.read("conversation", np.arange(len(split.groups("conversation"))))
        }
        assert len(homes) == len(content)
        assert len(splits) == 3
    assert linked_keys([0, 1, 1, 2, 3], ["c", "b", "c", "b", "d"], 5) == ["b", "b", "b", "d", ""]


def test_a_folder_of_published_lines_is_read_built_and_read_again(root: Path) -> None:
    (root / "pics/train.jsonl").write_text("\n".join(map(json.dumps, rows())))
    lines = read_folder(root / "pics").splits["train"]
    assert [line.conversation.answer for line in lines][:3] == ["0", "1", "2"]
    assert len({line.conversation.id for line in lines}) == COUNT
    before = Conversations(None, root=str(root / "pics"))
    build_folder(before, root / "built")
    after = Conversations(None, root=str(root / "built"))
    assert [one.hash for one in said(after)] == [one.hash for one in said(before)]


def test_a_line_that_is_no_conversation_is_named(root: Path) -> None:
    (root / "pics/train.jsonl").write_text(json.dumps(row(1, conversations=[{"from": "bot", "value": "?"}])))
    with pytest.raises(TrialbookError, match=r"train\.jsonl:1"):
        read_folder(root / "pics")


# --- the datasets library ---------------------------------------------------------------------------------------------


def saved(root: Path, **columns: Any) -> Any:
    hf = pytest.importorskip("datasets")
    data = hf.Dataset.from_dict(columns)
    pictures = hf.List(hf.Image()) if "images" in columns else hf.Image()
    data = data.cast_column("images" if "images" in columns else "image", pictures)
    data.save_to_disk(root / "saved")
    return data


def pictures(root: Path) -> list[str]:
    return [str(root / f"pics/{number:02}.png") for number in range(COUNT)]


def test_questions_may_show_several_pictures(root: Path) -> None:
    files = pictures(root)
    texts = [f"number {i}" for i in range(5)]
    saved(root, images=[files[:2], files[2:3], files[3:6], files[:2], []], question=texts, answers=texts)
    with pytest.raises(TrialbookError, match="row 4"):
        HuggingFaceQuestions(root, path="saved", size=8).splits()
    split = HuggingFaceQuestions(root, path="saved", size=8, skip_bad=True).splits()["train"]
    assert split.groups("image").tolist() == [0, 0, 1, 2, 2, 2]
    assert split.groups("conversation").tolist() == [0, 0, 1, 2]


def test_conversations_of_the_datasets_library_are_read(root: Path) -> None:
    files, talks = pictures(root), [row(number)["conversations"] for number in range(COUNT)]
    saved(root, image=[None, *files[1:]], conversations=[[{**talks[0][0], "value": "Hi?"}, talks[0][1]], *talks[1:]])
    found = said(HuggingFaceQuestions(root, path="saved", size=8))
    assert [one.answer for one in found] == [str(number) for number in range(COUNT)]
    assert [len(one.images) for one in found] == [0] + [1] * (COUNT - 1)


def test_pairs_of_the_cauldron_are_read(root: Path) -> None:
    files = pictures(root)
    talk = [{"user": "a?", "assistant": "b", "source": "x"}, {"user": "c?", "assistant": "d", "source": "x"}]
    saved(root, images=[files[:2], files[2:4]], texts=[talk, talk[:1]])
    found = said(HuggingFaceQuestions(root, path="saved", size=8))
    assert [(len(one.images), len(one.turns), one.answer) for one in found] == [(2, 4, "d"), (2, 2, "b")]


def test_names_of_files_are_no_pictures_and_the_reader_for_them_is_named(root: Path) -> None:
    hf = pytest.importorskip("datasets")
    hf.Dataset.from_list([row(number) for number in range(3)]).save_to_disk(root / "saved")
    with pytest.raises(TrialbookError, match="'llava'"):
        HuggingFaceQuestions(root, path="saved").splits()


def test_several_pictures_a_row_are_images_of_one_group(root: Path) -> None:
    files = pictures(root)
    groups = [files[:2], files[2:3], None, files[3:6], files[6:8], [], *([file] for file in files[8:])]
    saved(root, images=groups, text=[f"number {i}" for i in range(len(groups))])
    options: dict[str, Any] = {"path": "saved", "columns": {"image": "images", "text": "text"}, "size": 8}
    with pytest.raises(TrialbookError, match="empty in 2 rows, the first is row 2"):
        HuggingFace(root, **options).splits()
    dataset = HuggingFace(root, **options, skip_missing=True, val=0, test=0)
    split = dataset.splits()["train"]
    assert split.groups("image").tolist() == [0, 0, 1, 2, 2, 2, 3, 3, 4, 5, 6, 7]
    assert split.read("image", np.arange(COUNT)).shape == (COUNT, 3, 8, 8)
    expected = np.asarray(Image.open(files[5])).transpose(2, 0, 1)
    np.testing.assert_array_equal(split.read("image", np.array([5]))[0], expected)
    talks = said(CaptionConversations(dataset))
    assert [len(one.images) for one in talks] == [2, 1, 3, 2, 1, 1, 1, 1]


def test_a_folder_with_a_broken_picture_is_described_in_a_sentence(root: Path) -> None:
    (root / "pics/train.jsonl").write_text(json.dumps(row(3)))
    (root / "pics/03.png").write_bytes(b"<html>")
    folder = read_folder(root / "pics")
    for look in (figures, lambda one: as_page(one, choose(one, 1, split=None, kind=None, source=None, seed=0))):
        with pytest.raises(TrialbookError, match=r"03\.png: not a readable picture"):
            look(folder)
