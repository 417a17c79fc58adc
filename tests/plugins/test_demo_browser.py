"""``mlrun demo`` as a process of its own: asked in Chromium, and sent everything that it must survive."""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio", reason="the demo needs pip install 'trialbook[demo]'")
sys.path.insert(0, str(Path(__file__).parent / "demo_course"))

from chromium import ABSENT, PROGRAM, Browser
from course import Course, Demo, Visitor

needs_browser = pytest.mark.skipif(PROGRAM is None, reason=ABSENT)


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Course:
    return Course(tmp_path_factory.mktemp("course")).make()


@pytest.fixture(scope="module")
def demo(course: Course) -> Iterator[Demo]:
    started = Demo(course)
    yield started
    assert started.close() == 0, "it does not end well"
    assert not list(Path(started.temporary).glob("mlrun-demo-*")), "uploaded files are left behind"


@pytest.fixture(scope="module")
def visitor(demo: Demo) -> Visitor:
    return Visitor(demo.address)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


def png(colour: Any, size: tuple[int, int] = (640, 480), **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, "PNG", **options)
    return stream.getvalue()


RED, GREEN = png((205, 45, 40)), png((45, 160, 62))


# --- in the browser -----------------------------------------------------------------------------------------------


class Page:
    """The first page in the browser, used as people use it."""

    def __init__(self, browser: Browser, address: str, **window: Any) -> None:
        self.browser = browser
        browser.open(address, **window)
        browser.wait_for("document.querySelector('#picture input[type=file]')")

    def upload(self, file: Path) -> None:
        self.browser.choose_file("#picture input[type=file]", file)
        self.browser.wait_for(
            "document.querySelector('#picture img')?.naturalWidth || document.querySelector('#noticed .failed')"
        )

    def ask(self, question: str, outcome: str) -> str:
        self.browser.type("#question textarea", question)
        self.browser.click("#ask")
        self.browser.wait_for(f"document.querySelector('#reply .{outcome}')")
        return self.text("#reply .answer")

    def text(self, selector: str) -> str:
        return str(self.browser.evaluate(f"document.querySelector('{selector}').textContent"))

    def move(self, threshold: float) -> None:
        """Type a threshold, as the slider's field takes it."""
        self.browser.type("#threshold input[type=number]", str(threshold))
        self.browser.evaluate("document.querySelector('#threshold input[type=number]').blur()")


@needs_browser
def test_a_picture_is_uploaded_and_answerable_and_unanswerable_questions_are_asked(
    browser: Browser, demo: Demo, tmp_path: Path
) -> None:
    file = tmp_path / "sheet.png"
    file.write_bytes(RED)
    page = Page(browser, demo.address)
    assert f"colours/{demo.run} (arm main, seed 0), step-00000030" in page.text("body")
    page.upload(file)
    assert page.ask("What colour is the sheet?", "answered") == "red"
    confidence = float(page.text("#reply .small").split()[1].rstrip(","))
    assert 0.4 < confidence < 0.99
    picture = browser.screenshot(whole=True)
    assert np.any(np.all(np.abs(np.asarray(picture).astype(int) - (205, 45, 40)) < 6, axis=2)), (
        "the picture is not shown"
    )
    assert page.ask("Who signed the sheet?", "abstained") == "unanswerable"
    assert "the model itself abstained" in page.text("#reply .state")
    page.move(0.99)
    browser.wait_for("document.querySelector('#reply .small').textContent.includes('threshold 0.99')")
    assert "the model itself abstained" in page.text("#reply .state")  # that stays what it is


@needs_browser
def test_the_threshold_decides_again_without_asking_again(browser: Browser, demo: Demo, tmp_path: Path) -> None:
    file = tmp_path / "sheet.png"
    file.write_bytes(GREEN)
    page = Page(browser, demo.address)
    page.upload(file)
    page.ask("What colour is the sheet?", "answered")
    took = page.text("#reply .small").rpartition(";")[2]
    assert "Of 24 evaluation questions 12 (50%) would be answered, 100% of them rightly" in page.text("#expected")
    page.move(0.99)
    browser.wait_for("document.querySelector('#reply .withheld')")
    assert "abstained by the threshold" in page.text("#reply .state")
    assert "green" not in page.text("#reply > * > .reply > .answer, #reply .reply > .answer")
    assert page.text("#reply details .answer") == "green"
    assert page.text("#reply .small").rpartition(";")[2] == took
    assert "Of 24 evaluation questions 0 (0%)" in page.text("#expected")
    page.move(0.1)
    browser.wait_for("document.querySelector('#reply .answered')")
    assert page.text("#reply .answer") == "green"


@needs_browser
def test_what_a_model_says_is_shown_as_text_whatever_it_is(browser: Browser, demo: Demo, tmp_path: Path) -> None:
    file = tmp_path / "sheet.png"
    file.write_bytes(RED)
    page = Page(browser, demo.address)
    page.upload(file)
    said = "${document.title='owned'} {{value}} <img src=x onerror=\"document.title='owned'\"> `a` \\n </script>"
    assert page.ask(f"say {said}", "answered") == said
    assert browser.evaluate("document.title") == "mlrun demo"
    assert "the model failed (RuntimeError: a tensor of the wrong size)" in page.ask("break it", "failed")


@needs_browser
def test_a_file_that_is_no_picture_is_refused_at_once_and_the_next_one_is_taken(
    browser: Browser, demo: Demo, tmp_path: Path
) -> None:
    (tmp_path / "text.png").write_text("Total: 12.50 EUR")
    (tmp_path / "sheet.png").write_bytes(RED)
    page = Page(browser, demo.address)
    page.upload(tmp_path / "text.png")
    assert "no picture that can be read" in page.text("#noticed .failed .answer")
    page = Page(browser, demo.address)
    page.upload(tmp_path / "sheet.png")
    assert page.ask("What colour is the sheet?", "answered") == "red"


@needs_browser
def test_a_file_that_is_too_large_is_refused_before_it_is_sent(browser: Browser, demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "big.png").write_bytes(RED + bytes(21_000_000))
    page = Page(browser, demo.address)
    browser.choose_file("#picture input[type=file]", tmp_path / "big.png")
    browser.wait_for("document.body.textContent.includes('exceed the maximum allowed size')")
    assert [url for url in browser.requests() if url.partition("?")[0].endswith("/gradio_api/upload")] == []
    assert "at most 20 MB and 50 megapixels" in page.text("#picture")


@needs_browser
def test_an_example_of_the_evaluation_is_asked_and_what_is_right_is_shown(browser: Browser, demo: Demo) -> None:
    page = Page(browser, demo.address)
    browser.wait_for("document.querySelectorAll('#examples .gallery-item').length == 8")
    browser.click("#examples .gallery-item:nth-child(2) button")
    browser.wait_for("document.querySelector('#truth').textContent.includes('right answer')")
    assert "the picture does not hold it" in page.text("#truth")
    assert browser.evaluate("document.querySelector('#question textarea').value") == "Who signed the sheet?"
    browser.wait_for("document.querySelector('#picture img')?.naturalWidth")
    browser.click("#ask")
    browser.wait_for("document.querySelector('#reply .abstained')")


@needs_browser
def test_the_registry_shows_runs_curves_and_the_comparison_and_leads_to_reports(browser: Browser, demo: Demo) -> None:
    browser.open(f"{demo.address}/registry")
    browser.wait_for("document.querySelector('#comparison .trialbook')")
    rows = browser.evaluate("[...document.querySelectorAll('#runs tbody tr')].map(r => r.innerText.split(/\\s+/))")
    assert [(row[1], row[2], row[3]) for row in rows] == [("finished", "main", "1"), ("finished", "main", "0")]
    assert browser.evaluate("document.querySelectorAll('#curves svg').length") == 1
    assert "main, seed 0" in browser.evaluate("document.querySelector('#curves').textContent")
    assert "Can a linear map name a colour?" in browser.evaluate("document.querySelector('#comparison').textContent")
    target = browser.evaluate("document.querySelector('#runs td a').href")
    assert target.startswith(f"{demo.address}/files/colours/main-s1-")
    browser.open(target)
    assert browser.evaluate("document.querySelector('h1').textContent").startswith("main-s1-")
    assert browser.evaluate("document.querySelectorAll('figure svg').length") > 0


@needs_browser
@pytest.mark.parametrize("path", ["", "/registry"])
def test_pages_hold_in_every_window_and_ask_no_other_server(browser: Browser, demo: Demo, path: str) -> None:
    for width, dark in ((1280, False), (390, True)):
        browser.open(demo.address + path, width=width, dark=dark)
        browser.wait_for(
            "document.querySelector('#comparison .trialbook, #examples img')?.getBoundingClientRect().height > 0"
        )
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        assert browser.evaluate("innerWidth") == width  # a phone would show a page that is too wide smaller
        assert [url for url in browser.requests() if not url.startswith((demo.address, "data:", "blob:"))] == []
        wrong = [e for e in browser.events if e.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown")]
        assert wrong == []
        ground = browser.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, ground.strip("rgba()").split(",")[:3])) < 200) == dark


# --- without a browser --------------------------------------------------------------------------------------------


def test_every_bad_file_gets_a_reason_and_the_server_goes_on_answering(visitor: Visitor) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    stream = io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(stream, "PNG")
    bomb = stream.getvalue()
    for content, said in (
        (b"Total: 12.50 EUR", "no picture that can be read"),
        (bomb, "more than 178 megapixels; at most 50 are taken"),
        (png("red", (8000, 7000)), "8000 × 7000 pixels, 56 megapixels; at most 50 are taken"),
        (RED[: len(RED) // 2], "broken or cut off"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 1000, "no picture that can be read"),
    ):
        status, path = visitor.upload(content)
        assert status == 200
        assert said in visitor.ask(path, "What colour is the sheet?")
        assert "red" in visitor.ask(visitor.upload(RED)[1], "What colour is the sheet?")


def test_an_upload_of_a_hundred_megabytes_is_refused_with_the_limit(visitor: Visitor) -> None:
    status, said = visitor.upload(bytes(100_000_000))
    assert status == 413
    assert said == "the file has 100.0 MB; at most 20 MB are taken\n"
    status, said = visitor.upload(bytes(20_000_100))
    assert (status, "maximum allowed size of 20000000" in said) == (413, True)
    assert "green" in visitor.ask(visitor.upload(GREEN)[1], "What colour is the sheet?")


def test_odd_questions_and_messages_do_no_harm(visitor: Visitor) -> None:
    path = visitor.upload(RED)[1]
    assert "type a question" in visitor.ask(path, "  ")
    assert "choose a picture first" in visitor.ask(None, "What colour is the sheet?")
    assert "at most 500 are taken" in visitor.ask(path, "x" * 5000)
    for question, threshold in ((None, 0.5), (7, 0.5), (["a"], 0.5), ("What colour?", "high"), ("What colour?", None)):
        assert "Traceback" not in visitor.ask(path, question, threshold)
    assert "red" in visitor.ask(path, "What colour is the sheet?")


def test_no_file_of_the_machine_can_be_read(visitor: Visitor, course: Course, demo: Demo) -> None:
    run = course.runs / "colours" / demo.run
    for path in ("/etc/passwd", str(run / "config.toml"), "file:///etc/passwd", "http://127.0.0.1:1/x.png"):
        assert "only files that were uploaded may be named" in visitor.ask(path, "What colour is the sheet?")
    for path in ("/etc/passwd", str(run / "config.toml"), str(run / "report.html"), "../../etc/passwd"):
        assert visitor.get(f"/gradio_api/file={path}")[0] in (403, 404)
    for path in (
        f"colours/{demo.run}/config.toml",
        "../course.py",
        f"colours/{demo.run}/../../registry.db",
        "registry.db",
    ):
        assert visitor.get(f"/files/{path}")[0] == 404
    assert visitor.get(f"/files/colours/{demo.run}/report.html")[0] == 200


def test_another_name_of_the_server_and_another_origin_are_refused(visitor: Visitor) -> None:
    assert visitor.send("GET", "/", host="evil.example")[0] == 421
    assert visitor.send("POST", "/gradio_api/queue/join", b"{}", origin="http://evil.example")[0] == 403


def test_what_cannot_be_demonstrated_is_said_in_a_sentence(course: Course, demo: Demo) -> None:
    for arguments, said in (
        (["nothing-like-it"], "no run 'nothing-like-it'"),
        ([demo.run, "--port", str(demo.port)], f"cannot listen at 127.0.0.1:{demo.port}"),
        ([demo.run, "--max-upload", "many"], "'many' is no size"),
    ):
        done = course.mlrun("demo", *arguments)
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
@needs_browser
def test_with_a_password_nothing_is_seen_before_it_is_given(course: Course, browser: Browser, tmp_path: Path) -> None:
    demo = Demo(course, TRIALBOOK_DEMO_PASSWORD="grün/Tee")
    try:
        key = base64.b64encode("any:grün/Tee".encode()).decode()
        for path in ("/", "/registry", "/config", "/theme.css", f"/files/colours/{demo.run}/report.html"):
            assert Visitor.send(_At(demo), "GET", path)[0] == 401
            assert Visitor.send(_At(demo), "GET", path, authorization=f"Basic {key}")[0] == 200
        browser.open(demo.address.replace("http://", "http://any:gr%C3%BCn%2FTee@") + "/theme.css")  # it remembers that
        page = Page(browser, demo.address)
        (tmp_path / "sheet.png").write_bytes(RED)
        page.upload(tmp_path / "sheet.png")
        assert page.ask("What colour is the sheet?", "answered") == "red"
    finally:
        demo.close()


class _At:
    """Where to send."""

    def __init__(self, demo: Demo) -> None:
        self.host = demo.address.removeprefix("http://")
