"""Tiny language models of real architectures, with tokenizers and chat templates of several kinds, made offline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_TEXTS = [
    "What is the total? It is 42.",
    "Name the customer on this page.",
    "user assistant system model",
    "Be brief, please.",
]
_SIZE: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 128,
}  # fmt: skip

CHATML = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou answer.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HEADERS = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{% if m.role == 'system' %}Today: {{ strftime_now('%d %b %Y') }}\n{% endif %}{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
ZEPHYR = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content + eos_token }}\n"
    "{% if loop.last and add_generation_prompt %}<|assistant|>{% endif %}{% endfor %}"
)
PHI = (
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)
INST = (
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set rest = messages[1:] %}"
    "{% else %}{% set rest = messages %}{% endif %}{{ bos_token }}{% for m in rest %}{% if m.role == 'user' %}[INST] "
    "{% if loop.index0 >= rest | length - 2 and system is defined %}{{ system }}\n\n{% endif %}{{ m.content }} [/INST]"
    "{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
THINKING = (
    "{% set thought = '<think>\n\n</think>\n\n' %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and loop.last %}{{ thought }}{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is false %}{{ thought }}{% endif %}{% endif %}"
)

#: Template -> how its tokenizer splits (of bytes, or in SentencePiece's way), special tokens, other added ones, the template.
_TEMPLATES: dict[str, tuple[str, dict[str, str], list[str], str]] = {
    "chatml": ("bytes", {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}, ["<think>"], CHATML),
    "headers": ("bytes", {"bos_token": "<|begin|>", "eos_token": "<|eot_id|>"}, [], HEADERS),
    "gemma": ("pieces", {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>"}, [], GEMMA),
    "zephyr": ("pieces", {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}, [], ZEPHYR),
    "phi": ("pieces", {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}, ["<|user|>", "<|end|>"], PHI),
    "inst": ("pieces", {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}, [], INST),
    "thinking": ("bytes", {"eos_token": "<|im_end|>"}, ["<think>", "</think>"], THINKING),
    "none": ("bytes", {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}, [], ""),
}
_MARKS = {
    "chatml": ["<|im_start|>"], "thinking": ["<|im_start|>"], "gemma": ["<start_of_turn>", "<end_of_turn>"],
    "headers": ["<|start_header_id|>", "<|end_header_id|>"],
}  # fmt: skip


def make_tokenizer(name: str) -> Any:
    """A tokenizer of transformers with the template of that name; those of ``pieces`` put a space before a text."""
    import transformers
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    kind, special, added, template = _TEMPLATES[name]
    names = list(dict.fromkeys(special.values()))
    if kind == "bytes":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=320,
            special_tokens=names,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(_TEXTS, trainer)
    else:
        letters = sorted({letter for text in _TEXTS for letter in text.replace(" ", "▁")} | {"▁"})
        entries = [*names, *(f"<0x{number:02X}>" for number in range(256)), *letters, "▁t", "▁to", "▁I", "is"]
        merges = [("▁", "t"), ("▁t", "o"), ("▁", "I"), ("i", "s")]
        vocabulary = {token: number for number, token in enumerate(entries)}
        tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
            prepend_scheme="first" if name == "gemma" else "always", split=False
        )
        steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        tokenizer.decoder = decoders.Sequence(steps)
        begin = special["bos_token"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", special_tokens=[(begin, vocabulary[begin])]
        )
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in names])
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in _MARKS.get(name, [])])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in added])
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    wrapped.chat_template = template or None
    return wrapped


def make_model(family: str, vocabulary: int) -> Any:
    """A random model of a real architecture, large enough in its numbers that its answers differ."""
    import torch
    import transformers

    size = {**_SIZE, "vocab_size": vocabulary, "initializer_range": 0.2, "pad_token_id": None, "bos_token_id": None}
    size["eos_token_id"] = None
    few = {"num_key_value_heads": 2}
    configs: dict[str, Callable[[], Any]] = {
        "qwen2": lambda: transformers.Qwen2Config(**size, **few, tie_word_embeddings=True),
        "llama": lambda: transformers.LlamaConfig(**size, **few),
        "mistral": lambda: transformers.MistralConfig(**size, **few, sliding_window=16),
        "gemma": lambda: transformers.GemmaConfig(**size, **few, head_dim=8),
        "gemma2": lambda: transformers.Gemma2Config(**size, **few, head_dim=8, sliding_window=16, query_pre_attn_scalar=8),
        "gemma3": lambda: transformers.Gemma3TextConfig(**size, **few, head_dim=8, sliding_window=16, query_pre_attn_scalar=8),
        "phi": lambda: transformers.PhiConfig(**size),
        "phi3": lambda: transformers.Phi3Config(**size, **few),
        "gpt-neox": lambda: transformers.GPTNeoXConfig(**size),
        "gpt2": lambda: transformers.GPT2Config(
            n_embd=64, n_layer=3, n_head=4, n_positions=128, vocab_size=vocabulary, initializer_range=0.2, bos_token_id=None,
            eos_token_id=None,
        ),
        "opt": lambda: transformers.OPTConfig(
            **{key: value for key, value in size.items() if key not in ("intermediate_size", "initializer_range")},
            ffn_dim=128, init_std=0.2, word_embed_proj_dim=16,
        ),
    }  # fmt: skip
    torch.manual_seed(sum(map(ord, family)))
    return transformers.AutoModelForCausalLM.from_config(configs[family]())


@pytest.fixture(scope="session")
def llm_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Gives the folder of a tiny language model by its family and the name of its template, made once."""
    made: dict[tuple[str, str], Path] = {}

    def give(family: str, template: str = "chatml") -> Path:
        if (family, template) not in made:
            folder = tmp_path_factory.mktemp(f"{family}-{template}")
            tokenizer = make_tokenizer(template)
            tokenizer.save_pretrained(folder)
            make_model(family, len(tokenizer)).save_pretrained(folder)
            made[family, template] = folder
        return made[family, template]

    return give


@pytest.fixture(scope="session")
def chat_tokenizer() -> Callable[[str], Any]:
    """Makes a tokenizer with the chat template of that name."""
    return make_tokenizer
