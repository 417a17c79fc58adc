"""A page as Markdown (GitHub's flavour), with its plots as relative links."""

from __future__ import annotations

import re

from markupsafe import Markup

from trialbook.errors import printable
from trialbook.reports.document.blocks import Page
from trialbook.reports.document.escape import markdown
from trialbook.reports.document.format import NO_PLUGINS, Format, PluginTemplates


def to_markdown(page: Page, plugins: PluginTemplates = NO_PLUGINS) -> str:
    """The page as text of a file, with what plugins add to it."""
    return MARKDOWN.page(page, plugins)


def _code(text: str) -> Markup:
    """Code within a sentence, with more backticks around it than it has in it."""
    flat = " ".join(printable(text).split())
    fence = "`" * (max((len(run) for run in re.findall("`+", flat)), default=0) + 1)
    return Markup(f"{fence} {flat} {fence}" if "`" in flat else f"{fence}{flat}{fence}")


def _listing(text: str) -> Markup:
    """Lines letter by letter, between fences that are longer than any within."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 0)
    return Markup(f"{fence}\n{printable(text.rstrip())}\n{fence}")


def _cell(text: Markup) -> Markup:
    """A text within a table."""
    return Markup(str(text).replace("|", "\\|").replace("\n", " "))


MARKDOWN = Format("md", markdown, {"code": _code, "listing": _listing, "cell": _cell})
