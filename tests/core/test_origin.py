"""Parts start from earlier runs' checkpoints, the record says which, and what was not found is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_align import align_file
from torch import nn

from trialbook.config.load import load_experiment
from trialbook.config.runspec import Plan
from trialbook.config.settings import Settings
from trialbook.engine.checkpoint import CheckpointStore
from trialbook.engine.warm_start import Origin, find_origin, start_part
from trialbook.errors import ExperimentErrors, TrialbookError
from trialbook.execution.launcher import Launcher
from trialbook.execution.progress import PlainProgress
from trialbook.planning.planner import make_plan
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook
from trialbook.registry.run_directory import RunDirectory

BASE = align_file(head='name = "base"\nseeds = [0]', steps=4)

Run = Callable[..., list[Path]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a file and gives the directories of its runs, in the plan's order."""
    settings = Settings(root=tmp_path, runs=tmp_path / "runs", data_root=None, cache=tmp_path / "cache")
    book = SchemaBook(PluginManager.discover(), tmp_path / "cache")
    launcher = Launcher(settings, book.host, book, PlainProgress(print), plots=False)

    def go(text: str, name: str = "file.toml") -> list[Path]:
        (tmp_path / name).write_text(text)
        plan: Plan = make_plan(load_experiment(tmp_path / name), book)
        outcomes = launcher.mlrun_launch(plan)
        assert [outcome.message for outcome in outcomes] == [""] * len(outcomes)
        return [settings.runs / spec.relative_path for spec in plan.runs]

    return go


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / f"step-{step:08d}" / "model.safetensors")


def losses(run: Path) -> list[float]:
    """The test loss of a run at its start and at its end."""
    lines = [json.loads(line)["values"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [values["test/loss"] for values in lines if "test/loss" in values]


def started(**keys: str) -> str:
    """The base experiment under another name, parts of which start from somewhere, that trains one projector alone."""
    text = BASE.replace('name = "base"', 'name = "next"').replace("steps = 4", "steps = 3")
    for table, value in keys.items():
        header = "[train]" if table == "train" else f"[projector.{table}]"
        text = text.replace(header, f'{header}\nfrom = "{value}"')
    return text + '[[stage]]\nname = "only"\ntrain = ["projector.text"]\n'


def test_a_part_that_does_not_learn_is_the_earlier_run_s_and_stands_in_the_checkpoint(run: Run) -> None:
    (base,), (later,) = run(BASE), run(started(image="base/main"), "next.toml")
    before, after = weights(base, 4), weights(later, 3)
    own = {name for name in before if name.startswith("projector.image.")}
    assert own <= set(after)
    assert all(torch.equal(before[name], after[name]) for name in own)
    assert any(not torch.equal(before[name], after[name]) for name in after if name.startswith("projector.text."))
    (lineage,) = json.loads((later / "data.json").read_text())["lineage"]
    assert lineage["part"] == "projector.image"
    assert lineage["run"] == f"base/{base.name}"
    assert (lineage["step"], lineage["loaded"], lineage["missing"]) == (4, len(own), [])
    assert f"projector.image starts from base/{base.name}, step 4" in (later / "events.jsonl").read_text()


@pytest.mark.parametrize("where", ["base", "base/main", "path", "checkpoint"])
def test_a_whole_run_starts_from_a_run_however_it_is_named(run: Run, where: str) -> None:
    (base,) = run(BASE)
    named = {"path": str(base), "checkpoint": str(base / "checkpoints" / "step-00000004")}.get(where, where)
    (later,) = run(started(train=named), "next.toml")
    parts = {one["part"] for one in json.loads((later / "data.json").read_text())["lineage"]}
    assert {"projector.image", "projector.text", "loss.info-nce"} <= parts
    starts, ends = losses(later), losses(base)
    assert starts[0] == ends[-1] != ends[0]


def test_an_arm_starts_from_an_arm_that_it_needs(run: Run) -> None:
    text = BASE + '[arm.first]\n[arm.second]\nneeds = ["first"]\n[arm.second.projector.image]\nfrom = "first"\n'
    first, second = run(text)
    (lineage,) = json.loads((second / "data.json").read_text())["lineage"]
    assert lineage["run"] == f"base/{first.name}"


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("bass", "no run of 'bass'.* did you mean 'base'"),
        ("base/other", "no finished run with seed 0; it has main"),
    ],
)
def test_a_run_that_is_not_there_is_an_error_at_its_line(run: Run, tmp_path: Path, named: str, said: str) -> None:
    run(BASE)
    text = started(image=named)
    (tmp_path / "next.toml").write_text(text)
    line = text.splitlines().index(f'from = "{named}"') + 1
    with pytest.raises(AssertionError, match=rf"next.toml:{line}: \[projector.image\] from = .*{said}"):
        run(text, "next.toml")


def test_a_later_stage_cannot_start_from_elsewhere(tmp_path: Path) -> None:
    file = tmp_path / "late.toml"
    file.write_text(BASE + '[[stage]]\n[[stage]]\nfrom = "base"\n')
    book = SchemaBook(PluginManager.discover(), tmp_path / "cache")
    with pytest.raises(ExperimentErrors, match="'from' belongs to the first stage"):
        make_plan(load_experiment(file), book)


class Adapted(nn.Module):
    """A linear map, with an adapter that an older checkpoint does not know."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.base = nn.Linear(width, 2)
        self.adapter = nn.Linear(width, 2)

    def aliases(self) -> dict[str, str]:
        return {"weight": "base.weight", "bias": "base.bias"}


def origin_with(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> Origin:
    CheckpointStore(tmp_path / "checkpoints").save(7, {"model": tensors}, {})
    return Origin(RunDirectory(tmp_path))


def test_what_a_checkpoint_lacks_and_what_it_has_too_much_is_named(tmp_path: Path) -> None:
    plain = nn.Linear(3, 2)
    tensors = {f"llm.{name}": tensor for name, tensor in plain.state_dict().items()}
    origin = origin_with(tmp_path, {**tensors, "llm.odd": torch.zeros(1), "projector.image.weight": torch.zeros(1)})
    module = Adapted()
    lineage = start_part("llm", module, origin, demanded=True)
    assert torch.equal(module.base.weight, plain.weight)
    assert lineage.missing == ("adapter.bias", "adapter.weight")
    assert lineage.unused == ("odd",)
    assert set(lineage.loaded) == {"llm.base.weight", "llm.base.bias"}
    assert "not found there: adapter.bias, adapter.weight; found there and not used: odd" in str(lineage)


def test_another_shape_and_a_part_that_is_not_there_are_refused(tmp_path: Path) -> None:
    origin = origin_with(tmp_path, {"llm.weight": torch.zeros(2, 4)})
    with pytest.raises(TrialbookError, match="'weight' is 2×4 there and 2×3 here"):
        start_part("llm", Adapted(), origin, demanded=True)
    with pytest.raises(TrialbookError, match=r"holds nothing of it \(it holds llm"):
        start_part("projector.image", Adapted(), origin, demanded=True)
    assert start_part("projector.image", Adapted(), origin, demanded=False).loaded == ()


def test_a_broken_checkpoint_that_was_named_is_an_error(tmp_path: Path) -> None:
    origin_with(tmp_path, {"llm.weight": torch.zeros(2, 3)})
    (tmp_path / "run.json").write_text("{}")
    path = tmp_path / "checkpoints" / "step-00000007"
    data = bytearray((path / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (path / "model.safetensors").write_bytes(bytes(data))
    with pytest.raises(TrialbookError, match=r"is broken: model\.safetensors"):
        start_part("llm", Adapted(), find_origin(str(path), tmp_path, {}, 0), demanded=True)
