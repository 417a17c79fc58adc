"""What is recorded of a run's surroundings, and what is not."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from trialbook.config.settings import Settings
from trialbook.registry.environment import environment, hardware


def settings(root: Path, **changes: object) -> Settings:
    return Settings(root=root, runs=root / "runs", data_root=None, cache=root / "cache", **changes)  # type: ignore[arg-type]


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "code.py").write_text("a = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_versions_and_hardware_are_those_of_this_process(tmp_path: Path) -> None:
    found = environment(settings(tmp_path))
    assert found["versions"]["torch"] == metadata.version("torch")
    assert found["platform"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["hardware"]["cores"] >= 1
    assert found["hardware"]["memory"] > 1e8
    json.dumps(found)


def test_only_variables_of_the_list_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret-1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    found = environment(settings(tmp_path))
    assert found["variables"]["CUDA_VISIBLE_DEVICES"] == "3"
    assert "secret" not in json.dumps(found)


def test_a_clean_tree_has_a_commit_and_no_patch(repository: Path) -> None:
    found = environment(settings(repository))
    assert found["git"]["commit"] == git(repository, "rev-parse", "HEAD").strip()
    assert (found["git"]["dirty"], found["git"]["patch_sha256"], "patch" in found) == (False, None, False)


def test_the_patch_of_a_dirty_tree_restores_it(repository: Path) -> None:
    (repository / "code.py").write_text("a = 2\n")
    (repository / "new.py").write_text("b = 1\n")
    folder = repository / "deep"
    folder.mkdir()
    found = environment(settings(folder))
    assert found["git"]["dirty"] is True
    assert found["git"]["untracked"] == ["new.py"]
    assert found["git"]["patch_sha256"] == hashlib.sha256(found["patch"].encode()).hexdigest()
    git(repository, "checkout", "-q", "code.py")
    (repository / "p.patch").write_text(found["patch"])
    git(repository, "apply", "p.patch")
    assert (repository / "code.py").read_text() == "a = 2\n"


def test_without_a_repository_there_is_no_commit(tmp_path: Path) -> None:
    found = environment(settings(tmp_path))
    assert found["git"]["commit"] is None
    assert "patch" not in found


def test_threads_are_those_of_the_settings_then_of_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert hardware()["threads"] == 3
    assert hardware(threads=5)["threads"] == 5
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert hardware()["threads"] == hardware()["cores"]


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from trialbook.registry.environment import environment; "
        "from trialbook.config.settings import load_settings; environment(load_settings(Path('.'))); "
        "print([m for m in ('torch', 'numpy', 'transformers', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "[]\n"
