"""Every shipped experiment over the pretend CUDA device: a few steps of every arm, then ``eval``, ``reproduce`` and an answer.

    python -m benchmarks.pretend_device                   all, each in a process of its own
    python -m benchmarks.pretend_device FILE [FILE …]     these

Experiments are run bare, with one seed and few steps. Waits are those of training steps: the host's waits for the device, of
our own code and of libraries that it calls. Experiments whose data are not there are left out, with the reason.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner, Result

from benchmarks._measure import save
from trialbook.api.app import App, open_app
from trialbook.cli.main import cli
from trialbook.config.runspec import Plan, RunSpec
from trialbook.errors import TrialbookError
from trialbook.planning.planner import plan_files
from trialbook.registry.run_directory import RunDirectory
from trialbook.replay.load import load_weights
from trialbook.testing import pretend_cuda
from trialbook.testing.pretend_cuda import PretendDevice

ROOT = Path(__file__).parents[1]
NOTE = "Tensors compute on the CPU and claim to lie on `cuda:0`: devices, waits and copies are CUDA's, speed is not."
STEPS = 3

#: What is done with a trained run of an experiment.
USES = ("eval", "reproduce", "answer")

#: Where an experiment's steps are counted in epochs: the share of one that makes a few steps.
EPOCHS = 0.25


@dataclass(frozen=True)
class Row:
    """The result of an experiment.

    Args:
        experiment: its name.
        runs: runs that finished, of the arms and of what they need.
        steps: training steps of all runs.
        waits: waits for the device in a training step, of our own code.
        library_waits: those of libraries that it calls.
        copies: copies to the device in a training step.
        result: ``ok``, or what failed, or why it was left out.
        seconds: how long it all took.
    """

    experiment: str
    runs: int = 0
    steps: int = 0
    waits: float = 0.0
    library_waits: float = 0.0
    copies: float = 0.0
    result: str = "ok"
    seconds: float = 0.0


def experiment_files() -> list[Path]:
    """All experiments that come with the program and train or measure something themselves."""
    found = [*sorted((ROOT / "experiments").glob("*.toml")), *sorted((ROOT / "experiments" / "spatial").glob("*.toml"))]
    return [file for file in found if file.stem not in ("recommendation", "screening")]  # decisions over the others


def shorten(file: Path, app: App, steps: int = STEPS) -> list[str]:
    """Return the ``--set`` values that shorten an experiment: one seed, few steps, no evaluation on the way."""
    config = plan_files([file], app.book)[0].runs[0].config
    sets = ["seeds=[0]"]
    for place, table in (("train", config.get("train", {})), *_stages(config)):
        if "steps" in table:
            sets.append(f"{place}.steps={steps}")
        if "epochs" in table:
            sets.append(f"{place}.epochs={EPOCHS}")
    return [*sets, "evaluate.every=0", "evaluate.at_start=false"] if len(sets) > 1 else sets


def measure(
    file: Path, runs: Path, sets: Sequence[str] = (), *, arms: Sequence[str] = (), uses: Sequence[str] = USES
) -> tuple[Row, PretendDevice]:
    """Run an experiment on the pretend device in this process, then use its first trained run.

    Args:
        file: the experiment.
        runs: directory of runs; what lies there already is kept.
        sets: more of ``--set``.
        arms: only these; all if left out.
        uses: what is done with the run: ``eval``, ``reproduce``, ``answer``.
    """
    started = time.perf_counter()
    with pretend_cuda() as device:
        app = open_app(runs)
        try:
            changes = [*shorten(file, app), *sets]
            plan = plan_files([file], app.book, sets=changes)[0]
            plan = plan.only(arms) if arms else plan
        except TrialbookError as error:
            return Row(file.stem, result=f"left out: {str(error).splitlines()[0]}"), device
        options = [*_each("--set", changes), *_each("--arm", arms)]
        failures = _failures(_mlrun("run", str(file), "--no-plots", *options, runs=runs))
        directories = {spec: RunDirectory(runs / spec.relative_path) for spec in _specs(plan)}
        steps = sum(map(_steps, directories.values()))
        waits = [(one, times) for one, times in device.waits.items() if one.phase == "step"]
        copies = sum(times for one, times in device.copies.items() if one.phase == "step")
        trained = next((spec for spec in plan.runs if _steps(directories[spec])), None)
        if trained is not None and not failures:
            failures = list(_use(directories[trained], trained, app, uses))
    done = sum(directory.status() == "finished" for directory in directories.values())
    if _lacks_data(failures, app):
        return Row(file.stem, result=f"left out: {failures[0]}"), device
    row = Row(
        file.stem, done, steps, sum(times for one, times in waits if not one.library) / max(1, steps),
        sum(times for one, times in waits if one.library) / max(1, steps), copies / max(1, steps),
        "; ".join(failures) or "ok", time.perf_counter() - started,
    )  # fmt: skip
    return row, device


def _use(run: RunDirectory, spec: RunSpec, app: App, uses: Sequence[str]) -> Iterator[str]:
    """Yield what fails when a finished run is evaluated, done again and asked."""
    for command in (one for one in uses if one != "answer"):
        result = _mlrun(command, str(run.path), runs=app.settings.runs)
        if result.exit_code:
            yield f"{command}: {' '.join(_failures(result))}"
    if "answer" in uses and spec.config["task"]["use"] == "instruct":
        try:
            loaded = load_weights(str(run.path), app.settings, app.host, app.book)
            (shape,) = {loaded.data.describe(loaded.task.modality).shape}  # type: ignore[attr-defined]
            with loaded.computing():
                loaded.task.answer([np.zeros([side or 32 for side in shape], np.uint8)], "What is it?")  # type: ignore[attr-defined]
        except Exception as error:
            yield f"answer: {type(error).__name__}: {error}"


def _mlrun(*arguments: str, runs: Path) -> Result:
    return CliRunner().invoke(cli, [*arguments, "--runs", str(runs)])


def _failures(result: Result) -> list[str]:
    """List what a command says of its failure; nothing if it did not fail."""
    if not result.exit_code:
        return []
    said = [line for line in result.output.splitlines() if ": failed: " in line]
    return list(dict.fromkeys(line.partition(": failed: ")[2] for line in said)) or [
        str(result.exception or result.output)
    ]


def _lacks_data(failures: Sequence[str], app: App) -> bool:
    root = app.settings.data_root
    absent = ("cannot be read", "no such folder", "there is no folder", "not a folder")
    return any(any(word in one for word in absent) and (root is None or str(root) in one) for one in failures)


def _each(option: str, values: Sequence[str]) -> Iterator[str]:
    for value in values:
        yield from (option, value)


def _stages(config: Any) -> Iterator[tuple[str, Any]]:
    for place, stage in enumerate(config.get("stage", ())):
        yield f"stage.{place}", stage


def _specs(plan: Plan) -> list[RunSpec]:
    return [spec for one in (*plan.before, plan) for spec in one.runs]


def _steps(run: RunDirectory) -> int:
    stages = (run.read("data") or {}).get("stages") or [{"stop": 0}]
    return int(stages[-1]["stop"])


def _in_its_own_process(file: Path, runs: Path) -> Row:
    code = "import sys; from benchmarks.pretend_device import print_row; print_row(*sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(file), str(runs)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    if done.returncode:
        return Row(file.stem, result=f"the process failed: {done.stderr.strip().splitlines()[-1]}")
    return Row(**json.loads(done.stdout.splitlines()[-1]))


def print_row(file: str, runs: str) -> None:
    """Measure an experiment and print its row as JSON; where the waits are goes to standard error."""
    row, device = measure(Path(file), Path(runs))
    print(device.report(), file=sys.stderr)
    print(json.dumps(asdict(row)))


def main(files: Sequence[str] = ()) -> None:
    """The table, of all experiments or of some."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for file in map(Path, files) if files else experiment_files():
            row = _in_its_own_process(file.absolute(), Path(folder) / "runs")
            rows.append(row)
            print(f"{row.experiment}: {row.result} ({row.seconds:.0f} s)", flush=True)
    table = [["experiment", "runs", "steps", "waits a step, ours", "of libraries", "copies a step", "result"]]
    table += [
        [r.experiment, str(r.runs), str(r.steps), f"{r.waits:g}", f"{r.library_waits:g}", f"{r.copies:.3g}", r.result]
        for r in rows
    ]
    failed = sum(row.result != "ok" and not row.result.startswith("left out") for row in rows)
    figures = [
        {"what": "experiments that ended with an error", "value": failed, "unit": "", "bound": "0"},
        {"what": "training steps", "value": sum(row.steps for row in rows), "unit": "", "bound": ""},
    ]
    save("pretend_device", "All experiments over the pretend CUDA device", figures, NOTE, table)


if __name__ == "__main__":
    main(sys.argv[1:])
