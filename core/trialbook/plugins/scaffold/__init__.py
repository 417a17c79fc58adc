"""The files of a new plugin package, from the templates beside this module (``$words`` are filled in)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from string import Template

from trialbook.config.kinds import CHECKS, KINDS, RECORDS, TRACKERS
from trialbook.errors import TrialbookError
from trialbook.plugins.hookspec import PROJECT

TEMPLATES = Path(__file__).parent / "templates"

#: Kind -> one line for listings.
SUMMARIES = {
    "task": "mean and deviation of a modality's rows",
    "dataset": "points on a noisy circle",
    "encoder": "one layer with tanh over vectors",
    "projector": "a linear map with a learned factor",
    "llm": "bytes, from the mean of what came before",
    "decoder": "patches of pixels as latents",
    "probe": "the nearest class centroid",
    "captioner": "facts, one after the other",
    "loss": "cosine distance of matching rows",
    "metric": "how evenly the embeddings lie on the sphere",
    "check": "the loss has not fallen",
    "tracker": "every point as a line of a file",
    "architecture": "points A1 and A2",
    "command": "a greeting",
}
_HOOKS = {**KINDS, **CHECKS, **TRACKERS, **RECORDS, "command": "mlrun_commands"}

_PLUGIN_HEAD = '''"""What this plugin offers, as strings: listing it imports nothing heavy."""

from __future__ import annotations

'''
_COMPONENT = '''
@hookimpl
def $hook() -> Iterable[Component]:
    """Offer the $kind of this plugin."""
    yield Component("$component", "$package.$kind:$target", "$summary")
'''
_COMMAND = '''
@hookimpl
def mlrun_commands(cli: click.Group) -> None:
    """Add the command of this plugin."""
    from $package.command import $target  # late, so that other commands start quickly

    cli.add_command($target, "$name")
'''


@dataclass(frozen=True)
class _Part:
    """A component of the new package.

    Args:
        plugin: the plugin's name.
        kind: of the component.
    """

    plugin: str
    kind: str

    @property
    def words(self) -> dict[str, str]:
        """The words that templates are filled with."""
        name, kind = self.plugin, self.kind
        package = name.replace("-", "_")
        target = "".join(word.capitalize() for word in [*name.split("-"), kind])
        if kind in ("check", "command"):
            target = f"{package}_{kind}"
        elif kind == "architecture":
            target = f"{package}_{kind}".upper()
        return {
            "name": name, "upper": name.upper(), "package": package, "kind": kind, "hook": _HOOKS[kind], "target": target,
            "component": f"{name}-{kind}", "summary": SUMMARIES[kind],
        }  # fmt: skip

    def files(self) -> dict[str, str]:
        """Path to text of the component and of its test."""
        package = self.words["package"]
        own_test = f"test_{self.kind}.py"
        test = own_test if (TEMPLATES / f"{own_test}.template").is_file() else "test_component.py"
        return {
            f"src/{package}/{self.kind}.py": _filled(f"{self.kind}.py", self.words),
            f"tests/test_{package}_{self.kind}.py": _filled(test, self.words),
        }

    def hook(self) -> str:
        """The hook that offers it."""
        return Template(_COMMAND if self.kind == "command" else _COMPONENT).substitute(self.words)


def write_plugin(folder: Path, name: str, kinds: Sequence[str]) -> list[Path]:
    """Write a plugin package that passes its own tests once it is installed.

    Args:
        folder: where to; made if missing, must be empty.
        name: of the distribution and of the plugin, in kebab-case.
        kinds: of its components, keys of ``SUMMARIES``; one component is made of each.
    Returns:
        the files written.
    Raises:
        TrialbookError: the name cannot be a package's or is one's that is installed, there is no example of a kind, or the
            folder holds something.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise TrialbookError(f"'{name}' cannot be the plugin's name; --name takes lower-case words, as in 'my-plugin'")
    if name in (PROJECT, f"{PROJECT}-plugins"):
        raise TrialbookError(f"'{name}' is trialbook's own name; give the plugin another with --name")
    package = name.replace("-", "_")
    if find_spec(package):
        raise TrialbookError(f"there is a package '{package}' here already; give the plugin another name with --name")
    for kind in kinds:
        if kind not in SUMMARIES:
            raise TrialbookError(f"there is no example of a {kind}; kinds are {', '.join(SUMMARIES)}")
    if folder.exists() and any(folder.iterdir()):
        raise TrialbookError(f"{folder} is not empty; give a new directory")
    texts = _package_files(name, [_Part(name, kind) for kind in dict.fromkeys(kinds)])
    for path, text in texts.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return [folder / path for path in texts]


def _package_files(name: str, parts: Sequence[_Part]) -> dict[str, str]:
    """Path to text of the whole package."""
    package = name.replace("-", "_")
    rows = [f"| {part.kind} `{part.words['component']}` | `src/{package}/{part.kind}.py` |" for part in parts]
    about = f"A plugin for {PROJECT}: {', '.join(part.kind for part in parts)}."
    words = {"name": name, "package": package, "description": about, "table": "\n".join(rows)}
    texts = {
        "pyproject.toml": _filled("pyproject.toml", words),
        "README.md": _filled("README.md", words),
        ".github/workflows/ci.yml": _filled("ci.yml", words),
        ".github/workflows/release.yml": _filled("release.yml", words),
        f"src/{package}/__init__.py": f'"""A plugin for {PROJECT}."""\n',
        f"src/{package}/py.typed": "",
        f"src/{package}/plugin.py": _plugin(parts),
        f"tests/test_{package}_plugin.py": _filled("test_plugin.py", words),
    }
    for part in parts:
        texts |= part.files()
    return texts


def _plugin(parts: Sequence[_Part]) -> str:
    """The module of the entry point: a hook for each component."""
    kinds = [part.kind for part in parts]
    components = kinds != ["command"]
    imports = ["from collections.abc import Iterable"] if components else []
    imports += ["from typing import TYPE_CHECKING"] if "command" in kinds else []
    names = "Component, hookimpl" if components else "hookimpl"
    text = _PLUGIN_HEAD + "\n".join(imports) + f"\n\nfrom trialbook import {names}\n"
    if "command" in kinds:
        text += "\nif TYPE_CHECKING:\n    import click\n"
    return text + "".join("\n" + part.hook() for part in parts)


def _filled(template: str, words: dict[str, str]) -> str:
    return Template((TEMPLATES / f"{template}.template").read_text(encoding="utf-8")).substitute(words)
