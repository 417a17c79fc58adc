"""Writes docs/hooks.md from the docstrings of ``trialbook.plugins.hookspec``: ``python docs/generate_hooks.py``."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from trialbook.plugins.hookspec import Hooks

PAGE = Path(__file__).parent / "hooks.md"

_INTRO = """\
<!-- Made by 'make docs' from the docstrings of trialbook.plugins.hookspec. -->
# Hooks

A hook is a function of a plugin's module, marked `@hookimpl`, that `mlrun` calls. Take only those of its arguments that you use.
A plugin implements as many hooks as it likes; several plugins may implement the same one. How a plugin is made and tested stands
in [writing a plugin](plugins.md); what may change in a hook, in [versions](versions.md).

`mlrun plugins new my-lab --kind KIND` writes the packages that the examples speak of. A hook that raises disables its plugin
with a sentence in `mlrun plugins list`, unless its text says otherwise; nothing else is touched.
"""
_SECTIONS = re.compile(r"^(Called|Default|Args|Returns|Example:):", re.MULTILINE)


def make_page() -> str:
    """The whole page."""
    return "\n".join([_INTRO, *(_section(name) for name in hook_names())]).rstrip() + "\n"


def hook_names() -> list[str]:
    """The hooks, in the order of their specifications."""
    return [name for name in vars(Hooks) if name.startswith("mlrun_")]


def parts_of(name: str) -> dict[str, str]:
    """The sections of a hook's docstring by title, the text before the first under ``""``."""
    doc = inspect.getdoc(getattr(Hooks, name)) or ""
    titles = list(_SECTIONS.finditer(doc))
    ends = [*(title.start() for title in titles[1:]), len(doc)]
    parts = {title[1].rstrip(":"): doc[title.end() : end] for title, end in zip(titles, ends, strict=True)}
    return {
        "": doc[: titles[0].start() if titles else None].strip(),
        **{key: text.strip("\n") for key, text in parts.items()},
    }


def example_of(name: str) -> str:
    """The example of a hook, as a module."""
    return textwrap.dedent(parts_of(name)["Example"]).strip() + "\n"


def _section(name: str) -> str:
    parts = parts_of(name)
    given = [p for p in inspect.signature(getattr(Hooks, name)).parameters if p != "self"]
    lines = [f"## {name}", "", f"`{name}({', '.join(given)})`", "", _code(parts[""]), ""]
    lines += [f"**Called:** {_line(parts['Called'])}", "", f"**Default:** {_line(parts['Default'])}", ""]
    lines += [
        *_arguments(parts.get("Args", "")),
        *([f"**Returns:** {_line(parts['Returns'])}", ""] if "Returns" in parts else []),
    ]
    return "\n".join([*lines, "```python", example_of(name).rstrip(), "```", ""])


def _arguments(text: str) -> Iterator[str]:
    """A list of the arguments."""
    entries = re.split(r"\n(?=\w+:)", textwrap.dedent(text).strip()) if text.strip() else []
    yield from (f"- `{name}`: {_line(told)}" for name, _, told in (entry.partition(":") for entry in entries))
    if entries:
        yield ""


def _line(text: str) -> str:
    return _code(" ".join(text.split()))


def _code(text: str) -> str:
    """Markdown's code for that of docstrings."""
    return text.replace("``", "`")


if __name__ == "__main__":
    PAGE.write_text(make_page(), encoding="utf-8")
