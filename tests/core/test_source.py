"""The hash of a component's source covers what it is made of and is found without importing; provenance."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trialbook.errors import TrialbookError
from trialbook.plugins.manager import PluginInfo, Registered
from trialbook.plugins.provenance import module_file, provenance, source_hash

PACKAGE = {
    "pkg/__init__.py": "raise AssertionError('imported')",
    "pkg/parts/__init__.py": "",
    "pkg/parts/head.py": "from . import shared\nfrom ..maths.norms import norm\nimport json\nclass Head: ...",
    "pkg/parts/shared.py": (
        "import pkg.deep.inner\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pkg import types"
    ),
    "pkg/maths/__init__.py": "",
    "pkg/maths/norms.py": "def norm(): from pkg.late import f",
    "pkg/maths/other.py": "",
    "pkg/deep/__init__.py": "",
    "pkg/deep/inner.py": "from pkg.parts.head import Head",
    "pkg/late.py": "f = 1",
    "pkg/types.py": "",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], str]:
    """Lay out the package with one file changed, and hash the head in it."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def hashed(changed: str = "", text: str = "# another text") -> str:
        for name, source in PACKAGE.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text if name == changed else source)
        source_hash.cache_clear()
        return source_hash("pkg.parts.head:Head")

    return hashed


@pytest.mark.parametrize(
    "file",
    [
        "pkg/__init__.py",
        "pkg/parts/__init__.py",
        "pkg/parts/head.py",
        "pkg/parts/shared.py",
        "pkg/maths/norms.py",
        "pkg/deep/inner.py",
        "pkg/late.py",
    ],
)
def test_a_change_in_anything_that_it_imports_changes_the_hash(package: Callable[..., str], file: str) -> None:
    assert package(file) != package()


@pytest.mark.parametrize("file", ["pkg/maths/other.py", "pkg/types.py"])
def test_what_it_does_not_import_does_not_matter(package: Callable[..., str], file: str) -> None:
    assert package(file) == package()


def test_nothing_is_imported_for_it(package: Callable[..., str]) -> None:
    package()
    assert not [name for name in sys.modules if name.partition(".")[0] == "pkg"]


def test_the_hash_is_computed_once_a_process(package: Callable[..., str], tmp_path: Path) -> None:
    before = package()
    (tmp_path / "pkg/parts/head.py").write_text("changed while a run is under way")
    assert source_hash("pkg.parts.head:Head") == before


def test_the_hash_does_not_depend_on_where_the_package_lies(
    package: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = package()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "pkg").rename(elsewhere / "pkg")
    monkeypatch.syspath_prepend(str(elsewhere))
    source_hash.cache_clear()
    assert source_hash("pkg.parts.head:Head") == before


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(TrialbookError, match=r"no module 'trialbook\.nothing'"):
        source_hash("trialbook.nothing:Thing")
    with pytest.raises(TrialbookError, match="is its package installed"):
        module_file("no_such_package.part")


def test_a_syntax_error_is_named_with_its_line(package: Callable[..., str]) -> None:
    with pytest.raises(TrialbookError, match=r"head\.py:2"):
        package("pkg/parts/head.py", "x = 1\ndef f(:")


def registered(distribution: str | None = None) -> Registered:
    return Registered("projector", "head", "pkg.parts.head:Head", "", PluginInfo("pkg", distribution, "1.0"))


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def fresh_provenance(distribution: str | None = None) -> dict[str, object]:
    from trialbook.plugins import provenance as source

    source._git_state.cache_clear()
    source.installed_from.cache_clear()
    return provenance(registered(distribution))


def test_source_in_a_work_tree_has_a_commit_and_says_if_it_is_dirty(
    package: Callable[..., str], tmp_path: Path
) -> None:
    package()
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    clean = fresh_provenance()
    assert (clean["commit"], clean["dirty"]) == (git(tmp_path, "rev-parse", "HEAD"), False)
    (tmp_path / "notes.txt").write_text("outside of the package")
    assert fresh_provenance()["dirty"] is False
    (tmp_path / "pkg/late.py").write_text("f = 2")
    assert fresh_provenance()["dirty"] is True


def test_source_that_the_work_tree_ignores_has_no_commit(package: Callable[..., str], tmp_path: Path) -> None:
    package()
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text("pkg\n")
    git(tmp_path, "add", ".gitignore")
    git(tmp_path, "commit", "-q", "-m", "first")
    found = fresh_provenance()
    assert (found["commit"], found["dirty"]) == (None, None)


def test_an_editable_install_is_known_by_its_direct_url(package: Callable[..., str], tmp_path: Path) -> None:
    package()
    info = tmp_path / "pkg_dist-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pkg-dist\nVersion: 1.0\n")
    (info / "direct_url.json").write_text(json.dumps({"url": "file:///home/me/pkg", "dir_info": {"editable": True}}))
    found = fresh_provenance("pkg-dist")
    assert (found["installed_from"], found["editable"]) == ("file:///home/me/pkg", True)
    assert (found["plugin"], found["version"], found["target"]) == ("pkg", "1.0", "pkg.parts.head:Head")
    assert found["source"] == source_hash("pkg.parts.head:Head")
