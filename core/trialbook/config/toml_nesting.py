"""The depth of nesting of a TOML text, before it is parsed: parsers and all that walk the data recurse."""

from __future__ import annotations

import re

#: Most tables and arrays within one another, and most parts of a dotted key.
MOST_LEVELS = 64

#: A string in quotes, on one line or several.
STRING = re.compile(
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}'
    r"|'''(?:[^']|'{1,2}(?!'))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
#: What nests, and what hides signs that would.
_NESTING = re.compile(
    rf"(?P<key>{_PART}(?:[ \t]*\.[ \t]*{_PART}){{{MOST_LEVELS},}})"
    rf"|\#[^\n]*|{STRING.pattern}|[A-Za-z0-9_-]+|(?P<sign>[\[\]{{}}])",
    re.DOTALL,
)


def too_deep(text: str) -> int | None:
    """The character at which a text nests more deeply than anything that is meant; None where it does not."""
    depth = 0
    for found in _NESTING.finditer(text):
        if found["key"]:
            return found.start()
        if sign := found["sign"]:
            depth = depth + 1 if sign in "[{" else max(0, depth - 1)
            if depth > MOST_LEVELS:
                return found.start()
    return None
