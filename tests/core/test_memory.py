"""Running out of memory ends a run as failed, says what to change, and leaves it to continue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_align import align_file

import trialbook_plugins.plugin
from trialbook.config.load import load_experiment
from trialbook.config.runspec import Outcome
from trialbook.config.settings import Settings
from trialbook.engine.oom import out_of_memory
from trialbook.execution.launcher import Launcher
from trialbook.execution.progress import PlainProgress
from trialbook.planning.planner import make_plan
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook
from trialbook.registry.run_directory import RunDirectory
from trialbook_plugins.tasks.align import Align

EXPERIMENT = align_file(
    head='name = "large"', val=16, test=16, steps=6, batch_size=16,
    more='[[metric]]\nuse = "retrieval"\n[checkpoint]\nevery = 2',
)  # fmt: skip
CONFIG: dict[str, Any] = {
    "train": {"batch_size": 64, "accumulate": 1}, "evaluate": {"batch_size": 256}, "task": {"max_length": 900},
    "stage": [{"batch_size": 32}, {"accumulate": 4}],
    "llm": {"gradient_checkpointing": False, "quantize": "none", "dtype": "float32", "train_all": False},
}  # fmt: skip


def allocate_far_too_much() -> torch.Tensor:
    return torch.empty(1 << 60, dtype=torch.uint8)


def launch(folder: Path) -> tuple[Outcome, RunDirectory]:
    (folder / "large.toml").write_text(EXPERIMENT)
    host, book = PluginManager.from_modules({"trialbook": trialbook_plugins.plugin}), SchemaBook
    settings = Settings(root=folder, runs=folder / "runs", data_root=None, cache=folder / "cache", device="cpu")
    schemas = book(host, settings.cache)
    plan = make_plan(load_experiment(folder / "large.toml"), schemas)
    launcher = Launcher(settings, host, schemas, PlainProgress(print), plots=False)
    return launcher.mlrun_launch(plan)[0], RunDirectory(launcher.directory_of(plan.runs[0]))


def test_a_run_that_ran_out_of_memory_fails_with_advice_and_goes_on_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, seen = Align.losses, []

    def greedy(task: Align, batch: Any) -> Any:
        seen.append(1)
        if len(seen) > 5:
            allocate_far_too_much()
        return plain(task, batch)

    monkeypatch.setattr(Align, "losses", greedy)
    outcome, run = launch(tmp_path)
    assert outcome.state == "failed"
    assert "memory ran out while training" in outcome.message
    assert "a smaller batch_size or a larger accumulate (now 16 and 1)" in outcome.message
    assert run.status() == "failed"
    assert run.error.read_text().strip() == outcome.message  # no traceback
    assert list((run.path / "checkpoints").glob("step-*"))
    monkeypatch.setattr(Align, "losses", plain)
    outcome, run = launch(tmp_path)
    assert (outcome.state, run.status()) == ("finished", "finished")
    assert "resumed from the checkpoint" in run.lines("events").read_text()


def caught(work: Any) -> BaseException:
    try:
        work()
    except (RuntimeError, MemoryError) as error:
        return error
    raise AssertionError("nothing was raised")


def test_what_is_said_depends_on_what_was_being_done_and_on_what_is_not_used_yet() -> None:
    def _optimize() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nand much more")

    def _evaluate() -> None:
        allocate_far_too_much()

    training = str(out_of_memory(caught(_optimize), CONFIG))
    assert "while training (CUDA out of memory. Tried to allocate 2.00 GiB.)" in training
    assert "(now 32/64 and 1/4)" in training
    for way in ("gradient_checkpointing = true", "quantize = 'nf4'", "dtype = 'bfloat16'", "max_length (now 900)"):
        assert way in training
    evaluating = str(out_of_memory(caught(_evaluate), CONFIG))
    assert "while evaluating" in evaluating
    assert "a smaller [evaluate] batch_size (now 256)" in evaluating
    used = {
        **CONFIG,
        "llm": {"gradient_checkpointing": True, "quantize": "nf4", "dtype": "bfloat16", "train_all": False},
    }
    assert "[llm]" not in str(out_of_memory(caught(_optimize), used))
    assert "while making the parts" in str(out_of_memory(caught(allocate_far_too_much), {}))


def test_other_errors_are_not_taken_for_it() -> None:
    assert out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"), CONFIG) is None
    assert out_of_memory(ValueError("out of memory of what was said"), CONFIG) is None
    assert out_of_memory(MemoryError(), CONFIG) is not None
