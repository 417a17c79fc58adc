"""``mlrun run`` on a folder and on single preparations."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from small_align import align_file

from trialbook.cli.main import cli

BASE = align_file()
STEPS = """
[prepare.first.task]
use = "sample"
[prepare.first.dataset]
use = "paired-latents"
train = 20
[prepare.second.task]
use = "embed"
[prepare.second.dataset]
use = "samples"
modalities = { image = "first", text = "first" }
[prepare.second.encoder.text]
use = "identity"
"""


@pytest.fixture
def mlrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    for name in ("runs", "cache"):
        monkeypatch.setenv(f"TRIALBOOK_{name.upper()}", str(tmp_path / name))
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(cli, [*map(str, arguments), "--no-plots"])


def runs_of(place: Path) -> list[str]:
    return sorted({path.parent.parent.name for path in place.glob("runs/*/*/results.json")})


def test_files_of_a_folder_run_behind_what_they_need_and_not_at_all_if_that_fails(
    tmp_path: Path, mlrun: object
) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "a.toml").write_text(f'needs = ["b.toml"]\n{BASE}')
    (folder / "b.toml").write_text(BASE.replace("steps = 2", "steps = 3"))
    done: Result = mlrun("run", folder)  # type: ignore[operator]
    assert done.exit_code == 0, done.output
    assert done.output.index("b: 1 run") < done.output.index("a: 1 run")
    assert runs_of(tmp_path) == ["a", "b"]
    (folder / "b.toml").write_text(BASE.replace("steps = 2", "steps = 3\nlr = 1e30"))
    (folder / "c.toml").write_text(BASE)
    failed: Result = mlrun("run", folder)  # type: ignore[operator]
    assert failed.exit_code == 1
    assert "a: not run, as it needs b" in failed.output
    assert "c" in runs_of(tmp_path)  # what does not need it is done all the same


def test_one_step_is_done_with_what_it_needs_and_no_more(tmp_path: Path, mlrun: object) -> None:
    file = tmp_path / "steps.toml"
    file.write_text(BASE + STEPS)
    done: Result = mlrun("run", file, "--prepare", "first")  # type: ignore[operator]
    assert done.exit_code == 0, done.output
    assert runs_of(tmp_path) == ["prepare.first"]
    assert mlrun("run", file, "--prepare", "second").exit_code == 0  # type: ignore[operator]
    assert runs_of(tmp_path) == ["prepare.first", "prepare.second"]
    wrong: Result = mlrun("run", file, "--prepare", "secnd")  # type: ignore[operator]
    assert "there is no preparation 'secnd'; did you mean 'second'?" in str(wrong.exception or wrong.output)


def test_a_folder_without_files_is_said(tmp_path: Path, mlrun: object) -> None:
    (tmp_path / "empty").mkdir()
    wrong: Result = mlrun("run", tmp_path / "empty")  # type: ignore[operator]
    assert "holds no experiment files" in str(wrong.exception or wrong.output)
