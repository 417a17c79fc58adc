"""``small-causal``: its tokenizers, its weights, and that it learns what it is shown."""

from __future__ import annotations

import pytest
import torch
from torch import nn

transformers = pytest.importorskip("transformers")

from trialbook.contracts.conversations import Turn  # noqa: E402
from trialbook.errors import TrialbookError  # noqa: E402
from trialbook.testing import check_component  # noqa: E402
from trialbook_plugins.llms.small_causal import SmallCausal  # noqa: E402

TEXTS = ["What is the total?", "Name of the customer", "a red square, 1234", "Ünïcode"]
SMALL = {"width": 32, "depth": 2, "heads": 2, "context": 128}


def corpus() -> list[str]:
    return TEXTS


@pytest.mark.parametrize("tokens", ["byte", "character", "bpe"])
def test_it_conforms(tokens):
    options = {**SMALL, "tokens": tokens, "vocab_size": 300}
    check_component("trialbook_plugins.llms.small_causal:SmallCausal", "llm", options=options)


@pytest.mark.parametrize("tokens", ["byte", "character", "bpe"])
def test_what_is_said_round_trips_and_marks_in_it_are_characters(tokens):
    model = SmallCausal(lambda: [*TEXTS, "<|user|> </s>"], **SMALL, tokens=tokens, vocab_size=300)
    for answer in (*TEXTS, "</s> <|user|>", "1 2  34"):
        pieces = model.render([Turn("user", "<image> total?"), Turn("assistant", answer)], 1, answer=True)
        assert [piece.kind for piece in pieces] == ["prompt", "image", "prompt", "prompt", "answer"]
        assert model.tokenizer.decode(pieces[-1].ids[:-1]) == answer
        assert pieces[-1].ids[-1] == model.tokenizer.eos_token_id
        assert model.tokenizer.eos_token_id not in pieces[-1].ids[:-1]


def test_a_turn_costs_one_token_and_bpe_keeps_digits_apart():
    model = SmallCausal(lambda: ["the total is 1234"] * 50, **SMALL, tokens="bpe", vocab_size=320)
    pieces = model.render([Turn("user", "the total"), Turn("assistant", "1234")], 0, answer=True)
    assert len(pieces[0].ids) == 3
    assert len(pieces[1].ids) == 1
    assert len(pieces[2].ids) == 5


def test_bytes_need_no_corpus_and_other_tokens_say_that_they_do():
    assert SmallCausal(**SMALL).model.get_input_embeddings().weight.shape[0] == 256 + 4
    for tokens in ("character", "bpe"):
        with pytest.raises(TrialbookError, match=f"tokens = '{tokens}'"):
            SmallCausal(**SMALL, tokens=tokens)


def test_loading_weights_brings_their_tokenizer_along():
    one = SmallCausal(lambda: ["abc"], **SMALL, tokens="character")
    other = SmallCausal(lambda: ["xyz"], **SMALL, tokens="character")
    turns = [Turn("user", "cab"), Turn("assistant", "a")]
    assert one.render(turns, 0, answer=True) != other.render(turns, 0, answer=True)
    other.load_state_dict(one.state_dict())
    assert one.render(turns, 0, answer=True) == other.render(turns, 0, answer=True)


def test_a_merged_export_loads_in_plain_transformers(tmp_path):
    model = SmallCausal(corpus, **SMALL, tokens="bpe", vocab_size=300).eval()
    model.save_merged(tmp_path)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer("the total", return_tensors="pt").input_ids
    with torch.no_grad():
        torch.testing.assert_close(
            loaded(input_ids=ids).logits, model(model.embed(ids), torch.ones_like(ids, dtype=torch.bool))
        )
    messages = [{"role": "user", "content": "the total"}]
    asked = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert asked == [
        number for piece in model.render([Turn("user", "the total")], 0, answer=False) for number in piece.ids
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, r"heads \(3\) must divide width"),
        ({"depth": 0}, r"depth \(0\)"),
        ({"dropout": 1.0}, "dropout"),
        ({"tokens": "bpe", "vocab_size": 100}, r"vocab_size \(100\) must be at least 260"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(TrialbookError, match=message):
        SmallCausal(corpus, **{**SMALL, **options})


def test_it_learns_to_answer_what_embeddings_show():
    """Four kinds of made-up image tokens, four answers: after 60 steps every one is answered, and ends itself."""
    torch.manual_seed(0)
    model, answers = SmallCausal(**SMALL), ["red", "blue", "12.50", "unanswerable"]
    shown = torch.randn(4, 3, model.dim)
    pieces = [
        model.render([Turn("user", "<image> what?"), Turn("assistant", text)], 1, answer=True) for text in answers
    ]
    rows, masks, labels = [], [], []
    for row, found in enumerate(pieces):
        ids = torch.tensor([number for piece in found for number in piece.ids])
        rows.append((shown[row], ids))
        labels.append(torch.cat([torch.full((3 + len(ids) - len(found[-1].ids),), -100), torch.tensor(found[-1].ids)]))
        masks.append(torch.ones(len(labels[-1]), dtype=torch.bool))
    mask = nn.utils.rnn.pad_sequence(masks, batch_first=True)
    target = nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=-100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        embeds = nn.utils.rnn.pad_sequence(
            [torch.cat([image, model.embed(ids)]) for image, ids in rows], batch_first=True
        )
        loss = nn.functional.cross_entropy(model(embeds, mask)[:, :-1].flatten(0, 1), target[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    prompt = model.render([Turn("user", "<image> what?")], 1, answer=False)
    asked = torch.tensor([[number for piece in prompt for number in piece.ids]])
    embeds = torch.cat([shown, model.embed(asked).expand(4, -1, -1)], dim=1)
    made = model.generate(embeds, torch.ones(embeds.shape[:2], dtype=torch.bool), max_new_tokens=20)
    assert [one.text for one in made] == answers
    assert all(one.stopped for one in made)


@pytest.mark.parametrize(("given", "expected"), [(None, 64**-0.5), (0.02, 0.02)])
def test_weights_begin_as_large_as_their_width_asks_for(given: float | None, expected: float) -> None:
    torch.manual_seed(0)
    model = SmallCausal(corpus, width=64, depth=1, heads=2, context=32, init_std=given)
    found = model.model.model.layers[0].self_attn.q_proj.weight.std()
    assert found.item() == pytest.approx(expected, rel=0.1)  # of 4,096 draws
    with pytest.raises(TrialbookError, match=r"init_std \(0.0\) must be above 0"):
        SmallCausal(corpus, width=64, init_std=0.0)
