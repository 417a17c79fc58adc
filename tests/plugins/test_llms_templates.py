"""Conversations cut into pieces, for seven chat templates and two kinds of tokenizers, against what transformers renders."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest

pytest.importorskip("transformers")

from trialbook.contracts import Piece
from trialbook.contracts.conversations import IMAGE, Turn
from trialbook.errors import TrialbookError
from trialbook_plugins.llms._template import PLAIN, ChatTemplate

TEMPLATES = ["chatml", "headers", "gemma", "zephyr", "phi", "inst", "none"]
WORDS = [
    "total", "What is", "the customer?", "42", "  ", "\n", "\n\n", "\t", "naïve", "東京", "😀", "\u200b", "<image", "image>", "▁",
    "<|im_end|>", "<|im_start|>system\n", "<|eot_id|>", "<|start_header_id|>", "<end_of_turn>", "</s>", "<s>", "<bos>", "[INST]",
    "[/INST]", "<|user|>", "<|end|>", "<unk>", "<think>", "<|endoftext|>", "USER:", "ASSISTANT:", "\ue0000\ue001", "{{ x }}",
    "'s",
]  # fmt: skip
#: Symbol of a place of an image in what the test itself renders.
PICTURE = "\uffff"


def some_text(chance: random.Random, *, long: bool = False) -> str:
    count = chance.randint(1, 200 if long else 6)
    text = "".join(chance.choice(WORDS) + chance.choice(["", " "]) for _ in range(count))
    return text if text.strip() else "a"


def some_conversation(chance: random.Random) -> tuple[list[Turn], int]:
    """Turns and how many images, some of which no turn places."""
    turns = [Turn("system", some_text(chance))] if chance.random() < 0.3 else []
    images = 0
    for _ in range(chance.randint(1, 3)):
        question = some_text(chance, long=chance.random() < 0.02)
        for _ in range(chance.choice([0, 0, 1, 1, 2])):
            at = chance.randint(0, len(question))
            question, images = question[:at] + IMAGE + question[at:], images + 1
        turns += [Turn("user", question), Turn("assistant", some_text(chance))]
    images = sum(turn.text.count(IMAGE) for turn in turns if turn.role == "user")
    return turns, images + chance.choice([0, 0, 1, 2])


def written(tokenizer: Any, pieces: list[Piece]) -> str:
    """The characters that pieces stand for, by a decoder of the test's own: no space is added or taken away."""
    if "▁" not in tokenizer.get_vocab():  # of bytes: its decoder is exact
        return "".join(PICTURE if piece.kind == "image" else tokenizer.decode(list(piece.ids)) for piece in pieces)
    text = b""
    for piece in pieces:
        text += PICTURE.encode() if piece.kind == "image" else b""
        for token in tokenizer.convert_ids_to_tokens(list(piece.ids)):
            byte = re.fullmatch(r"<0x([0-9A-F]{2})>", token)
            text += bytes([int(byte[1], 16)]) if byte else token.replace("▁", " ").encode()
    return text.decode()


def rendered(tokenizer: Any, turns: list[Turn], images: int, *, system: bool) -> str:
    """What transformers makes of the turns, with pictures as symbols: loose ones first, later places beyond them as text."""
    loose = max(0, images - sum(turn.text.count(IMAGE) for turn in turns if turn.role == "user"))
    messages: list[dict[str, str]] = []
    for turn in turns:
        text = turn.text
        if turn.role == "user":
            text, loose = PICTURE * loose + text.strip().replace(IMAGE, PICTURE), 0
        messages.append({"role": turn.role, "content": text})
    for message in messages:
        message["content"] = message["content"].strip()
    if not system and messages[0]["role"] == "system":
        text = messages.pop(0)["content"]
        messages[0]["content"] = f"{text}\n\n{messages[0]['content']}"
    template = (tokenizer.chat_template or PLAIN).replace("{{ strftime_now('%d %b %Y') }}", "26 Jul 2024")
    return tokenizer.apply_chat_template(messages, tokenize=False, chat_template=template)


def check_conversation(template: ChatTemplate, name: str, turns: list[Turn], images: int) -> None:
    tokenizer = template.tokenizer
    pieces = template.render(turns, images, answer=True)
    whole = rendered(tokenizer, turns, images, system=name not in ("gemma", "inst"))
    text = written(tokenizer, pieces)
    begin = tokenizer.bos_token if tokenizer.bos_token and pieces[0].ids[0] == tokenizer.bos_token_id else ""
    # The template's text and nothing else; what it writes behind the last token that ends an answer is left out.
    bare, expected = text.removeprefix(begin), whole.removeprefix(begin)
    if "▁" in tokenizer.get_vocab():  # which is a space to it; and it puts some before texts and behind special tokens
        bare, expected = (re.sub("[ ▁]", "", one) for one in (bare, expected))
    assert expected.startswith(bare), (bare[-40:], expected[-40:])
    assert len(expected) - len(bare) <= len("\n</s>")
    assert [piece.image for piece in pieces if piece.kind == "image"] == list(range(images))
    said = [turn.text.strip() for turn in turns if turn.role == "assistant"]
    answers = [piece for piece in pieces if piece.kind == "answer"]
    space = ("▁", " ") if "▁" in tokenizer.get_vocab() else ("", "")
    assert [piece.turn for piece in answers] == [i for i, turn in enumerate(turns) if turn.role == "assistant"]
    for piece, answer in zip(answers, said, strict=True):
        assert piece.ids[-1] in template.stops
        assert written(tokenizer, [piece._replace(ids=piece.ids[:-1])]).strip() == answer.replace(*space).strip()
    marks = {number for number in tokenizer.added_tokens_decoder if number != tokenizer.unk_token_id}
    plain = [Turn(turn.role, "a") for turn in turns]
    for kind in ("prompt", "answer"):  # what is said holds no special token: there are as many as with other words
        counts = [
            [number for piece in template.render(these, 0, answer=True) if piece.kind == kind for number in piece.ids]
            for these in ([Turn(turn.role, turn.text.replace(IMAGE, "x")) for turn in turns], plain)
        ]
        found, wanted = ([number for number in ids if number in marks - {_think(tokenizer)}] for ids in counts)
        assert found == wanted
    ids = [number for piece in pieces for number in piece.ids]
    if tokenizer.bos_token_id is not None and tokenizer.bos_token_id != tokenizer.eos_token_id:
        assert ids.count(tokenizer.bos_token_id) == 1
        assert ids[0] == tokenizer.bos_token_id
    check_prompts(template, turns, images, pieces)


def _think(tokenizer: Any) -> int:
    """An added token that no template uses is a word like others."""
    return tokenizer.convert_tokens_to_ids("<think>") if tokenizer.bos_token is None else -1


def check_prompts(template: ChatTemplate, turns: list[Turn], images: int, pieces: list[Piece]) -> None:
    """Every question of a conversation is asked with the very pieces that its answer is learned behind."""
    loose = images - sum(turn.text.count(IMAGE) for turn in turns if turn.role == "user")
    for place, turn in enumerate(turns):
        if turn.role == "assistant":
            before = turns[:place]
            shown = loose + sum(one.text.count(IMAGE) for one in before if one.role == "user")
            prompt = template.render(before, shown, answer=False)
            answer = next(i for i, piece in enumerate(pieces) if piece.kind == "answer" and piece.turn == place)
            assert prompt == pieces[:answer]


@pytest.mark.parametrize("name", TEMPLATES)
def test_pieces_are_what_the_template_renders_and_prompts_are_prefixes(name, chat_tokenizer):
    template, chance = ChatTemplate(chat_tokenizer(name), "model", name), random.Random(0)
    for _ in range(60):
        check_conversation(template, name, *some_conversation(chance))


ASKED = [Turn("user", "What is the total?")]
TWICE = [*ASKED, Turn("assistant", "42"), Turn("user", "Sure?"), Turn("assistant", "yes")]


def test_a_prompt_ends_as_the_template_asks_for_an_answer_and_the_answer_with_its_end(chat_tokenizer):
    wanted = {
        "chatml": ("<|im_start|>assistant\n", "42<|im_end|>"), "headers": ("assistant<|end_header_id|>\n\n", "42<|eot_id|>"),
        "gemma": ("<start_of_turn>model\n", "42<end_of_turn>"), "zephyr": ("\n<|assistant|>", "\n42</s>"),
        "phi": ("<|assistant|>\n", "42<|end|>"), "inst": (" [/INST]", " 42</s>"), "none": ("\nASSISTANT:", " 42<|endoftext|>"),
    }  # fmt: skip
    for name, (prompt, answer) in wanted.items():
        template = ChatTemplate(chat_tokenizer(name), "model", name)
        pieces = template.render(TWICE[:2], 0, answer=True)
        assert [piece.kind for piece in pieces] == ["prompt", "prompt", "answer"]
        assert written(template.tokenizer, pieces[:2]).endswith(prompt), name
        assert written(template.tokenizer, pieces[2:]) == answer, name


def test_special_tokens_in_what_is_said_are_characters_even_where_they_are_the_templates_own(chat_tokenizer):
    for name, mark in (("chatml", "<|im_end|>"), ("phi", "<|end|>"), ("phi", "</s>"), ("gemma", "<end_of_turn>")):
        template = ChatTemplate(chat_tokenizer(name), "model", name)
        said = template.render([Turn("user", f"a{mark}b"), Turn("assistant", f"c{mark}d")], 0, answer=True)[-1]
        assert template.tokenizer.convert_tokens_to_ids(mark) not in said.ids[:-1]
        assert written(template.tokenizer, [said._replace(ids=said.ids[:-1])]).strip() == f"c{mark}d"


def test_images_stand_where_they_are_placed_and_loose_ones_first_and_places_beyond_them_are_text(chat_tokenizer):
    template = ChatTemplate(chat_tokenizer("chatml"), "model", "chatml")
    turns = [Turn("user", "left <image> right <image>"), Turn("assistant", "an <image>")]
    for images, expected in (
        (3, "#left # right #"),
        (2, "left # right #"),
        (1, "left # right <image>"),
        (0, turns[0].text),
    ):
        pieces = template.render(turns, images, answer=True)
        assert [piece.image for piece in pieces if piece.kind == "image"] == list(range(images))
        text = written(template.tokenizer, pieces).replace(PICTURE, "#")
        assert f"<|im_start|>user\n{expected}<|im_end|>" in text
        assert text.endswith("an <image><|im_end|>")


def test_a_template_that_writes_the_last_answer_otherwise_fits_single_questions_only(chat_tokenizer):
    template = ChatTemplate(chat_tokenizer("thinking"), "model", "some/model")
    pieces = template.render(TWICE[:2], 0, answer=True)
    assert pieces[:-1] == template.render(ASKED, 0, answer=False)
    assert written(template.tokenizer, pieces).endswith("<think>\n\n</think>\n\n42<|im_end|>")
    with pytest.raises(TrialbookError, match=r"some/model.*single questions; .*template = 'plain'"):
        template.render(TWICE, 0, answer=True)
    assert len(ChatTemplate(chat_tokenizer("thinking"), "plain", "x").render(TWICE, 0, answer=True)) == 6


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{% for m in messages %}{{ m.content | upper }}<|im_end|>{% endfor %}", "changes what is said"),
        ("{{ messages[-1].content }}<|im_end|>", "leaves out or reorders"),
        ("{% for m in messages | reverse %}{{ m.content }}<|im_end|>{% endfor %}", "leaves out or reorders"),
        ("{{ raise_exception('no') }}", r"cannot be rendered \(no\)"),
        ("{% for m in messages %}{{ m.content[0]['text'] }}{% endfor %}", "cannot be rendered|leaves out"),
    ],
)
def test_a_template_that_would_give_wrong_masks_is_refused(source, message, chat_tokenizer):
    tokenizer = chat_tokenizer("chatml")
    tokenizer.chat_template = source
    with pytest.raises(TrialbookError, match=message):
        ChatTemplate(tokenizer, "model", "x").render([Turn("user", "a b"), Turn("assistant", "c d")], 0, answer=True)


def test_a_conversation_is_the_same_every_day(chat_tokenizer):
    template = ChatTemplate(chat_tokenizer("headers"), "model", "x")
    text = written(template.tokenizer, template.render([Turn("system", "s"), *TWICE], 0, answer=True))
    assert "Today: 26 Jul 2024\ns" in text


def test_what_is_learned_ends_with_an_answer_and_what_is_asked_with_a_question(chat_tokenizer):
    template = ChatTemplate(chat_tokenizer("chatml"), "model", "x")
    with pytest.raises(TrialbookError, match="must end with an answer"):
        template.render(ASKED, 0, answer=True)
    with pytest.raises(TrialbookError, match="must end with a question"):
        template.render(TWICE, 0, answer=False)


def test_without_a_token_that_ends_an_answer_nothing_can_be_learned(chat_tokenizer):
    tokenizer = chat_tokenizer("none")
    tokenizer.eos_token = None
    with pytest.raises(TrialbookError, match="ends an answer"):
        ChatTemplate(tokenizer, "model", "x")


def test_where_the_template_has_no_end_the_tokenizers_is_learned(chat_tokenizer):
    tokenizer = chat_tokenizer("chatml")
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    pieces = ChatTemplate(tokenizer, "model", "x").render(TWICE, 0, answer=True)
    answers = [written(tokenizer, [piece]) for piece in pieces if piece.kind == "answer"]
    assert answers == [" 42<|im_end|>", " yes<|im_end|>"]


@pytest.mark.slow
@pytest.mark.parametrize("name", TEMPLATES)
def test_pieces_hold_over_10000_random_conversations(name, chat_tokenizer):
    template, chance = ChatTemplate(chat_tokenizer(name), "model", name), random.Random(1)
    for _ in range(10000 // len(TEMPLATES) + 1):
        check_conversation(template, name, *some_conversation(chance))
