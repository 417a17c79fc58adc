"""A tokenizer that is trained on the data and travels with the weights that were learned for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn


class KeptTokenizer(nn.Module):
    """A tokenizer whose JSON is a buffer: it is saved, hashed and loaded together with weights.

    Args:
        tokenizer: of the library tokenizers, as it is to be kept.
        restored: called when another one came with loaded weights.
    """

    def __init__(self, tokenizer: Tokenizer, restored: Callable[[], None] | None = None) -> None:
        super().__init__()
        self.tokenizer, self._restored = tokenizer, restored
        self.tokenizer_json: Tensor
        content = bytearray(tokenizer.to_str().encode())
        self.register_buffer("tokenizer_json", torch.frombuffer(content, dtype=torch.uint8))
        self.register_load_state_dict_pre_hook(_restore)  # type: ignore[no-untyped-call]


def _restore(module: KeptTokenizer, state: Mapping[str, Tensor], prefix: str, *rest: Any) -> None:
    """Before weights are loaded: become the tokenizer that was saved with them."""
    saved = state.get(f"{prefix}tokenizer_json")
    if saved is not None:
        module.tokenizer_json = torch.empty_like(saved, device=module.tokenizer_json.device)
        module.tokenizer = Tokenizer.from_str(bytes(saved.cpu().numpy()).decode())
        if module._restored is not None:
            module._restored()
