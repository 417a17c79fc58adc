"""How the pages look: system fonts, nothing from the network, and the style of our own reports within gradio's."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import gradio as gr

import trialbook.reports
from trialbook.reports.document.blocks import Block
from trialbook.reports.document.html import to_fragment

_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Noto Sans", "Arial", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")
#: Names that stand unquoted in a style sheet.
_GENERIC = ("system-ui", "-apple-system", "ui-monospace")


class _SystemFont(gr.themes.Font):
    """A font that the reader's machine has, or has not; nothing is fetched for it."""

    def __str__(self) -> str:
        return self.name if self.name in _GENERIC else super().__str__()


def theme() -> gr.themes.Base:
    """Plain, and legible."""
    return gr.themes.Default(
        primary_hue="blue", neutral_hue="slate", font=[_SystemFont(name) for name in _FONTS],
        font_mono=[_SystemFont(name) for name in _MONO],
    ).set(body_text_color_subdued="*neutral_600", body_text_color_subdued_dark="*neutral_400")  # fmt: skip


@lru_cache(maxsize=1)
def head() -> str:
    """A style element: that of reports, kept within ``.trialbook``, with gradio's colours; and that of the demo."""
    reports = (Path(trialbook.reports.__file__).parent / "templates" / "page.css").read_text(encoding="utf-8")
    own = Path(__file__).with_name("demo.css").read_text(encoding="utf-8")
    return f"<style>\n.trialbook {{\n{reports}\n}}\n{own}</style>"


def navigation() -> None:
    """The links between the pages."""
    gr.Navbar(main_page_name="Ask")


def html(text: str = "", name: str | None = None) -> gr.HTML:
    """A place for HTML of our own, without gradio's style for it.

    Args:
        text: what stands there at first.
        name: its id in the page.
    """
    return gr.HTML(text, elem_id=name, apply_default_css=False, js_on_load=None)


def shown(blocks: Iterable[Block]) -> str:
    """Blocks of a report as HTML for a page of the demo."""
    return f'<div class="trialbook">{to_fragment(blocks)}</div>'
