"""`mlrun data`: folders of conversations that are whole or not there, without anything twice, and that can be looked at."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from trialbook.cli.main import cli
from trialbook.contracts.conversation_folder import read_folder
from trialbook.contracts.conversations import Conversation, Turn
from trialbook.curation.build import build_folder
from trialbook.curation.stats import figures, judge_blind
from trialbook.errors import ExperimentErrors, TrialbookError
from trialbook_plugins.datasets.conversations import Conversations
from trialbook_plugins.datasets.documents import Documents
from trialbook_plugins.datasets.mixture import Mixture

REAL = Path(os.environ.get("TRIALBOOK_DATA", ""))
with_charts = pytest.mark.skipif(not (REAL / "chartqa/questions.json").is_file(), reason="no chartqa in TRIALBOOK_DATA")
DOCUMENTS = {"train": 12, "val": 4, "test": 4}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIALBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(cli, ["data", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def charts(folder: Path, rows: list[tuple[int, str, str]]) -> Path:
    """A folder of ChartQA: seed of the picture, question and answer of each row."""
    (folder / "png").mkdir(parents=True, exist_ok=True)
    for n, (seed, _, _) in enumerate(rows):
        pixels = np.random.default_rng(seed).integers(0, 255, (8, 9, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"png/{n}.png", compress_level=n % 9)
    found = [{"imgname": f"{n}.png", "query": query, "label": label} for n, (_, query, label) in enumerate(rows)]
    (folder / "questions.json").write_text(json.dumps(found))
    return folder


# --- building ---------------------------------------------------------------------------------------------------------


def test_a_built_folder_gives_what_the_dataset_gave(place):
    dataset = Documents(**DOCUMENTS)
    manifest = build_folder(dataset, place / "out")
    again = Conversations(root=str(place / "out"))
    assert list(again.splits()) == ["train", "val", "test"]
    for name, split in dataset.splits().items():
        built = again.splits()[name]
        rows = np.arange(len(split))
        assert np.array_equal(built.read("image", rows), split.read("image", rows))
        said = split.read("conversation", np.arange(len(split.groups("conversation"))))
        found = built.read("conversation", np.arange(len(said)))
        assert [replace(one, images=()) for one in found] == [replace(one, images=()) for one in said]
        assert manifest["splits"][name]["conversations"] == len(said)
        assert built.labels("source") == ["documents"] * len(split)


def test_the_fingerprint_is_that_of_the_content(place):
    first, again, other = (
        build_folder(Documents(**DOCUMENTS, seed=seed), place / name)["fingerprint"]
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first == again != other
    assert json.loads((place / "a/manifest.json").read_text())["fingerprint"] == first


def test_what_says_and_shows_the_same_is_written_once_whatever_the_file_is_called(place):
    rows = [(seed, f"How many in {seed}?", "3") for seed in range(10)] + [
        (0, "How many in 0?", "3"),
        (0, "And how few?", "1"),
    ]
    charts(place / "chartqa", rows)
    out = run("build", "--use", "chartqa", "--set", f"root={place}/chartqa", place / "out")
    assert "1 conversations that stood there already, dropped" in out
    assert "10 pictures" in out
    folder = read_folder(place / "out")
    assert sum(map(len, folder.splits.values())) == 11
    assert len(list((place / "out/images").rglob("*.png"))) == 10


class Leaky(Documents):
    """Its last train documents are the first of test again."""

    def splits(self):
        own = super().splits()
        other = Documents(**DOCUMENTS, seed=9).splits()
        pool = Mixture({"own": Documents(**DOCUMENTS), "more": _Only(other["test"])}, allow_overlap=True)
        return {"train": pool.splits()["train"], "test": own["test"] if self.seed else other["test"]}


class _Only:
    """A dataset whose train split is another one's test split."""

    modalities = {"image": "image", "conversation": "conversation"}

    def __init__(self, split):
        self._split = split

    def describe(self, modality):
        return Documents(**DOCUMENTS).describe(modality)

    def splits(self):
        return {"train": self._split}


def test_documents_in_two_splits_are_refused_with_examples_and_nothing_is_written(place):
    with pytest.raises(
        TrialbookError, match=r"4 documents stand in two splits \(more/test-0-0 in train is test-0-0 in test"
    ):
        build_folder(Leaky(**DOCUMENTS), place / "out")
    assert sorted(path.name for path in place.iterdir()) == []


def test_documents_of_train_that_stand_in_test_can_be_dropped(place):
    manifest = build_folder(Leaky(**DOCUMENTS), place / "out", drop_leaks=True)
    assert manifest["leaks_dropped"] == 4
    assert manifest["splits"]["train"]["documents"] == 12
    assert manifest["splits"]["test"]["documents"] == 4
    Conversations(root=str(place / "out")).splits()


def test_a_folder_that_is_there_is_replaced_only_when_asked(place):
    build_folder(Documents(**DOCUMENTS), place / "out")
    with pytest.raises(TrialbookError, match="exists already"):
        build_folder(Documents(**DOCUMENTS, seed=1), place / "out")
    before = json.loads((place / "out/manifest.json").read_text())
    after = build_folder(Documents(**DOCUMENTS, seed=1), place / "out", replace_old=True)
    assert after["fingerprint"] != before["fingerprint"]
    assert [path.name for path in place.iterdir() if path.name != "cache"] == ["out"]


def test_a_build_that_fails_leaves_nothing(place):
    class Failing(Documents):
        def splits(self):
            own = super().splits()
            own["train"].read = None  # an error in the middle: val and test are written already
            return own

    with pytest.raises(TypeError):
        build_folder(Failing(**DOCUMENTS), place / "out")
    assert list(place.iterdir()) == []


def test_a_killed_build_leaves_no_folder_and_the_next_one_clears_up(place):
    command = [sys.executable, "-m", "trialbook", "data", "build", "--use", "documents", "--set", "train=3000", "out"]
    process = subprocess.Popen([*command, "--set", "level=real", "--set", "size=320"], cwd=place)
    try:
        for _ in range(600):
            if found := list(place.glob(".out.building-*/images")):
                break
            time.sleep(0.1)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert found
    assert not (place / "out").exists()
    build_folder(Documents(**DOCUMENTS), place / "out")
    assert list(place.glob(".out*")) == []


def test_pictures_that_break_off_are_left_out_where_that_is_wanted(place):
    folder = charts(place / "chartqa", [(seed, f"How many in {seed}?", "3") for seed in range(12)])
    whole = (folder / "png/5.png").read_bytes()
    (folder / "png/5.png").write_bytes(whole[: len(whole) // 2])
    options = ["--use", "chartqa", "--set", f"root={folder}"]
    with pytest.raises(TrialbookError, match=r"row 5: no picture can be read from .*5.png"):
        run("build", *options, place / "out")
    assert not (place / "out").exists()
    assert "1 rows left out" in run("build", *options, "--set", "skip_bad=true", place / "out")
    (row,) = [json.loads(line) for line in (place / "out/left_out.jsonl").read_text().splitlines()]
    assert row["where"].endswith("row 5")
    assert "5.png" in row["why"]


# --- what is built ----------------------------------------------------------------------------------------------------

MIXED = """
[dataset]
use = "mixture"
[dataset.sources.screens]
use = "documents"
train = 12
val = 4
test = 4
[dataset.sources.scenes]
use = "caption-conversations"
[dataset.sources.scenes.pairs]
use = "scenes"
train = 10
val = 3
test = 3
captions = 2
"""


def test_a_file_with_a_mixture_is_built(place):
    (place / "mixed.toml").write_text(MIXED)
    out = run(
        "build", place / "mixed.toml", place / "out", "--set", "dataset.sources.screens.train=20", "--licence", "mine"
    )
    assert "licence: mine" in out
    manifest = json.loads((place / "out/manifest.json").read_text())
    assert manifest["sources"]["scenes"] == {"train": 20, "val": 6, "test": 6}
    assert manifest["splits"]["train"]["documents"] == 30
    assert manifest["made_from"]["sources"]["screens"]["train"] == 20
    found = Conversations(root=str(place / "out"))
    assert found.licence == "mine"
    assert found.describe("image").shape == (3, 0, 0)
    assert set(found.splits()["train"].labels("source")) == {"screens", "scenes"}


@pytest.mark.parametrize(
    ("wrong", "right", "message"),
    [
        ("trian = 12", "train = 12", r"mixed.toml:6: \[dataset.sources.screens\] unknown key 'trian'; did you mean 'train'\?"),
        ('"documnts"', '"documents"', r"mixed.toml:5: .*unknown dataset 'documnts'; did you mean 'documents'\?"),
        ("train = 0", "train = 12", r"mixed.toml:6: \[dataset.sources.screens\] 'train' must be at least 1"),
        ("[dataset.sorces", "[dataset.sources", r"unknown key 'sorces'; did you mean 'sources'\?"),
        ('use = "mixture"\nsources = 3\n#', 'use = "mixture"\n', r"'sources' must be a table"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_nested_table_comes_with_file_and_line(place, wrong, right, message):
    text = MIXED.replace(right, wrong, 1)
    if "sources = 3" in wrong:
        text = '\n[dataset]\nuse = "mixture"\nsources = 3\n'
    (place / "mixed.toml").write_text(text)
    with pytest.raises(ExperimentErrors, match=message):
        run("build", place / "mixed.toml", place / "out")


def test_what_holds_no_conversations_is_refused(place):
    with pytest.raises(TrialbookError, match="caption-conversations"):
        run("build", "--use", "scenes", place / "out")


def test_the_command_line_says_what_is_missing(place):
    result = CliRunner().invoke(cli, ["data", "build", "out"])
    assert result.exit_code == 2
    assert "give FILE and OUT, or --use NAME and OUT" in result.output
    with pytest.raises(ExperimentErrors, match="unknown dataset 'recipts'; did you mean 'receipts'"):
        run("build", "--use", "recipts", "out")
    with pytest.raises(TrialbookError, match="KEY=VALUE"):
        run("build", "--use", "documents", "--set", "train", "out")


@with_charts
def test_real_charts_are_built_as_they_are(place):
    run("build", "--use", "chartqa", "--set", f"root={REAL}/chartqa", place / "out")
    folder = read_folder(place / "out")
    assert sum(map(len, folder.splits.values())) == 228
    line = folder.splits["test"][0].conversation
    original = {path.read_bytes() for path in (REAL / "chartqa/png").iterdir()}
    assert folder.image(line.images[0]).read_bytes() in original


# --- looking and counting ---------------------------------------------------------------------------------------------


@pytest.fixture
def built(place):
    build_folder(Documents(train=40, val=8, test=20), place / "out")
    return place / "out"


def test_examples_are_shown_by_split_and_kind(built):
    shown = run("show", built, "-n", 3, "--split", "test", "--kind", "unreadable")
    assert len(re.findall(r"^test  test-\d+-\d  documents  unreadable  no answer$", shown, re.MULTILINE)) == 3
    assert len(re.findall("^  assistant  unanswerable$", shown, re.MULTILINE)) == 3
    assert shown == run("show", built, "-n", 3, "--split", "test", "--kind", "unreadable")
    with pytest.raises(TrialbookError, match="kinds are absent-field"):
        run("show", built, "--kind", "anything")


def test_a_page_shows_the_pictures(built, place):
    run("show", built, "-n", 12, "--html", place / "page.html")
    page = (place / "page.html").read_text()
    read = read_folder(built)
    shown = [
        line.conversation for lines in read.splits.values() for line in lines if f">{line.conversation.id}<" in page
    ]
    assert len(shown) == 12
    assert page.count('href="data:image/') == len({image for one in shown for image in one.images})
    assert all(one.question.replace("'", "&#x27;") in page for one in shown)


def test_figures_are_those_of_a_count_by_hand(built):
    found = json.loads(run("stats", built, "--json"))
    said = {name: [line.conversation for line in lines] for name, lines in read_folder(built).splits.items()}
    assert found["splits"]["test"]["conversations"] == len(said["test"])
    assert found["splits"]["test"]["documents"] == 20
    assert found["splits"]["train"]["answerable"] == sum(one.answerable for one in said["train"])
    everything = [one for own in said.values() for one in own]
    assert {kind: counts["all"] for kind, counts in found["kinds"].items()} == {
        kind: sum(one.kind == kind for one in everything) for kind in {one.kind for one in everything}
    }
    lengths = sorted(len(one.question) for one in said["val"])
    assert found["splits"]["val"]["question_letters"][0] == lengths[0]
    assert found["splits"]["val"]["question_letters"][-1] == lengths[-1]
    assert found["pictures"] == {"count": 68, "smallest": [64, 64], "median": [64, 64], "largest": [64, 64]}


def test_figures_are_shown_as_tables(built):
    shown = run("stats", built)
    for word in (
        "Splits",
        "right by the question alone",
        "wrong-entity",
        "Most frequent answers",
        "64 x 64",
        "no rights reserved",
    ):
        assert word in shown


def test_a_folder_without_a_manifest_is_counted_too(built):
    (built / "manifest.json").unlink()
    assert figures(read_folder(built))["fingerprint"] is None
    run("stats", built)


def test_guessing_without_looking_is_judged_as_by_hand():
    def one(question: str, *answers: str) -> Conversation:
        return Conversation(
            "x", (), (Turn("user", question), Turn("assistant", (*answers, "unanswerable")[0])), answers, bool(answers)
        )

    train = [
        one("Which?", "red"),
        one("Which?", "Red"),
        one("Which?"),
        one("How many?", "3"),
        one("How many?", "3"),
        one("So?"),
    ]
    test = [
        one("which?", "blue", "red"),
        one("How many?", "4"),
        one("How many?", "3"),
        one("Never seen?", "red"),
        one("Which?"),
    ]
    blind = judge_blind(train, test)
    assert (blind.answer, blind.majority, blind.question) == ("red", 2 / 5, 3 / 5)
    assert judge_blind(train, train).question is None


def test_counting_imports_no_torch(built):
    code = (
        "import sys\nfrom trialbook.cli.main import main\n"
        f"sys.argv = ['mlrun', 'data', 'stats', {str(built)!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")
