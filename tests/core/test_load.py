"""Loading a recorded run: its weights in its own parts, and what is said where something is other or missing."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from trialbook.config.numerics import CUBLAS_VARIABLE
from trialbook.engine.checkpoint import CheckpointStore, read_checkpoint
from trialbook.errors import ExperimentErrors, TrialbookError
from trialbook.plugins import provenance as source
from trialbook.registry.run_directory import RunDirectory
from trialbook.replay.evaluate import evaluate
from trialbook.replay.load import LoadedRun, load_weights
from trialbook.replay.recorded_run import find_run

STANDIN = Path(__file__).parent / "standin"
ALIGN = """
seeds = [3]
[task]
use = "align"
dim = 8
[dataset]
use = "scenes"
train = 32
val = 16
test = 16
[encoder.image]
use = "patches"
frozen = true
[encoder.text]
use = "token-embedding"
[projector.image]
use = "mlp"
hidden = 16
[projector.text]
use = "linear"
[[loss]]
use = "info-nce"
[[metric]]
use = "retrieval"
[train]
steps = 20
batch_size = 16
log_every = 10
[checkpoint]
every = 10
"""


@pytest.fixture(scope="module")
def parts() -> Iterator[Any]:
    """The plugin from elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(STANDIN))
        patch.delitem(sys.modules, "ask_parts", raising=False)
        source.source_hash.cache_clear()
        yield importlib.import_module("ask_parts")


@pytest.fixture(scope="module")
def trained(parts: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, RunDirectory, RunDirectory]:
    """A workplace with two finished runs: of ``align`` and of ``ask``. Nothing may change it."""
    place = parts.Place(tmp_path_factory.mktemp("place"))
    return place, place.run(ALIGN, "space"), place.run()


@pytest.fixture
def place(trained: tuple[Any, RunDirectory, RunDirectory], parts: Any, tmp_path: Path) -> Any:
    """A copy of it that a test may spoil."""
    shutil.copytree(trained[0].settings.runs, tmp_path / "runs")
    return parts.Place(tmp_path)


def load(place: Any, text: str, **options: Any) -> LoadedRun:
    return load_weights(text, place.settings, place.host, place.book, **options)


def recorded(run: RunDirectory, step: int) -> dict[str, float]:
    """All metrics that a run recorded at a step."""
    found: dict[str, float] = {}
    for line in run.read_lines("metrics"):
        found |= line["values"] if line["step"] == step else {}
    return found


@pytest.mark.parametrize("name", ["space", "small"])
def test_a_finished_run_gives_its_recorded_figures_in_every_bit(
    trained: tuple[Any, RunDirectory, RunDirectory], name: str
) -> None:
    place, *runs = trained
    run = next(one for one in runs if one.path.parent.name == name)
    loaded = load(place, str(run.path))
    then = recorded(run, loaded.step)
    for split in ("test", "val"):
        for figure, value in loaded.evaluate(split).items():
            assert value == then[figure if split == "test" and figure.split("/")[-1] != "loss" else f"{split}/{figure}"]
    assert len(then) > 4
    assert loaded.checkpoint == f"step-{loaded.step:08d}"
    assert not any("weights are" in remark or "source" in remark for remark in loaded.remarks)
    assert not any(module.training for module in loaded.task.module().modules())


def test_a_checkpoint_is_taken_by_step_by_path_and_as_the_run_itself(place: Any) -> None:
    run = find_run("space/main", place.settings)
    folder = run.path / "checkpoints" / "step-00000010"
    weights = read_checkpoint(folder).tensors["model"]
    for text, checkpoint in (
        ("space/main", "step-10"),
        ("space/main", "10"),
        ("space/main", str(folder)),
        (str(folder), None),
    ):
        loaded = load(place, text, checkpoint=checkpoint)
        assert (loaded.step, loaded.checkpoint) == (10, "step-00000010")
        assert any("its last record of step 20; the weights are those of step 10" in one for one in loaded.remarks)
        state = loaded.task.module().state_dict()
        assert all(state[name].equal(tensor) for name, tensor in weights.items())
    elsewhere = place.root / "moved"
    shutil.copytree(folder, elsewhere)
    assert load(place, "space/main", checkpoint=str(elsewhere)).checkpoint == str(elsewhere)
    with pytest.raises(TrialbookError, match="lie in its run's folder"):
        load(place, str(elsewhere))
    with pytest.raises(TrialbookError, match=r"no checkpoint 'step-11' of main-s3-\w+; it has step-10, step-20"):
        load(place, "space/main", checkpoint="step-11")


def test_killed_and_failed_runs_load_from_where_they_came_to(parts: Any, tmp_path: Path) -> None:
    place = parts.Place(tmp_path)
    run = place.run(stop=50)
    assert run.status() == "killed"
    for status in ("killed", "failed"):
        if status == "failed":
            run.error.write_text("RuntimeError: out of luck\n")
        loaded = load(place, "small/main")
        assert loaded.step == 40
        assert any(one.startswith(f"the run is {status}, its last record of step") for one in loaded.remarks)
        assert loaded.evaluate("test")["hits/share"] > 0
    shutil.rmtree(run.path / "checkpoints")
    with pytest.raises(TrialbookError, match=r"\(failed\) has no checkpoint, so there are no weights to load"):
        load(place, "small/main")


def test_a_broken_checkpoint_is_passed_over_and_said_unless_it_is_asked_for(place: Any) -> None:
    run = find_run("small/main", place.settings)
    (run.path / "checkpoints" / "step-00000060" / "model.safetensors").write_bytes(b"torn")
    loaded = load(place, "small/main")
    assert loaded.step == 40
    assert any("a broken checkpoint was passed over: step-00000060" in one for one in loaded.remarks)
    with pytest.raises(TrialbookError, match=r"is broken: model\.safetensors does not match"):
        load(place, "small/main", checkpoint="step-60")
    shutil.rmtree(run.path / "checkpoints" / "step-00000040")
    with pytest.raises(TrialbookError, match=r"has no sound checkpoint \(step-00000060"):
        load(place, "small/main")


def test_a_checkpoint_that_lacks_something_trained_is_refused_and_what_was_not_trained_is_said(place: Any) -> None:
    loaded = load(place, "small/main")
    said = "not in the checkpoint, as they are not trained, and made as at the run's start: llm.bias, llm.weight"
    assert said in loaded.remarks
    store = CheckpointStore(find_run("small/main", place.settings).path / "checkpoints")
    sound = read_checkpoint(store.directory / "step-00000060")
    weight, bias = (sound.tensors["model"][f"projector.image.{name}"] for name in ("weight", "bias"))
    for tensors, said in (
        ({"weight": weight}, r"step 60 does not fit .* not hold projector\.image\.bias, which the run trained"),
        (
            {"weight": weight, "bias": bias, "head": weight.clone()},
            r"it holds projector\.image\.head, which the run's parts",
        ),
        ({"weight": weight, "bias": weight.clone()}, "does not fit .* size mismatch for projector.image.bias"),
    ):
        held = {f"projector.image.{name}": tensor for name, tensor in tensors.items()}
        store.save(60, {**sound.tensors, "model": held}, sound.state)
        with pytest.raises(TrialbookError, match=said):
            load(place, "small/main")


def test_what_is_other_now_is_said(place: Any) -> None:
    run = find_run("small/main", place.settings)
    spec, env, data = (json.loads(run.json(name).read_text()) for name in ("run", "env", "data"))
    spec["sources"]["task"] = "0" * 64
    env["versions"]["torch"] = "1.0"
    data["dataset"]["fingerprint"] = "f" * 64
    for name, value in (("run", spec), ("env", env), ("data", data)):
        run.json(name).write_text(json.dumps(value))
    remarks = load(place, "small/main").remarks
    for said in (
        "source of task ('ask'): 000000000000 then",
        "torch: 1.0 then",
        "data have changed: fingerprint ffffffffffff",
    ):
        assert any(said in one for one in remarks), said


def test_other_data_are_evaluated_whole_with_the_vocabulary_of_the_run(place: Any) -> None:
    own = load(place, "small/main")
    table = {"use": "cards", "words": "hell dunkel", "seed": 5, "only": "val"}
    loaded = load(place, "small/main", dataset=table)
    assert loaded.task.vocabulary == own.task.vocabulary == ["bright", "dark", "unanswerable"]  # type: ignore[attr-defined]
    assert list(loaded.data.splits()) == ["val"]
    loaded.evaluate("val")
    predictions = loaded.shown("val")["predictions"]
    assert len(predictions) == 24  # in training it asks four questions of this split
    assert {one.prediction for one in predictions} <= {"bright", "dark", "unanswerable"}
    assert {one.answers[0] for one in predictions if one.answers} == {"hell", "dunkel"}
    own.evaluate("val")
    assert len(own.shown("val")["predictions"]) == 4


def test_data_that_do_not_fit_are_refused_in_a_sentence(place: Any) -> None:
    with pytest.raises(
        ExperimentErrors, match=r"--dataset: .*'image' is image \(3, 32, 32\) in the run's data and vector"
    ):
        load(place, "space/main", dataset={"use": "paired-latents"})
    with pytest.raises(
        ExperimentErrors, match=r"modality 'conversation', which these data have not \(they have image, text\)"
    ):
        load(place, "small/main", dataset={"use": "scenes"})
    with pytest.raises(TrialbookError, match="unknown dataset 'card'; did you mean 'cards'"):
        load(place, "small/main", dataset={"use": "card"})
    with pytest.raises(ExperimentErrors, match="unknown key 'wrods'; did you mean 'words'"):
        load(place, "small/main", dataset={"use": "cards", "wrods": "a b"})


def test_where_the_runs_own_data_are_gone_other_data_need_no_vocabulary_of_theirs(parts: Any, tmp_path: Path) -> None:
    place = parts.Place(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "words.txt").write_text("bright dark")
    place.run(parts.EXPERIMENT.replace('use = "cards"', f'use = "cards"\nroot = "{tmp_path / "own"}"'))
    (tmp_path / "own" / "words.txt").unlink()
    with pytest.raises(TrialbookError, match="learns from the run's own data when it is made, and they cannot be read"):
        load(place, "small/main", dataset={"use": "cards"})
    latents = ALIGN.replace('"patches"', '"identity"').replace('"token-embedding"', '"identity"')
    place.run(latents.replace('use = "scenes"', 'use = "paired-latents"'), "latents")
    run = find_run("latents/main", place.settings)
    for file in (run.json("run"), run.config):
        file.write_text(file.read_text().replace("paired-latents", "sold-out"))
    loaded = load(place, "latents/main", dataset={"use": "paired-latents", "train": 32, "test": 16, "val": 16})
    assert any(one.startswith("the run's own data cannot be read") for one in loaded.remarks)
    assert loaded.evaluate("test")["retrieval/i2t@1"] >= 0


def test_the_device_is_that_of_the_workplace_and_the_precision_that_of_the_run(parts: Any, tmp_path: Path) -> None:
    place = parts.Place(tmp_path)
    place.run(parts.EXPERIMENT.replace("[train]", '[train]\nprecision = "bf16"'))
    loaded = load(place, "small/main")
    assert (loaded.accelerator.mixed_precision, loaded.accelerator.device.type) == ("bf16", "cpu")
    with loaded.computing():
        assert loaded.task.losses(loaded.task.batch(*_first(loaded)))["loss"].requires_grad is False  # type: ignore[attr-defined]


def test_a_loaded_run_computes_as_the_run_did_whatever_the_workplace_says_now(
    parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CUBLAS_VARIABLE, ":4096:8")  # a deterministic run sets it for the rest of the process
    place = parts.Place(tmp_path)
    place.settings = replace(place.settings, matmul_precision="medium")
    place.run(parts.EXPERIMENT.replace("[train]", "[train]\ndeterministic = true"))
    place.settings = replace(place.settings, matmul_precision="high")
    before = torch.get_float32_matmul_precision()
    loaded = load(place, "small/main")
    with loaded.computing():
        assert torch.get_float32_matmul_precision() == "medium"
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.get_float32_matmul_precision() == before
    facts = evaluate(loaded, "test", place.settings).as_dict()["environment"]
    assert (facts["device"], facts["compute"]["matmul_precision"], facts["compute"]["deterministic"]) == (
        {"type": "cpu"}, "medium", True,
    )  # fmt: skip


def _first(loaded: LoadedRun) -> tuple[Any, int, Any]:
    import numpy as np

    from trialbook.contracts import Step

    return np.arange(4), 0, Step(0, "train", loaded.spec.seed)


def test_a_part_that_started_from_an_earlier_run_loads_without_that_run(parts: Any, tmp_path: Path) -> None:
    place = parts.Place(tmp_path)
    first = place.run(ALIGN, "first")
    later = ALIGN.replace('[projector.image]\nuse = "mlp"', '[projector.image]\nfrom = "first"\nuse = "mlp"')
    run = place.run(later, "later")
    assert any("starts from first/" in line["message"] for line in run.read_lines("events"))
    figures = load(place, "later/main").evaluate("test")
    shutil.rmtree(first.path)
    assert load(place, "later/main").evaluate("test") == figures
