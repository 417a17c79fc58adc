"""Packages that pip really installs into a folder, and Python processes that see them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def pip_install(projects: Sequence[Path], target: Path) -> None:
    """Install packages into a folder, without what they depend on."""
    isolation = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *isolation, "--target", str(target)]
    done = subprocess.run([*command, *map(str, projects)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def python(
    *arguments: str, site: Path, cwd: Path, extra: Path | None = None, variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python with installed packages and this checkout on its path, in a folder without settings."""
    paths = [extra, site, ROOT / "core", ROOT / "plugins"]
    own = {
        "PYTHONPATH": os.pathsep.join(str(path) for path in paths if path), "TRIALBOOK_CACHE": str(cwd / "cache"),
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TRIALBOOK_")}
    command = [sys.executable, *arguments]
    environment = kept | own | (variables or {})
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def mlrun(
    *arguments: str, site: Path, cwd: Path, extra: Path | None = None, variables: dict[str, str] | None = None
) -> str:
    """Output of ``mlrun``, which must succeed."""
    done = python("-m", "trialbook", *arguments, site=site, cwd=cwd, extra=extra, variables=variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def own_tests(project: Path, site: Path, cwd: Path) -> str:
    """What pytest says of the tests of an installed project, which must pass."""
    done = python(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", str(project / "tests"), site=site, cwd=cwd
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout
