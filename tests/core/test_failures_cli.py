"""`mlrun failures`: the gallery of a recorded run, its counts, tags by hand, and another run beside it."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trialbook.api import app
from trialbook.cli import main
from trialbook.config.runspec import RunSpec
from trialbook.contracts.files import read_json
from trialbook.contracts.predictions import Prediction
from trialbook.contracts.records import Predictions, Record
from trialbook.plugins import provenance as source
from trialbook.registry.recorder import Recorder
from trialbook.registry.run_directory import RunDirectory
from trialbook.reports.document.html import to_html
from trialbook.reports.document.markdown import to_markdown
from trialbook.reports.pages.run_page import run_page

STANDIN = Path(__file__).parent / "standin"
Command = Callable[..., tuple[int, str, str]]
CARDS = {"use": "cards", "train": 4, "test": 12}


@pytest.fixture(scope="module")
def parts() -> Iterator[Any]:
    """The plugin from elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(STANDIN))
        patch.delitem(sys.modules, "ask_parts", raising=False)
        source.source_hash.cache_clear()
        yield importlib.import_module("ask_parts")


@pytest.fixture
def place(parts: Any, tmp_path: Path) -> Any:
    return parts.Place(tmp_path)


@pytest.fixture
def mlrun(place: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command in that workplace: exit status, output, errors."""
    monkeypatch.setattr(app, "open_app", lambda runs=None: app.App(place.settings, place.host, place.book))

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mlrun", "failures", *arguments])
        status = 0
        try:
            main.main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        out, err = capsys.readouterr()
        return status, out, err

    return call


@pytest.fixture
def record(place: Any) -> Callable[..., RunDirectory]:
    """Records a run with these answers."""

    def write(arm: str, rows: Sequence[Prediction] | None, dataset: dict[str, Any] = CARDS) -> RunDirectory:
        config = {"task": {"use": "ask"}, "dataset": dataset}
        spec = RunSpec("cards", arm, arm, {}, 0, config, {}, f"{len(arm):08x}")
        with Recorder(place.settings.runs / spec.relative_path, None) as recorder:
            recorder.start(spec, {}, {})
            recorder.add(Record(1, {"loss": 1.0}))
            if rows is not None:
                recorder.add(Predictions(1, "test", rows))
            recorder.finish({})
        return RunDirectory(place.settings.runs / spec.relative_path)

    return write


@pytest.fixture
def rows(parts: Any) -> list[Prediction]:
    """Answers to the questions about cards: every third one wrong, with a hostile text among them."""
    split = parts.Cards(**{key: value for key, value in CARDS.items() if key != "use"}).splits()["test"]
    found = []
    for place, one in enumerate(split.read("conversation", range(24))):
        text = one.answers[0] if one.answers else "unanswerable"
        if place % 3 == 0:
            text = "<script>document.title='broken'</script>" if place == 0 else "blue"
        found.append(
            Prediction(
                one.id, one.question, text, one.answers, one.answerable, text == "unanswerable", 0.2 + place / 30,
                one.source, one.kind, one.images,
            )
        )  # fmt: skip
    return found


def test_the_gallery_shows_every_failure_with_its_picture_and_loads_nothing(
    mlrun: Command, record: Callable[..., RunDirectory], rows: list[Prediction]
) -> None:
    run = record("one", rows)
    status, out, err = mlrun("cards/one")
    assert (status, err) == (0, "")
    assert "cards/one-s0-00000003: 8 of 24 answers are wrong (33.3%)" in out
    assert out.splitlines()[-1] == str(run.failures())
    page = run.failures().read_text()
    wrong = [one for one in rows if one.prediction not in (*one.answers, "unanswerable")]
    assert page.count('<article class="example"') == len(wrong) == 8
    order = re.findall(r'<p class="id">([^<]+)</p>', page)
    assert order == [one.id for one in sorted(wrong, key=lambda one: -(one.confidence or 0))]
    assert page.count("<use href=") == 8
    assert page.count("<image ") == len({one.images for one in wrong})
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r'(?:src|href)="(?!data:|#|report\.html)', page)


def test_the_same_as_json_and_as_files_say_it(
    mlrun: Command, record: Callable[..., RunDirectory], rows: list[Prediction]
) -> None:
    record("one", rows)
    found = json.loads(mlrun("cards/one", "--json")[1])
    assert (found["answers"], found["judged"], found["wrong"]) == (24, 24, 8)
    assert sum(found["tags"].values()) == 8
    assert found["by_kind"] == {"absent-field": {"asked": 12, "wrong": 4}, "value": {"asked": 12, "wrong": 4}}
    assert found["tags"] == {"should-have-abstained": 4, "other": 4}
    assert {one["id"] for one in found["failures"]} == {one.id for one in rows[::3]}


def test_limits_and_right_answers_too(
    mlrun: Command, record: Callable[..., RunDirectory], rows: list[Prediction]
) -> None:
    run = record("one", rows)
    mlrun("cards/one", "--limit", "3")
    assert run.failures().read_text().count('<article class="example"') == 3
    assert "3 of 8, the most confident first" in run.failures().read_text()
    mlrun("cards/one", "--limit", "0", "--all")
    assert run.failures().read_text().count('<article class="example"') == 24


def test_pictures_come_from_files_where_there_is_no_data_set(
    mlrun: Command, record: Callable[..., RunDirectory], rows: list[Prediction], tmp_path: Path
) -> None:
    (tmp_path / "shots").mkdir()
    Image.fromarray(np.full((600, 3000, 3), 200, np.uint8)).save(tmp_path / "shots" / "a.png")
    (tmp_path / "shots" / "torn.png").write_bytes(b"no picture")
    shown = [
        replace(rows[0], images=("a.png",)), replace(rows[3], images=(str(tmp_path / "shots" / "a.png"),)),
        replace(rows[6], images=("torn.png",)), replace(rows[9], images=("gone.png",)),
    ]  # fmt: skip
    run = record("one", shown, {"use": "sold-out", "root": "shots"})
    status, _, err = mlrun("cards/one")
    assert status == 0
    assert "data could not be opened" in err
    assert "unknown dataset 'sold-out'" in err
    assert "2 pictures could not be found or read" in err
    page = run.failures().read_text()
    sizes = re.findall(r'<image id="[^"]+" width="(\d+)" height="(\d+)" href="data:image/(?:webp|png);base64,', page)
    assert sizes == [("1000", "200")]  # one file, shown twice
    assert page.count("<use href=") == 2


def test_a_tag_by_hand_survives_and_counts_for_the_answer_it_was_given_to(
    mlrun: Command, record: Callable[..., RunDirectory], rows: list[Prediction]
) -> None:
    run = record("one", rows)
    status, out, _ = mlrun("cards/one", "--tag", f"{rows[0].id}=reading", "--tag", f"{rows[3].id}=acceptable")
    assert status == 0
    assert "7 of 24 answers are wrong" in out
    assert re.search(r"reading +1 +14% +1 ", out)
    found = json.loads(mlrun("cards/one", "--json")[1])
    hand = {one["id"]: (one["tag"], one["rule"]) for one in found["failures"] if one["by_hand"]}
    assert hand == {rows[0].id: ("reading", "other")}
    assert "by hand; by rule: other" in run.failures().read_text()
    mlrun("cards/one", "--tag", f"{rows[3].id}=")
    assert "8 of 24" in mlrun("cards/one")[1]
    again = record("one", [replace(rows[0], prediction="green"), *rows[1:]])
    _, _, err = mlrun("cards/one")
    assert f"do not count any more, as another answer is given now: {rows[0].id}" in err
    assert set(read_json(again.tags)["predictions"]) == {rows[0].id}


def test_slips_are_told_with_what_was_meant_and_tag_nothing(
    mlrun: Command, record: Callable[..., RunDirectory], rows: list[Prediction]
) -> None:
    run = record("one", rows)
    for arguments, said in (
        (["--tag", f"{rows[0].id}=raeding"], "there is no tag 'raeding'; did you mean 'reading'?"),
        (["--tag", "tset-0=reading"], "no answer has the id 'tset-0'; did you mean 'test-0'?"),
        (["--tag", "reading"], "must be ID=TAG"),
        (["--evaluation", "val"], "has no evaluation 'val'; it has none"),
        (["--against", "cards/two"], "no run 'cards/two'"),
    ):
        status, out, err = mlrun("cards/one", *arguments)
        assert (status, out) == (2, ""), arguments
        assert said in err
        assert not run.tags.is_file()
        assert not run.failures().is_file()
    assert mlrun("cards/one", "--tag", f"{rows[0].id}=glare", "--new-tag")[0] == 0
    assert mlrun("cards/one", "--tag", f"{rows[3].id}=glare")[0] == 0  # known from now on


def test_a_run_without_answers_says_how_to_get_some(
    mlrun: Command, record: Callable[..., RunDirectory], rows: list[Prediction]
) -> None:
    run = record("one", None)
    assert "has no answers (predictions.jsonl): its task gives none" in mlrun("cards/one")[2]
    run.json("results").unlink()
    assert (
        f"(killed) has no answers yet: they are written at its end; 'mlrun eval {run.path.name}'"
        in mlrun("cards/one")[2]
    )
    evaluation = run.evaluation("early")
    evaluation.parent.mkdir()
    evaluation.write_text(json.dumps({"split": "test", "data": {"table": CARDS}, "figures": {}}))
    run.answers("early").write_text("".join(f"{json.dumps(one.as_dict())}\n" for one in rows))
    assert "take those of an evaluation: --evaluation early" in mlrun("cards/one")[2]
    status, out, _ = mlrun("cards/one", "--evaluation", "early", "--tag", f"{rows[0].id}=layout")
    assert status == 0
    assert out.splitlines()[-1] == str(evaluation.with_name("early.failures.html"))
    assert "<use href=" in run.failures("early").read_text()
    assert list(read_json(run.tags)) == ["evaluations/early"]


def test_another_run_beside_it_shows_what_got_better_and_worse(
    mlrun: Command, record: Callable[..., RunDirectory], rows: list[Prediction]
) -> None:
    other = [
        replace(one, prediction="violet", abstained=False) if place % 4 == 1 else one for place, one in enumerate(rows)
    ]
    run = record("one", rows)
    beside = record("other", other)
    status, out, _ = mlrun("cards/one", "--against", "cards/other")
    assert status == 0
    assert "4 got better, 0 worse; 8 are wrong in both, 12 right in both. McNemar's exact test: p = 0.125" in out
    page = run.path / f"failures-against-{beside.path.name}.html"
    assert out.splitlines()[-1] == str(page)
    assert "Got better" in page.read_text()
    assert "Got worse" not in page.read_text()
    found = json.loads(mlrun("cards/other", "--against", "cards/one", "--json")[1])["against"]
    assert (found["better"], len(found["worse"]), found["p"]) == ([], 4, 0.125)


def test_the_page_of_the_run_counts_its_failures_and_leads_to_the_gallery(
    mlrun: Command, record: Callable[..., RunDirectory], rows: list[Prediction]
) -> None:
    run = record("one", rows)
    assert f"`mlrun failures {run.path.name}`" in to_markdown(run_page(run, run.read("results")))
    mlrun("cards/one")
    for text in (to_markdown(run_page(run, run.read("results"))), to_html(run_page(run, None))):
        assert "8 of 24 answers are wrong" in text
        assert "failures.html" in text
        assert "should-have-abstained" in text
