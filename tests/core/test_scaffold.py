"""``mlrun plugins new`` writes a package that passes its own tests; the names that it takes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from installed import own_tests, pip_install

from trialbook.cli.plugins import plugins
from trialbook.config.kinds import CHECKS, KINDS, RECORDS, TRACKERS
from trialbook.errors import TrialbookError
from trialbook.plugins.entrypoints import EntryPoint, find_entry_points
from trialbook.plugins.hookspec import ENTRY_POINT_GROUP
from trialbook.plugins.scaffold import SUMMARIES, write_plugin


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new plugin with a component of every kind."""
    project = tmp_path_factory.mktemp("scaffold") / "my-lab"
    kinds = [word for kind in SUMMARIES for word in ("--kind", kind)]
    result = CliRunner().invoke(plugins, ["new", str(project), *kinds])
    assert result.exit_code == 0, result.output
    return project


def test_every_kind_that_a_plugin_can_offer_has_an_example() -> None:
    assert set(SUMMARIES) == {*KINDS, *CHECKS, *TRACKERS, *RECORDS, "command"}


@pytest.mark.slow
def test_a_new_plugin_of_every_kind_passes_its_own_tests_once_installed(everything: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    pip_install([everything], site)
    points = find_entry_points(ENTRY_POINT_GROUP, [str(site)])
    assert EntryPoint("my-lab", "my_lab.plugin", "my-lab", "0.1.0") in points
    assert "32 passed" in own_tests(everything, site, tmp_path)


def test_a_new_plugin_passes_the_lint_of_its_own_workflow(everything: Path) -> None:
    ruff = pytest.importorskip("ruff").find_ruff_bin()
    for command in (["check", "."], ["format", "--check", "."]):
        done = subprocess.run(
            [ruff, *command, "--no-cache"], cwd=everything, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_workflows_are_yaml_that_tests_and_publishes_without_a_password(everything: Path) -> None:
    ci, release = (
        yaml.safe_load((everything / f".github/workflows/{name}.yml").read_text()) for name in ("ci", "release")
    )
    assert set(ci["jobs"]) == {"lint", "test"}
    assert {"run": "python -m pytest"} in ci["jobs"]["test"]["steps"]
    publish = release["jobs"]["publish"]
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["steps"][-1] == {"uses": "pypa/gh-action-pypi-publish@release/v1"}
    assert release[True] == {"push": {"tags": ["v*"]}}  # YAML reads the key "on" as true


def test_the_name_is_used_throughout(tmp_path: Path) -> None:
    files = write_plugin(tmp_path / "x", "gate-lab", ["loss"])
    texts = {str(file.relative_to(tmp_path / "x")): file.read_text() for file in files}
    assert 'gate-lab = "gate_lab.plugin"' in texts["pyproject.toml"]
    assert 'Component("gate-lab-loss", "gate_lab.loss:GateLabLoss"' in texts["src/gate_lab/plugin.py"]
    assert "class GateLabLoss(nn.Module)" in texts["src/gate_lab/loss.py"]
    assert not [name for name, text in texts.items() if "$" in text.replace("${{ matrix.python-version }}", "")]


@pytest.mark.parametrize("name", ["My-Plugin", "my_plugin", "2fast", "", "a--b", "../up"])
def test_a_name_that_cannot_be_a_package_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(TrialbookError, match="cannot be the plugin's name"):
        write_plugin(tmp_path / "x", name, ["loss"])
    assert list(tmp_path.iterdir()) == []


def test_our_own_name_installed_names_and_unknown_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrialbookError, match="own name"):
        write_plugin(tmp_path / "x", "trialbook", ["loss"])
    with pytest.raises(TrialbookError, match="a package 'torch' here already"):
        write_plugin(tmp_path / "x", "torch", ["loss"])
    with pytest.raises(TrialbookError, match="no example of a taks"):
        write_plugin(tmp_path / "x", "mine", ["taks"])


def test_files_that_are_there_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(TrialbookError, match="is not empty"):
        write_plugin(tmp_path, "mine", ["loss"])
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]
