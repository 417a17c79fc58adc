"""The look of the pages: system fonts, nothing from the network, and the style of our own reports within gradio's."""

from __future__ import annotations

import html as markup
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import gradio as gr

import trialbook

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
    own = Path(__file__).with_name("demo.css").read_text(encoding="utf-8")
    return f"<style>\n{trialbook.stylesheet()}{own}</style>"


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


def escape(text: str) -> str:
    """Text of which nothing is markup; what UTF-8 cannot hold becomes a question mark."""
    return markup.escape(text.encode("utf-8", "replace").decode("utf-8"))


def panel(*lines: str) -> str:
    """HTML of ours in the style of reports."""
    return f'<div class="trialbook">{"".join(lines)}</div>'


def paragraphs(texts: Sequence[str]) -> str:
    """Each text as a paragraph."""
    return panel(*(f"<p>{escape(text)}</p>" for text in texts))


def definitions(pairs: Mapping[str, str]) -> str:
    """Names and what they are."""
    rows = (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs.items())
    return panel("<dl>", *rows, "</dl>")


def folded(title: str, texts: Sequence[str]) -> str:
    """A list behind its title."""
    items = (f"<li>{escape(text)}</li>" for text in texts)
    return panel(f"<details><summary>{escape(title)}</summary><ul>", *items, "</ul></details>")
