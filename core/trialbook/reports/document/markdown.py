"""A page as Markdown (GitHub's flavour), with its plots as relative links."""

from __future__ import annotations

import re

from markupsafe import Markup

from trialbook.reports.document.blocks import Page
from trialbook.reports.document.format import NO_PLUGINS, Format, PluginTemplates

#: What would be read as mark-up wherever it stands; ``_`` and ``~`` only at the edge of a word.
_MARKUP = re.compile(r"[\\`*\[\]<&]|(?<!\w)[_~]|[_~](?!\w)")
#: What would be read as mark-up at the beginning of a line: the sign that makes it so is the last one.
_LEADING = re.compile(r"^(\d*)([#>]|[-+](?=\s)|(?<=\d)[.)](?=\s))")


def to_markdown(page: Page, plugins: PluginTemplates = NO_PLUGINS) -> str:
    """The page as text of a file, with what plugins add to it."""
    return MARKDOWN.page(page, plugins)


def escape(text: str) -> Markup:
    """Text so that no letter of it is mark-up; a line break becomes a space, as does all space at either end."""
    if not text.strip():
        return Markup(text)
    before, after = (" " if edge.isspace() else "" for edge in (text[0], text[-1]))
    flat = _LEADING.sub(r"\1\\\2", _MARKUP.sub(_harmless, " ".join(text.split())))
    return Markup(f"{before}{flat}{after}")


def _harmless(found: re.Match[str]) -> str:
    return {"<": "&lt;", "&": "&amp;"}.get(found[0], f"\\{found[0]}")


def _code(text: str) -> Markup:
    """Code within a sentence, with more backticks around it than it has in it."""
    flat = " ".join(text.split())
    fence = "`" * (max((len(run) for run in re.findall("`+", flat)), default=0) + 1)
    return Markup(f"{fence} {flat} {fence}" if "`" in flat else f"{fence}{flat}{fence}")


def _listing(text: str) -> Markup:
    """Lines letter by letter, between fences that are longer than any within."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 0)
    return Markup(f"{fence}\n{text.rstrip()}\n{fence}")


def _cell(text: Markup) -> Markup:
    """A text within a table."""
    return Markup(str(text).replace("|", "\\|").replace("\n", " "))


MARKDOWN = Format("md", escape, {"code": _code, "listing": _listing, "cell": _cell})
