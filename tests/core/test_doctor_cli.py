"""``mlrun doctor``: what it says of recorded runs, in words and as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from trialbook.cli.main import cli
from trialbook.config.experiment_info import ExperimentInfo
from trialbook.config.runspec import RunSpec
from trialbook.contracts.records import ModuleStats, Record
from trialbook.errors import TrialbookError
from trialbook.registry.recorder import Recorder

#: A wiring that leaves a projector out of the optimiser: an error that is known at once.
LEFT_OUT = {
    "projector.image": {"stage": "train", "frozen": False, "parameters": 64, "in_module": 0, "optimized": 0},
    "projector.text": {"stage": "train", "frozen": False, "parameters": 64, "in_module": 64, "optimized": 64},
}


def add(root: Path, arm: str, seed: int = 0, *, broken: bool = False, ignore: tuple[str, ...] = ()) -> RunSpec:
    """A finished run of 10 steps, with a projector outside of the optimiser if ``broken``."""
    spec = RunSpec(
        experiment="exp", arm=arm, base_arm=arm, point={}, seed=seed, sources={}, id=f"{ord(arm[0]):04x}{seed:04x}",
        config={"train": {"steps": 10, "lr": 1e-3}}, info=ExperimentInfo(doctor={"ignore": list(ignore)}),
    )  # fmt: skip
    with Recorder(root / spec.relative_path, root / "registry.db") as recorder:
        recorder.start(spec, {}, {})
        recorder.describe({"dataset": {"splits": {"train": 900, "test": 300}}})
        if broken:
            recorder.add(ModuleStats(0, "wiring", LEFT_OUT))
        recorder.add(Record(10, {"loss": 0.5, "lr": 1e-3}))
        recorder.finish({})
    return spec


@pytest.fixture
def root(tmp_path: Path) -> Path:
    add(tmp_path, "sound")
    add(tmp_path, "broken", broken=True)
    add(tmp_path, "broken", 1, broken=True)
    return tmp_path


def invoke(root: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["doctor", *arguments, "--runs", str(root)], catch_exceptions=False)


def answer(root: Path, *arguments: str) -> Any:
    return json.loads(invoke(root, *arguments, "--json").stdout)


def test_a_finding_is_told_with_its_evidence_and_what_to_try(root: Path) -> None:
    said = invoke(root, "broken-s0").stdout
    assert "exp/broken-s0-00620000  finished, step 10: 1 error (" in said
    words = " ".join(said.split())
    assert "error not-optimized projector.image the task leaves this part out of the module" in words
    assert "parameters: 64; in_module: 0; optimized: 0 try: let the task's module() hold" in words
    assert max(map(len, said.splitlines())) <= 120


def test_a_run_without_findings_says_how_many_checks_looked(root: Path) -> None:
    (look,) = answer(root, "sound")
    assert look["findings"] == []
    assert look["checks"] > 20
    assert f"finished, step 10: no findings ({look['checks']} checks)" in invoke(root, "sound").stdout


def test_no_name_means_the_newest_run_and_an_experiment_all_of_its_runs(root: Path) -> None:
    assert [(look["arm"], look["seed"]) for look in answer(root)] == [("broken", 1)]
    everything = [(look["arm"], len(look["findings"])) for look in answer(root, "exp")]
    assert everything == [("sound", 0), ("broken", 1), ("broken", 1)]
    file = root / "question.toml"
    file.write_text('name = "exp"\n')
    assert len(answer(root, str(file))) == 3
    assert [look["arm"] for look in answer(root, "sound", "broken-s1")] == ["sound", "broken"]
    assert answer(root, str(root / "exp" / "sound-s0-00730000"))[0]["arm"] == "sound"


def test_strict_ends_with_status_1_only_where_there_is_an_error(root: Path) -> None:
    assert invoke(root, "broken-s0").exit_code == 0
    assert invoke(root, "broken-s0", "--strict").exit_code == 1
    assert invoke(root, "exp", "--strict", "--json").exit_code == 1
    assert invoke(root, "sound", "--strict").exit_code == 0


def test_checks_that_the_experiment_ignores_are_left_out_and_named(root: Path) -> None:
    add(root, "meant", broken=True, ignore=("not-optimized",))
    (look,) = answer(root, "meant")
    assert (look["findings"], look["left_out"]) == ([], ["not-optimized"])
    assert "checks, without not-optimized)" in invoke(root, "meant").stdout


def test_the_checks_are_listed_without_any_run(tmp_path: Path) -> None:
    listed = answer(tmp_path, "--checks")
    assert {"check": "not-optimized", "plugin": "trialbook"}.items() <= next(
        row for row in listed if row["check"] == "not-optimized"
    ).items()
    assert "loss-at-chance" in invoke(tmp_path, "--checks").stdout


def test_what_was_recorded_is_judged_anew_and_nothing_is_written(root: Path) -> None:
    (run,) = root.glob("exp/broken-s0-*")
    before = {file: file.read_bytes() for file in run.iterdir() if file.is_file()}
    assert not (run / "findings.json").exists()
    assert len(answer(root, "broken-s0")[0]["findings"]) == 1
    assert {file: file.read_bytes() for file in run.iterdir() if file.is_file()} == before


def test_a_name_that_means_nothing_is_answered_with_the_closest(root: Path) -> None:
    with pytest.raises(TrialbookError, match="'exq' is no experiment, file or run; did you mean 'exp'"):
        invoke(root, "exq")


def test_looking_at_runs_imports_no_torch(root: Path) -> None:
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom trialbook.cli.main import cli\n"
        f"done = CliRunner().invoke(cli, ['doctor', 'exp', '--runs', {str(root)!r}], catch_exceptions=False)\n"
        "assert '1 error' in done.stdout\n"
        "sys.exit(bool({'torch', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    around = {**os.environ, "TRIALBOOK_RUNS": str(root)}
    assert subprocess.run([sys.executable, "-c", code], check=False, env=around).returncode == 0
