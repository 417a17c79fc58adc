"""Text to token ids, a piece at a time, with special tokens only where a template puts them."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from trialbook import TrialbookError

_ANCHORS = ("\n", ":", "a")
"""Texts that stand before a piece where the tokenizer would take its beginning for that of a text."""
_KEPT = 1 << 16
"""Pieces whose ids are remembered: the texts of an epoch are those of the one before."""


class PieceEncoder:
    """The ids of pieces of a conversation; those of a piece depend on its own text alone.

    What people say is never read as a special token: ``<|im_end|>`` in a question is its characters. Tokenizers leave out
    their special tokens if asked to (``split_special_tokens``), but not other added tokens, which some templates mark turns
    with; where one comes out nevertheless, the text is cut within it and encoded in two.

    Tokenizers of the SentencePiece kind put a space before a text, some of them behind each special token, too. A piece that
    other text stands before gets none: it is encoded behind a short other text, whose ids are taken away.

    Args:
        tokenizer: of transformers.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._texts = {number: str(token) for number, token in tokenizer.added_tokens_decoder.items()}
        unknown = tokenizer.unk_token_id
        self._barred = {number for number in tokenizer.all_special_ids if number != unknown}
        alone, ends = self._encode("a", plain=False), [tokenizer.eos_token or "", *self._texts.values()]
        self._pads = any(self._after(anchor, "a", plain=False) != alone for anchor in _ANCHORS)
        self._restarts = self._pads and self._after(next(filter(str.strip, ends), ""), "a", plain=False) == alone
        self.said = lru_cache(_KEPT)(self._said)
        self.given = lru_cache(_KEPT)(self._given)

    def restarts(self, text: str) -> bool:
        """Return whether the tokenizer takes what follows ``text`` for the beginning of a text."""
        return self._restarts and text.endswith(tuple(self._texts.values()))

    def mark(self, text: str) -> None:
        """Take the added tokens that a template writes for marks that nothing said may hold."""
        self._barred |= {number for number in self._encode(text, plain=False) if number in self._texts}

    def first_mark(self, text: str) -> str:
        """``text`` up to the end of the first added token in it; empty where it holds none."""
        for match in re.finditer("|".join(map(re.escape, sorted(self._texts.values(), key=len, reverse=True))), text):
            if match[0].strip():
                return text[: match.end()]
        return ""

    def _given(self, text: str, before: str | None) -> tuple[int, ...]:
        """Ids of a template's own text.

        Args:
            text: the template's.
            before: a special token that it follows; empty where it follows other text, None where it is the first.
        """
        if before is None:
            return self._encode(text, plain=False)
        behind = self._after(before, text, plain=False) if before else None
        return self._inner(text, plain=False) if behind is None else behind

    def _said(self, text: str, fresh: bool) -> tuple[int, ...]:
        """Ids of what somebody says; ``fresh`` where it stands as if at the beginning.

        Raises:
            TrialbookError: it holds a character that is a special token.
        """
        ids = self._encode(text, plain=True) if fresh else self._inner(text, plain=True)
        if self._barred.isdisjoint(ids):
            return ids
        marks = sorted((self._texts[number] for number in self._barred & set(ids) if number in self._texts), key=len)
        for mark in reversed(marks):
            if len(mark) > 1 and mark in text:
                at = text.index(mark) + 1
                return (*self._said(text[:at], fresh), *self._said(text[at:], False))
        raise TrialbookError(f"the tokenizer reads a special token in what is said: {text[:60]!r}")

    def _inner(self, text: str, *, plain: bool) -> tuple[int, ...]:
        """Ids of a text that others stand before."""
        if self._pads:
            for anchor in _ANCHORS:
                ids = self._after(anchor, text, plain=plain)
                if ids is not None:
                    return ids
        return self._encode(text, plain=plain)

    def _after(self, anchor: str, text: str, *, plain: bool) -> tuple[int, ...] | None:
        """Ids of ``text`` behind ``anchor``, or None where the two share a token."""
        before, both = self._encode(anchor, plain=plain), self._encode(anchor + text, plain=plain)
        return both[len(before) :] if both[: len(before)] == before else None

    def _encode(self, text: str, *, plain: bool) -> tuple[int, ...]:
        if not text:
            return ()
        return tuple(self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=plain))
