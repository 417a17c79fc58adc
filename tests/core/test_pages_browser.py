"""Reports in Chromium: wide and narrow, light and dark, in print; without network, script or error."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from chromium import ABSENT, PROGRAM, Browser
from PIL import Image

from trialbook.analysis.compare.compare import compare_plan
from trialbook.analysis.decide.decide import decide
from trialbook.analysis.failures.judge import judge
from trialbook.analysis.failures.taxonomy import BY_HAND, TAGS
from trialbook.config.runspec import Plan, RunSpec
from trialbook.contracts.findings import Finding
from trialbook.contracts.predictions import Prediction
from trialbook.contracts.records import Item
from trialbook.registry.query import open_index
from trialbook.registry.run_directory import RunDirectory
from trialbook.reports.document.html import to_html
from trialbook.reports.pages.experiment_results import write_conclusion
from trialbook.reports.pages.failures_page import FailurePage
from trialbook.reports.pages.write import write_run_pages
from trialbook.reports.thumbnails import Photos
from trialbook.reports.write_decision import write_decisions

#: The path of axe-core's ``axe.min.js``; ``npm install axe-core`` fetches it.
AXE = os.environ.get("AXE_CORE", "")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason=ABSENT)


DECISION = """
[[gate]]
name = "<b>loss</b>"
metric = "loss"
at_most = 2.0
level = "should"

[decision]
candidates = { "<b>slow</b>" = "flat,lr=0.0001", "fast" = "deep,lr=0.001" }

[[decision.outcome]]
name = "any"
recommend = "Take <i>{best}</i>."
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def made() -> dict[str, Path]:
    """Pages that are made once, by the first test that asks for them."""
    return {}


@pytest.fixture
def pages(
    record_course: Callable[..., Plan], toy_file: Callable[..., Path], tmp_path: Path, made: dict[str, Path]
) -> dict[str, Path]:
    """Pages of a grid with hostile names, of what is decided of it, of one of its runs, of a run that failed, of failures."""
    if made:
        return made
    evil = "deep <img src=https://example.com/x> and a very_long_name_" + "x" * 120
    more = (
        f'\n[arm."{evil}".projector.image]\nuse = "deep"\ndepth = 3\n\n[grid]\n"train.lr" = [1e-4, 1e-3]\n' + DECISION
    )
    found = Finding(
        "a-check", "error", "projector.image", "<script>document.title='broken'</script>" * 3, {"rank": 1.0}
    )

    def change(spec: RunSpec, items: list[Item]) -> list[Item]:
        if spec.arm.startswith("flat") and spec.seed:
            raise RuntimeError("<script>document.title='broken'</script> " + "y" * 300)
        return items

    file = toy_file(("# Is deep", "# Is <b>deep"), append=more)
    plan = record_course(file, change, findings=lambda spec: [found] if spec.seed else [])
    runs = tmp_path / "runs"
    written = write_conclusion(plan, compare_plan(plan, runs / "registry.db"), runs)
    made["experiment"] = written.files[1]
    for name, state in (("run", "finished"), ("failed", "failed")):
        run = next(r for spec in plan.runs if (r := RunDirectory(runs / spec.relative_path)).status() == state)
        made[name] = write_run_pages(run).files[1]
    with open_index(runs / "registry.db") as index:
        made["decision"] = write_decisions(plan, decide(plan, index), runs).files[1]
    made["failures"] = _write_failures(runs / "failures.html")
    return made


def _write_failures(file: Path) -> Path:
    """A gallery of forty failures with a picture for two each, some of them long, wide or hostile."""
    texts = ("<script>document.title='broken'</script>", "x" * 400, "", "unanswerable", "13")
    asked = [
        Prediction(
            id=f"{'long-' * 30}{i}" if i == 1 else f"q{i}", question=f"How many <b>rows</b> has table {i}?",
            prediction=texts[i % 5],
            answers=() if i % 4 == 0 else ("12", "twelve"), answerable=i % 4 != 0, abstained=texts[i % 5] == "unanswerable",
            confidence=i / 40, source=f"set {i % 2}", kind=f"kind-{i % 3}", images=(f"{i // 2}.png",),
        )
        for i in range(40)
    ]  # fmt: skip
    grey = Image.new("RGB", (64, 40), "gray")
    photos = Photos(lambda one: [np.asarray(grey).transpose(2, 0, 1)])
    page = FailurePage("a run", judge(asked), {**TAGS, **BY_HAND}, photos.of, 0).page()
    file.write_text(to_html(page), encoding="utf-8")
    return file


def test_pages_hold_in_every_window_and_ask_for_nothing(browser: Browser, pages: dict[str, Path]) -> None:
    for name, page in pages.items():
        for width, dark in ((1280, False), (390, False), (360, True)):
            browser.open(page, width=width, dark=dark)
            place = f"{name} at {width}"
            assert browser.evaluate("document.documentElement.scrollWidth") <= width, place
            assert browser.evaluate(BEYOND) == [], place
            asked = [
                e["params"]["request"]["url"] for e in browser.events if e.get("method") == "Network.requestWillBeSent"
            ]
            assert [url for url in asked if not url.startswith("data:")] == [page.resolve().as_uri()], place
            said = [e for e in browser.events if e.get("method") in COMPLAINTS]
            assert said == [], place
            assert browser.evaluate("document.title").endswith(KINDS), place


KINDS = ("– experiment", "– run", "– decision", "– failures")
#: Elements that stick out of the window although no box of their own scrolls them.
BEYOND = """[...document.querySelectorAll('main *, header *, nav *')]
    .filter(e => !e.closest('.scroll, pre, svg') && e.getBoundingClientRect().right > innerWidth + 1)
    .map(e => e.outerHTML.slice(0, 200))"""
COMPLAINTS = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")


def test_a_wide_table_scrolls_in_its_own_box(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["experiment"], width=390)
    boxes = browser.evaluate("[...document.querySelectorAll('.scroll')].map(b => [b.scrollWidth, b.clientWidth])")
    assert any(inner > outer for inner, outer in boxes)
    assert all(outer <= 390 for _, outer in boxes)


def test_letters_of_pictures_stay_legible_on_a_phone(browser: Browser, pages: dict[str, Path]) -> None:
    """At least 7 pixels high: as wide as the window, and drawn for that width."""
    browser.open(pages["run"], width=360)
    sizes = browser.evaluate(
        "[...document.querySelectorAll('svg text')].map(t => parseFloat(getComputedStyle(t).fontSize)"
        " * t.ownerSVGElement.getScreenCTM().a)"
    )
    assert len(sizes) > 20
    assert min(sizes) >= 7
    widths = browser.evaluate("[...document.querySelectorAll('figure svg')].map(s => s.getBoundingClientRect().width)")
    assert min(widths) > 300


def test_dark_pages_are_dark_light_ones_light_and_their_pictures_with_them(
    browser: Browser, pages: dict[str, Path]
) -> None:
    found = {}
    for dark in (False, True):
        browser.open(pages["run"], dark=dark)
        picture = browser.screenshot()
        found[dark] = (sum(picture.getpixel((2, 400))), browser.evaluate(INK))
    assert found[False][0] > 3 * 240
    assert found[True][0] < 3 * 48
    light, dark_ink = (sum(map(int, re.findall(r"\d+", ink)[:3])) for _, ink in (found[False], found[True]))
    assert light < 3 * 64
    assert dark_ink > 3 * 190


INK = "getComputedStyle(document.querySelector('figure svg text')).fill"


def test_every_text_has_a_contrast_of_at_least_four_and_a_half(browser: Browser, pages: dict[str, Path]) -> None:
    """WCAG 2, level AA, of text on what is behind it."""
    for dark in (False, True):
        for page in pages.values():
            browser.open(page, dark=dark)
            pairs = browser.evaluate(PAIRS)
            assert len(pairs) >= 4
            for ink, ground, text in pairs:
                assert contrast(ink, ground) >= 4.5, (dark, ink, ground, text)


#: Colour of each text and the first ground behind it that is not transparent.
PAIRS = """[...new Map([...document.querySelectorAll('body *')]
    .filter(e => !e.closest('svg') && [...e.childNodes].some(n => n.nodeType == 3 && n.textContent.trim()))
    .map(e => { let g = e; const of = n => getComputedStyle(n).backgroundColor;
        while (g.parentElement && of(g) == 'rgba(0, 0, 0, 0)') g = g.parentElement;
        const pair = [getComputedStyle(e).color, of(g)];
        return [pair.join(), [...pair, e.textContent.slice(0, 40)]]; })).values()]"""


def contrast(ink: str, ground: str) -> float:
    levels = []
    for colour in (ink, ground):
        channels = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        line = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        levels.append(0.2126 * line[0] + 0.7152 * line[1] + 0.0722 * line[2])
    return (max(levels) + 0.05) / (min(levels) + 0.05)


@pytest.mark.skipif(not AXE, reason="AXE_CORE names no axe.min.js; see .ci/run")
def test_axe_has_nothing_to_complain_of(browser: Browser, pages: dict[str, Path]) -> None:
    for dark, width in ((False, 1280), (True, 1280), (False, 390)):
        for name, page in pages.items():
            browser.open(page, dark=dark, width=width)
            browser.evaluate(f"{Path(AXE).read_text(encoding='utf-8')}; 0")
            done = browser.evaluate(VIOLATIONS)
            assert done["passes"] > 30, name
            assert done["violations"] == [], (name, dark, width)


VIOLATIONS = """axe.run().then(done => ({
    passes: done.passes.length,
    violations: done.violations.map(v => [v.impact, v.id, v.nodes.map(n => n.html.slice(0, 200))])
}))"""


def test_print_is_dark_on_white_and_shows_what_is_folded(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["run"], dark=True, media="print")
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert browser.evaluate("document.querySelector('details pre').getBoundingClientRect().height") > 100
    browser.open(pages["run"])
    assert browser.pdf().startswith(b"%PDF")


def test_a_plot_of_its_own_is_legible_in_light_and_dark(browser: Browser, pages: dict[str, Path]) -> None:
    plot = pages["run"].parent / "plots" / "loss.svg"
    for dark, bright in ((False, True), (True, False)):
        browser.open(plot, width=600, dark=dark)
        assert (sum(browser.screenshot().getpixel((3, 3))) > 3 * 128) == bright


def test_examples_are_chosen_by_their_marks_and_pictures_grow(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["failures"])
    shown = "[...document.querySelectorAll('.example')].filter(e => e.getBoundingClientRect().height > 0)"
    everything = browser.evaluate(f"{shown}.length")
    labels = browser.evaluate(
        "[...document.querySelectorAll('.choices label')].map(l => l.firstChild.textContent.trim())"
    )
    assert labels == ["tag", "kind", "source"]
    left = everything
    for place, label in enumerate(labels):  # one choice after the other, each within what the others leave
        value, count = browser.evaluate(
            f"(s => {{ s.selectedIndex = 1; return [s.value, parseInt(s.selectedOptions[0].text.match(/[(](\\d+)[)]/)[1])]; }})"
            f"(document.querySelectorAll('.choices select')[{place}])"
        )
        mark, _, number = value.partition("-")
        assert mark == label
        seen = browser.evaluate(f"{shown}.map(e => e.dataset.{mark})")
        assert 0 < len(seen) <= min(left, count)
        assert set(seen) == {number}
        left = len(seen)
    assert left < everything
    browser.evaluate("document.querySelectorAll('.choices select').forEach(s => s.selectedIndex = 0)")
    assert browser.evaluate(f"{shown}.length") == everything
    width = "document.querySelector('.example:has(use)').getBoundingClientRect().width"
    before = browser.evaluate(width)
    browser.evaluate("document.querySelector('.photo').click()")
    assert browser.evaluate(width) > 1.5 * before
