"""The blocks that a page is made of, whether it becomes Markdown or HTML: plain data, nothing escaped yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trialbook.reports.tables import Column, Table


@dataclass(frozen=True)
class Link:
    """A link to a file beside the page."""

    text: str
    target: str


@dataclass(frozen=True)
class Code:
    """A command, a key, a hash."""

    text: str


@dataclass(frozen=True)
class Strong:
    """Text that a skimming eye should find."""

    text: str


#: A piece of text, and a text of several.
Piece = str | Link | Code | Strong
Text = Piece | Sequence[Piece]


def pieces(text: Text) -> Sequence[Piece]:
    """A text as its pieces."""
    return (text,) if isinstance(text, str | Link | Code | Strong) else text


@dataclass(frozen=True)
class Paragraph:
    """A paragraph; ``lead`` sets it larger, as the answer at the top is."""

    text: Text
    lead: bool = False


@dataclass(frozen=True)
class Items:
    """A list of short texts; ``lead`` sets it off as the answer."""

    items: Sequence[Text]
    lead: bool = False


@dataclass(frozen=True)
class KeyValues:
    """Names and what they are."""

    pairs: Mapping[str, Text]


#: Colours that tables have in a terminal, and what they say.
_TONES = {"green": "good", "red": "bad"}


@dataclass(frozen=True)
class TableBlock:
    """A table: a caption, columns, and rows of texts; the first cell of a row names it.

    Args:
        tones: row index -> ``good`` or ``bad``, where a row says so.
        grouped: the first cell names all rows up to the next first cell that is not empty, the second one its row.
    """

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Text]]
    tones: Mapping[int, str] = field(default_factory=dict)
    grouped: bool = False

    def groups(self) -> list[list[tuple[str, Sequence[Text]]]]:
        """Rows with their tones, those of a group together; all rows are one group where nothing groups them."""
        found: list[list[tuple[str, Sequence[Text]]]] = []
        for index, row in enumerate(self.rows):
            if not found or (self.grouped and row[0] != ""):
                found.append([])
            found[-1].append((self.tones.get(index, ""), row))
        return found

    @classmethod
    def of(cls, table: Table, caption: str | None = None, *, grouped: bool = False) -> TableBlock:
        """The same rows as people see them, with the table's title unless another caption is given."""
        tones = {row: _TONES[style] for row, style in table.styles.items() if style in _TONES}
        return cls(table.title if caption is None else caption, table.columns, table.texts(), tones, grouped)


@dataclass(frozen=True)
class Notice:
    """Something that was found: how bad, what, the numbers that it rests on, what to try.

    Args:
        severity: ``error``, ``warning`` or ``note``.
        what: a sentence.
        details: name to text.
    """

    severity: str
    what: Text
    details: Mapping[str, Text] = field(default_factory=dict)


@dataclass(frozen=True)
class CodeBlock:
    """Text to be shown letter by letter: a configuration, an error, a command."""

    text: str


@dataclass(frozen=True)
class Picture:
    """A plot.

    Args:
        name: its file, without ending.
        title: in a few words.
        caption: what is drawn and how to read it.
        alt: what a reader who does not see it should know.
        svg: the picture, its ink in ``currentColor``, to be put into a page; empty where drawing failed.
        png: the same as pixels, where that was asked for.
        error: why it could not be drawn; fault: by a mistake of ours, not for want of data.
        folder: of its file, from the page.
    """

    name: str
    title: str
    caption: str
    alt: str = ""
    svg: str = ""
    png: bytes = b""
    error: str = ""
    fault: bool = False
    folder: str = "plots"


@dataclass(frozen=True)
class Gallery:
    """Plots side by side, where there is room."""

    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Diagram:
    """A drawing that letters can show as well.

    Args:
        signs: what colours and lines of the drawing mean.
        caption: what else there is to say.
        svg: the drawing, its ink in ``currentColor``; text: the same in letters.
        alt: what a reader who does not see it should know.
    """

    signs: str
    caption: str
    svg: str
    text: str
    alt: str


@dataclass(frozen=True)
class Photo:
    """An image of the data; one that several examples show stands in the page once.

    Args:
        name: unique in the page.
        uri: its pixels as a ``data:`` address.
        width, height: in pixels.
    """

    name: str
    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class SavedPicture:
    """A picture that a run made, among its artifacts.

    Args:
        target: its file, from the page.
        uri: its pixels as a ``data:`` address; empty where it is too large to stand in a page.
        title, caption, alt: as for a plot.
    """

    target: str
    uri: str
    title: str
    caption: str = ""
    alt: str = ""


@dataclass(frozen=True)
class Example:
    """One example of the data and what became of it.

    Args:
        title: its id.
        heading: what is asked.
        pairs: names and what they are.
        marks: what examples are chosen by: ``tag``, ``kind``, ``source``; the first is shown as a label.
        photos: its images.
    """

    title: str
    heading: str
    pairs: Mapping[str, Text]
    marks: Mapping[str, str] = field(default_factory=dict)
    photos: Sequence[Photo] = ()


@dataclass(frozen=True)
class Examples:
    """Examples side by side, to be chosen by their marks; ``name`` is unique in the page."""

    name: str
    examples: Sequence[Example]

    def values(self) -> dict[str, dict[str, int]]:
        """Mark to its values and how many examples have each; marks that all examples share are left out."""
        found: dict[str, dict[str, int]] = {}
        for one in self.examples:
            for mark, value in one.marks.items():
                counts = found.setdefault(mark, {})
                counts[value] = counts.get(value, 0) + 1
        return {mark: dict(sorted(counts.items())) for mark, counts in found.items() if len(counts) > 1}


@dataclass(frozen=True)
class Collapsible:
    """Blocks that only some readers want."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Rendered:
    """The output of a plugin's template: ``Markup`` in the format of the page."""

    markup: str


@dataclass(frozen=True)
class Section:
    """Blocks under a heading; one without blocks is left out."""

    title: str
    blocks: Sequence[Block]


Block = (
    Paragraph
    | Items
    | KeyValues
    | TableBlock
    | Notice
    | CodeBlock
    | Gallery
    | Diagram
    | SavedPicture
    | Examples
    | Collapsible
    | Rendered
)


@dataclass(frozen=True)
class Page:
    """A whole page.

    Args:
        title: its heading.
        kind: what it is a page of, above the heading: ``run``, ``experiment``.
        head: blocks before the first section.
        sections: the rest.
        record: what it was made from, for the templates of plugins: name to plain data.
    """

    title: str
    kind: str
    head: Sequence[Block]
    sections: Sequence[Section]
    record: Mapping[str, Any] = field(default_factory=dict)

    def filled(self) -> list[Section]:
        """Sections that say something."""
        return [section for section in self.sections if section.blocks]

    def examples(self) -> list[Examples]:
        """Examples at the top level of sections."""
        return [block for section in self.sections for block in section.blocks if isinstance(block, Examples)]

    def photos(self) -> list[Photo]:
        """Photos of all examples, each once."""
        all_photos = (photo for block in self.examples() for one in block.examples for photo in one.photos)
        return list({photo.name: photo for photo in all_photos}.values())
