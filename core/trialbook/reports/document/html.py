"""A page as one HTML file that needs nothing else: style and pictures stand in it, no script, no network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from trialbook.reports.document.blocks import (
    Block,
    Code,
    CodeBlock,
    Diagram,
    Examples,
    Gallery,
    Items,
    KeyValues,
    Link,
    Notice,
    Page,
    Paragraph,
    Picture,
    SavedPicture,
    Strong,
    TableBlock,
    Text,
    pieces,
)  # fmt: skip
from trialbook.reports.document.escape import escape
from trialbook.reports.document.examples import choices_css, examples_html, photos_html

_STYLE = Path(__file__).parents[1] / "templates" / "page.css"
#: No script, no request: whatever a name or an error may hold.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def to_fragment(blocks: Iterable[Block]) -> str:
    """Blocks to stand in a page that is not ours and has a style for them."""
    return _all(blocks)


def to_html(page: Page) -> str:
    """The page as text of a file."""
    sections = page.filled()
    anchors = _anchors([section.title for section in sections])
    body = [_all(page.head)]
    for section, anchor in zip(sections, anchors, strict=True):
        heading = f'<h2 id="{anchor}-title">{escape(section.title)}</h2>'
        body.append(
            f'<section id="{anchor}" aria-labelledby="{anchor}-title">\n{heading}\n{_all(section.blocks)}\n</section>'
        )
    links = "".join(
        f'<li><a href="#{anchor}">{escape(section.title)}</a></li>'
        for section, anchor in zip(sections, anchors, strict=True)
    )
    contents = f'<nav aria-label="Contents"><ul>{links}</ul></nav>' if len(sections) > 1 else ""
    return "\n".join([
        "<!DOCTYPE html>", '<html lang="en">', "<head>", '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f"<title>{escape(page.title)} – {escape(page.kind)}</title>",
        f"<style>\n{_style()}{_choices(page)}</style>", "</head>", "<body>", _photos(page),
        f'<header>\n<p class="kind">{escape(page.kind)}</p>\n<h1>{escape(page.title)}</h1>\n</header>', contents,
        "<main>", *body, "</main>", "</body>", "</html>", "",
    ])  # fmt: skip


@lru_cache(maxsize=1)
def _style() -> str:
    return _STYLE.read_text(encoding="utf-8")


def _choices(page: Page) -> str:
    return "".join(choices_css(block) for block in _examples(page))


def _photos(page: Page) -> str:
    return photos_html([one for block in _examples(page) for one in block.examples])


def _examples(page: Page) -> list[Examples]:
    """Examples at the top level of sections."""
    return [block for section in page.sections for block in section.blocks if isinstance(block, Examples)]


def _anchors(titles: Sequence[str]) -> list[str]:
    """A name for each title that an address can hold, each one once."""
    found: list[str] = []
    for title in titles:
        plain = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
        found.append(plain if plain not in found else f"{plain}-{len(found)}")
    return found


def _text(text: Text) -> str:
    return "".join(_piece(piece) for piece in pieces(text))


def _piece(piece: str | Link | Code | Strong) -> str:
    if isinstance(piece, Link):
        target = quote(piece.target, safe="/#.,=+-_~")
        return f'<a href="{escape(target)}">{escape(piece.text)}</a>' if target else escape(piece.text)
    if isinstance(piece, Code):
        return f"<code>{escape(piece.text)}</code>"
    if isinstance(piece, Strong):
        return f"<strong>{escape(piece.text)}</strong>"
    return escape(piece)


def _all(blocks: Iterable[Block]) -> str:
    return "\n".join(_block(block) for block in blocks)


def _block(block: Block) -> str:
    if isinstance(block, Paragraph):
        return f'<p class="lead">{_text(block.text)}</p>' if block.lead else f"<p>{_text(block.text)}</p>"
    if isinstance(block, Items):
        kind = ' class="answer"' if block.lead else ""
        return f"<ul{kind}>" + "".join(f"<li>{_text(item)}</li>" for item in block.items) + "</ul>"
    if isinstance(block, KeyValues):
        rows = "".join(f"<dt>{escape(name)}</dt><dd>{_text(value)}</dd>" for name, value in block.pairs.items())
        return f"<dl>{rows}</dl>"
    if isinstance(block, TableBlock):
        return _grid(block)
    if isinstance(block, Notice):
        return _notice(block)
    if isinstance(block, CodeBlock):
        return f'<pre tabindex="0">{escape(block.text.rstrip())}</pre>'
    if isinstance(block, Examples):
        return examples_html(block, _text)
    if isinstance(block, Diagram):
        return _diagram(block)
    if isinstance(block, SavedPicture):
        return _kept(block)
    if isinstance(block, Gallery):
        return '<div class="gallery">\n' + "\n".join(map(_picture, block.pictures)) + "\n</div>"
    return f"<details>\n<summary>{escape(block.title)}</summary>\n{_all(block.blocks)}\n</details>"


def _grid(grid: TableBlock) -> str:
    sides = [' class="number"' if column.right else "" for column in grid.columns]
    headings = [column.name if column.title is None else column.title for column in grid.columns]
    head = "".join(f'<th scope="col"{side}>{escape(text)}</th>' for text, side in zip(headings, sides, strict=True))
    caption = f"<caption>{escape(grid.caption)}</caption>" if grid.caption else ""
    label = f' aria-label="{escape(grid.caption or "table")}"'
    bodies = "\n".join(_body(grid, start, stop, sides) for start, stop in _groups(grid))
    table = f"<table>{caption}\n<thead><tr>{head}</tr></thead>\n{bodies}\n</table>"
    return f'<div class="scroll" role="region" tabindex="0"{label}>{table}</div>'


def _groups(grid: TableBlock) -> list[tuple[int, int]]:
    """First row and the row behind the last one of each group; all rows are one where nothing groups them."""
    starts = [i for i, row in enumerate(grid.rows) if i == 0 or (grid.grouped and row[0] != "")]
    return list(zip(starts, [*starts[1:], len(grid.rows)], strict=True))


def _body(grid: TableBlock, start: int, stop: int, sides: Sequence[str]) -> str:
    rows = []
    for index in range(start, stop):
        row, cells, named = grid.rows[index], [], 0
        if grid.grouped:
            named = 1
            if index == start:
                cells.append(f'<th scope="rowgroup" rowspan="{stop - start}">{_text(row[0])}</th>')
        cells.append(f'<th scope="row">{_text(row[named])}</th>')
        rest = zip(row[named + 1 :], sides[named + 1 :], strict=True)
        cells += [f"<td{side}>{_text(cell)}</td>" for cell, side in rest]
        tone = f' class="{grid.tones[index]}"' if index in grid.tones else ""
        rows.append(f"<tr{tone}>{''.join(cells)}</tr>")
    return "<tbody>\n" + "\n".join(rows) + "\n</tbody>"


def _notice(notice: Notice) -> str:
    details = "".join(f"<dt>{escape(name)}</dt><dd>{_text(value)}</dd>" for name, value in notice.details.items())
    body = f"<dl>{details}</dl>" if details else ""
    severity = escape(notice.severity)
    return f'<div class="notice {severity}"><p><strong>{severity}</strong> {_text(notice.what)}</p>{body}</div>'


def _diagram(diagram: Diagram) -> str:
    drawn = diagram.svg.replace("<svg", f'<svg role="img" aria-label="{escape(diagram.alt)}"', 1)
    words = escape(f"{diagram.signs} {diagram.caption}".strip())
    return f'<figure class="diagram">{drawn}<figcaption>{words}</figcaption></figure>'


def _kept(kept: SavedPicture) -> str:
    words = f"<figcaption><strong>{escape(kept.title)}</strong> {escape(kept.caption)}</figcaption>"
    if not kept.uri:
        return f'<figure class="kept"><p>{_text(Link(kept.target, kept.target))}</p>{words}</figure>'
    return f'<figure class="kept"><img src="{escape(kept.uri)}" alt="{escape(kept.alt)}">{words}</figure>'


def _picture(picture: Picture) -> str:
    words = f"<figcaption><strong>{escape(picture.title)}</strong> {escape(picture.caption)}</figcaption>"
    if picture.error:
        what = f"This plot could not be drawn: {escape(picture.error)}"
        return f'<figure class="failed"><p>{what}</p>{words}</figure>'
    drawn = picture.svg.replace("<svg", f'<svg role="img" aria-label="{escape(picture.alt)}"', 1)
    return f'<figure id="plot-{escape(picture.name)}">{drawn}{words}</figure>'
