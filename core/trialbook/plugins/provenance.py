"""The origin of a component: a hash of its source, found without importing anything, and its provenance."""

from __future__ import annotations

import ast
import hashlib
import os
from collections.abc import Iterator
from functools import cache
from importlib import util
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialbook.errors import TrialbookError

if TYPE_CHECKING:
    from trialbook.plugins.manager import Registered


def module_file(name: str) -> Path:
    """The file of a module; neither the module nor its parents are imported.

    Raises:
        TrialbookError: there is no such module, or it has no file.
    """
    spec = _find_spec(name)
    if spec is None or not spec.has_location or spec.origin is None:
        raise TrialbookError(f"there is no module '{name}' on the path; is its package installed?")
    return Path(spec.origin)


@cache
def source_hash(target: str) -> str:
    """SHA-256 hex over a component's module and all that it imports, directly or not, from its own top-level package.

    The packages around these modules count too, since importing a module runs them; imports under TYPE_CHECKING do not.
    Computed once a process, so that a run is known by the source that it started from.

    Args:
        target: ``"package.module:Class"``, or just the module.
    Raises:
        TrialbookError: the module cannot be found.
    """
    module = target.partition(":")[0]
    module_file(module)
    digest = hashlib.sha256()
    for name, file in sorted(_closure(module).items()):
        digest.update(f"{name}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def provenance(registered: Registered) -> dict[str, Any]:
    """Describe where a component comes from, for the record of a run.

    Returns:
        plugin, version, installed_from (URL of a local or remote source, else the folder it is installed in), editable,
        commit and dirty (None where the source is under no version control), source (hash) and target.
    """
    module = registered.target.partition(":")[0]
    origin, editable, commit = installed_from(registered.plugin.distribution)
    state = _git_state(module_file(module), _package_folder(module))
    return {
        "plugin": registered.plugin.name,
        "version": registered.plugin.version,
        "installed_from": origin,
        "editable": editable,
        "commit": state[0] if state else commit,
        "dirty": state[1] if state else None,
        "source": source_hash(registered.target),
        "target": registered.target,
    }


def _package_folder(module: str) -> Path:
    """Folder of the outermost package of ``module`` that has a file; a namespace package has none."""
    spec = _find_spec(module.partition(".")[0])
    top = module if spec is None or not spec.has_location else module.partition(".")[0]
    return module_file(top).parent


def _find_spec(name: str) -> ModuleSpec | None:
    """Like ``importlib.util.find_spec``, which would import the parents of a dotted name."""
    top, *rest = name.split(".")
    try:
        spec = util.find_spec(top)
    except ValueError:  # a module in sys.modules that was made by hand
        return None
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(f"{spec.name}.{part}", list(spec.submodule_search_locations))
    return spec


def _closure(module: str) -> dict[str, Path]:
    """Module name to file, for ``module`` and what it imports within its top-level package."""
    top = module.partition(".")[0]
    files: dict[str, Path] = {}
    waiting, seen = [module], set()
    while waiting:
        name = waiting.pop()
        if name in seen or name.partition(".")[0] != top:
            continue
        seen.add(name)
        spec = _find_spec(name)
        if spec is None:  # a name inside a module, not a module
            continue
        waiting.append(name.rpartition(".")[0])
        if spec.has_location and spec.origin is not None:
            files[name] = Path(spec.origin)
            waiting += _imports(files[name], name, is_package=spec.submodule_search_locations is not None)
    return files


def _imports(file: Path, module: str, *, is_package: bool) -> Iterator[str]:
    """Names that ``file`` imports, absolute; of ``from a import b`` both ``a`` and ``a.b``, which may be a module."""
    if file.suffix != ".py":
        return
    package = module if is_package else module.rpartition(".")[0]
    try:
        tree = ast.parse(file.read_bytes(), filename=str(file))
    except SyntaxError as error:
        raise TrialbookError(f"{file}:{error.lineno}: {error.msg}") from None
    for node in _executed(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                kept = parents[: len(parents) - node.level + 1]
                base = ".".join([*kept, base] if base else kept)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under ``if TYPE_CHECKING:``."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)


@cache
def installed_from(distribution: str | None) -> tuple[str | None, bool, str | None]:
    """Origin of an installed distribution, whether it is editable, and its commit if it came from version control."""
    import json
    from importlib import metadata  # late: it is slow to import

    if distribution is None:
        return None, False, None
    try:
        dist = metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return None, False, None
    direct = json.loads(dist.read_text("direct_url.json") or "{}")
    editable = bool(direct.get("dir_info", {}).get("editable", False))
    return direct.get("url") or str(dist.locate_file("")), editable, direct.get("vcs_info", {}).get("commit_id")


@cache
def _git_state(file: Path, package: Path) -> tuple[str, bool] | None:
    """Commit of the work tree of ``file`` and whether ``package`` differs from it; None where there is none."""
    ignored, _ = _git(package, "check-ignore", "-q", str(file))
    status, commit = _git(package, "rev-parse", "HEAD")
    if ignored != 1 or status != 0:
        return None
    return commit, bool(_git(package, "status", "--porcelain", "--", ".")[1])


def _git(folder: Path, *arguments: str) -> tuple[int, str]:
    import subprocess  # late: only a run needs it

    own = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, env=own, capture_output=True, text=True, check=False)
    except OSError:  # git is not installed
        return 127, ""
    return done.returncode, done.stdout.strip()
