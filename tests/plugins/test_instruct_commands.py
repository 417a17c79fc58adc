"""Task instruct at the command line: evaluated on a built folder, killed in the middle of accumulation, out of memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from trialbook.cli.main import cli
from trialbook.contracts.files import read_lines
from trialbook.errors import TrialbookError
from trialbook.registry.run_directory import RunDirectory
from trialbook.reports.pages.stage_costs import stage_costs
from trialbook_plugins.tasks.instruct import Instruct

pytest.importorskip("transformers")

from kills import compare_kills

TINY = """
name = "tiny"
seeds = [0]
[task]
use = "instruct"
max_length = 96
max_new_tokens = 4
[dataset]
use = "documents"
train = 16
val = 4
test = 4
size = 64
[encoder.image]
use = "patches"
patch = 16
frozen = true
[projector.image]
use = "mlp"
[llm]
use = "small-causal"
width = 32
depth = 1
heads = 2
[[metric]]
use = "exact-match"
[train]
batch_size = 8
accumulate = 2
lr = 1e-2
[[stage]]
name = "warm-up"
train = ["projector"]
steps = 2
[[stage]]
name = "instruct"
steps = 4
[checkpoint]
every = 1
"""


@pytest.fixture
def mlrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The command in a workplace of its own; gives what it says."""
    monkeypatch.setenv("TRIALBOOK_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("TRIALBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(TINY)

    def call(*arguments: str, status: int = 0) -> str:
        result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
        assert result.exit_code == status, result.output
        return result.output

    return call


def test_a_built_folder_is_evaluated_whatever_the_run_was_trained_on(mlrun: Callable[..., str], tmp_path: Path) -> None:
    mlrun("run", "tiny.toml", "--no-plots")
    mlrun(
        "data",
        "build",
        "--use",
        "documents",
        "--set",
        "train=4",
        "--set",
        "val=2",
        "--set",
        "test=5",
        "--set",
        "seed=9",
        "pages",
    )
    said = mlrun("eval", "tiny", "--dataset", "pages")
    assert "other data, split 'test' (5 groups)" in said
    (run,) = (
        RunDirectory(path) for path in tmp_path.glob("runs/tiny/*") if path.is_dir() and (path / "run.json").is_file()
    )
    facts = json.loads(run.evaluation("pages-test").read_text())
    assert facts["data"]["table"] == {"use": "conversations", "root": str(tmp_path / "pages"), "size": 64}
    asked = [json.loads(line)["id"] for line in (tmp_path / "pages" / "test.jsonl").read_text().splitlines()]
    assert [line["id"] for line in read_lines(run.answers("pages-test"))] == asked
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrialbookError, match="has no option 'root', so the folder 'empty'"):
        mlrun("eval", "tiny", "--dataset", "empty")


def test_what_each_stage_trains_and_takes_is_recorded(mlrun: Callable[..., str], tmp_path: Path) -> None:
    mlrun("run", "tiny.toml", "--no-plots")
    (run,) = (RunDirectory(file.parent) for file in tmp_path.glob("runs/tiny/*/run.json"))
    data = json.loads(run.json("data").read_text())
    first, second = stage_costs(run)
    assert [(one.name, one.start, one.stop, one.batch) for one in (first, second)] == [
        ("warm-up", 0, 2, 8),
        ("instruct", 2, 6, 8),
    ]
    assert set(first.trained) == {"projector.image"}
    assert data["trained"] == second.trained == {name: data["parameters"][name] for name in second.trained}
    assert first.flops + second.flops == pytest.approx(data["flops"]["training"])
    assert 0 < first.flops / 2 < second.flops / 4  # the language model's own gradients come on top
    assert min(first.seconds, second.seconds, first.memory, second.memory) > 0
    assert data["shapes"]["projector.image"] == {"in": [16, 800], "out": [16, 32]}
    assert data["shapes"]["llm"]["in"][-1] == 32


def test_a_run_that_ran_out_of_memory_says_what_to_change_and_goes_on(
    mlrun: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    plain, seen = Instruct.losses, []

    def greedy(task: Instruct, batch: object) -> object:
        seen.append(1)
        if len(seen) > 8:  # in the second stage: two passes count its operations, each step has two
            torch.empty(1 << 60, dtype=torch.uint8)
        return plain(task, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(Instruct, "losses", greedy)
    said = " ".join(mlrun("run", "tiny.toml", "--no-plots", status=1).split())
    assert "memory ran out while training" in said
    assert "a smaller batch_size or a larger accumulate (now 8 and 2)" in said
    assert "a smaller [task] max_length (now 96)" in said
    (run,) = (RunDirectory(file.parent) for file in tmp_path.glob("runs/tiny/*/run.json"))
    assert run.status() == "failed"
    monkeypatch.setattr(Instruct, "losses", plain)
    mlrun("run", "tiny.toml", "--no-plots")
    assert run.status() == "finished"
    broken = run.lines("metrics").read_bytes()
    assert "resumed from the checkpoint" in run.lines("events").read_text()
    monkeypatch.setenv("TRIALBOOK_RUNS", str(tmp_path / "again"))
    mlrun("run", "tiny.toml", "--no-plots")
    (whole,) = tmp_path.glob("again/tiny/*/metrics.jsonl")
    assert whole.read_bytes() == broken


@pytest.mark.slow
def test_a_run_with_adapters_killed_at_random_moments_gives_the_same_records_weights_and_answers(
    tmp_path: Path, llm_folder: Callable[..., Path]
) -> None:
    """Two stages with accumulation, dropout in the adapters; kills fall before the first record, within steps and between."""
    model = f'use = "hf-causal"\nmodel = "{llm_folder("qwen2")}"\nlora_rank = 2\nlora_dropout = 0.1\n'
    start, end = TINY.index("[llm]\n") + len("[llm]\n"), TINY.index("[[metric]]")
    text = f"{TINY[:start]}{model}{TINY[end:]}".replace("max_length = 96", "max_length = 120")
    text = text.replace("steps = 2", "steps = 24").replace("steps = 4", "steps = 56").replace("every = 1", "every = 7")
    text = text.replace("lr = 1e-2", "lr = 1e-3\nlog_every = 2") + "[evaluate]\nevery = 40\n"
    whole, broken = compare_kills(tmp_path, "tiny", text, kills=3)
    answers = [(one.run / "predictions.jsonl").read_bytes() for one in (whole, broken)]
    assert answers[0] == answers[1]
    assert answers[0].count(b"\n") >= 4
    assert any(b"lora_" in file for file in broken.weights().values())
    spent = stage_costs(RunDirectory(broken.run))
    assert sum(one.seconds or 0 for one in spent) > 0
