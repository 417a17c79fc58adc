"""Examples of a folder of conversations: for the terminal, and as a page with pictures."""

from __future__ import annotations

import base64
import random
from collections.abc import Sequence

from trialbook.contracts.conversation_folder import ConversationFolder, Line
from trialbook.contracts.conversations import Conversation
from trialbook.errors import TrialbookError
from trialbook.reports.document.blocks import Block, Example, Examples, KeyValues, Page, Paragraph, Photo, Section


def choose(
    folder: ConversationFolder, count: int, *, split: str | None, kind: str | None, source: str | None, seed: int
) -> list[tuple[str, Line]]:
    """Split and line of ``count`` conversations, drawn at random; fewer where there are not so many.

    Raises:
        TrialbookError: there is none of this split, kind and source.
    """
    if split is not None and split not in folder.splits:
        raise TrialbookError(f"{folder.path} has no split '{split}', only {', '.join(folder.splits)}")
    found = [
        (name, line)
        for name, lines in folder.splits.items()
        for line in lines
        if split in (None, name)
        and kind in (None, line.conversation.kind)
        and source in (None, line.conversation.source)
    ]
    if not found:
        held = sorted({line.conversation.kind for lines in folder.splits.values() for line in lines})
        sources = sorted({line.conversation.source for lines in folder.splits.values() for line in lines})
        raise TrialbookError(f"no such conversation; kinds are {', '.join(held)}, sources {', '.join(sources)}")
    chosen = sorted(random.Random(seed).sample(range(len(found)), min(count, len(found))))
    return [found[place] for place in chosen]


def as_text(split: str, one: Conversation) -> str:
    """A conversation for the terminal."""
    head = "  ".join(filter(None, [f"{split}  {one.id}", one.source, one.kind, "" if one.answerable else "no answer"]))
    lines = [head, *(f"  image      {image}" for image in one.images)]
    lines += [f"  {turn.role:<9}  {turn.text}" for turn in one.turns]
    others = [answer for answer in dict.fromkeys(one.answers) if answer != one.answer]
    return "\n".join([*lines, *([f"  accepted   {'; '.join(others)}"] if others else [])])


def as_page(folder: ConversationFolder, chosen: Sequence[tuple[str, Line]]) -> Page:
    """A page of conversations with their pictures."""
    photos: dict[str, Photo] = {}
    examples = []
    for split, line in chosen:
        one = line.conversation
        for image in one.images:
            if image not in photos:
                photos[image] = _photo(folder, image, len(photos))
        said = {
            f"{turn.role} {n}" if len(one.turns) > 2 else turn.role: turn.text for n, turn in enumerate(one.turns, 1)
        }
        others = [answer for answer in dict.fromkeys(one.answers) if answer != one.answer]
        pairs = {**said, **({"accepted": "; ".join(others)} if others else {})}
        marks = {"kind": one.kind or "(none)", "split": split, "source": one.source}
        examples.append(Example(one.id, one.question, pairs, marks, [photos[image] for image in one.images]))
    counts = {name: f"{len(lines)} conversations" for name, lines in folder.splits.items()}
    facts = {"folder": str(folder.path), "fingerprint": str(folder.manifest.get("fingerprint", "")), **counts}
    about: list[Block] = [Paragraph(f"{len(chosen)} conversations, chosen at random."), KeyValues(facts)]
    return Page(folder.path.name, "data", about, [Section("Examples", [Examples("examples", examples)])])


def _photo(folder: ConversationFolder, name: str, number: int) -> Photo:
    from PIL import Image

    from trialbook.contracts.pictures import UNREADABLE, describe_unreadable
    from trialbook.reports.thumbnails import shrink

    try:
        with Image.open(folder.image(name)) as opened:
            kind, data, size = shrink(opened)
    except UNREADABLE as error:
        raise TrialbookError(f"{folder.image(name)}: not a readable picture: {describe_unreadable(error)}") from error
    return Photo(f"photo-{number}", f"data:image/{kind};base64,{base64.b64encode(data).decode()}", *size)
