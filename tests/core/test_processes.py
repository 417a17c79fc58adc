"""What is known of several processes in one of them: what is refused, what is written down, how costs add up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from interrupts import Interrupts
from small_align import align_file

from trialbook.config.load import load_experiment
from trialbook.config.runspec import Plan
from trialbook.config.settings import Settings, load_settings
from trialbook.engine.checkpoint import Checkpoint
from trialbook.engine.execute import make_accelerator
from trialbook.engine.flops import cost_of_all, flops_of_all
from trialbook.engine.state import check_agreement, check_processes
from trialbook.errors import TrialbookError
from trialbook.execution.failure import lost_process
from trialbook.execution.launcher import Launcher
from trialbook.execution.peers import Peers
from trialbook.execution.progress import PlainProgress
from trialbook.planning.planner import make_plan
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook
from trialbook.registry.lock import RunLocked
from trialbook.registry.ranks import processes_of
from trialbook.registry.run_directory import RunDirectory
from trialbook.replay.load import load_weights
from trialbook.reports.pages.sections import environment_facts


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("ACCELERATE_USE_FSDP", "FSDP"),
        ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed"),
        ("ACCELERATE_USE_MEGATRON_LM", "Megatron-LM"),
        ("ACCELERATE_USE_PARALLELISM_CONFIG", "parallelism"),
    ],
)
def test_ways_of_training_that_are_not_built_are_refused(
    variable: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "true")
    with pytest.raises(TrialbookError, match=rf"{name} is not built yet.*plain multi-GPU \({variable} is set\)$"):
        make_accelerator("cpu", "no")


def test_losses_are_not_divided_by_what_accelerate_s_launcher_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    assert make_accelerator("cpu", "no").gradient_accumulation_steps == 1


def test_processes_that_cannot_find_one_another_are_told_how_they_are_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TrialbookError, match=r"^2 processes are announced .*RANK.*; start them with torchrun$"):
        make_accelerator("cpu", "no")


Make = Callable[[PlainProgress], tuple[Launcher, Plan]]


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> SchemaBook:
    return SchemaBook(PluginManager.discover(), tmp_path_factory.mktemp("schemas"))


@pytest.fixture
def make(book: SchemaBook, tmp_path: Path) -> Make:
    """A launcher, and the plan of one run."""
    file = tmp_path / "small.toml"
    file.write_text(align_file(head='name = "small"', steps=8, more="log_every = 1\n[checkpoint]\nevery = 2"))
    settings: Settings = load_settings().with_runs(tmp_path / "runs")

    def made(watcher: PlainProgress) -> tuple[Launcher, Plan]:
        return Launcher(settings, book.host, book, watcher, plots=False), make_plan(load_experiment(file), book)

    return made


def _interrupted(make: Make) -> RunDirectory:
    launcher, plan = make(Interrupts(5))
    with pytest.raises(KeyboardInterrupt):
        launcher.mlrun_launch(plan)
    return RunDirectory(launcher.directory_of(plan.runs[0]))


def _go_on(make: Make) -> Any:
    launcher, plan = make(PlainProgress(lambda line: None))
    (outcome,) = launcher.mlrun_launch(plan)
    return outcome


def test_what_two_processes_began_one_does_not_go_on_with_and_leaves_alone(make: Make) -> None:
    run = _interrupted(make)
    env = json.loads(run.json("env").read_text())
    assert env["compute"]["processes"] == 1
    run.json("env").write_text(json.dumps({**env, "compute": {**env["compute"], "processes": 2}}))
    before = {file.name: file.read_bytes() for file in run.path.iterdir() if file.is_file() and file.name != "lock"}
    outcome = _go_on(make)
    assert outcome.state == "failed"
    assert "was begun by 2 processes and cannot continue with 1" in outcome.message
    assert "torchrun --nproc-per-node 2" in outcome.message
    assert {f.name: f.read_bytes() for f in run.path.iterdir() if f.is_file() and f.name != "lock"} == before
    assert run.status() == "killed"


def test_a_checkpoint_of_other_processes_is_refused_whatever_the_environment_says(make: Make) -> None:
    run = _interrupted(make)
    state = json.loads((max(run.path.glob("checkpoints/step-*")) / "manifest.json").read_text())["manifest"]["state"]
    assert state["processes"] == 1
    with pytest.raises(TrialbookError, match=r"step-00000004 was begun by 4 processes and cannot continue with 1"):
        check_processes(Checkpoint(4, {}, {**state, "processes": 4}), 1)
    check_processes(Checkpoint(4, {}, {}), 3)  # older ones do not say
    assert _go_on(make).state == "finished"


def test_processes_that_see_different_checkpoints_do_not_go_on() -> None:
    check_agreement([4, 4])
    check_agreement([None, None])
    with pytest.raises(TrialbookError, match=r"see different checkpoints .*4, None.* must share the directory of runs"):
        check_agreement([4, None])


def test_the_number_of_processes_is_read_and_shown() -> None:
    assert processes_of({}) == 1
    assert (
        processes_of({"variables": {"WORLD_SIZE": "4"}}) == 4
    )  # an older record, or one whose device was never reached
    around = {"compute": {"processes": 3}}
    assert processes_of(around) == 3
    assert environment_facts(around)["processes"] == "3, each with batch_size samples of a step"
    assert "processes" not in environment_facts({})


def test_recorded_weights_are_loaded_by_one_process(book: SchemaBook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TrialbookError, match="loaded by one process; start this command without torchrun"):
        load_weights("some-run", load_settings(), book.host, book)


def test_costs_of_processes_add_up() -> None:
    one = {"forward_per_sample": 2.0, "forward_backward_per_sample": 6.0, "training": 60.0, "stages": [20.0, 40.0]}
    other = {"forward_per_sample": 4.0, "forward_backward_per_sample": 8.0, "training": 80.0, "stages": [30.0, 50.0]}
    assert flops_of_all([one]) == one
    assert flops_of_all([one, None]) is None
    assert flops_of_all([one, other]) == {
        "forward_per_sample": 3.0, "forward_backward_per_sample": 7.0, "training": 140.0, "stages": [50.0, 90.0],
    }  # fmt: skip
    clock = {"train_seconds": 2.0, "samples_per_second": 8.0, "peak_memory": 5.0, "stage_peak_memory": 4.0}
    assert cost_of_all([clock]) == clock
    assert cost_of_all([clock, {**clock, "train_seconds": 3.0, "peak_memory": 7.0}]) == {
        "train_seconds": 2.0, "samples_per_second": 8.0, "peak_memory": 7.0, "stage_peak_memory": 4.0,
        "device_seconds": 5.0, "peak_memory/0": 5.0, "peak_memory/1": 7.0,
    }  # fmt: skip


def test_what_a_collective_meets_where_a_process_was_killed_is_told_as_that() -> None:
    met = RuntimeError("[../gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:4321")
    assert "another process of this run was killed" in str(lost_process(met))
    assert lost_process(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    assert lost_process(ConnectionResetError("Connection reset by peer")) is None


def test_one_process_decides_for_itself_and_opens_no_store() -> None:
    def busy() -> None:
        raise RunLocked("in use")

    with Peers() as peers:
        assert peers.first(lambda: 3) == 3
        with pytest.raises(RunLocked, match="in use"):
            peers.first(busy)
