"""Blocks and pages in one format, by Jinja2 templates: ours, and those that plugins add.

Whatever a template puts out is escaped unless it is mark-up (``Markup``) already. A name that a template does not know is an
error. What goes wrong in a template of a plugin is told in the page, which is otherwise as good as without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader, StrictUndefined
from markupsafe import Markup

from trialbook.plugins.isolation import PLUGIN_ERRORS, describe_failure
from trialbook.reports.document import blocks
from trialbook.reports.document.blocks import Block, Notice, Page, Piece, Rendered, Section, Text, pieces

TEMPLATES = Path(__file__).parents[1] / "templates"

#: Plugin to its folder of templates.
PluginTemplates = Mapping[str, Path]
NO_PLUGINS: PluginTemplates = MappingProxyType({})


class Format:
    """Writes blocks and pages.

    Args:
        ending: of the templates of this format: ``html``, ``md``.
        escape: plain text to mark-up that shows it.
        filters: filters of the templates, by name.
    """

    def __init__(self, ending: str, escape: Callable[[str], Markup], filters: Mapping[str, Callable[..., Any]]) -> None:
        self._ending, self._escape = ending, escape
        self._core = Environment(
            loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, finalize=self._finalize,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        self._core.filters |= {"address": address, **filters}
        self._core.globals |= {"show": self.show, "text": self.text, "blocks": blocks}

    def show(self, block: Block | Piece) -> Markup:
        """A block or a piece of text, by the macro that has its class's name."""
        if isinstance(block, str):
            return self._escape(block)
        return Markup(getattr(self._macros, type(block).__name__)(block).strip("\n"))

    def text(self, text: Text) -> Markup:
        """A text of one piece or several."""
        return self._escape(text) if isinstance(text, str) else Markup("").join(map(self.show, pieces(text)))

    def page(self, page: Page, plugins: PluginTemplates = NO_PLUGINS) -> str:
        """A page as the text of a file.

        A plugin adds sections, ``<kind of page>/<title>.<ending>`` in its folder, and ``page.<ending>`` that extends ours; of
        several the first plugin's is taken.
        """
        environment = self._core.overlay(loader=_loader(plugins)) if plugins else self._core
        added = [
            section for plugin in plugins for section in self._sections(environment, plugin, plugins[plugin], page)
        ]
        whole = replace(page, sections=[*page.sections, *added])
        for plugin, folder in plugins.items():
            if (folder / f"page.{self._ending}").is_file():
                name = f"{plugin}/page.{self._ending}"
                try:
                    return _rendered(environment, name, {"page": whole})
                except PLUGIN_ERRORS as fault:
                    whole = replace(whole, head=[*whole.head, _fault(plugin, name, fault)])
        return _rendered(self._core, f"page.{self._ending}", {"page": whole})

    def template(self, name: str, **values: Any) -> str:
        """One of our templates, filled in."""
        return self._core.get_template(name).render(values)

    @cached_property
    def _macros(self) -> Any:
        return self._core.get_template(f"blocks.{self._ending}").module

    def _finalize(self, value: Any) -> Any:
        return self._escape(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    def _sections(self, environment: Environment, plugin: str, folder: Path, page: Page) -> Iterator[Section]:
        """The sections that a plugin adds to a page; a template that is left empty adds none."""
        for file in sorted((folder / page.kind).glob(f"*.{self._ending}")):
            name = f"{plugin}/{page.kind}/{file.name}"
            made: list[Block] = []
            try:
                if text := _rendered(environment, name, {**page.record, "page": page}).strip():
                    made = [Rendered(Markup(text))]
            except PLUGIN_ERRORS as fault:
                made = [_fault(plugin, name, fault)]
            title = file.stem.replace("_", " ")
            yield Section(title[:1].upper() + title[1:], made)


def address(target: str) -> str:
    """The address of a file beside the page, so that it is no other kind of address."""
    return quote(target, safe="/#.,=+-_~")


def _loader(plugins: PluginTemplates) -> ChoiceLoader:
    own = {plugin: FileSystemLoader(folder) for plugin, folder in plugins.items()}
    return ChoiceLoader([FileSystemLoader(TEMPLATES), PrefixLoader(own)])


def _rendered(environment: Environment, name: str, values: Mapping[str, Any]) -> str:
    return environment.get_template(name).render(values).strip("\n") + "\n"


def _fault(plugin: str, name: str, fault: BaseException) -> Notice:
    return Notice("warning", f"Left out: the template {name} of plugin '{plugin}' {describe_failure(fault)}")
