"""Who may import what, read from the syntax trees; and that quick commands stay quick.

``ORDER`` is the order of core's packages: each imports only from those before it, for type checking too, and inside of a
package no modules import each other in a circle. Plugins import public names alone.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import trialbook

CORE = Path(trialbook.__file__).parent
PLUGINS = CORE.parent.parent / "plugins" / "trialbook_plugins"

ORDER = (
    "_version", "_lazy", "errors", "contracts", "config", "plugins", "planning", "registry", "engine", "doctor", "analysis",
    "reports", "curation", "execution", "replay", "api", "testing", "cli", "", "__main__",
)  # fmt: skip
HEAVY = {"torch", "accelerate", "transformers", "peft", "bitsandbytes", "gradio", "diffusers", "datasets", "tokenizers"}
#: Packages that may import torch when they are imported, and the contracts that speak of tensors.
TORCH = ("engine", "testing")
TENSORS = ("components", "decoders", "distributed", "encoders", "features", "language", "tasks", "tensors")


def read(root: Path, package: str) -> dict[str, str]:
    """Dotted name to source of all modules below a package's folder; packages end in ``.__init__``."""
    files = sorted(root.rglob("*.py"))
    return {
        ".".join((package, *file.relative_to(root).with_suffix("").parts)): file.read_text("utf-8") for file in files
    }


def imports(source: str, modules: Mapping[str, str] | set[str] = frozenset()) -> Iterator[tuple[str, bool]]:
    """Modules that a source imports, with whether that happens when it is imported itself; names of ``modules`` in full."""
    for node, at_once in _statements(ast.parse(source), True):
        if isinstance(node, ast.Import):
            yield from ((alias.name, at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in modules else node.module, at_once


def _statements(tree: ast.AST, at_once: bool) -> Iterator[tuple[ast.AST, bool]]:
    for node in ast.iter_child_nodes(tree):
        typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        now = at_once and not typing and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield node, now
        yield from _statements(node, now)


def package_of(module: str) -> str:
    """Core's package that a module lies in; "" for core itself."""
    return module.removesuffix(".__init__").partition(".")[2].partition(".")[0]


def core_faults(sources: Mapping[str, str]) -> Iterator[str]:
    """Imports of core that break the rules."""
    modules = {module.removesuffix(".__init__") for module in sources}
    graph: dict[str, set[str]] = {}
    for name, source in sources.items():
        module = name.removesuffix(".__init__")
        for target, at_once in imports(source, modules):
            first = target.partition(".")[0]
            if first == "trialbook" and ORDER.index(package_of(module)) < ORDER.index(package_of(target)):
                yield f"{module} imports {target}, which stands above it"
            if first == "trialbook_plugins":
                yield f"{module} imports {target}, a plugin"
            if first in HEAVY and at_once and not _may_import_torch(module):
                yield f"{module} imports {target} when it is imported"
            if target in modules and target != module:
                graph.setdefault(module, set()).add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield f"a circle: {' -> '.join(error.args[1])}"


def _may_import_torch(module: str) -> bool:
    package = package_of(module)
    return package in TORCH or (package == "contracts" and module.rpartition(".")[2] in TENSORS)


def plugin_faults(sources: Mapping[str, str]) -> Iterator[str]:
    """Imports of first-party plugins that a third party could not write, and those of another kind's private modules."""
    graph: dict[str, set[str]] = {}
    modules = {module.removesuffix(".__init__") for module in sources}
    for name, source in sources.items():
        module = name.removesuffix(".__init__")
        for target, _ in imports(source, modules):
            parts = target.split(".")
            if parts[0] == "trialbook" and (parts[1:2] not in ([], ["contracts"], ["testing"]) or len(parts) > 3):
                yield f"{module} imports {target}, which is not public"
            if (
                parts[0] == "trialbook_plugins"
                and len(parts) > 2
                and parts[2].startswith("_")
                and parts[1] != module.split(".")[1]
            ):
                yield f"{module} imports {target}, which is private to {parts[1]}"
            if target in modules and target != module:
                graph.setdefault(module, set()).add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield f"a circle: {' -> '.join(error.args[1])}"


def test_core_imports_in_one_direction() -> None:
    assert list(core_faults(read(CORE, "trialbook"))) == []


def test_plugins_import_public_names_alone() -> None:
    assert list(plugin_faults(read(PLUGINS, "trialbook_plugins"))) == []


@pytest.mark.parametrize(
    ("module", "line", "said"),
    [
        ("trialbook.registry.lock", "from trialbook.cli.main import cli", "stands above it"),
        (
            "trialbook.config.merge",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from trialbook.planning import planner",
            "stands above it",
        ),
        ("trialbook.errors", "def late():\n    import trialbook.contracts.records", "stands above it"),
        ("trialbook.config.toml", "from trialbook.config import load", "a circle"),
        ("trialbook.registry.lock", "import torch", "when it is imported"),
        ("trialbook.contracts.records", "from torch import Tensor", "when it is imported"),
        ("trialbook.engine.optim", "from trialbook_plugins.losses import info_nce", "a plugin"),
    ],
)
def test_a_planted_import_of_core_is_found(module: str, line: str, said: str) -> None:
    sources = read(CORE, "trialbook")
    (fault, *_) = core_faults({**sources, module: f"{sources[module]}\n{line}\n"})
    assert said in fault


@pytest.mark.parametrize(
    ("module", "line", "said"),
    [
        ("trialbook_plugins.losses.info_nce", "from trialbook.engine import optim", "not public"),
        ("trialbook_plugins.losses.info_nce", "import trialbook.registry.query", "not public"),
        ("trialbook_plugins.losses.info_nce", "from trialbook_plugins.metrics import _rows", "private to metrics"),
        ("trialbook_plugins.losses._pairs", "from trialbook_plugins.losses import info_nce", "a circle"),
    ],
)
def test_a_planted_import_of_a_plugin_is_found(module: str, line: str, said: str) -> None:
    sources = read(PLUGINS, "trialbook_plugins")
    assert any(said in fault for fault in plugin_faults({**sources, module: f"{sources[module]}\n{line}\n"}))


def test_source_roots_hold_no_loose_module() -> None:
    for root in (CORE.parent, PLUGINS.parent):
        assert [path.name for path in root.iterdir() if path.suffix == ".py"] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["ls"],
        ["compare", "nothing"],
        ["show", "nothing"],
        ["plugins", "list"],
        ["plugins", "show", "linear"],
    ],
)
def test_a_command_that_only_reads_imports_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom trialbook.cli.main import main\n"
        f"sys.argv = ['mlrun', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('HEAVY', sorted(set({sorted(HEAVY)!r}) & set(sys.modules)))"
    )
    environment = {**os.environ, "TRIALBOOK_RUNS": str(tmp_path / "runs"), "TRIALBOOK_CACHE": str(tmp_path / "cache")}
    if arguments[:2] == ["plugins", "show"]:  # the first look at a component makes its schema
        command = [sys.executable, "-m", "trialbook", *arguments]
        subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True)
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert "HEAVY []" in done.stdout, done.stdout + done.stderr
