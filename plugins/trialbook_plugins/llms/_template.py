"""Conversations in a model's own chat template, cut into the pieces that are given, answered, or images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Literal, NamedTuple

from trialbook import TrialbookError
from trialbook.contracts import Piece
from trialbook.contracts.conversations import Turn
from trialbook_plugins.hub import first_line

from ._messages import Message, messages_of
from ._text import PieceEncoder

Template = Literal["model", "plain"]

PLAIN = (
    "{% for message in messages %}"
    "{% if message.role == 'system' %}{{ message.content }}\n"
    "{% elif message.role == 'user' %}USER: {{ message.content }}\n"
    "{% else %}ASSISTANT: {{ message.content }}{{ eos_token }}\n{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
"""For models without a template of their own."""

_PLACE = re.compile("\ue000([0-9]+)\ue001")
"""A mark in place of a text."""
_TODAY = "{% macro strftime_now(form) %}26 Jul 2024{% endmacro %}"
"""The answer to a template that asks for today's date, so that a conversation is the same every day."""


class _Layout(NamedTuple):
    """The text that a template writes around messages: before each, from the end of the one before, and behind the last."""

    before: tuple[str, ...]
    behind: str


class ChatTemplate:
    """The chat template of a tokenizer, or a plain one.

    The template is rendered with a mark in place of every text, and the texts are put between what stands between the marks, each
    piece encoded by itself. That the result is what the template makes of the texts themselves is checked for every conversation.
    Texts lose their outer white space, as most templates take it away. Where a template has no place for a system turn, its text
    stands before the first question.

    The answer of a turn goes to the first token behind it that the template marks an end with (``<|im_end|>``), or to the
    tokenizer's end-of-text token where the template has none.

    Args:
        tokenizer: of transformers.
        template: ``"model"`` takes the tokenizer's own where it has one.
        model: name of the model, for errors.
    Raises:
        TrialbookError: the template cannot be rendered, leaves out or reorders what is said, or nothing ends an answer.
    """

    def __init__(self, tokenizer: Any, template: Template, model: str) -> None:
        self.tokenizer, self.model = tokenizer, model
        self.plain = template == "plain" or tokenizer.chat_template is None
        self._source = _TODAY + (PLAIN if self.plain else tokenizer.get_chat_template())
        self.encoder = PieceEncoder(tokenizer)
        self._layouts: dict[tuple[str, ...], _Layout] = {}
        layout = self._cut(("user", "assistant"), self._marked(("user", "assistant")))
        if layout is None:
            raise self._refused("leaves out or reorders what is said")
        self.lead = self._lead(layout)
        self.end = self.encoder.first_mark(layout.behind)
        self._end_ids = self.encoder.given(self.end, "")
        if not self.end:
            if tokenizer.eos_token_id is None:
                raise TrialbookError(f"model '{model}': neither template nor tokenizer has a token that ends an answer")
            self._end_ids = (tokenizer.eos_token_id,)
        for text in (*layout.before, layout.behind):
            self.encoder.mark(text)
        self._begin = self._beginning(layout.before[0])
        self._takes_system = self._has_system()

    @property
    def stops(self) -> tuple[int, ...]:
        """Ids that end an answer: the template's token and the tokenizer's."""
        own = self._end_ids[-1:]
        eos = self.tokenizer.eos_token_id
        return own if eos is None or eos in own else (*own, eos)

    def render(self, turns: Sequence[Turn], images: int, *, answer: bool) -> list[Piece]:
        """See :class:`trialbook.contracts.LanguageModel`.

        Raises:
            TrialbookError: the template changes what is said, or writes a turn otherwise once others follow.
        """
        messages = messages_of(turns, images, system=self._takes_system)
        if not messages or (messages[-1].role == "assistant") != answer:
            wanted = "an answer" if answer else "a question"
            raise TrialbookError(f"a conversation that is {'learned' if answer else 'answered'} must end with {wanted}")
        if not answer:
            messages.append(Message("assistant", ((_mark(0), len(turns)),), len(turns)))
        roles = tuple(message.role for message in messages)
        layout = self._layout(roles)
        texts = [message.content for message in messages]
        written = "".join(a + b for a, b in zip(layout.before, texts, strict=True)) + layout.behind
        if written != self._rendered(roles, texts):
            raise self._refused(f"changes what is said in it ({texts[-1][:60]!r})")
        pieces = [piece for i in range(len(messages)) for piece in self._pieces(messages, layout, i)]
        if not answer:
            pieces = [piece for piece in pieces if piece.kind != "answer" or piece.turn < len(turns)]
        return _joined(pieces)

    def _pieces(self, messages: Sequence[Message], layout: _Layout, place: int) -> list[Piece]:
        """The pieces of a message: what the template writes before it, and what is said."""
        message, before = messages[place], layout.before[place]
        behind = "" if place else None
        if place and messages[place - 1].role == "assistant":
            before, behind = before[len(self.end) :], self.end or self.tokenizer.eos_token
        if message.role == "assistant":
            before = before.removesuffix(self.lead)
            given = self.encoder.given(before, behind)
            ids = (*self.encoder.said(self.lead + message.content, self.encoder.restarts(before)), *self._end_ids)
            return [Piece("prompt", given, message.turn), Piece("answer", ids, message.turn)]
        space = " " if before.endswith(" ") and message.parts and isinstance(message.parts[0][0], str) else ""
        before = before.removesuffix(space)
        given, fresh = self.encoder.given(before, behind), self.encoder.restarts(before)
        begin = () if place else self._begin
        pieces = [Piece("prompt", (*begin, *given), message.parts[0][1] if message.parts else message.turn)]
        for part, turn in message.parts:
            if isinstance(part, str):
                pieces.append(Piece("prompt", self.encoder.said(space + part, fresh), turn))
            else:
                pieces.append(Piece("image", (), turn, part))
            space, fresh = "", False
        return pieces

    def _layout(self, roles: tuple[str, ...]) -> _Layout:
        """Return what the template writes around messages of these roles; for the first ones it is the same without the rest."""
        if roles in self._layouts:
            return self._layouts[roles]
        layout = self._cut(roles, self._marked(roles))
        if layout is None:
            raise self._refused("leaves out or reorders what is said")
        ends = [layout.before[i + 1] for i, role in enumerate(roles[:-1]) if role == "assistant"]
        if not all(text.startswith(self.end) for text in (*ends, layout.behind)):
            raise self._refused("ends an answer otherwise once others follow")
        if roles.count("assistant") > 1 and self._layout(roles[:-2]).before != layout.before[:-2]:
            raise self._refused("writes an answer otherwise once others follow, so that it only fits single questions")
        self._layouts[roles] = layout
        return layout

    def _has_system(self) -> bool:
        """Return whether the template writes a system turn, and where it stands."""
        roles = ("system", "user", "assistant")
        try:
            one = self._cut(roles, self._marked(roles))
            two = self._cut((*roles, *roles[1:]), self._marked((*roles, *roles[1:])))
        except TrialbookError:
            return False
        return one is not None and two is not None

    def _cut(self, roles: Sequence[str], written: str) -> _Layout | None:
        """The template's own text, cut at the marks; None where they are not those of the roles in their order."""
        found = _PLACE.split(written)
        if [int(number) for number in found[1::2]] != list(range(len(roles))):
            return None
        return _Layout(tuple(found[0:-1:2]), found[-1])

    def _marked(self, roles: Sequence[str], *, ask: bool = False) -> str:
        return self._rendered(roles, [_mark(i) for i in range(len(roles))], ask=ask)

    def _rendered(self, roles: Sequence[str], texts: Sequence[str], *, ask: bool = False) -> str:
        messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]
        try:
            written: str = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=ask, chat_template=self._source, enable_thinking=False
            )
        except Exception as error:  # a template is a program: it may raise anything
            raise self._refused(f"cannot be rendered ({first_line(error)})") from error
        return written

    def _lead(self, layout: _Layout) -> str:
        """White space between what asks for an answer and the answer, which belongs to this."""
        asked, whole = self._marked(("user",), ask=True), layout.before[0] + _mark(0) + layout.before[1]
        rest = whole.removeprefix(asked)
        if rest != whole and not rest.strip():
            return rest
        return " " if whole.endswith(" ") and whole != asked else ""

    def _beginning(self, first: str) -> tuple[int, ...]:
        """The token that begins a text, where the tokenizer would put one and the template does not."""
        begin, default = self.tokenizer.bos_token_id, self.tokenizer("a")["input_ids"]
        if begin is None or default[:1] != [begin] or self.encoder.given(first, None)[:1] == (begin,):
            return ()
        return (begin,)

    def _refused(self, what: str) -> TrialbookError:
        hint = "" if self.plain else "; [llm] template = 'plain' does without it"
        return TrialbookError(f"the chat template of model '{self.model}' {what}{hint}")


def _mark(place: int) -> str:
    return f"\ue000{place}\ue001"


def _joined(pieces: Sequence[Piece]) -> list[Piece]:
    """Prompts of one turn that follow one another as one piece; empty ones left out."""
    joined: list[Piece] = []
    kept = [piece for piece in pieces if piece.ids or piece.kind == "image"]
    for (kind, turn, _), group in groupby(kept, key=lambda piece: (piece.kind, piece.turn, piece.image)):
        found = list(group)
        if kind == "prompt":
            joined.append(Piece(kind, tuple(number for piece in found for number in piece.ids), turn))
        else:
            joined += found
    return joined
