"""The commands that read and keep the registry."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from trialbook.cli.main import cli
from trialbook.config.experiment_info import ExperimentInfo
from trialbook.config.runspec import RunSpec
from trialbook.contracts.records import Event, Record
from trialbook.errors import TrialbookError
from trialbook.registry.recorder import Recorder

HEAVY = ("torch", "numpy", "scipy", "pydantic", "transformers", "sqlite_utils", "rich")
WAITS = """
import sys, time
from pathlib import Path
from trialbook.config.experiment_info import ExperimentInfo
from trialbook.config.runspec import RunSpec
from trialbook.registry.recorder import Recorder
spec = RunSpec(experiment="exp", arm="live", base_arm="live", point={}, seed=0, config={}, sources={}, id="1" * 8)
root = Path(sys.argv[1])
with Recorder(root / spec.relative_path, root / "registry.db") as recorder:
    recorder.start(spec, {}, {})
    print("started", flush=True)
    time.sleep(60)
"""


def add(root: Path, arm: str, seed: int, value: float, *, lr: float = 0.1, outcome: str = "finished") -> RunSpec:
    spec = RunSpec(
        experiment="exp", arm=arm, base_arm=arm, point={}, seed=seed, sources={}, id=f"{ord(arm[0]):04x}{seed:04x}",
        config={"train": {"lr": lr}, "metric": [{"use": "retrieval"}]}, info=ExperimentInfo(baseline="mlp", question="Which?"),
    )  # fmt: skip
    component = {"target": f"m:{arm}", "version": "1", "plugin": "p", "commit": None, "source": "s" * 64}
    with Recorder(root / spec.relative_path, root / "registry.db") as recorder:
        recorder.start(spec, {"git": {"commit": "c" * 40}}, {"projector.image": component})
        recorder.describe({"dataset": {"fingerprint": "f" * 64}})
        recorder.add(Event(0, "note", "something to know"))
        recorder.add(Record(0, {"retrieval/i2t@1": 0.1}))
        recorder.add(Record(9, {"retrieval/i2t@1": value}))
        if outcome == "finished":
            recorder.finish({})
        elif outcome == "failed":
            recorder.fail("ValueError: too bad")
    return spec


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for seed in range(3):
        add(tmp_path, "mlp", seed, 0.5 + seed / 100)
        add(tmp_path, "per", seed, 0.7 + seed / 90, lr=0.2)
    return tmp_path


def invoke(root: Path, *arguments: str, **options: Any) -> Result:
    return CliRunner().invoke(cli, [*arguments, "--runs", str(root)], catch_exceptions=False, **options)


def answer(root: Path, *arguments: str) -> Any:
    done = invoke(root, *arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_ls_lists_and_filters(root: Path) -> None:
    add(root, "bad", 0, 0.1, outcome="failed")
    add(root, "cut", 0, 0.1, outcome="killed")
    assert len(answer(root, "ls")) == 8
    assert [run["arm"] for run in answer(root, "ls", "--status", "failed")] == ["bad"]
    assert [run["arm"] for run in answer(root, "ls", "--status", "killed")] == ["cut"]
    assert answer(root, "ls", "--experiment", "none") == []
    assert "bad-s0-" in invoke(root, "ls").stdout
    rows = list(csv.DictReader(io.StringIO(invoke(root, "ls", "--format", "csv").stdout)))
    assert {row["status"] for row in rows} == {"finished", "failed", "killed"}


def test_a_run_is_running_until_it_is_killed(root: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WAITS, str(root)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        for _ in range(100):
            found = [run["status"] for run in answer(root, "ls") if run["arm"] == "live"]
            if found:
                break
        assert found == ["running"]
        with pytest.raises(TrialbookError, match="is running; end it first"):
            invoke(root, "rm", "live", "--yes")
        os.kill(process.pid, signal.SIGKILL)
    assert [run["status"] for run in answer(root, "ls") if run["arm"] == "live"] == ["killed"]
    assert invoke(root, "rm", "live", "--yes").exit_code == 0
    assert not list((root / "exp").glob("live*"))


def test_show_tells_everything_of_a_run(root: Path) -> None:
    facts = answer(root, "show", "mlp-s1")
    assert (facts["status"], facts["seed"], facts["config"]["train"]) == ("finished", 1, {"lr": 0.1})
    assert facts["metrics"]["retrieval/i2t@1"]["last"] == 0.51
    assert facts["components"]["projector.image"]["target"] == "m:mlp"
    assert facts["events"][0]["message"] == "something to know"
    text = invoke(root, "show", "mlp-s1").stdout
    for said in ("finished", "retrieval/i2t@1", "0.51", "m:mlp", "train.lr = 0.1", "git.commit = cccc", "something to know",
                 "dataset.fingerprint = ffff"):  # fmt: skip
        assert said in text, said


def test_diff_shows_only_what_differs(root: Path) -> None:
    found = {row["key"]: (row["a"], row["b"]) for row in answer(root, "diff", "mlp-s0", "per-s0")}
    assert found["train.lr"] == (0.1, 0.2)
    assert found["components.projector.image.target"] == ("m:mlp", "m:per")
    assert found["last retrieval/i2t@1"] == (0.5, 0.7)
    assert set(found) == {"arm", "train.lr", "components.projector.image.target", "last retrieval/i2t@1"}
    assert invoke(root, "diff", "mlp-s0", "mlp-s0").stdout == "The two do not differ.\n"


def test_compare_answers_in_every_format(root: Path) -> None:
    data = answer(root, "compare", "exp")
    (own,) = [row for row in data["rows"] if row["arm"] == "per"]
    assert own["verdict"] == "better"
    for style in ("table", "markdown", "latex"):
        text = invoke(root, "compare", "--format", style).stdout
        assert "better" in text
        assert "train.lr: 0.1 in mlp, 0.2 in per" in text
    assert invoke(root, "compare", "--format", "csv").stdout.count("\n") == 3


def test_compare_is_the_same_after_the_registry_was_rebuilt(root: Path) -> None:
    before = invoke(root, "compare").stdout
    for file in root.glob("registry.db*"):
        file.unlink()
    assert invoke(root, "registry", "sync").stdout == "6 added, 0 updated, 0 removed, 0 unchanged\n"
    assert invoke(root, "compare").stdout == before


def test_sql_answers_questions_and_changes_nothing(root: Path) -> None:
    asked = "select arm, avg(last) as mean from final_metrics where metric = 'retrieval/i2t@1' group by arm"
    assert answer(root, "sql", asked) == [
        {"arm": "mlp", "mean": 0.51},
        {"arm": "per", "mean": pytest.approx(0.7111111)},
    ]
    assert "mean" in invoke(root, "sql", asked).stdout
    mistakes = {"delete from run": "read", "select wrong from run": "no such column", "select 1; select 2": "one"}
    for bad, message in mistakes.items():
        with pytest.raises(TrialbookError, match=f"SQL: .*{message}"):
            invoke(root, "sql", bad)


def test_rm_asks_first_and_deletes_directory_and_rows(root: Path) -> None:
    assert invoke(root, "rm", "mlp-s0", input="n\n").exit_code == 1
    assert len(answer(root, "ls")) == 6
    done = invoke(root, "rm", "mlp-s0", "per-s0", input="y\n")
    assert done.exit_code == 0
    assert "Delete these 2 runs for good?" in done.stdout
    assert len(answer(root, "ls")) == 4
    assert answer(root, "sql", "select count(*) as n from point join run on run.id = run") == [{"n": 8}]
    assert invoke(root, "registry", "check").exit_code == 0


def test_registry_check_reports_with_its_status(root: Path) -> None:
    assert invoke(root, "registry", "check").stdout == "registry and run directories agree\n"
    (file,) = (root / "exp").glob("mlp-s0*/metrics.jsonl")
    file.write_text(file.read_text().replace("0.1", "0.2"))
    done = invoke(root, "registry", "check")
    assert done.exit_code == 1
    assert "metrics.jsonl is not what the registry read" in done.stdout
    assert invoke(root, "registry", "sync").stdout == "0 added, 1 updated, 0 removed, 5 unchanged\n"
    assert invoke(root, "registry", "check").exit_code == 0
    assert invoke(root, "registry", "sync", "--reread").exit_code == 0
    assert len(answer(root, "ls")) == 6


@pytest.mark.parametrize("command", [["registry", "sync"], ["rm", "mlp-s0", "--yes"]])
def test_a_registry_that_is_locked_is_a_sentence(
    root: Path, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: Any, **__: Any) -> None:
        raise sqlite3.OperationalError("database is locked")

    for module in ("reports.inspect", "registry.sync"):
        monkeypatch.setattr(f"trialbook.{module}.open_registry", locked)
    with pytest.raises(TrialbookError, match=r"registry.db cannot be written \(database is locked\)"):
        invoke(root, *command)


def test_a_run_that_is_not_there_is_answered_with_the_closest(root: Path) -> None:
    with pytest.raises(TrialbookError, match="no run 'mpl-s0-006d0000'; did you mean 'mlp-s0-006d0000'"):
        invoke(root, "show", "mpl-s0-006d0000")


@pytest.mark.parametrize("command", ["ls", "compare", "show mlp-s0", "diff mlp-s0 per-s0"])
def test_reading_commands_import_nothing_heavy(root: Path, command: str) -> None:
    arguments = [*command.split(), "--runs", str(root)]
    code = (
        f"import sys; from trialbook.cli.main import cli; cli({arguments!r}, standalone_mode=False); "
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
