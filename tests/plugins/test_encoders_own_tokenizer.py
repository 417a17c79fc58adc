"""Text encoders whose tokenizer is trained on the data and saved with the weights."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter

import pytest
import torch
from safetensors.torch import load_file, save_file

from trialbook.contracts.datasets import Modality
from trialbook.errors import TrialbookError
from trialbook.testing import check_component
from trialbook_plugins.encoders._tokenizer import PAD, UNKNOWN, TrainedTokenizer
from trialbook_plugins.encoders.text_transformer import TextTransformer
from trialbook_plugins.encoders.token_embedding import TokenEmbedding

CORPUS = ["A red square.", "a blue circle left of a red star", "two red circles"]
OTHER = ["the dog ran home", "the cat slept, and then it slept more and more and more until noon came around at last"]


def text(corpus: list[str]) -> Modality:
    return Modality("text", (), corpus=lambda: corpus)


def tied_corpus() -> list[str]:
    """Many words of equal frequency: their order is a matter of ties alone."""
    letters = random.Random(0)
    return ["".join(letters.choice("abcdefgh ") for _ in range(40)) for _ in range(100)]


def test_words_are_numbered_by_frequency_and_then_alphabetically():
    tokenizer = TrainedTokenizer(lambda: CORPUS, "word", 100, 64)
    words = " ".join(CORPUS).lower().replace(".", " .").split()
    counts = Counter(words)
    order = sorted(counts, key=lambda word: (-counts[word], word))
    ids = tokenizer.encode([" ".join(order[:7]), " ".join(order[7:])])
    assert ids[ids != PAD].tolist() == list(range(2, 2 + len(order)))


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_training_twice_gives_the_same_tokenizer_in_every_process(kind):
    script = (
        "import hashlib, sys; sys.path[:0] = sys.argv[1].split(':')\n"
        "from test_encoders_own_tokenizer import tied_corpus\n"
        "from trialbook_plugins.encoders._tokenizer import TrainedTokenizer\n"
        f"made = TrainedTokenizer(tied_corpus, {kind!r}, 300, 64)\n"
        "print(hashlib.sha256(made.tokenizer_json.numpy().tobytes()).hexdigest())\n"
    )
    path = ":".join([os.path.dirname(__file__), *sys.path])  # noqa: PTH120
    environments = [
        {**os.environ, "PYTHONHASHSEED": str(seed), "RAYON_NUM_THREADS": str(1 + seed)} for seed in range(2)
    ]
    started = [
        subprocess.Popen([sys.executable, "-c", script, path], env=environment, stdout=subprocess.PIPE, text=True)
        for environment in environments
    ]
    hashes = {process.communicate()[0] for process in started}
    assert len(hashes) == 1
    assert len(hashes.pop().strip()) == 64


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_the_vocabulary_is_not_larger_than_asked_for(kind):
    tokenizer = TrainedTokenizer(tied_corpus, kind, 50, 64)
    assert tokenizer.size == 50
    assert int(tokenizer.encode(tied_corpus()).max()) < 50


def test_rare_words_become_the_unknown_token():
    tokenizer = TrainedTokenizer(lambda: CORPUS, "word", 4, 64)
    assert tokenizer.encode(["a red hat"])[0, :3].tolist() == [2, 3, UNKNOWN]


def test_pieces_put_unseen_words_together():
    tokenizer = TrainedTokenizer(lambda: ["low lower lowest", "new newer"], "bpe", 60, 64)
    assert UNKNOWN not in tokenizer.encode(["newest"])[0].tolist()


def test_the_longest_text_of_the_corpus_decides_the_length_up_to_the_limit():
    assert TrainedTokenizer(lambda: CORPUS, "word", 100, 64).encode(["a"]).shape == (1, 8)
    assert TrainedTokenizer(lambda: CORPUS, "word", 100, 5).encode([CORPUS[1]]).shape == (1, 5)


def test_a_text_without_tokens_is_one_unknown_token():
    encoder = TokenEmbedding(text(CORPUS))
    ids = encoder.prepare(["", "a"])
    assert ids[0].tolist() == [UNKNOWN] + [PAD] * 7
    assert encoder(ids).mask.sum(dim=1).tolist() == [1, 1]


def test_upper_and_lower_case_are_one():
    tokenizer = TrainedTokenizer(lambda: CORPUS, "word", 100, 64)
    assert torch.equal(tokenizer.encode(["A RED Square"]), tokenizer.encode(["a red square"]))


def test_token_vectors_are_looked_up_and_padding_is_masked():
    encoder = TokenEmbedding(text(CORPUS), width=16)
    ids = encoder.prepare(CORPUS)
    tokens, mask = encoder(ids)
    assert tokens.shape == (3, 8, 16)
    assert mask.sum(dim=1).tolist() == [4, 8, 3]
    for row in range(3):
        for place in range(8):
            assert torch.equal(tokens[row, place], encoder.vectors[ids[row, place]])


def test_positions_tell_the_same_word_in_another_place_apart():
    bag, ordered = TokenEmbedding(text(CORPUS), width=16), TokenEmbedding(text(CORPUS), width=16, positions=True)
    for encoder, same in ((bag, True), (ordered, False)):
        tokens = encoder(encoder.prepare(["red a", "a red"])).tokens
        assert torch.equal(tokens[0, 0], tokens[1, 1]) == same


def make(kind: str, corpus: list[str]) -> torch.nn.Module:
    if kind == "embedding":
        return TokenEmbedding(text(corpus), width=16, positions=True)
    return TextTransformer(text(corpus), width=16, depth=2, heads=2, class_token=True).eval()


@pytest.mark.parametrize("kind", ["embedding", "transformer"])
def test_a_checkpoint_brings_its_tokenizer_along(kind, tmp_path):
    torch.manual_seed(0)
    saved, loaded = make(kind, CORPUS), make(kind, OTHER)
    save_file(saved.state_dict(), tmp_path / "weights.safetensors")
    parameters = list(loaded.parameters())
    loaded.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(loaded.prepare(CORPUS), saved.prepare(CORPUS))
    torch.testing.assert_close(loaded(loaded.prepare(CORPUS)).tokens, saved(saved.prepare(CORPUS)).tokens)
    assert all(a is b for a, b in zip(parameters, loaded.parameters(), strict=True))  # an optimiser keeps its hold


@pytest.mark.parametrize("kind", ["embedding", "transformer"])
def test_another_corpus_is_another_state(kind):
    torch.manual_seed(0)
    first = make(kind, CORPUS).state_dict()
    torch.manual_seed(0)
    second = make(kind, [*CORPUS[:2], "two red squares"]).state_dict()  # as many words and the same lengths
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert [name.split(".")[-1] for name in different] == ["tokenizer_json"]


def test_padding_changes_nothing_for_the_text_transformer():
    torch.manual_seed(0)
    encoder = make("transformer", CORPUS)
    ids = encoder.prepare(CORPUS)
    tokens, mask = encoder(ids)
    assert tokens.shape == (3, 9, 16)
    assert mask.sum(dim=1).tolist() == [5, 9, 4]
    for row in range(3):
        real = int(mask[row].sum()) - 1
        short = ids[row : row + 1, :real]
        vectors = encoder.embedding.vectors[short] + encoder.embedding.positions[:real]
        alone = encoder.transformer(torch.cat([encoder.class_token, vectors], dim=1))
        torch.testing.assert_close(tokens[row, : real + 1], alone[0], atol=1e-6, rtol=0)


def test_the_blocks_agree_with_torchs_own_encoder_layers_under_a_mask():
    torch.manual_seed(0)
    encoder = TextTransformer(text(CORPUS), width=16, depth=2, heads=4, mlp_ratio=3.0).eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.3)
    layers = torch.nn.ModuleList(
        torch.nn.TransformerEncoderLayer(
            16, 4, 48, activation="gelu", batch_first=True, norm_first=True, layer_norm_eps=1e-6
        )
        for _ in range(2)
    ).eval()
    for theirs, ours in zip(layers, encoder.transformer.blocks, strict=True):
        theirs.self_attn.in_proj_weight.data.copy_(ours.attention.qkv.weight)
        theirs.self_attn.in_proj_bias.data.copy_(ours.attention.qkv.bias)
        for target, source in (
            (theirs.self_attn.out_proj, ours.attention.out),
            (theirs.linear1, ours.mlp[0]), (theirs.linear2, ours.mlp[3]),
            (theirs.norm1, ours.attention_norm), (theirs.norm2, ours.mlp_norm),
        ):  # fmt: skip
            target.load_state_dict(source.state_dict())
    tokens, mask = encoder(encoder.prepare(CORPUS))
    expected, _ = encoder.embedding(encoder.prepare(CORPUS))
    for layer in layers:
        expected = layer(expected, src_key_padding_mask=~mask)
    expected = encoder.transformer.norm(expected)
    torch.testing.assert_close(tokens[mask], expected[mask], atol=1e-5, rtol=0)  # float32, summed in another order


def test_all_of_the_text_transformer_learns():
    torch.manual_seed(0)
    encoder = make("transformer", CORPUS)
    (encoder(encoder.prepare(CORPUS)).tokens - torch.randn(3, 9, 16)).square().mean().backward()
    assert [name for name, parameter in encoder.named_parameters() if not parameter.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("encoder", [TokenEmbedding, TextTransformer])
@pytest.mark.parametrize(
    ("modality", "options", "message"),
    [
        (Modality("text"), {}, "no texts of its train split"),
        (text([]), {}, "no texts of its train split"),
        (text(CORPUS), {"vocab_size": 2}, r"vocab_size \(2\) must be above 2"),
        (text(CORPUS), {"max_length": 0}, r"max_length \(0\) must be at least 1"),
        (text(CORPUS), {"width": 0}, r"width \(0\)"),
    ],
)
def test_what_cannot_work_is_refused(encoder, modality, options, message):
    with pytest.raises(TrialbookError, match=message):
        encoder(modality, **options)


@pytest.mark.parametrize(
    ("encoder", "options"),
    [
        (TokenEmbedding, {}),
        (TokenEmbedding, {"positions": True, "tokens": "bpe", "vocab_size": 40}),
        (TextTransformer, {"width": 16, "depth": 2}),
        (TextTransformer, {"width": 16, "depth": 1, "class_token": True, "tokens": "bpe", "vocab_size": 40}),
    ],
)
def test_the_encoder_keeps_the_contract(encoder, options):
    check_component(encoder, "encoder", options=options)
