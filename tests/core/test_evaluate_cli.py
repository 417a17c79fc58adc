"""`mlrun eval` and `mlrun export`: recorded weights on their own data and on others, and out of here."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from small_align import align_file

from trialbook.api import app
from trialbook.cli import main
from trialbook.contracts.files import read_lines
from trialbook.plugins import provenance as source
from trialbook.registry.run_directory import RunDirectory

STANDIN = Path(__file__).parent / "standin"
ALIGN = align_file(head="seeds = [0]", dim=16, train=32, steps=1, batch_size=8)
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def parts() -> Iterator[Any]:
    """The plugin from elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(STANDIN))
        patch.delitem(sys.modules, "ask_parts", raising=False)
        source.source_hash.cache_clear()
        yield importlib.import_module("ask_parts")


@pytest.fixture(scope="module")
def trained(parts: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A workplace with a finished run, which nothing may change."""
    place = parts.Place(tmp_path_factory.mktemp("place"))
    place.run()
    return place


@pytest.fixture
def place(trained: Any, parts: Any, tmp_path: Path) -> Any:
    """A copy of it."""
    shutil.copytree(trained.settings.runs, tmp_path / "runs")
    return parts.Place(tmp_path)


@pytest.fixture
def run(place: Any) -> RunDirectory:
    return RunDirectory(next(place.settings.runs.glob("small/main-*")))


@pytest.fixture
def mlrun(place: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command in that workplace: exit status, output, errors."""
    monkeypatch.setattr(app, "open_app", lambda runs=None: app.App(place.settings, place.host, place.book))

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mlrun", *arguments])
        status = 0
        try:
            main.main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        out, err = capsys.readouterr()
        return status, out, err

    return call


def made(run: RunDirectory, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run.evaluation(name).read_text())
    return found


def test_its_own_data_give_the_recorded_figures_and_the_record_stays_as_it_was(
    mlrun: Command, run: RunDirectory, parts: Any
) -> None:
    before = parts.contents(run.path)
    status, out, _ = mlrun("eval", "small/main", "--split", "test", "--split", "val")
    assert status == 0
    assert out.count("equal, bit for bit, to what the run recorded") == 2
    after = parts.contents(run.path)
    assert {name: after[name] for name in before} == before
    assert sorted(set(after) - set(before)) == [
        f"evaluations/{name}" for name in ("test.json", "test.predictions.jsonl", "val.json", "val.predictions.jsonl")
    ]
    assert run.answers("test").read_bytes() == run.predictions.read_bytes()
    found = made(run, "test")
    assert found["figures"] == found["recorded"]
    assert found["differing"] == []
    assert set(found["figures"]) == {"loss", "hits/share"}
    assert found["data"]["own"] is True
    assert found["data"]["fingerprint"] == json.loads(run.json("data").read_text())["dataset"]["fingerprint"]
    assert found["checkpoint"]["name"] == "step-00000060"
    assert found["environment"]["versions"]["torch"] == metadata.version("torch")
    assert found["environment"]["git"].keys() >= {"commit", "dirty"}


def test_figures_that_are_not_as_recorded_are_named(mlrun: Command, run: RunDirectory) -> None:
    lines = [json.loads(line) for line in run.lines("metrics").read_text().splitlines()]
    for line in lines:
        if "hits/share" in line["values"]:
            line["values"]["hits/share"] += 1e-12
    run.lines("metrics").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "differs from what the run recorded: hits/share\n" in mlrun("eval", "small/main")[1]


def test_rows_that_were_trained_on_are_counted(mlrun: Command, run: RunDirectory) -> None:
    """Cards are known by their grey: 12 of another seed beside 64 that were trained on."""
    status, _, err = mlrun("eval", "small/main", "--set", "seed=3", "--json")
    import numpy as np

    trained, tested = (np.random.default_rng(seed).integers(0, 256, n) for seed, n in (([0, 0], 64), ([3, 2], 12)))
    shared = sum(grey in set(trained.tolist()) for grey in tested.tolist())
    assert 0 < shared < 12
    assert status == 0
    assert f"warning: {shared} of the 12 rows of 'image' stand in the train split of small/{run.path.name}" in err
    leaks = {one["modality"]: one["rows"] for one in made(run, "changed-test")["leaks"]}
    assert leaks == {"image": shared, "conversation": 2 * shared}
    _, _, err = mlrun("eval", "small/main", "--split", "train")
    assert "these are the data that it was trained on" in err


@pytest.mark.parametrize("way", ["name", "file", "folder"])
def test_other_data_come_as_a_component_a_file_or_a_folder(
    mlrun: Command, run: RunDirectory, place: Any, way: str
) -> None:
    (place.root / "cards").mkdir()
    (place.root / "cards" / "words.txt").write_text("hell dunkel")
    (place.root / "german.toml").write_text('[dataset]\nuse = "cards"\nwords = "hell dunkel"\n')
    given = {
        "name": ["cards", "--set", 'words="hell dunkel"', "--set", "test=8"],
        "file": [str(place.root / "german.toml"), "--set", "test=8"],
        "folder": [str(place.root / "cards"), "--set", "test=8"],
    }[way]
    status, out, _ = mlrun("eval", "small/main", "--dataset", *given)
    assert status == 0
    assert "other data, split 'test' (8 groups)" in out
    assert "recorded" not in out
    label = {"name": "cards", "file": "german", "folder": "cards"}[way]
    found = made(run, f"{label}-test")
    assert found["data"]["own"] is False
    accepted = {line["answers"][0] for line in read_lines(run.answers(f"{label}-test")) if line["answers"]}
    assert accepted == {"hell", "dunkel"}
    assert found["figures"]["hits/share"] <= 0.5  # it says 'bright' and 'dark'


def test_another_question_does_not_replace_an_evaluation_and_the_same_one_does(
    mlrun: Command, run: RunDirectory
) -> None:
    for seed in ("1", "2", "1"):
        assert mlrun("eval", "small/main", "--set", f"seed={seed}")[0] == 0
    assert run.evaluations() == ["changed-test", "changed-test-2"]
    assert [made(run, name)["data"]["table"]["seed"] for name in run.evaluations()] == [1, 2]
    mlrun("eval", "small/main", "--checkpoint", "step-40", "--name", "early")
    assert made(run, "early")["checkpoint"]["step"] == 40
    out = run.path.parent.parent / "aside.json"
    before = run.evaluations()
    assert mlrun("eval", str(run.path / "checkpoints" / "step-00000040"), "--out", str(out))[0] == 0
    assert json.loads(out.read_text())["checkpoint"]["step"] == 40
    assert len(list(read_lines(out.with_name("aside.predictions.jsonl")))) == 24
    assert run.evaluations() == before


def test_one_metric_of_the_run_or_another_component_is_taken(mlrun: Command) -> None:
    figures = json.loads(mlrun("eval", "small/main", "--metric", "hits", "--json")[1])[0]["figures"]
    assert set(figures) == {"loss", "hits/share"}
    status, _, err = mlrun("eval", "small/main", "--metric", "hist")
    assert (status, err.splitlines()[-1]) == (2, "mlrun: unknown metric 'hist'; did you mean 'hits'?")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--split", "tset"], "the data have no split 'tset'; name one with --split: train, val, test"),
        (["--dataset", "./nowhere"], "there is no folder './nowhere'"),
        (["--dataset", "crads"], "unknown dataset 'crads'; did you mean 'cards'?"),
        (["--set", "seed"], "--set 'seed' has no '='"),
        (["--set", "sede=1"], "unknown key 'sede'; did you mean 'seed'?"),
        (["--split", "val", "--split", "test", "--name", "both"], "--out and --name are for one split"),
    ],
)
def test_a_slip_is_told_in_a_sentence(mlrun: Command, run: RunDirectory, arguments: list[str], said: str) -> None:
    status, out, err = mlrun("eval", "small/main", *arguments)
    assert status == 2
    assert said in err
    assert out == ""
    assert run.evaluations() == []


# --- export ---------------------------------------------------------------------------------------------------------


def test_an_export_appears_whole_and_says_what_it_was_made_from(
    mlrun: Command, run: RunDirectory, tmp_path: Path
) -> None:
    folder = tmp_path / "out" / "linear"
    status, out, _ = mlrun("export", "small/main", str(folder), "--checkpoint", "step-40")
    assert status == 0
    assert out.splitlines()[0] == "linear.pt: the linear map"
    weights = torch.load(folder / "linear.pt")
    assert weights["weight"].shape == (3, 3)
    facts = json.loads((folder / "trialbook.json").read_text())
    assert (facts["run"], facts["step"], facts["merged"]) == (f"small/{run.path.name}", 40, False)
    assert facts["config"]["dataset"]["use"] == "cards"
    assert [path.name for path in folder.parent.iterdir()] == ["linear"]
    status, _, err = mlrun("export", "small/main", str(folder))
    assert (status, err) == (2, f"mlrun: {folder} is not empty; name another folder, or empty it\n")


def test_an_export_that_fails_leaves_nothing(mlrun: Command, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(ValueError, match="nothing to merge"):
        mlrun("export", "small/main", str(folder), "--merged")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "out", "runs"]
    assert list(folder.iterdir()) == []


def test_a_task_without_an_export_says_where_its_weights_are(mlrun: Command, place: Any, tmp_path: Path) -> None:
    place.run(ALIGN, "space")
    status, _, err = mlrun("export", "space/main", str(tmp_path / "out"))
    assert status == 2
    assert "task 'align' has no export; its trained tensors lie in " in err
    assert not (tmp_path / "out").exists()
