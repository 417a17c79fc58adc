"""Examples of the data in an HTML page: cards to be chosen by their marks, with style alone and no script."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trialbook.reports.document.blocks import Example, Examples, Photo, Text
from trialbook.reports.document.escape import escape


def photos_html(examples: Sequence[Example]) -> str:
    """Every picture once, out of sight; cards refer to it."""
    photos = {photo.name: photo for one in examples for photo in one.photos}
    if not photos:
        return ""
    images = "\n".join(
        f'<image id="{escape(one.name)}" width="{one.width}" height="{one.height}" href="{escape(one.uri)}"/>'
        for one in photos.values()
    )
    return f'<svg class="photos" width="0" height="0" aria-hidden="true"><defs>\n{images}\n</defs></svg>'


def choices_css(block: Examples) -> str:
    """Rules that hide the cards that are not chosen; where a browser does not know them, all cards are shown."""
    rules = []
    for mark, values in block.values().items():
        for place in range(len(values)):
            chosen = f'#{block.name}:has(option[value="{mark}-{place}"]:checked)'
            rules.append(f'{chosen} .example:not([data-{mark}="{place}"]) {{ display: none; }}\n')
    return "".join(rules)


def examples_html(block: Examples, text: Callable[[Text], str]) -> str:
    """The cards, with a choice for each mark.

    Args:
        block: them.
        text: a text to HTML.
    """
    values = block.values()
    places = {mark: {value: place for place, value in enumerate(own)} for mark, own in values.items()}
    fields = "".join(_choice(mark, own, len(block.examples)) for mark, own in values.items())
    choices = f'<div class="choices">{fields}</div>\n' if fields else ""
    cards = "\n".join(_card(f"{block.name}-{i}", one, places, text) for i, one in enumerate(block.examples))
    return f'<div class="examples" id="{block.name}">\n{choices}<div class="cards">\n{cards}\n</div>\n</div>'


def _choice(mark: str, values: dict[str, int], total: int) -> str:
    options = "".join(
        f'<option value="{mark}-{place}">{escape(value)} ({count})</option>'
        for place, (value, count) in enumerate(values.items())
    )
    everything = f'<option value="">all ({total})</option>'
    return f'<label>{escape(mark)} <select autocomplete="off">{everything}{options}</select></label>'


def _card(name: str, one: Example, places: dict[str, dict[str, int]], text: Callable[[Text], str]) -> str:
    data = "".join(f' data-{mark}="{own[one.marks[mark]]}"' for mark, own in places.items() if mark in one.marks)
    photos = "".join(_photo(f"{name}-{i}", one, photo) for i, photo in enumerate(one.photos))
    label, *rest = one.marks.values() or ("",)
    marks = f'<span class="mark">{escape(label)}</span>' if label else ""
    marks += "".join(f" <span>{escape(value)}</span>" for value in rest if value)
    pairs = "".join(f"<dt>{escape(key)}</dt><dd>{text(value)}</dd>" for key, value in one.pairs.items())
    return (
        f'<article class="example"{data}>{photos}<p class="marks">{marks}</p><h3>{escape(one.heading)}</h3>'
        f"<dl>{pairs}</dl><p class=\"id\">{escape(one.title)}</p></article>"
    )  # fmt: skip


def _photo(name: str, one: Example, photo: Photo) -> str:
    """A picture; a click, or the space bar, makes its card as wide as the page."""
    alt = escape(f"Picture of: {one.heading}")
    drawn = (
        f'<svg role="img" aria-label="{alt}" viewBox="0 0 {photo.width} {photo.height}">'
        f'<use href="#{escape(photo.name)}"/></svg>'
    )
    switch = f'<input type="checkbox" autocomplete="off" id="{name}" aria-label="larger">'
    return f'<label class="photo" title="larger or smaller">{switch}{drawn}</label>'
