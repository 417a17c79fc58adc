"""`mlrun reproduce`: the same run again, from its directory alone, and where the two part."""

from __future__ import annotations

import importlib
import json
import math
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from interrupts import Interrupts
from processes import run_processes
from small_align import align_file

import trialbook_plugins.plugin
from trialbook.cli import main as command
from trialbook.config.load import load_experiment
from trialbook.config.numerics import CUBLAS_VARIABLE
from trialbook.config.settings import Settings
from trialbook.contracts.files import read_lines
from trialbook.errors import ExperimentErrors, TrialbookError
from trialbook.execution.launcher import Launcher
from trialbook.execution.progress import PlainProgress
from trialbook.planning.planner import make_plan
from trialbook.plugins import provenance as source
from trialbook.plugins.hookspec import Component, hookimpl
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook
from trialbook.registry.lock import RunLock
from trialbook.registry.query import open_index
from trialbook.registry.run_directory import RunDirectory, find_runs
from trialbook.registry.sync import sync
from trialbook.replay import reproduce
from trialbook.replay.record_diff import Gap, match_records, relative
from trialbook.replay.reproduce import Reproducer
from trialbook.replay.reproduction import Reproduction
from trialbook.testing import pretend_cuda

ACME = Path(__file__).parents[1] / "thirdparty" / "src"
EXPERIMENT = """
seeds = [3]
headline = ["retrieval/i2t@1"]
[task]
use = "align"
dim = 8
[dataset]
use = "paired-latents"
train = 128
val = 32
test = 32
[encoder.image]
use = "identity"
frozen = true
[encoder.text]
use = "identity"
[projector.image]
use = "mlp"
hidden = 16
dropout = 0.1
[projector.text]
use = "linear"
[[loss]]
use = "info-nce"
[[metric]]
use = "retrieval"
[train]
steps = 20
batch_size = 32
log_every = 5
[checkpoint]
every = 10
"""
MINE = """
import numpy as np
import torch
from torch import nn
from trialbook.contracts import Builder
from trialbook.contracts.datasets import Modality
from trialbook.contracts.records import Record
class Loss(nn.Module):
    "Distance of the pairs."
    needs = ("embeddings",)
    def __init__(self, *, power: float = 2.0):
        super().__init__()
        self.power = power
    def forward(self, *, embeddings):
        noise = 1 + NOISE * torch.randn((), generator=DEVICE) if NOISE else 1.0
        return noise * FACTOR * (embeddings["image"] - embeddings["text"]).abs().pow(self.power).mean()
FACTOR = 1.0
NOISE = 0.0
DEVICE = torch.Generator().manual_seed(0)  # goes on from run to run, as a device does that adds in another order each time
class Split:
    def __init__(self, name, rows):
        self.name, self.rows = name, rows
    def __len__(self):
        return len(self.rows)
    def groups(self, modality):
        return np.arange(len(self.rows))
    def read(self, modality, rows):
        return self.rows[rows]
    def content(self, modality):
        return [f"{self.name}{modality}{row}" for row in range(len(self.rows))]
class Filed:
    "Rows in a file."
    modalities = {"image": "vector", "text": "vector"}
    def __init__(self, data_root, /):
        self.rows = np.load(data_root / "rows.npy")
        self.fingerprint = str(float(self.rows.sum()))
    def describe(self, modality):
        return Modality("vector", (self.rows.shape[1],))
    def splits(self):
        return {name: Split(name, self.rows) for name in ("train", "val", "test")}
class Adds:
    "One more than the last figure of the run that it needs."
    takes, provides, produces = {}, (), ("figure",)
    def __init__(self, builder: Builder, /, *, start: float = 1.0):
        self.builder, self.start = builder, start
    def setup(self):
        import json
        needed = self.builder.inputs.values()
        self.before = [json.loads((p / "results.json").read_text())["metrics"]["figure"]["last"] for p in needed]
    def measured(self, done):
        self.done = done
    def measurements(self):
        yield from [Record(0, {"figure": self.start + sum(self.before)})][self.done:]
"""


class Mine:
    """A plugin whose source a test may change."""

    @hookimpl
    def mlrun_losses(self) -> Iterator[Component]:
        yield Component("mine", "mine_parts:Loss", "")

    @hookimpl
    def mlrun_datasets(self) -> Iterator[Component]:
        yield Component("filed", "mine_parts:Filed", "")

    @hookimpl
    def mlrun_tasks(self) -> Iterator[Component]:
        yield Component("adds", "mine_parts:Adds", "")


class Place:
    """A workplace: runs an experiment, and runs of it again."""

    def __init__(self, root: Path, cache: Path) -> None:
        self.root = root
        self.settings = Settings(root=root, runs=root / "runs", data_root=root, cache=cache)
        self.said: list[str] = []
        self.observed: list[str] = []

    def host(self, *without: str) -> PluginManager:
        plugins = {"trialbook": trialbook_plugins.plugin, "mine": Mine(), "observer": self}
        return PluginManager.from_modules({name: plugin for name, plugin in plugins.items() if name not in without})

    @hookimpl
    def mlrun_run_started(self, run: str) -> None:
        self.observed.append(run)

    def run(self, text: str = EXPERIMENT, name: str = "small", watcher: Any = None) -> RunDirectory:
        """Run the experiment; the directory of its last run."""
        file = self.root / f"{name}.toml"
        file.write_text(text)
        book = SchemaBook(self.host(), self.settings.cache)
        plan = make_plan(load_experiment(file), book)
        file.unlink()
        launcher = Launcher(self.settings, book.host, book, watcher or PlainProgress(lambda line: None))
        try:
            launcher.mlrun_launch(plan)
        except KeyboardInterrupt:
            assert isinstance(watcher, Interrupts)
        return RunDirectory(self.settings.runs / plan.runs[-1].relative_path)

    def again(
        self, run: RunDirectory, *, watcher: Any = None, host: PluginManager | None = None, settings: Settings | None = None,
        **options: Any,
    ) -> Reproduction:  # fmt: skip
        self.said = []
        host = host or self.host()
        book = SchemaBook(host, self.settings.cache)
        watcher = watcher or PlainProgress(self.said.append)
        reproducer = Reproducer(settings or self.settings, host, book, watcher, self.said.append)
        found = reproducer.reproduce(str(run.path), **options)
        assert found is not None
        return found

    @property
    def repetitions(self) -> list[Path]:
        return [path.parent for path in self.settings.runs.glob(".reproduced/*/*/run.json")]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Schemas of all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def place(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mine_parts", raising=False)
    source.source_hash.cache_clear()
    (tmp_path / "mine_parts.py").write_text(MINE)
    return Place(tmp_path, cache)


def values(run: Path, name: str) -> dict[int, float]:
    return {r["step"]: r["values"][name] for r in read_lines(run / "metrics.jsonl") if name in r["values"]}


def edit(run: RunDirectory, key: str, value: Any, *, both: bool = True) -> None:
    """Set a key of [train] in the run's record, in both of its files or in ``config.toml`` alone."""
    text, spec = run.config.read_text(), json.loads(run.json("run").read_text())
    old = f"{key} = {spec['config']['train'][key]}\n"
    assert old in text
    run.config.write_text(text.replace(old, f"{key} = {value}\n", 1))
    if both:
        spec["config"]["train"][key] = value
        run.json("run").write_text(json.dumps(spec))


def test_a_run_without_its_experiment_file_comes_out_equal_bit_for_bit_and_leaves_nothing(place: Place) -> None:
    run = place.run()
    before = sorted(place.settings.runs.rglob("*"))
    found = place.again(run)
    assert (found.verdict, found.records.verdict, found.kept) == ("equal", "equal", None)
    assert found.weights is not None
    assert (found.weights.step, found.weights.verdict) == (20, "equal")
    assert found.weights.tensors > 4
    assert found.records.compared == len(run.lines("metrics").read_text().splitlines()) == found.records.repeated
    assert found.changes == ()
    assert sorted(place.settings.runs.rglob("*")) == before
    assert place.observed == [run.path.name]  # trackers hear of the run itself alone


def test_a_repetition_that_is_kept_is_no_run_of_the_experiment(place: Place) -> None:
    run = place.run()
    kept = place.again(run, keep=True).kept
    assert kept is not None
    assert (kept / "metrics.jsonl").read_bytes() == run.lines("metrics").read_bytes()
    assert (kept / "config.toml").read_text() == run.config.read_text()
    assert list(find_runs(place.settings.runs)) == [run.path]
    assert sync(place.settings.registry, reread=True).problems == []
    with open_index(place.settings.registry) as index:
        assert [one.name for one in index.runs()] == [run.path.name]
    assert place.again(run).kept is None  # what was kept makes room
    assert place.repetitions == []


def test_an_edited_configuration_parts_at_the_first_record_that_it_reaches(place: Place) -> None:
    run = place.run()
    edit(run, "weight_decay", 5.0)  # the first step's loss knows nothing of it yet
    found = place.again(run)
    assert found.verdict == "not equal"
    assert any("does not give its id" in said for said in place.said)
    first = found.records.parted
    assert first is not None
    assert (first.step, first.name) == (5, "loss")
    assert found.kept == place.repetitions[0]
    then, now = values(run.path, "loss"), values(found.kept, "loss")
    assert (first.recorded, first.repeated) == (then[5], now[5])
    assert then[1] == now[1]
    pairs = [
        (name, step)
        for name in ("loss", "val/loss", "grad_norm", "info-nce/logit_scale")
        for step in values(run.path, name)
    ]
    gaps = [
        abs(a - b) / max(abs(a), abs(b), 1e-300)
        for a, b in ((values(run.path, n)[s], values(found.kept, n)[s]) for n, s in pairs)
    ]
    assert found.records.largest is not None
    assert found.records.largest.difference >= max(gaps) > 0
    assert found.weights is not None
    assert found.weights.verdict == "not equal"


def test_where_the_two_files_of_a_configuration_do_not_agree_the_recorded_one_is_repeated(place: Place) -> None:
    run = place.run()
    edit(run, "weight_decay", 5.0, both=False)
    assert place.again(run).verdict == "equal"
    assert "config.toml was edited; run.json is repeated" in place.said
    spec = json.loads(run.json("run").read_text())
    run.json("run").write_text(json.dumps({**spec, "seed": 4}))
    assert place.again(run).verdict == "not equal"
    assert "config.toml and run.json do not agree; config.toml is repeated" in place.said


def test_a_part_whose_source_changed_is_named_and_the_first_figure_that_it_moves(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = place.run(EXPERIMENT.replace("info-nce", "mine"))
    (place.root / "mine_parts.py").write_text(MINE.replace("FACTOR = 1.0", "FACTOR = 1.25"))
    monkeypatch.delitem(sys.modules, "mine_parts")
    importlib.invalidate_caches()
    source.source_hash.cache_clear()
    found = place.again(run)
    assert [change.what for change in found.changes] == ["source of loss.mine ('mine')"]
    assert any(said.startswith("source of loss.mine ('mine'): ") for said in place.said)
    first = found.records.parted
    assert first is not None
    assert (first.step, first.name) == (0, "val/loss")
    assert first.repeated == pytest.approx(1.25 * (first.recorded or 0), rel=1e-6)  # float32
    assert first.difference == pytest.approx(0.2, rel=1e-5)
    assert place.again(run, tolerance=10.0).verdict == "within tolerance"


def test_an_interrupted_repetition_goes_on_and_a_second_one_at_the_same_time_is_refused(place: Place) -> None:
    run = place.run()
    with pytest.raises(KeyboardInterrupt):
        place.again(run, watcher=Interrupts(15))
    (left,) = place.repetitions
    assert RunDirectory(left).status() == "killed"
    lock = RunLock(RunDirectory(left).lock)
    lock.acquire()
    with pytest.raises(TrialbookError, match="another process is repeating"):
        place.again(run)
    lock.release()
    found = place.again(run)
    assert found.verdict == "equal"
    assert "an interrupted repetition continues where it stopped" in place.said
    assert any("resumes at step 10" in said for said in place.said)
    assert place.repetitions == []


def test_an_interrupted_repetition_with_other_sources_starts_anew(place: Place) -> None:
    run = place.run()
    with pytest.raises(KeyboardInterrupt):
        place.again(run, watcher=Interrupts(15))
    components = place.repetitions[0] / "components.json"
    components.write_text(components.read_text().replace('"source": "', '"source": "0'))
    assert place.again(run).verdict == "equal"
    assert "an interrupted repetition continues where it stopped" not in place.said


def test_a_killed_run_is_repeated_as_far_as_it_came(place: Place) -> None:
    run = place.run(watcher=Interrupts(15))
    assert run.status() == "killed"
    found = place.again(run, keep=True)
    assert found.verdict == "equal"
    assert found.records.recorded == found.records.compared == found.records.repeated
    assert found.records.last_step == 15
    assert found.weights is not None
    assert found.weights.step == 10
    assert any("was killed" in remark for remark in found.remarks)


def test_a_failed_run_is_repeated_to_its_failure(place: Place) -> None:
    run = place.run(EXPERIMENT.replace("steps = 20", "steps = 20\nlr = 1e30\nmax_grad_norm = 0.0\nwarmup = 0.0"))
    assert run.status() == "failed"
    found = place.again(run)
    assert found.verdict == "equal"
    assert found.records.compared > 0
    assert any(remark.startswith("both failed in the same way: 'loss") for remark in found.remarks)
    run.error.write_text("OSError: the disk is full\n")
    remarks = place.again(run).remarks
    assert any("the run failed with: OSError: the disk is full; the repetition with: 'loss" in one for one in remarks)


def test_a_repetition_that_fails_where_the_run_did_not_is_not_equal(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = place.run(EXPERIMENT.replace("info-nce", "mine"))
    broken = MINE.replace(
        "return noise * FACTOR *",
        "self.calls = getattr(self, 'calls', 0) + 1\n        assert self.calls < 9, 'worn out'\n        return",
    )
    (place.root / "mine_parts.py").write_text(broken)
    monkeypatch.delitem(sys.modules, "mine_parts")
    source.source_hash.cache_clear()
    found = place.again(run)
    assert found.verdict == "not equal"
    assert 0 < found.records.compared < found.records.recorded
    assert any("the repetition failed: AssertionError: worn out" in remark for remark in found.remarks)


def test_a_probe_without_training_is_repeated(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ACME))
    plugin = importlib.import_module("acme_trialbook.plugin")
    text = (ACME.parent / "experiments" / "ridge_probe.toml").read_text().replace("seeds = [0, 1]", "seeds = [1]")
    monkeypatch.setattr(place, "host", lambda: PluginManager.from_modules({"acme": plugin}))
    run = place.run(text, "ridge")
    found = place.again(run)
    assert (found.verdict, found.records.compared, found.weights) == ("equal", 3, None)


NEEDING = """
seeds = [0]
[task]
use = "adds"
[arm.first]
[arm.second]
needs = ["first"]
task.start = 10.0
"""


def test_a_run_that_needs_another_finds_it_beside_itself_or_says_what_is_gone(place: Place, tmp_path: Path) -> None:
    run = place.run(NEEDING, "chain")
    other = place.run(NEEDING.replace("[arm.first]", "[arm.first.task]\nstart = 5.0"), "chain")
    assert values(run.path, "figure") == {0: 11.0}
    assert values(other.path, "figure") == {0: 15.0}
    for one in (run, other):  # each finds its own 'first', though two lie there
        assert place.again(one).verdict == "equal"
        assert place.said[:1] != ["its configuration does not give its id"]
    elsewhere = RunDirectory(tmp_path / "copied" / "chain" / run.path.name)
    shutil.copytree(run.path, elsewhere.path)
    with pytest.raises(TrialbookError, match=r"needs the run chain/first-s0-\w+ \('first'\), which is not finished in"):
        place.again(elsewhere)
    for path in list(find_runs(place.settings.runs)):
        if path.name.startswith("first"):
            shutil.copytree(path, elsewhere.path.parent / path.name)
    assert place.again(elsewhere).verdict == "equal"


def test_other_data_are_said_plainly(place: Place) -> None:
    torch.manual_seed(0)
    import numpy as np

    rows = torch.randn(64, 8).numpy()
    np.save(place.root / "rows.npy", rows)
    text = EXPERIMENT.replace('use = "paired-latents"\ntrain = 128\nval = 32\ntest = 32', 'use = "filed"')
    run = place.run(text)
    assert place.again(run).verdict == "equal"
    np.save(place.root / "rows.npy", rows + 0.01)
    found = place.again(run)
    assert found.verdict == "not equal"
    assert [change.what for change in found.changes] == ["data fingerprint"]
    assert any(said.startswith("data fingerprint: ") and said.endswith("can hardly be equal") for said in place.said)
    (place.root / "rows.npy").unlink()
    with pytest.raises(TrialbookError, match="could not be repeated: FileNotFoundError"):
        place.again(run)


def test_the_threads_of_the_run_are_those_of_its_repetition_alone(place: Place) -> None:
    before = torch.get_num_threads()
    more = before + 1
    settings, place.settings = place.settings, replace(place.settings, threads=more)
    run = place.run(EXPERIMENT.replace("steps = 20", "steps = 2"))
    torch.set_num_threads(before)
    found = place.again(run, settings=settings, keep=True)
    assert found.kept is not None
    manifest = json.loads((found.kept / "checkpoints" / "step-00000002" / "manifest.json").read_text())
    assert manifest["manifest"]["state"]["threads"] == more
    assert torch.get_num_threads() == before
    assert found.changes == ()
    other = place.again(run, settings=replace(settings, threads=before))
    assert [str(change) for change in other.changes] == [f"threads: {more} then, {before} by runner.toml now"]


def test_what_is_other_now_is_said_before_anything_is_computed(place: Place) -> None:
    run = place.run()
    env = json.loads(run.json("env").read_text())
    env["versions"]["torch"] = "1.0"
    env["platform"]["python"] = "2.7"
    env["hardware"]["cpu"] = "abacus"
    env["git"] = {"commit": "a" * 40, "dirty": True, "patch_sha256": "b" * 64}
    run.json("env").write_text(json.dumps(env))
    found = place.again(run)
    assert found.verdict == "equal"
    said = [one.partition(":")[0] for one in place.said]
    starts = next(i for i, one in enumerate(place.said) if "starts" in one)
    for what in ("commit", "uncommitted changes", "torch", "python", "cpu"):
        assert said.index(what) < starts
    assert f"torch: 1.0 then, {torch.__version__.partition('+')[0]}" in " ".join(place.said)


def test_the_device_is_the_recorded_one_and_what_is_other_of_it_is_said(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CUBLAS_VARIABLE, ":16:8")  # so that it is put back
    with pretend_cuda():
        run = place.run()
        env = json.loads(run.json("env").read_text())
        monkeypatch.delenv(CUBLAS_VARIABLE)
        found = place.again(run, settings=replace(place.settings, device="cpu", matmul_precision="high"), keep=True)
        assert (found.verdict, found.changes) == ("equal", ())  # the variable was set as it was then
        assert found.kept is not None
        again = json.loads((found.kept / "env.json").read_text())
        assert again["device"] == env["device"]
        assert (again["device"]["type"], again["compute"]) == ("cuda", env["compute"])
        env["device"] |= {"name": "another", "driver": "1.2", "index": 7}
        run.json("env").write_text(json.dumps(env))
        here = torch.cuda.get_device_name(0)
        assert [str(change) for change in place.again(run).changes] == [
            f"device's name: another then, {here} now", "device's driver: 1.2 then, none now",
        ]  # fmt: skip
    assert [str(change) for change in place.again(run, repetitions=1).changes][-1] == "device: cuda then, cpu now"


def test_a_run_of_before_devices_were_recorded_is_repeated_where_its_settings_say(place: Place) -> None:
    run = place.run()
    env = json.loads(run.json("env").read_text())
    for key in ("device", "compute"):
        del env[key]
    run.json("env").write_text(json.dumps(env))
    found = place.again(run)
    assert (found.verdict, found.changes) == ("equal", ())
    env["hardware"]["gpus"] = ["an old one"]
    run.json("env").write_text(json.dumps(env))
    assert [str(change) for change in place.again(run).changes] == ["device: cuda then, cpu now"]


def test_a_component_that_is_gone_or_takes_other_options_is_named(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = EXPERIMENT.replace('use = "info-nce"', 'use = "mine"\npower = 1.5')
    run = place.run(text)
    with pytest.raises(
        TrialbookError, match=r"loss\.mine of main-s3-\w+ is loss 'mine' of mine, which no plugin offers now"
    ):
        place.again(run, host=place.host("mine"))
    (place.root / "mine_parts.py").write_text(MINE.replace("power", "exponent"))
    monkeypatch.delitem(sys.modules, "mine_parts")
    source.source_hash.cache_clear()
    line = next(i for i, text in enumerate(run.config.read_text().splitlines(), 1) if "power = 1.5" in text)
    with pytest.raises(ExperimentErrors, match=rf"config\.toml:{line}: \[loss\] unknown key 'power'"):
        place.again(run)


def test_a_run_that_cannot_be_repeated_is_refused_in_a_sentence(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    run = place.run()
    lock = RunLock(run.lock)
    lock.acquire()
    with pytest.raises(TrialbookError, match="is running; wait for its end"):
        place.again(run)
    lock.release()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TrialbookError, match=r"was done by 1 process, not by 2; repeat it with 'mlrun reproduce"):
        place.again(run)
    monkeypatch.delenv("WORLD_SIZE")
    run.lines("metrics").write_text("")
    with pytest.raises(TrialbookError, match="has recorded nothing"):
        place.again(run)


def test_a_broken_checkpoint_is_said_and_the_records_are_compared(place: Place) -> None:
    run = place.run()
    (run.path / "checkpoints" / "step-00000020" / "model.safetensors").write_bytes(b"torn")
    found = place.again(run)
    assert (found.verdict, found.weights) == ("equal", None)
    assert any("weights were not compared: a checkpoint is broken" in remark for remark in found.remarks)


def test_the_command_answers_by_its_exit_status(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = place.run()
    monkeypatch.chdir(place.root)
    monkeypatch.setenv("TRIALBOOK_RUNS", str(place.settings.runs))
    monkeypatch.setenv("TRIALBOOK_CACHE", str(place.settings.cache))

    def mlrun(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mlrun", "reproduce", *arguments])
        with pytest.raises(SystemExit) as ended:
            command.main()
        return int(ended.value.code or 0), *capsys.readouterr()

    status, out, err = mlrun("main-s3")
    assert status == 0
    assert out.startswith(f"small/{run.path.name}: equal bit for bit\n")
    assert "starts, 20 steps" in err
    edit(run, "weight_decay", 5.0)
    status, out, _ = mlrun("main-s3", "--json")
    answer = json.loads(out)
    assert status == 1
    assert (answer["verdict"], answer["records"]["parted"]["step"], answer["records"]["parted"]["name"]) == (
        "not equal",
        5,
        "loss",
    )
    assert Path(answer["kept"]).is_dir()
    status, out, _ = mlrun("main-s3")
    assert "they part at step 5 in loss: " in out
    assert mlrun("main-s4")[0] == 2
    assert mlrun("main-s3", "--tolerance", "-1")[0] == 2


# --- noise ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def noisy(place: Place) -> Place:
    """A workplace whose device computes a little otherwise each time."""
    (place.root / "mine_parts.py").write_text(MINE.replace("NOISE = 0.0", "NOISE = 1e-3"))
    return place


NOISY = EXPERIMENT.replace("info-nce", "mine")


def test_a_run_that_differs_as_its_repetitions_do_is_equal_within_the_noise(noisy: Place) -> None:
    run = noisy.run(NOISY)
    found = noisy.again(run, repetitions=4)
    assert found.verdict == "within noise"
    assert found.noise is not None
    assert found.noise.beyond is None
    assert found.noise.repetitions == 2  # no more than it took
    assert found.noise.tensors == found.weights.tensors  # type: ignore[union-attr]
    assert found.records.parted is not None
    assert found.noise.parted is not None
    assert found.records.parted.step == found.noise.parted.step == 0  # the first evaluation has noise
    assert all(1e-5 < level < 1e-1 for _, level in found.noise.growth)
    assert noisy.said.count("the run differs: repetition 2 of at most 4, to measure the noise") == 1
    assert noisy.repetitions == []


def test_a_change_is_told_from_noise_and_all_repetitions_are_kept(noisy: Place) -> None:
    run = noisy.run(NOISY)
    edit(run, "weight_decay", 50.0)
    found = noisy.again(run, repetitions=4)
    assert found.verdict == "not equal"
    assert found.noise is not None
    assert found.noise.beyond is not None
    assert found.noise.beyond.step == 5  # the first step's loss knows nothing of it yet
    assert found.noise.beyond.difference > 8 * found.noise.beyond.noise > 0
    assert found.noise.settled  # it is so far beyond that no third one was made
    assert found.noise.repetitions == len(noisy.repetitions) == 2
    assert noisy.again(run, repetitions=1).noise is None
    assert len(noisy.repetitions) == 1  # those of the earlier trial are gone


def test_repetitions_that_are_equal_leave_no_excuse(place: Place) -> None:
    run = place.run()
    edit(run, "weight_decay", 5.0)
    found = place.again(run, repetitions=4)
    assert found.verdict == "not equal"
    assert found.noise is not None
    assert (found.noise.repetitions, found.noise.parted, found.noise.growth[-1][1]) == (2, None, 0.0)


def test_a_deterministic_run_has_no_noise(noisy: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CUBLAS_VARIABLE, ":4096:8")  # it sets it for the rest of the process
    run = noisy.run(NOISY.replace("[train]", "[train]\ndeterministic = true"))
    found = noisy.again(run, repetitions=4)
    assert (found.verdict, found.noise) == ("not equal", None)
    assert len(noisy.repetitions) == 1
    assert any("no noise of the device can be the reason" in remark for remark in found.remarks)


def test_noise_is_measured_without_asking_where_the_device_is_no_cpu(
    noisy: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = noisy.run(NOISY)
    assert noisy.again(run).noise is None
    then = reproduce.as_then

    def elsewhere(*given: Any) -> Any:
        settings, changes = then(*given)
        return replace(settings, device="mps"), changes  # which accelerate takes for a CPU where there is none

    monkeypatch.setattr(reproduce, "as_then", elsewhere)
    found = noisy.again(run)
    assert (found.verdict, found.noise is not None) == ("within noise", True)


def test_the_command_says_where_repetitions_part_and_what_is_beyond(
    noisy: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = noisy.run(NOISY)
    within = noisy.again(run, repetitions=4).text()
    assert within.startswith(f"small/{run.path.name}: equal within the device's noise\n")
    assert "  they part at step 0 in val/loss: " in within.replace("compared; they", "\n  they")
    assert "  the 2 repetitions part at step 0 in val/loss: " in within
    assert "  nowhere is the run further from the nearest repetition than 8 times the noise" in within
    edit(run, "weight_decay", 50.0)
    beyond = noisy.again(run, repetitions=2).text()
    assert "  beyond the noise at step 5 in " in beyond
    assert noisy.again(run, repetitions=2).as_dict()["noise"]["beyond"]["step"] == 5


@pytest.mark.slow
def test_two_processes_repeat_and_measure_together(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(align_file(more="log_every = 1\n", train=128))
    assert [one.status for one in run_processes(tmp_path, 2, "run", "small.toml", "--no-plots")] == [0, 0]
    run = RunDirectory(next((tmp_path / "runs" / "small").glob("main-*")))
    edit(run, "lr", 0.5)
    first, second = run_processes(tmp_path, 2, "reproduce", run.path.name, "--repetitions", "4")
    assert (first.status, second.status, second.out) == (1, 0, "")
    assert "the 2 repetitions are equal bit for bit: what the run differs by is no noise" in first.out
    assert "beyond the noise at step 1 in lr: " in first.out
    repeated = sorted(path.parent.name for path in tmp_path.glob("runs/.reproduced/small/*/run.json"))
    assert repeated == [run.path.name, f"{run.path.name}-2"]


# --- records -------------------------------------------------------------------------------------------------------


def lines(file: Path, *records: tuple[int, dict[str, float]]) -> Path:
    file.write_text("".join(json.dumps({"step": step, "values": values}) + "\n" for step, values in records))
    return file


@pytest.fixture
def match(tmp_path: Path) -> Callable[..., Any]:
    def call(first: list[Any], second: list[Any], *, whole: bool = True, tolerance: float = 1e-5) -> Any:
        files = lines(tmp_path / "a", *first), lines(tmp_path / "b", *second)
        return match_records(*files, tolerance=tolerance, whole=whole)

    return call


def test_the_first_difference_and_the_first_beyond_the_tolerance_are_two_things(match: Callable[..., Any]) -> None:
    first = [(0, {"a": 1.0, "b": 2.0}), (1, {"a": 1.0}), (2, {"a": 4.0})]
    second = [(0, {"a": 1.0, "b": 2.0 + 1e-9}), (1, {"a": 1.1}), (2, {"a": 4.1})]
    found = match(first, second)
    assert found.verdict == "not equal"
    assert (found.parted.step, found.parted.name) == (0, "b")
    assert found.beyond == found.largest == Gap("a", 1, 1.0, 1.1)
    assert found.largest.difference == pytest.approx(0.1 / 1.1)
    assert match(first, second, tolerance=0.1).verdict == "within tolerance"


def test_nan_equals_nan_and_signs_of_zero_are_bits(match: Callable[..., Any]) -> None:
    nan, inf = math.nan, math.inf
    assert match([(0, {"a": nan, "b": inf})], [(0, {"a": nan, "b": inf})]).verdict == "equal"
    assert match([(0, {"a": nan})], [(0, {"a": 1.0})]).verdict == "not equal"
    assert match([(0, {"a": inf})], [(0, {"a": -inf})]).verdict == "not equal"
    zero = match([(0, {"a": 0.0})], [(0, {"a": -0.0})])
    assert (zero.verdict, zero.parted.difference) == ("within tolerance", 0.0)
    assert relative(0.0, 1e-30) == 1.0


def test_records_that_are_missing_or_of_other_steps_are_not_equal(match: Callable[..., Any]) -> None:
    one, two, three = ((step, {"a": float(step)}) for step in (1, 2, 3))
    assert match([one, two], [one]).verdict == match([one], [one, two]).verdict == "not equal"
    assert match([one], [one, two], whole=False).verdict == "equal"
    assert match([one, two], [one], whole=False).verdict == "not equal"
    shifted = match([one, two, three], [one, three])
    assert (shifted.parted.name, shifted.parted.step) == ("step", 2)
    other = match([(1, {"a": 1.0, "b": 1.0})], [(1, {"a": 1.0})])
    assert (other.parted, other.verdict) == (Gap("b", 1, 1.0, None), "not equal")
