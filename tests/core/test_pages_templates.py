"""Templates of plugins: the example of the docs adds to pages, and one that fails costs nothing but itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trialbook.config.runspec import Plan
from trialbook.plugins.hookspec import hookimpl
from trialbook.plugins.manager import PluginManager
from trialbook.registry.run_directory import RunDirectory
from trialbook.reports.document.blocks import Page, Paragraph, Section
from trialbook.reports.document.html import to_html
from trialbook.reports.document.markdown import to_markdown
from trialbook.reports.pages.write import PageOptions, write_run_pages

DOCS = Path(__file__).parents[2] / "docs" / "reports.md"
#: A file of the example: its name in a comment, its text.
FENCE = re.compile(r"^```(?:python|jinja)\n(?:#|\{#) (\S+).*?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EVIL = "<script>alert(1)</script> *bold*"
PAGE = Page("T", "run", [Paragraph("head")], [Section("First", [Paragraph("x")])], {"run": {"arm": EVIL}})


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[Mapping[str, str]], Path]:
    """Writes templates, by name, to a new folder."""

    def write(templates: Mapping[str, str]) -> Path:
        made = tmp_path / f"templates-{len(list(tmp_path.iterdir()))}"
        for name, text in templates.items():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            (made / name).write_text(text)
        return made

    return write


def test_the_example_of_the_docs_adds_a_section_a_colour_and_a_footer(
    record_course: Callable[..., Plan], toy_file: Callable[..., Path], tmp_path: Path
) -> None:
    for name, text in FENCE.findall(DOCS.read_text()):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    spec = spec_from_file_location("acme_plugin", tmp_path / "acme" / "plugin.py")
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(module := module_from_spec(spec))
    templates = PluginManager.from_modules({"acme": module}).templates()

    plan = record_course(toy_file())
    run = RunDirectory(tmp_path / "runs" / plan.runs[0].relative_path)
    written = write_run_pages(run, PageOptions(plots=False, templates=templates))
    assert written.problems == ()
    text = written.files[1].read_text()
    assert '<li><a href="#energy-use">Energy use</a></li>' in text
    assert re.search(r"About <strong>\d+ J</strong> at 65 W, by arm flat\.", text)
    assert "<dt>parameters</dt><dd>12</dd>" in text
    assert ":root { --link: #7a1fa2; }" in text
    assert "<footer>The laboratory of Acme</footer>" in text
    assert "Energy use" not in written.files[0].read_text()  # it has no template for Markdown
    run.json("results").unlink()
    assert "Energy use" not in write_run_pages(run, PageOptions(plots=False, templates=templates)).files[1].read_text()


def test_what_a_template_puts_out_is_escaped_in_both_formats(folder: Callable[..., Path]) -> None:
    plugins = {
        "acme": folder({"run/A.html": "<p>{{ run.arm }}</p>", "run/A.md": "{{ run.arm }}", "experiment/B.md": "no"})
    }
    assert "<p>&lt;script&gt;alert(1)&lt;/script&gt; *bold*</p>" in to_html(PAGE, plugins)
    assert to_markdown(PAGE, plugins).endswith("## A\n\n&lt;script>alert(1)&lt;/script> \\*bold\\*\n")


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ nobody }}", "UndefinedError"),
        ("{{ run.nothing }}", "UndefinedError"),
        ("{% if %}", "TemplateSyntaxError"),
        ("{% include 'missing.html' %}", "TemplateNotFound"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
    ],
)
def test_a_template_that_fails_is_left_out_and_named(folder: Callable[..., Path], template: str, why: str) -> None:
    names = {"run/bad.html": template, "run/good.html": "<p>fine</p>", "page.html": template, "page.md": template}
    plugins = {"acme": folder(names), "other": folder({"run/also.html": "<p>well</p>"})}
    page = to_html(PAGE, plugins)
    for name in ("acme/run/bad.html", "acme/page.html"):
        assert re.search(rf"Left out: the template {name} of plugin &#39;acme&#39; raises {why}", page)
    for kept in ("<p>head</p>", "<p>x</p>", "<p>fine</p>", "<p>well</p>"):
        assert kept in page
    text = to_markdown(PAGE, plugins)
    assert f"acme/page.md of plugin 'acme' raises {why}" in text
    assert "## First\n\nx" in text


def test_of_two_plugins_that_extend_the_page_the_first_that_works_is_taken(folder: Callable[..., Path]) -> None:
    own = '{% extends "page.html" %}{% block footer %}<footer>NAME</footer>{% endblock %}'
    broken, one, two = ({"page.html": text} for text in ("{{ nobody }}", own.replace("NAME", "one"), own))
    page = to_html(PAGE, {"broken": folder(broken), "one": folder(one), "two": folder(two)})
    assert re.findall("<footer>(.*?)</footer>", page) == ["one"]
    assert page.count("broken/page.html") == 1


@pytest.mark.parametrize("offer", [None, "templates", "/nowhere/at/all", 3])
def test_a_plugin_whose_hook_names_no_folder_is_disabled(offer: Any, folder: Callable[..., Path]) -> None:
    good = folder({"run/a.html": "x"})
    plugins = {
        name: SimpleNamespace(mlrun_templates=_hook(value)) for name, value in (("bad", offer), ("good", str(good)))
    }
    host = PluginManager.from_modules(plugins)
    assert host.templates() == {"good": good}
    (info,) = (info for info in host.plugins if info.error)
    assert info.name == "bad"
    assert "mlrun_templates" in str(info.error)


def _hook(value: Any) -> Callable[[], Any]:
    def mlrun_templates() -> Any:
        return value

    return hookimpl(mlrun_templates)
