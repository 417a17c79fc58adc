"""``mlrun plugins new`` writes a package that passes its own tests; the names that it takes."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from trialbook.cli.plugins import plugins
from trialbook.errors import TrialbookError
from trialbook.plugins.entrypoints import EntryPoint, find_entry_points
from trialbook.plugins.hookspec import ENTRY_POINT_GROUP
from trialbook.plugins.scaffold import write_plugin

KINDS = ("projector", "loss", "metric")


def pip_install(projects: list[Path], target: Path) -> None:
    """Really install packages, without what they depend on."""
    isolation = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *isolation, "--target", str(target)]
    done = subprocess.run([*command, *map(str, projects)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def environment(*paths: Path) -> dict[str, str]:
    """This process's path, with ``paths`` before it."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, paths), *filter(None, sys.path)])}


def test_a_new_plugin_passes_its_own_tests_once_installed(tmp_path: Path) -> None:
    projects, target = [tmp_path / f"my-{kind}" for kind in KINDS], tmp_path / "site"
    for kind, project in zip(KINDS, projects, strict=True):
        result = CliRunner().invoke(plugins, ["new", str(project), "--kind", kind])
        assert result.exit_code == 0, result.output
    pip_install(projects, target)
    points = find_entry_points(ENTRY_POINT_GROUP, [str(target)])
    assert EntryPoint("my-loss", "my_loss.plugin", "my-loss", "0.1.0") in points
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib"]
    tests = [str(project / "tests") for project in projects]
    done = subprocess.run(
        [*command, *tests], cwd=tmp_path, env=environment(target), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "6 passed" in done.stdout


def test_the_name_is_used_throughout(tmp_path: Path) -> None:
    files = write_plugin(tmp_path / "x", "gate-lab", "loss")
    texts = {str(file.relative_to(tmp_path / "x")): file.read_text() for file in files}
    assert 'gate-lab = "gate_lab.plugin"' in texts["pyproject.toml"]
    assert 'Component("gate-lab-loss", "gate_lab.loss:GateLabLoss"' in texts["src/gate_lab/plugin.py"]
    assert "class GateLabLoss(nn.Module)" in texts["src/gate_lab/loss.py"]
    assert not [name for name, text in texts.items() if "$" in text]


@pytest.mark.parametrize("name", ["My-Plugin", "my_plugin", "2fast", "", "a--b", "../up"])
def test_a_name_that_cannot_be_a_package_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(TrialbookError, match="cannot be the plugin's name"):
        write_plugin(tmp_path / "x", name, "loss")
    assert list(tmp_path.iterdir()) == []


def test_our_own_name_installed_names_and_unknown_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrialbookError, match="own name"):
        write_plugin(tmp_path / "x", "trialbook", "loss")
    with pytest.raises(TrialbookError, match="a package 'torch' here already"):
        write_plugin(tmp_path / "x", "torch", "loss")
    with pytest.raises(TrialbookError, match="no example of a task"):
        write_plugin(tmp_path / "x", "mine", "task")


def test_files_that_are_there_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(TrialbookError, match="is not empty"):
        write_plugin(tmp_path, "mine", "loss")
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]
