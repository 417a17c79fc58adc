"""A page as Markdown (GitHub's flavour), with its plots as relative links."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

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
from trialbook.reports.tables import Column, Table, render

#: What would be read as mark-up wherever it stands; ``_`` and ``~`` only at the edge of a word.
_MARKUP = re.compile(r"[\\`*\[\]<&]|(?<!\w)[_~]|[_~](?!\w)")
#: What would be read as mark-up at the beginning of a line: the sign that makes it so is the last one.
_LEADING = re.compile(r"^(\d*)([#>]|[-+](?=\s)|(?<=\d)[.)](?=\s))")


def to_markdown(page: Page) -> str:
    """The page as text of a file."""
    blocks = [f"# {escape(page.title)}"]
    blocks += [text for block in page.head for text in _block(block, page.plots)]
    for section in page.filled():
        blocks.append(f"## {escape(section.title)}")
        blocks += [text for block in section.blocks for text in _block(block, page.plots)]
    return "\n\n".join(blocks) + "\n"


def escape(text: str) -> str:
    """Text so that no letter of it is mark-up; a line break becomes a space."""
    flat = " ".join(text.split())
    return _LEADING.sub(r"\1\\\2", _MARKUP.sub(_harmless, flat))


def _harmless(found: re.Match[str]) -> str:
    return {"<": "&lt;", "&": "&amp;"}.get(found[0], f"\\{found[0]}")


def _text(text: Text) -> str:
    return "".join(_piece(piece) for piece in pieces(text))


def _piece(piece: str | Link | Code | Strong) -> str:
    if isinstance(piece, Link):
        return f"[{escape(piece.text)}](<{piece.target}>)" if piece.target else escape(piece.text)
    if isinstance(piece, Code):
        return code(piece.text)
    if isinstance(piece, Strong):
        return f"**{escape(piece.text)}**"
    before, after = (" " if edge.isspace() else "" for edge in (piece[:1], piece[-1:]))
    return f"{before}{escape(piece)}{after}" if piece.strip() else piece


def code(text: str) -> str:
    """Code within a sentence, with more backticks around it than it has in it."""
    flat = " ".join(text.split())
    fence = "`" * (max((len(run) for run in re.findall("`+", flat)), default=0) + 1)
    return f"{fence} {flat} {fence}" if "`" in flat else f"{fence}{flat}{fence}"


def _block(block: Block, plots: str) -> Iterator[str]:
    if isinstance(block, Paragraph):
        yield _text(block.text)
    elif isinstance(block, Items):
        yield "\n".join(f"- {_text(item)}" for item in block.items)
    elif isinstance(block, KeyValues):
        yield "\n".join(f"- {escape(name)}: {_text(value)}" for name, value in block.pairs.items())
    elif isinstance(block, TableBlock):
        yield from _grid(block)
    elif isinstance(block, Notice):
        details = [f"  {escape(name)}: {_text(value)}" for name, value in block.details.items()]
        yield "\\\n".join([f"- **{block.severity}**: {_text(block.what)}", *details])
    elif isinstance(block, CodeBlock):
        yield _listing(block.text)
    elif isinstance(block, Diagram):
        yield _listing(block.text)
        yield escape(block.caption)
    elif isinstance(block, SavedPicture):
        yield f"![{escape(block.alt)}](<{block.target}>)"
        yield f"**{escape(block.title)}**" + (f": {escape(block.caption)}" if block.caption else "")
    elif isinstance(block, Gallery):
        for picture in block.pictures:
            yield _picture(picture, plots)
    elif isinstance(block, Examples):
        for one in block.examples:
            said = [f"{escape(name)}: {_text(value)}" for name, value in {**one.pairs, **one.marks}.items()]
            yield "\\\n  ".join([f"- **{escape(one.heading)}** ({escape(one.title)})", *said])
    else:
        yield f"### {escape(block.title)}"
        for inner in block.blocks:
            yield from _block(inner, plots)


def _grid(grid: TableBlock) -> Iterator[str]:
    columns = [Column(c.name, escape(c.title or c.name) if c.title != "" else "", right=c.right) for c in grid.columns]
    rows: Sequence[Sequence[str]] = [[_text(cell) for cell in row] for row in grid.rows]
    if grid.caption:
        yield f"**{escape(grid.caption)}**"
    yield render(Table(columns, rows), "markdown")


def _listing(text: str) -> str:
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 0)
    return f"{fence}\n{text.rstrip()}\n{fence}"


def _picture(picture: Picture, plots: str) -> str:
    if picture.error:
        return f"**{escape(picture.title)}**: this plot could not be drawn: {escape(picture.error)}"
    words = f"**{escape(picture.title)}**: {escape(picture.caption)}"
    return f"![{escape(picture.alt)}](<{plots}/{picture.name}.svg>)\n\n{words}"
