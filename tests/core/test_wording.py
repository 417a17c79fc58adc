"""Sentences are the field's standard English: phrases of a private dialect stand nowhere that a reader looks.

Searched are strings, docstrings and comments of the code, page templates, the documentation, and the experiment files.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Phrase (a regular expression) to what a line with it must contain where it may stand, and what is said instead.
PHRASES: dict[str, tuple[str | None, str]] = {
    r"set aside": (None, "disabled, failed to load"),
    r"\bwired\b": (None, "injected"),
    r"\bla(id|ys?) over\b": (None, "merged"),
    r"\b(goes|went) on\b": (None, "resumes, continues"),
    r"\banew\b": (None, "again"),
    r"\bmend(s|ed)?\b": (None, "fix"),
    r"\b(held|holds?) back\b": (None, "abstained"),
    r"\bbedside\b": (None, "live doctor"),
    r"\bstirred\b": (None, "perturbed"),
    r"\bvitals\b": (r"format 1|_OLD_LINES|vitals\.jsonl", "statistics of modules"),
    r"\bfigures?\b": (
        r"[Ff]igure\(|rcParams|</?figure|figsize|matplotlib|'figures' is now|[Ff]igure \d|as SVG|puts axes"
        r"|figures`|figures\}|probe\.figure|figures = |\{[^{}]*figure|^\s+(\w+, )*figures?(, \w+)*: ",
        "metric, value",
    ),
    r"\bsplit of the (curves|answer)\b": (None, "validation split, test split"),
    r"Course of training": (None, "Training curves"),
    r"Embeddings in the plane": (None, "t-SNE"),
    r"\b(matching|other) pairs\b": (None, "positive pairs, negative pairs"),
    r"What is answering": (None, "Model"),
    r"\bstated\b": (r"as stated|is stated|be stated|stated number", "manual scores"),
}
#: What is no text for readers of the program: data that it makes, and its own names.
LEFT_OUT = ("captioners/", "datasets/_documents", "datasets/_scene", "config/renamed.py", "CHANGELOG.md", "tests/")


def texts() -> Iterator[tuple[Path, int, str]]:
    """File, line and text of everything that a reader may see."""
    for folder in ("core", "plugins"):
        for file in sorted((ROOT / folder).rglob("*")):
            if file.suffix == ".py":
                yield from _words_of_code(file)
            elif file.suffix in (".html", ".md", ".toml"):
                yield from _lines(file)
    for file in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))):
        yield from _lines(file)
    for file in sorted((ROOT / "experiments").rglob("*.toml")):
        yield from _lines(file)


def _lines(file: Path) -> Iterator[tuple[Path, int, str]]:
    for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
        yield file, number, line


def _words_of_code(file: Path) -> Iterator[tuple[Path, int, str]]:
    """Comments and strings of more than one word."""
    for token in tokenize.generate_tokens(io.StringIO(file.read_text("utf-8")).readline):
        is_text = token.type == tokenize.STRING and " " in token.string.strip("\"'")
        if is_text or token.type == tokenize.COMMENT:
            for number, line in enumerate(token.string.splitlines()):
                yield file, token.start[0] + number, re.sub(r"``[^`]*``|\{[\w.]*\}", "", line)


TEXTS = [one for one in texts() if not any(part in one[0].relative_to(ROOT).as_posix() for part in LEFT_OUT)]


@pytest.mark.parametrize("phrase", PHRASES)
def test_a_phrase_of_our_own_stands_nowhere(phrase: str) -> None:
    context, instead = PHRASES[phrase]
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file, number, line in TEXTS
        if re.search(phrase, line) and not (context and re.search(context, line))
    ]
    assert found == [], f"say: {instead}"
