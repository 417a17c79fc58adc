"""A new plugin package: one component, its test, its entry point."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from string import Template

from trialbook.errors import TrialbookError
from trialbook.hookspec import KINDS, PROJECT
from trialbook.scaffold_templates import COMPONENTS, PLUGIN, PYPROJECT, README, SUMMARIES, TEST


def write_plugin(folder: Path, name: str, kind: str) -> list[Path]:
    """Write a plugin package that passes its own tests once it is installed.

    Args:
        folder: where to; made if missing, must be empty.
        name: of the distribution and of the plugin, in kebab-case.
        kind: of its component: ``"projector"``, ``"loss"`` or ``"metric"``.
    Returns:
        the files written.
    Raises:
        TrialbookError: the name cannot be a package's or is one's that is installed, there is no example of this kind, or the
            folder
            holds something.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise TrialbookError(f"'{name}' cannot be the plugin's name; --name takes lower-case words, as in 'my-plugin'")
    if name in (PROJECT, f"{PROJECT}-plugins"):
        raise TrialbookError(f"'{name}' is trialbook's own name; give the plugin another with --name")
    package = name.replace("-", "_")
    if find_spec(package):
        raise TrialbookError(f"there is a package '{package}' here already; give the plugin another name with --name")
    if kind not in COMPONENTS:
        raise TrialbookError(f"there is no example of a {kind}; kinds are {', '.join(COMPONENTS)}")
    if folder.exists() and any(folder.iterdir()):
        raise TrialbookError(f"{folder} is not empty; give a new directory")
    words = {
        "name": name,
        "package": package,
        "kind": kind,
        "hook": KINDS[kind],
        "component": f"{name}-{kind}",
        "module": kind,
        "cls": "".join(part.capitalize() for part in name.split("-")) + kind.capitalize(),
        "summary": SUMMARIES[kind],
        "table": "[projector.image]" if kind == "projector" else f"[[{kind}]]",
    }
    texts = {
        "pyproject.toml": PYPROJECT,
        "README.md": README,
        f"src/{package}/__init__.py": '"""A plugin for trialbook."""\n',
        f"src/{package}/py.typed": "",
        f"src/{package}/plugin.py": PLUGIN,
        f"src/{package}/{kind}.py": COMPONENTS[kind],
        f"tests/test_{package}_{kind}.py": TEST,
    }
    for path, text in texts.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(Template(text).substitute(words), encoding="utf-8")
    return [folder / path for path in texts]
