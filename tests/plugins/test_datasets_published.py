"""Published sets of questions: read as they are given out, bad rows named or left out, splits that share nothing."""

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
from trialbook_plugins.datasets.chartqa import ChartQA
from trialbook_plugins.datasets.docvqa import DocVQA
from trialbook_plugins.datasets.receipts import Receipts
from trialbook_plugins.datasets.textvqa import TextVQA

REAL = Path(os.environ.get("TRIALBOOK_DATA", ""))
with_charts = pytest.mark.skipif(not (REAL / "chartqa/questions.json").is_file(), reason="no chartqa in TRIALBOOK_DATA")
with_receipts = pytest.mark.skipif(not (REAL / "receipts/key").is_dir(), reason="no receipts in TRIALBOOK_DATA")


def paint(file: Path, seed: int, size=(30, 22)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)


def said(dataset, split="train"):
    part = dataset.splits()[split]
    return part.read("conversation", np.arange(len(part.groups("conversation"))))


# --- DocVQA -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def docvqa(tmp_path):
    """The folders of the challenge: questions in one, pages in another; the test split has no answers."""
    for split, first, count in (("train", 0, 6), ("val", 10, 3), ("test", 20, 3)):
        rows = []
        for n in range(first, first + count):
            paint(tmp_path / f"docvqa/spdocvqa_images/page_{n}.png", n)
            row = {"questionId": n, "question": f"What is number {n}?", "image": f"documents/page_{n}.png", "docId": n}
            rows.append(
                row | ({} if split == "test" else {"answers": [str(n), f"no. {n}"], "question_types": ["form"]})
            )
        rows.append({**rows[0], "questionId": first + 99, "question": "And what is the date?"})
        file = tmp_path / f"docvqa/spdocvqa_qas/{split}_v1.0_withQT.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"dataset_name": "docvqa", "dataset_split": split, "data": rows}))
    return tmp_path


def test_docvqa_conforms(docvqa):
    check_component(DocVQA, "dataset", injected={"data_root": docvqa}, options={"size": 32})


def test_docvqa_gives_all_answers_and_keeps_a_page_together(docvqa):
    dataset = DocVQA(docvqa)
    part = dataset.splits()["train"]
    assert (len(part), len(part.groups("conversation"))) == (6, 7)
    one = said(dataset)[0]
    assert (one.question, one.answer, one.answers, one.kind) == ("What is number 0?", "0", ("0", "no. 0"), "form")
    assert [part.groups("conversation")[row] for row in (0, 1)] == [0, 0]
    assert part.image_path(0) == docvqa / "docvqa/spdocvqa_images/page_0.png"


def test_a_split_without_answers_is_left_out_and_noted(docvqa):
    dataset = DocVQA(docvqa)
    assert list(dataset.splits()) == ["train", "val"]
    (note,) = dataset.left_out
    assert note.where.endswith("test_v1.0_withQT.json")
    assert "4 questions have no answers" in note.why


def test_a_page_that_stands_in_two_splits_is_refused(docvqa):
    paint(docvqa / "docvqa/spdocvqa_images/page_11.png", 3)  # val's page 11 is now train's page 3
    with pytest.raises(TrialbookError, match="splits share content"):
        DocVQA(docvqa).splits()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"answers": []}, "no answer"), ({"question": " "}, "question is empty"), ({"image": "documents/none.png"}, "no picture"),
        ({"question": None}, "needs 'questionId'"), ({"questionId": 1}, "stands at"), ({"question": "<image> what?"}, "<image>"),
    ],
)  # fmt: skip
def test_a_bad_row_is_named_and_counted_or_left_out(docvqa, change, why):
    file = docvqa / "docvqa/spdocvqa_qas/train_v1.0_withQT.json"
    found = json.loads(file.read_text())
    found["data"][2].update(change)
    file.write_text(json.dumps(found))
    with pytest.raises(TrialbookError, match=r"1 of 11 rows are bad .*row 2: .*skip_bad"):
        DocVQA(docvqa).splits()
    dataset = DocVQA(docvqa, skip_bad=True)
    assert len(said(dataset)) == 6
    (note,) = [one for one in dataset.left_out if "row 2" in one.where]
    assert why in note.why


def test_a_broken_file_is_named_with_its_line(docvqa):
    file = docvqa / "docvqa/spdocvqa_qas/val_v1.0_withQT.json"
    file.write_text('{"data":\n [')
    with pytest.raises(TrialbookError, match=r"val_v1.0_withQT.json:2: not JSON"):
        DocVQA(docvqa).splits()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(TrialbookError, match="'root'"):
        DocVQA(tmp_path, root="nowhere").splits()


# --- TextVQA ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def textvqa(tmp_path):
    for split, first in (("train", 0), ("val", 10)):
        rows = []
        for n in range(first, first + 5):
            paint(tmp_path / f"textvqa/train_images/photo{n}.jpg", n)
            answers = ["stop"] * 3 + ["STOP sign"] * 5 + ["go"] * 2 if n % 2 else ["unanswerable"] * 6 + ["blue"] * 4
            rows.append(
                {"question_id": n, "image_id": f"photo{n}", "question": "what does it say?", "answers": answers}
            )
        (tmp_path / f"textvqa/TextVQA_0.5.1_{split}.json").write_text(json.dumps({"data": rows}))
    return tmp_path


def test_textvqa_conforms(textvqa):
    check_component(TextVQA, "dataset", injected={"data_root": textvqa}, options={"size": 16})


def test_textvqa_keeps_ten_answers_with_the_most_frequent_first(textvqa):
    known = next(one for one in said(TextVQA(textvqa)) if one.answerable)
    assert known.answer == "STOP sign"
    assert sorted(known.answers) == sorted(["stop"] * 3 + ["STOP sign"] * 5 + ["go"] * 2)


def test_a_question_that_most_could_not_answer_has_no_answer(textvqa):
    unknown = [one for one in said(TextVQA(textvqa)) if not one.answerable]
    assert len(unknown) == 3
    assert {(one.answers, one.answer) for one in unknown} == {((), "unanswerable")}


# --- ChartQA ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def chartqa(tmp_path):
    for split, first in (("train", 0), ("val", 20), ("test", 40)):
        for kind in ("human", "augmented"):
            rows = []
            for n in range(first, first + 4):
                paint(tmp_path / f"chartqa/{split}/png/{kind}{n}.png", n + (100 if kind == "human" else 0))
                rows.append({"imgname": f"{kind}{n}.png", "query": f"How many in {n}?", "label": str(n)})
            (tmp_path / f"chartqa/{split}/{split}_{kind}.json").write_text(json.dumps(rows))
    return tmp_path


def test_chartqa_conforms(chartqa):
    check_component(ChartQA, "dataset", injected={"data_root": chartqa}, options={"size": 16})


def test_chartqa_takes_the_published_splits_and_the_kinds_that_are_wanted(chartqa):
    assert {name: len(part) for name, part in ChartQA(chartqa).splits().items()} == {"train": 8, "val": 8, "test": 8}
    human = said(ChartQA(chartqa, kinds=["human"]), "test")
    assert [(one.id, one.kind, one.answers) for one in human[:2]] == [
        ("chartqa-test-human-0", "human", ("40",)), ("chartqa-test-human-1", "human", ("41",)),
    ]  # fmt: skip
    with pytest.raises(TrialbookError, match="kinds"):
        ChartQA(chartqa, kinds=["machine"])


@with_charts
def test_real_charts_are_all_read_and_dealt_by_content():
    dataset = ChartQA(REAL)
    splits = dataset.splits()
    assert {name: len(part) for name, part in splits.items()} == {"train": 120, "val": 15, "test": 15}
    assert sum(len(said(dataset, name)) for name in splits) == 228
    assert dataset.left_out == []
    assert find_overlaps(splits, ("image", "conversation")) == []
    rows = json.loads((REAL / "chartqa/questions.json").read_text())
    truth = {(row["imgname"], row["query"]): row["label"] for row in rows}
    for one in said(dataset, "test"):
        assert truth[Path(one.images[0]).name, one.question] == one.answer


# --- receipts ---------------------------------------------------------------------------------------------------------


def receipt(folder: Path, name: str, seed: int, lines: list[str], **key: str) -> None:
    paint(folder / f"receipts/img/{name}.jpg", seed)
    for part in ("key", "box"):
        (folder / "receipts" / part).mkdir(exist_ok=True)
    full = {"company": f"Shop {seed} Ltd", "date": "1/2/2018", "address": "Main Road 1", "total": "9.00"} | key
    (folder / f"receipts/key/{name}.json").write_text(json.dumps(full))
    (folder / f"receipts/box/{name}.csv").write_text("".join(f"1,2,3,4,5,6,7,8,{line}\n" for line in lines))


@pytest.fixture
def receipts(tmp_path):
    receipt(tmp_path, "000", 0, ["SHOP", "TEL : 03-4043 7678", "FAX: 03-4043 7679", "GST NO: 0010 9010 5344"])
    receipt(tmp_path, "001", 1, ["SHOP", "NOTHING, HERE"], total="")
    receipt(tmp_path, "002", 2, ["SHOP", "TEL/FAX 03-6093 6886", "GST SUMMARY 6%"])
    receipt(tmp_path, "003", 3, ["SHOP", "TEL 07-3523888", "TEL 07-3523889", "(GST REGISTRATION NO : 000650247680)"])
    receipt(tmp_path, "004", 4, ["SHOP", "03-12345678"])
    for n in range(5, 12):
        receipt(tmp_path, f"{n:03}", n, ["SHOP"])
    return tmp_path


def test_a_quote_in_a_line_of_a_receipt_ends_with_the_line(receipts):
    receipt(receipts, "000", 0, ['"SHOP', "TEL : 03-4043 7678", 'GST NO: "0010"'])
    found = fields(Receipts(receipts, val=0, test=0))
    assert found["000", "phone"].answers == ("03-4043 7678",)


def fields(dataset) -> dict[tuple[str, str], object]:
    found = {}
    for split in dataset.splits():
        for one in said(dataset, split):
            name, _, field = one.id.removeprefix("receipts-").partition("-")
            found[name, field] = one
    return found


def test_receipts_conform(receipts):
    check_component(
        Receipts, "dataset", injected={"data_root": receipts}, options={"size": 16, "val": 0.2, "test": 0.2}
    )


def test_fields_are_read_off_key_and_lines(receipts):
    found = {key: one.answers for key, one in fields(Receipts(receipts)).items()}
    assert found["000", "company"] == ("Shop 0 Ltd",)
    assert found["000", "phone"] == ("03-4043 7678",)
    assert found["000", "fax"] == ("03-4043 7679",)
    assert found["000", "tax-number"] == ("0010 9010 5344",)
    assert found["003", "tax-number"] == ("000650247680",)
    assert found["002", "phone"] == found["002", "fax"] == ("03-6093 6886",)


def test_a_field_that_is_absent_has_no_answer_and_one_that_is_not_clear_no_question(receipts):
    found = fields(Receipts(receipts))
    for field in ("total", "phone", "fax", "tax-number"):
        one = found["001", field]
        assert (one.answerable, one.answers, one.kind) == (False, (), "absent-field")
    assert ("003", "phone") not in found  # two numbers
    assert ("002", "tax-number") not in found  # named, without a number
    assert ("004", "phone") not in found  # a number that nothing names


def test_a_question_about_another_company_has_no_answer(receipts):
    found = fields(Receipts(receipts, others=0.5))
    of_company = [one for (_, field), one in found.items() if field.endswith("of-company")]
    wrong = [one for one in of_company if not one.answerable]
    assert 6 < len(wrong) < len(of_company) - 6
    for (name, field), one in found.items():
        if field in ("date-of-company", "total-of-company"):
            own = found[name, "company"].answer
            assert one.answerable is one.question.endswith(f"{own}?")
            assert one.kind == ("value" if one.answerable else "wrong-entity")


@with_receipts
def test_real_receipts_are_all_read():
    dataset = Receipts(REAL)
    found = fields(dataset)
    assert len({name for name, _ in found}) == 40
    assert not found["033", "total"].answerable  # its key has an empty one
    assert found["001", "phone"].answers == ("07-3507405",)
    assert not found["001", "tax-number"].answerable
    assert found["217", "tax-number"].answers == ("000115154944",)
    assert not found["053", "phone"].answerable
    share = np.mean([one.answerable for one in found.values()])
    assert 0.6 < share < 0.85


def test_a_broken_receipt_is_named_and_can_be_left_out(receipts):
    (receipts / "receipts/key/005.json").write_text("{")
    (receipts / "receipts/img/006.jpg").write_text("no picture")
    with pytest.raises(TrialbookError, match=r"005.json:1: not JSON"):
        Receipts(receipts).splits()
    dataset = Receipts(receipts, skip_bad=True)
    assert not {"005", "006"} & {name for name, _ in fields(dataset)}
    assert any("006.jpg" in one.why for one in dataset.left_out)
