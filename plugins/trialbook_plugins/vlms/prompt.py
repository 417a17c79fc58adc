"""The tokens around an image's in the sequence of the language model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trialbook import TrialbookError
from trialbook_plugins.hub import import_transformers, reading
from trialbook_plugins.vlms.family import Prompt

_AROUND = ("vision_start_token_id", "vision_end_token_id")


def plain_prompt(config: Any, image: int) -> Prompt:
    """Without words: what begins a text, and what stands around an image where the configuration says."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    begin = getattr(text, "bos_token_id", None)
    before, after = (getattr(config, name, None) for name in _AROUND)
    return Prompt(
        tuple(i for i in (begin, before) if i is not None and i != image), image, () if after is None else (after,)
    )


def worded_prompt(folder: Path, model: str, image: int, words: str, trust: bool) -> Prompt:
    """A question about one image, in the checkpoint's chat template where it has one.

    Raises:
        TrialbookError: the checkpoint has no tokenizer, or its template does not place one image.
    """
    with reading("tokenizer", model):
        tokenizer = import_transformers().AutoTokenizer.from_pretrained(folder, trust_remote_code=trust)
    marker = tokenizer.convert_ids_to_tokens(image)
    text = _rendered(tokenizer, marker, words)
    before, found, after = text.partition(marker)
    if not found or marker in after:
        raise TrialbookError(
            f"the chat template of model '{model}' does not place one image '{marker}'; leave 'prompt' out"
        )
    start, end = (getattr(tokenizer, f"{side}_image_token_id", None) for side in ("start", "end"))
    ids = [tuple(tokenizer(part, add_special_tokens=False)["input_ids"]) for part in (before, after)]
    begin = () if start is None or ids[0][-1:] == (start,) else (start,)
    close = () if end is None or ids[1][:1] == (end,) else (end,)
    return Prompt((*ids[0], *begin), image, (*close, *ids[1]))


def _rendered(tokenizer: Any, marker: str, words: str) -> str:
    if not getattr(tokenizer, "chat_template", None):
        return f"{tokenizer.bos_token or ''}{marker}\n{words}"
    contents: tuple[Any, ...] = ([{"type": "image"}, {"type": "text", "text": words}], f"{marker}\n{words}")
    text = ""
    for content in contents:  # templates of text models know no lists
        message = [{"role": "user", "content": content}]
        text = str(tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))
        if text.count(marker) == 1:
            break
    return text
