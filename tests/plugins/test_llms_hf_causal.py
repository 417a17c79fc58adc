"""``hf-causal`` on tiny models of real architectures and on a real small Llama, against transformers' own results."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

transformers = pytest.importorskip("transformers")

from trialbook.contracts import Generated, LanguageModel  # noqa: E402
from trialbook.contracts.conversations import Turn  # noqa: E402
from trialbook.errors import TrialbookError  # noqa: E402
from trialbook.testing import check_component  # noqa: E402
from trialbook_plugins.llms._generate import _Choice  # noqa: E402
from trialbook_plugins.llms.hf_causal import HFCausal  # noqa: E402

FAMILIES = ["qwen2", "llama", "mistral", "gemma", "gemma2", "gemma3", "phi", "phi3", "gpt-neox", "gpt2", "opt"]
LENGTHS = (5, 23, 11, 17, 2, 30, 8, 13)
#: Sums in another order: float32 logits of models whose weights are 0.2 wide differ by about 1e-4 of their size.
NEAR = {"rtol": 1e-3, "atol": 1e-3}


def rows(model: HFCausal, lengths=LENGTHS, seed: int = 0) -> list[torch.Tensor]:
    """Random ids of the given lengths."""
    generator = torch.Generator().manual_seed(seed)
    size = model.model.get_input_embeddings().weight.shape[0]
    return [torch.randint(3, size, (length,), generator=generator) for length in lengths]


def padded(ids: list[torch.Tensor], side: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids [B, L], padded with anything on one side, and the mask."""
    longest = max(map(len, ids))
    filled, mask = torch.full((len(ids), longest), 7), torch.zeros(len(ids), longest, dtype=torch.bool)
    for row, values in enumerate(ids):
        place = slice(longest - len(values), None) if side == "left" else slice(0, len(values))
        filled[row, place], mask[row, place] = values, True
    return filled, mask


@pytest.mark.parametrize("family", FAMILIES)
def test_embedded_tokens_give_the_logits_of_their_ids_with_padding_on_either_side(family, llm_folder):
    model = HFCausal(model=str(llm_folder(family))).eval()
    ids = rows(model)
    with torch.no_grad():
        alone = [model.model(input_ids=one[None]).logits[0] for one in ids]
        for side in ("left", "right"):
            filled, mask = padded(ids, side)
            logits = model(model.embed(filled), mask)
            assert logits.isfinite().all()
            for row, expected in enumerate(alone):
                torch.testing.assert_close(logits[row][mask[row]], expected, **NEAR)
    assert isinstance(model, LanguageModel)
    assert model.dim == (16 if family == "opt" else 64)
    assert model.context == 128


@pytest.mark.parametrize("family", ["gemma3", "opt", "qwen2"])
def test_logits_at_wanted_positions_are_those_of_all_positions(family, llm_folder):
    model = HFCausal(model=str(llm_folder(family))).eval()
    filled, mask = padded(rows(model), "right")
    with torch.no_grad():
        whole = model(model.embed(filled), mask)
        wanted = torch.tensor([0, 3, 4, 22])
        torch.testing.assert_close(model(model.embed(filled), mask, wanted), whole[:, wanted])
        model._takes_wanted = False  # as with a model of transformers that has no such argument
        torch.testing.assert_close(model(model.embed(filled), mask, wanted), whole[:, wanted])


def check_alone_and_together(model: HFCausal, ids: list[torch.Tensor], alone: range, new: int) -> list[Generated]:
    """Greedy answers of all rows, of which those of ``alone`` are the same without the others."""
    filled, mask = padded(ids, "right")
    together = model.generate(model.embed(filled), mask, max_new_tokens=new)
    for place in alone:
        one, answer = ids[place], together[place]
        single = model.generate(model.embed(one[None]), torch.ones(1, len(one), dtype=torch.bool), max_new_tokens=new)[
            0
        ]
        assert single.ids == answer.ids
        assert single.stopped == answer.stopped
        torch.testing.assert_close(torch.tensor(single.logprobs), torch.tensor(answer.logprobs), **NEAR)
    return together


@pytest.mark.parametrize("family", FAMILIES)
def test_one_row_and_eight_padded_rows_get_the_same_greedy_answers(family, llm_folder):
    model = HFCausal(model=str(llm_folder(family)))
    check_alone_and_together(model, rows(model), range(1, 3), 6)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_many_prompts_alone_and_in_eights_get_the_same_greedy_answers(family, llm_folder):
    model = HFCausal(model=str(llm_folder(family)))
    for seed in range(4):
        check_alone_and_together(model, rows(model, seed=seed), range(8), 20)


@pytest.mark.parametrize("family", ["qwen2", "gemma2", "opt"])
def test_greedy_answers_are_those_of_plain_decoding_without_a_cache(family, llm_folder):
    model = HFCausal(model=str(llm_folder(family))).eval()
    one = rows(model, (9,))[0]
    mask = torch.ones(1, 9, dtype=torch.bool)
    answer = model.generate(model.embed(one[None]), mask, max_new_tokens=15)[0]
    expected, logprobs = one.tolist(), []
    with torch.no_grad():
        for _ in range(15):
            scores = model.model(input_ids=torch.tensor([expected])).logits[0, -1].log_softmax(-1)
            expected.append(int(scores.argmax()))
            logprobs.append(float(scores.max()))
            if expected[-1] in model.template.stops:
                break
    assert list(answer.ids) == [number for number in expected[9:] if number not in model.template.stops]
    torch.testing.assert_close(torch.tensor(answer.logprobs), torch.tensor(logprobs), **NEAR)


def test_sampling_repeats_with_its_seed_whatever_stands_beside_a_row_and_leaves_other_random_numbers_alone(llm_folder):
    model = HFCausal(model=str(llm_folder("llama")))
    ids = rows(model)
    filled, mask = padded(ids, "left")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    options = {"max_new_tokens": 10, "temperature": 1.3, "top_p": 0.9}
    together = model.generate(model.embed(filled), mask, seed=3, **options)
    assert torch.equal(torch.get_rng_state(), before)
    alone = model.generate(model.embed(ids[1][None]), torch.ones(1, len(ids[1]), dtype=torch.bool), seed=3, **options)
    assert alone[0].ids == together[1].ids
    assert [one.ids for one in model.generate(model.embed(filled), mask, seed=4, **options)] != [
        one.ids for one in together
    ]


def test_sampled_tokens_have_the_distribution_that_top_p_leaves():
    scores = torch.randn(1, 50, generator=torch.Generator().manual_seed(0)) * 2
    probabilities = (scores[0] / 1.5).softmax(-1)
    order = probabilities.argsort(descending=True)
    kept = order[: int((probabilities[order].cumsum(0) < 0.8).sum()) + 1]
    choice, draws = _Choice(1.5, 0.8, 0), 5000
    for _ in range(draws):
        choice(torch.zeros(1, 0), scores)
    counts = torch.bincount(torch.cat(choice.tokens), minlength=50)
    assert counts[kept].sum() == draws
    expected = probabilities[kept] / probabilities[kept].sum()
    # Five standard deviations of a share of so many draws; there are about 20 shares.
    assert ((counts[kept] / draws - expected).abs() < 5 * (expected * (1 - expected) / draws).sqrt()).all()
    assert choice.logprobs[0] == scores[0].log_softmax(-1)[choice.tokens[0]]


def test_an_answer_stops_at_the_templates_end_of_turn_and_its_logprob_counts(llm_folder):
    model = HFCausal(model=str(llm_folder("qwen2")))
    stop = model.template.stops[0]
    original = model.model.lm_head.forward

    def ending(hidden):
        logits = original(hidden)
        logits[..., stop] = logits.amax(dim=-1) + (2.0 if len(calls) == 3 else -20.0)
        calls.append(1)
        return logits

    calls: list[int] = []
    model.model.lm_head.forward = ending
    made = model.generate(model.embed(torch.tensor([[5, 6, 7]])), torch.ones(1, 3, dtype=torch.bool), max_new_tokens=9)[
        0
    ]
    assert isinstance(made, Generated)
    assert made.stopped
    assert len(made.ids) == 3
    assert len(made.logprobs) == 4
    assert stop not in made.ids
    assert made.text == model.tokenizer.decode(made.ids).strip()


def test_what_a_checkpoint_says_of_generation_does_not_creep_in(llm_folder, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(llm_folder("qwen2"), folder)
    plain = HFCausal(model=str(folder))
    transformers.GenerationConfig(
        do_sample=True, repetition_penalty=9.0, temperature=0.1, max_length=3
    ).save_pretrained(folder)
    other = HFCausal(model=str(folder))
    ids = torch.tensor([[5, 6, 7]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    answers = [one.generate(one.embed(ids), mask, max_new_tokens=20)[0].ids for one in (plain, other)]
    assert answers[0] == answers[1]


def test_more_tokens_than_the_context_holds_are_refused(llm_folder):
    model = HFCausal(model=str(llm_folder("opt")))
    ids = torch.full((1, 120), 5)
    with pytest.raises(TrialbookError, match=r"120 tokens and max_new_tokens \(9\) .* 128"):
        model.generate(model.embed(ids), torch.ones_like(ids, dtype=torch.bool), max_new_tokens=9)
    assert model.generate(model.embed(ids), torch.ones_like(ids, dtype=torch.bool), max_new_tokens=8)


def test_by_default_nothing_of_the_model_learns_but_a_gradient_goes_through_it(llm_folder):
    for checkpointing in (False, True):
        model = HFCausal(model=str(llm_folder("gemma3")), gradient_checkpointing=checkpointing)
        assert not any(parameter.requires_grad for parameter in model.parameters())
        embeds = model.embed(torch.tensor([[5, 6, 7]])).requires_grad_()
        model(embeds, torch.ones(1, 3, dtype=torch.bool)).sum().backward()
        assert embeds.grad.abs().sum() > 0


@pytest.mark.parametrize("family", ["qwen2", "gemma2", "opt"])
def test_gradient_checkpointing_changes_no_gradient_in_a_frozen_model_and_keeps_less(family, llm_folder):
    gradients, kept = [], []
    for checkpointing in (False, True):
        model = HFCausal(model=str(llm_folder(family)), gradient_checkpointing=checkpointing).eval()
        embeds = model.embed(torch.arange(3, 43).reshape(2, 20)).requires_grad_()
        saved: dict[int, int] = {}

        def keep(tensor: torch.Tensor, saved: dict[int, int] = saved) -> torch.Tensor:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = model(embeds, torch.ones(2, 20, dtype=torch.bool)).logsumexp(-1).sum()
        loss.backward()
        gradients.append(embeds.grad)
        kept.append(sum(saved.values()))
    torch.testing.assert_close(gradients[0], gradients[1])
    assert kept[1] < 0.7 * kept[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_blocks_and_the_norm_behind_them_learn_if_asked_to(family, llm_folder):
    model = HFCausal(model=str(llm_folder(family)), unfreeze=1)
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    blocks = {name for name in learning if ".2." in name}
    assert blocks == {name for name, _ in model.named_parameters() if ".2." in name and "embed" not in name}
    rest = learning - blocks
    assert rest
    assert all("norm" in name or "ln_f" in name for name in rest)


def test_unfrozen_blocks_of_a_model_in_bfloat16_learn_in_float32(llm_folder):
    model = HFCausal(model=str(llm_folder("qwen2")), dtype="bfloat16", unfreeze=1)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in model.parameters() if not p.requires_grad} == {torch.bfloat16}
    ids = torch.arange(3, 23)[None]
    logits = model(model.embed(ids), torch.ones_like(ids, dtype=torch.bool))
    assert logits.dtype == torch.bfloat16
    logits.float().logsumexp(-1).sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    whole = HFCausal(model=str(llm_folder("qwen2")))(model.embed(ids).float(), torch.ones_like(ids, dtype=torch.bool))
    # bfloat16 keeps 8 bits: after three blocks a few per cent of the spread of the logits.
    assert (logits.float() - whole).abs().mean() < 0.05 * whole.std()


def test_adapters_of_a_model_in_bfloat16_learn_in_float32(llm_folder):
    model = HFCausal(model=str(llm_folder("qwen2")), dtype="bfloat16", lora_rank=2)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    ids = torch.arange(3, 23)[None]
    model(model.embed(ids), torch.ones_like(ids, dtype=torch.bool)).float().logsumexp(-1).sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_a_model_that_looks_at_token_ids_behind_their_embeddings_is_refused(llm_folder, tmp_path):
    config = transformers.Gemma3nTextConfig(
        vocab_size=600, vocab_size_per_layer_input=600, hidden_size=32, intermediate_size=32, num_hidden_layers=5,
        num_attention_heads=2, num_key_value_heads=1, head_dim=16, hidden_size_per_layer_input=8, num_kv_shared_layers=0,
        laurel_rank=4, altup_num_inputs=2, layer_types=["sliding_attention"] * 4 + ["full_attention"], initializer_range=0.3,
        activation_sparsity_pattern=[0.0] * 5,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config)
    for name, parameter in model.named_parameters():
        if name.endswith("correct_output_scale"):  # 0 at first, so that what it scales does not count
            nn.init.ones_(parameter)
    model.save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(llm_folder("gemma3", "gemma")).save_pretrained(tmp_path)
    with pytest.raises(TrialbookError, match="needs token ids beside embeddings"):
        HFCausal(model=str(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_all": True, "lora_rank": 4}, "train_all"),
        ({"train_all": True, "dtype": "bfloat16"}, "train_all"),
        ({"unfreeze": 9}, r"unfreeze \(9\) must be from 0 to 3"),
        ({"lora_rank": -1}, "lora_rank"),
        ({"lora_rank": 2, "lora_targets": ["nothing"]}, "lora_targets: .*'nothing'.*q_proj"),
        ({"lora_rank": 2, "lora_alpha": 0.0}, "lora_alpha"),
        ({"model": "no/such/folder"}, "no folder of that name"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message, llm_folder):
    with pytest.raises(TrialbookError, match=message):
        HFCausal(**{"model": str(llm_folder("qwen2")), **options})


def test_train_all_lets_everything_learn(llm_folder):
    assert all(
        parameter.requires_grad for parameter in HFCausal(model=str(llm_folder("llama")), train_all=True).parameters()
    )


def test_a_checkpoint_that_lacks_weights_or_is_quantised_already_is_refused(llm_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "cut"
    shutil.copytree(llm_folder("llama"), folder)
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: t for name, t in weights.items() if "layers.1" not in name},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(TrialbookError, match=r"cannot load the language model .* lacks \d+ weights"):
        HFCausal(model=str(folder))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**config, "quantization_config": {"quant_method": "gptq", "bits": 4}})
    )
    with pytest.raises(TrialbookError, match="quantised already"):
        HFCausal(model=str(folder))


def test_an_encoder_is_no_language_model_and_a_folder_without_a_tokenizer_none_either(tmp_path, llm_folder):
    size = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "vocab_size": 16,
    }
    transformers.ViTModel(transformers.ViTConfig(**size)).save_pretrained(tmp_path / "vit")
    with pytest.raises(TrialbookError, match=r"cannot load the (tokenizer|language model)"):
        HFCausal(model=str(tmp_path / "vit"))
    shutil.copytree(llm_folder("llama"), tmp_path / "mute")
    for file in (tmp_path / "mute").glob("token*"):
        file.unlink()
    with pytest.raises(TrialbookError, match="cannot load the tokenizer"):
        HFCausal(model=str(tmp_path / "mute"))


@pytest.mark.parametrize("family", ["qwen2", "gemma2"])
def test_it_conforms(family, llm_folder):
    options = {"model": str(llm_folder(family)), "unfreeze": 1}
    check_component("trialbook_plugins.llms.hf_causal:HFCausal", "llm", options=options)


@pytest.fixture(scope="module")
def stories() -> HFCausal:
    root = os.environ.get("TRIALBOOK_DATA")
    if not root or not (Path(root) / "stories260K").is_dir():
        pytest.skip("TRIALBOOK_DATA has no folder stories260K")
    return HFCausal(Path(root), model="stories260K")


OPENINGS = [
    "Once upon a time", "One day, a little", "Lily and Tom", "The cat", "Tim was", "In the park", "Mom said", "A big dog",
    "There was", "The sun", "She loved to", "He wanted", "They went to the", "\"Hello\", said", "It was a", "Ben had a red",
]  # fmt: skip


def test_a_trained_model_writes_the_same_story_alone_and_beside_others(stories):
    ids = [torch.tensor([1, *stories.tokenizer.encode(text, add_special_tokens=False)]) for text in OPENINGS[:8]]
    together = check_alone_and_together(stories, ids, range(3), 25)
    theirs = stories.model.generate(
        input_ids=ids[0][None], max_new_tokens=25, do_sample=False, pad_token_id=2, eos_token_id=2
    )
    assert list(together[0].ids) == theirs[0, len(ids[0]) :].tolist()
    assert "there was a little girl" in together[0].text


@pytest.mark.slow
def test_a_trained_model_writes_many_stories_alike_alone_and_beside_others(stories):
    for part in (OPENINGS[:8], OPENINGS[8:]):
        ids = [torch.tensor([1, *stories.tokenizer.encode(text, add_special_tokens=False)]) for text in part]
        check_alone_and_together(stories, ids, range(8), 200)


def test_a_tiny_vocabulary_without_a_template_round_trips(stories):
    for answer in ("42", "Ünïcode 東京 😀", "a  b\tc\nd", "</s> <unk> <s>", "USER: x ASSISTANT: y"):
        pieces = stories.render([Turn("user", "<image> What?"), Turn("assistant", answer)], 1, answer=True)
        assert stories.tokenizer.decode(pieces[-1].ids[:-1]).strip() == answer
        assert pieces[-1].ids[-1] == stories.tokenizer.eos_token_id
        assert [number for piece in pieces for number in piece.ids].count(1) == 1
        assert pieces[0].ids[0] == 1
