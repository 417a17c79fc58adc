"""Text so that Markdown shows it as it is."""

from __future__ import annotations

import re

from markupsafe import Markup

from trialbook.errors import printable

#: What would be read as mark-up wherever it stands; ``_`` and ``~`` only at the edge of a word.
_MARKUP = re.compile(r"[\\`*\[\]<&]|(?<!\w)[_~]|[_~](?!\w)")
#: What would be read as mark-up at the beginning of a line: the sign that makes it so is the last one.
_LEADING = re.compile(r"^(\d*)([#>]|[-+](?=\s)|(?<=\d)[.)](?=\s))")


def markdown(text: str) -> Markup:
    """Text so that no letter of it is mark-up; a line break becomes a space, as does all space at either end."""
    if not text.strip():
        return Markup(text)
    before, after = (" " if edge.isspace() else "" for edge in (text[0], text[-1]))
    flat = _LEADING.sub(r"\1\\\2", _MARKUP.sub(_harmless, " ".join(printable(text).split())))
    return Markup(f"{before}{flat}{after}")


def _harmless(found: re.Match[str]) -> str:
    return {"<": "&lt;", "&": "&amp;"}.get(found[0], f"\\{found[0]}")
