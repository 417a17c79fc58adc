"""The text encoder on tiny checkpoints of real architectures and a real small Llama, against transformers itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

transformers = pytest.importorskip("transformers")

from tokenizers import Tokenizer, models, pre_tokenizers, processors  # noqa: E402

from trialbook.errors import TrialbookError  # noqa: E402
from trialbook.testing import check_component  # noqa: E402
from trialbook_plugins.encoders.hf_text import HFText  # noqa: E402

TEXTS = ["a red square", "two small blue circles left of a green star", "a star"]
SIZE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 32}
VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
SPECIAL = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
LIMIT = {"max_position_embeddings": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def make_tokenizer(folder: Path, *, framed: bool, **options) -> None:
    """A word tokenizer in the format of transformers; ``framed`` puts texts between start and end tokens."""
    words = sorted({word for text in TEXTS for word in text.split()})
    vocabulary = {word: index for index, word in enumerate([*SPECIAL.values(), *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if framed:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", vocabulary["<s>"]), ("</s>", vocabulary["</s>"])]
        )
    settings = {**SPECIAL, "model_max_length": 16, **options}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **settings).save_pretrained(folder)


def make_model(kind: str) -> torch.nn.Module:
    if kind == "clip":
        return transformers.CLIPModel(transformers.CLIPConfig(text_config={**SIZE, **LIMIT}, vision_config=VISION))
    if kind == "siglip":
        return transformers.SiglipModel(transformers.SiglipConfig(text_config={**SIZE, **LIMIT}, vision_config=VISION))
    if kind == "bert":
        return transformers.BertForMaskedLM(transformers.BertConfig(**SIZE, **LIMIT))
    if kind == "roberta":
        return transformers.RobertaModel(transformers.RobertaConfig(**SIZE, **{**LIMIT, "max_position_embeddings": 17}))
    if kind == "t5":
        config = transformers.T5Config(
            vocab_size=32, d_model=32, d_ff=48, d_kv=8, num_layers=3, num_heads=4, decoder_start_token_id=0
        )
        return transformers.T5ForConditionalGeneration(config)
    if kind == "bart":
        config = transformers.BartConfig(
            vocab_size=32, d_model=32, encoder_layers=3, decoder_layers=1, encoder_attention_heads=4,
            decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, **LIMIT,
        )  # fmt: skip
        return transformers.BartModel(config)
    causal = {"llama": "Llama", "qwen2": "Qwen2"}[kind]
    config = getattr(transformers, f"{causal}Config")(**SIZE, **LIMIT, num_key_value_heads=2)
    return getattr(transformers, f"{causal}ForCausalLM")(config)


def inner_model(kind: str, model: torch.nn.Module) -> torch.nn.Module:
    """The part of the whole model that reads text."""
    if kind in ("clip", "siglip"):
        return model.text_model
    if kind in ("t5", "bart"):
        return model.get_encoder()
    return getattr(model, "model", None) or getattr(model, "bert", model)


KINDS = ["clip", "siglip", "bert", "roberta", "t5", "bart", "llama", "qwen2"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    made = {}

    def get(kind: str) -> Path:
        if kind not in made:
            torch.manual_seed(0)
            made[kind] = folder = tmp_path_factory.mktemp(kind)
            make_model(kind).save_pretrained(folder)
            unmasked = {"model_input_names": ["input_ids"]} if kind == "siglip" else {}
            make_tokenizer(folder, framed=kind in ("clip", "bert", "roberta"), **unmasked)
        return made[kind]

    return get


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", [-2, -1, 0, 3])
def test_tokens_are_the_hidden_states_of_a_direct_call(checkpoint, kind, layer):
    folder = checkpoint(kind)
    encoder = HFText(model=str(folder), layer=layer)
    loaded = type(make_model(kind)).from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        features = encoder(encoder.prepare(TEXTS))
        for row, text in enumerate(TEXTS):  # one text at a time: no padding, except where the tower was trained on it
            padding = {"padding": "max_length", "max_length": 16} if kind == "siglip" else {}
            ids = tokenizer(text, return_tensors="pt", **padding)["input_ids"]
            output = inner_model(kind, loaded)(input_ids=ids, output_hidden_states=True)
            expected = output.last_hidden_state if layer in (-1, 3) else output.hidden_states[layer]
            tokens = features.tokens[row] if features.mask is None else features.tokens[row][features.mask[row]]
            torch.testing.assert_close(tokens, expected[0], atol=1e-6, rtol=1e-6)
    assert (features.mask is None) == (kind == "siglip")
    assert features.tokens.shape[-1] == encoder.dim


def test_the_real_small_llama_reads_its_stories():
    root = os.environ.get("TRIALBOOK_DATA")
    if not root or not (Path(root) / "stories260K").is_dir():
        pytest.skip("TRIALBOOK_DATA has no stories260K")
    encoder = HFText(Path(root), model="stories260K", layer=3)
    texts = ["Once upon a time there was a little girl", "The dog ran"]
    tokens, mask = encoder(encoder.prepare(texts))
    model = transformers.AutoModelForCausalLM.from_pretrained(Path(root) / "stories260K").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(Path(root) / "stories260K")
    for row, text in enumerate(texts):
        direct = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states[3]
        torch.testing.assert_close(tokens[row][mask[row]], direct[0], atol=1e-5, rtol=1e-5)  # values up to 10
    assert encoder.max_length == 512
    assert tokens.shape == (2, int(mask.sum(1).max()), 64)


def test_rows_do_not_depend_on_their_neighbours(checkpoint):
    encoder = HFText(model=str(checkpoint("bert")))
    together = encoder.prepare(TEXTS)
    for row, text in enumerate(TEXTS):
        alone = encoder.prepare([text])
        assert all((together[name][row] == alone[name][0]).all() for name in together)


def test_padding_that_no_text_of_the_batch_needs_is_not_computed(checkpoint):
    encoder = HFText(model=str(checkpoint("llama")))
    prepared = encoder.prepare(["a star", "a red square"])
    assert prepared["input_ids"].shape == (2, 16)
    assert encoder(prepared).tokens.shape == (2, 3, 32)


def test_a_tokenizer_without_padding_pads_with_its_end_of_text_token(checkpoint, tmp_path):
    transformers.LlamaModel.from_pretrained(checkpoint("llama")).save_pretrained(tmp_path)
    make_tokenizer(tmp_path, framed=False, pad_token=None)
    encoder, reference = HFText(model=str(tmp_path)), HFText(model=str(checkpoint("llama")))
    prepared = encoder.prepare(TEXTS)
    assert prepared["input_ids"][2].tolist()[2:] == [2] * 14
    features, expected = encoder(prepared), reference(reference.prepare(TEXTS))
    assert torch.equal(features.mask, expected.mask)
    torch.testing.assert_close(features.tokens[features.mask], expected.tokens[expected.mask])


def test_a_tokenizer_that_cannot_pad_is_refused(checkpoint, tmp_path):
    transformers.LlamaModel.from_pretrained(checkpoint("llama")).save_pretrained(tmp_path)
    make_tokenizer(tmp_path, framed=False, pad_token=None, eos_token=None)
    with pytest.raises(TrialbookError, match="neither a padding nor an end-of-text token"):
        HFText(model=str(tmp_path))


def test_an_empty_text_is_one_finite_token(checkpoint):
    encoder = HFText(model=str(checkpoint("llama")))
    tokens, mask = encoder(encoder.prepare(["", "a star"]))
    assert mask[0].tolist() == [True, False]
    assert torch.isfinite(tokens).all()


@pytest.mark.parametrize(("kind", "limit"), [("bert", 16), ("roberta", 16)])
def test_texts_are_cut_at_what_the_model_takes(checkpoint, kind, limit):
    encoder = HFText(model=str(checkpoint(kind)))
    assert encoder.max_length == limit
    assert encoder(encoder.prepare(["star " * 40])).tokens.shape == (1, limit, 32)
    with pytest.raises(TrialbookError, match=rf"max_length \(17\) must be at least 1 and at most {limit}"):
        HFText(model=str(checkpoint(kind)), max_length=17)


def test_max_length_cuts_shorter(checkpoint):
    encoder = HFText(model=str(checkpoint("llama")), max_length=2)
    assert encoder(encoder.prepare(TEXTS)).tokens.shape == (3, 2, 32)


def test_the_vision_tower_is_not_kept(checkpoint):
    encoder = HFText(model=str(checkpoint("siglip")))
    text = transformers.SiglipModel.from_pretrained(checkpoint("siglip")).text_model
    head = sum(p.numel() for p in text.head.parameters())
    kept = sum(p.numel() for p in encoder.parameters())
    assert kept in (sum(p.numel() for p in text.parameters()), sum(p.numel() for p in text.parameters()) - head)


@pytest.mark.parametrize("kind", KINDS)
def test_loading_twice_under_other_seeds_gives_the_same_weights(checkpoint, kind):
    torch.manual_seed(1)
    first = HFText(model=str(checkpoint(kind))).state_dict()
    torch.manual_seed(2)
    second = HFText(model=str(checkpoint(kind))).state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_identity_tells_tokenizer_layer_and_length_apart(checkpoint, tmp_path):
    folder = checkpoint("bert")
    base = HFText(model=str(folder)).identity()
    assert base == HFText(model=str(folder)).identity()
    assert base["layer"] != HFText(model=str(folder), layer=1).identity()["layer"]
    assert base["preprocessing"] != HFText(model=str(folder), max_length=8).identity()["preprocessing"]
    transformers.BertModel.from_pretrained(folder).save_pretrained(tmp_path)
    make_tokenizer(tmp_path, framed=False)
    assert base["preprocessing"] != HFText(model=str(tmp_path)).identity()["preprocessing"]


def test_a_vision_model_has_no_text_tower(tmp_path):
    transformers.ViTModel(transformers.ViTConfig(**VISION)).save_pretrained(tmp_path)
    make_tokenizer(tmp_path, framed=False)
    with pytest.raises(TrialbookError, match=r"ViTModel reads 'pixel_values': it is no text tower"):
        HFText(model=str(tmp_path))


def test_a_checkpoint_without_tokenizer_is_refused(tmp_path):
    transformers.BertModel(transformers.BertConfig(**SIZE)).save_pretrained(tmp_path)
    with pytest.raises(TrialbookError, match="cannot load the tokenizer of"):
        HFText(model=str(tmp_path))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"layer": -2}])
def test_the_encoder_keeps_the_contract_with_every_architecture(checkpoint, kind, options):
    check_component(HFText, "encoder", options={"model": str(checkpoint(kind)), **options})
