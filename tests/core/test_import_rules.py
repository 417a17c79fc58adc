"""Who may import what, read from the syntax trees; and that quick commands stay quick."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import trialbook

CORE = Path(trialbook.__file__).parent
PLUGINS = CORE.parent.parent / "plugins" / "trialbook_plugins"
HEAVY = {"torch", "accelerate", "transformers", "peft", "bitsandbytes", "gradio", "diffusers", "datasets", "tokenizers"}
TORCH_MAY = ("build", "engine", "checkpoint", "features", "contracts", "testing")


def _imports(tree: ast.AST, top_only: bool) -> Iterator[str]:
    nodes = ast.walk(tree) if not top_only else _at_import(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def _at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """Statements that run when the module is imported: not in functions, not under TYPE_CHECKING."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        yield from _at_import(node)


def _files(root: Path) -> list[tuple[str, ast.AST]]:
    return [(str(p.relative_to(root)), ast.parse(p.read_text(encoding="utf-8"))) for p in sorted(root.rglob("*.py"))]


def test_core_never_imports_first_party_plugins() -> None:
    assert [
        f for f, tree in _files(CORE) if any(m.startswith("trialbook_plugins") for m in _imports(tree, False))
    ] == []


def test_only_the_modules_that_compute_import_torch() -> None:
    wrong = [
        f"{file}: {module}"
        for file, tree in _files(CORE)
        if not file.startswith(TORCH_MAY)
        for module in _imports(tree, True)
        if module.split(".")[0] in HEAVY
    ]
    assert wrong == []


def test_the_engine_knows_no_storage_no_command_line_and_no_terminal() -> None:
    barred = {
        "sqlite3",
        "sqlite_utils",
        "click",
        "rich",
        "trialbook.registry",
        "trialbook.registry.recorder",
        "trialbook.cli",
    }
    for file, tree in _files(CORE / "engine"):
        found = {m for m in _imports(tree, False) if any(m == b or m.startswith(f"{b}.") for b in barred)}
        assert found == set(), file


def test_a_plugin_imports_public_modules_of_core_and_nothing_of_another_kind_of_plugin() -> None:
    for file, tree in _files(PLUGINS):
        package = Path(file).parts[0]
        for module in _imports(tree, False):
            parts = module.split(".")
            if parts[0] == "trialbook_plugins" and len(parts) > 2:
                assert parts[1] == package or not parts[2].startswith("_"), f"{file}: {module}"
            if parts[0] == "trialbook":
                assert not any(part.startswith("_") for part in parts), f"{file}: {module}"


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
