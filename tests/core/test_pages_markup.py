"""Pages as Markdown and as HTML: what users write stays text, and the mark-up is sound."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from trialbook.reports.document.blocks import (
    Block,
    Code,
    CodeBlock,
    Collapsible,
    Diagram,
    Example,
    Examples,
    Gallery,
    Items,
    KeyValues,
    Link,
    Notice,
    Page,
    Paragraph,
    Photo,
    Picture,
    SavedPicture,
    Section,
    Strong,
    TableBlock,
)  # fmt: skip
from trialbook.reports.document.diagram import Box, draw_layers
from trialbook.reports.document.escape import markdown as escape
from trialbook.reports.document.html import to_html
from trialbook.reports.document.markdown import to_markdown
from trialbook.reports.tables import Column, Table

EVIL = "<script>alert('x')</script> & \"quoted\" | [a](javascript:b) `c` *d* \x00"
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Reader(HTMLParser):
    """Tags that are open, text outside of style and SVG, and every attribute."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open and "svg" not in self.open:
            self.text += data


def whole(*blocks: Block) -> Page:
    return Page(
        "T", "run", [], [Section("First part", blocks), Section("Empty", []), Section("First part!", [Paragraph("x")])]
    )


EVERYTHING: list[Block] = [
    Paragraph([EVIL, Strong(EVIL), Code(EVIL), Link(EVIL, EVIL)], lead=True), Items([EVIL]), KeyValues({EVIL: EVIL}),
    TableBlock(
        EVIL, [Column(EVIL), Column("n", right=True)], [[EVIL, "1"], ["", Link(EVIL, "a/b.html")]], {0: "good"}, grouped=False
    ),
    TableBlock(
        "groups", [Column("g"), Column("r"), Column("v")], [["a", "x", "1"], ["", "y", "2"], ["b", "z", "3"]], grouped=True
    ),
    Notice("error", EVIL, {"part": Code(EVIL)}), CodeBlock(EVIL), Collapsible(EVIL, [CodeBlock(EVIL)]),
    Gallery([Picture("p", EVIL, EVIL, EVIL, "<svg><g/></svg>"), Picture("q", EVIL, EVIL, error=EVIL)]),
]  # fmt: skip


DRAWN: list[Block] = [
    Diagram(EVIL, EVIL, draw_layers([[Box(EVIL, [EVIL], "frozen", [(1, 0)])], [Box(EVIL, [EVIL])]]), EVIL, EVIL),
    SavedPicture(EVIL, "", EVIL, EVIL, EVIL), SavedPicture(EVIL, "data:image/png;base64,AA", EVIL, EVIL, EVIL),
    Examples("cards", [
        Example(EVIL, EVIL, {EVIL: EVIL}, {"kind": kind, "source": EVIL}, [Photo("photo-0", "data:image/png;base64,AA", 2, 2)])
        for kind in (EVIL, "other")
    ]),
]  # fmt: skip


def test_nothing_that_a_user_wrote_becomes_mark_up_in_html() -> None:
    page = to_html(Page(EVIL, EVIL, EVERYTHING, [Section(EVIL, [*EVERYTHING, *DRAWN])]))
    read = Reader(page)
    assert read.open == []
    assert "script" not in read.seen
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    targets = [value for name, value in read.attributes if name == "href"]
    assert targets
    assert all(not re.match(r"\s*javascript:", target) for target in targets)
    assert "\x00" not in page
    assert read.text.count("<script>alert('x')</script> & \"quoted\" | [a](javascript:b) `c` *d*") > 20


def test_an_html_page_asks_for_nothing_and_has_what_readers_of_screens_need() -> None:
    page = to_html(whole(*EVERYTHING))
    read = Reader(page)
    assert not [value for name, value in read.attributes if name in ("src", "data", "action")]
    assert "url(" not in page
    assert "@import" not in page
    assert ("lang", "en") in read.attributes
    assert ("name", "viewport") in read.attributes
    assert len(read.ids) == len(set(read.ids))
    assert {"first-part", "first-part-1"} <= set(read.ids)
    assert "#first-part-1" in [value for name, value in read.attributes if name == "href"]
    assert page.count("<h1") == 1
    assert "Empty" not in read.text
    assert page.count('<th scope="col"') == 5
    assert page.count("<caption>") == 2
    assert page.count("<figcaption>") == page.count("<figure") == 2
    assert 'role="img" aria-label="&lt;script&gt;' in page


def test_rows_of_a_group_stand_under_one_heading() -> None:
    (grid,) = [block for block in EVERYTHING if isinstance(block, TableBlock) and block.grouped]
    page = to_html(whole(grid))
    assert re.findall(r'scope="rowgroup" rowspan="(\d)">(\w)', page) == [("2", "a"), ("1", "b")]
    assert re.findall(r'scope="row">(\w)', page) == ["x", "y", "z"]
    assert page.count("<tbody>") == 2


def test_a_table_keeps_what_its_colours_say() -> None:
    table = Table([Column("arm"), Column("verdict")], [["a", "better"], ["b", "worse"]], "T", {0: "green", 1: "red"})
    assert TableBlock.of(table).tones == {0: "good", 1: "bad"}
    assert '<tr class="bad"><th scope="row">b</th><td>worse</td></tr>' in to_html(whole(TableBlock.of(table)))


def test_markdown_has_the_same_words_without_their_mark_up() -> None:
    text = to_markdown(whole(*EVERYTHING, *DRAWN))
    assert "<script>" not in re.sub(r"```.*?```|`[^`\n]+`", "", text, flags=re.DOTALL).replace("&lt;script>", "")
    assert "![&lt;script>" in text
    assert "(<plots/p.svg>)" in text
    assert "could not be drawn" in text
    assert "| a | x | 1 |" in text
    assert "## First part" in text
    assert "Empty" not in text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("mean_pool", "mean_pool"), ("_mean_ pool", r"\_mean\_ pool"), ("a*b", r"a\*b"), ("# no heading", r"\# no heading"),
        ("1. no list", r"1\. no list"), ("2.5 is", "2.5 is"), ("- no item", r"\- no item"), ("a - b", "a - b"), ("-0.5", "-0.5"),
        ("a < b & c", "a &lt; b &amp; c"),
        ("two\nlines", "two lines"),
    ],
)  # fmt: skip
def test_only_what_would_be_read_as_mark_up_is_escaped(text: str, escaped: str) -> None:
    assert escape(text) == escaped


def test_code_that_holds_backticks_and_listings_that_hold_fences_end_where_they_should() -> None:
    text = to_markdown(whole(Paragraph(["x ", Code("a `b` c"), " y"]), CodeBlock("```\ninner\n```")))
    assert "x `` a `b` c `` y" in text
    assert "````\n```\ninner\n```\n````" in text
