"""A page as one HTML file that needs nothing else: style and pictures stand in it, no script, no network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import markupsafe
from markupsafe import Markup

from trialbook.reports.document.blocks import Block, Page, Section
from trialbook.reports.document.format import NO_PLUGINS, Format, PluginTemplates


def to_html(page: Page, plugins: PluginTemplates = NO_PLUGINS) -> str:
    """The page as text of a file, with what plugins add to it."""
    return HTML.page(page, plugins)


def to_fragment(blocks: Iterable[Block]) -> str:
    """Blocks to stand in a page that is not ours and has a style for them."""
    return "\n".join(map(HTML.show, blocks))


def escape(text: str) -> Markup:
    """Text that is safe between tags and within quotes; what no page may hold is shown as a replacement sign."""
    return markupsafe.escape(re.sub(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text))


def _drawing(svg: str, alt: str) -> Markup:
    """A drawing of ours as part of the page, with what a reader who does not see it should know."""
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1))


def _anchored(sections: Sequence[Section]) -> list[tuple[str, Section]]:
    """Sections, each with a name of its own that an address can hold."""
    found: dict[str, Section] = {}
    for section in sections:
        plain = re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-") or "section"
        found[plain if plain not in found else f"{plain}-{len(found)}"] = section
    return list(found.items())


HTML = Format("html", escape, {"drawing": _drawing, "anchored": _anchored, "g": "{:g}".format})
