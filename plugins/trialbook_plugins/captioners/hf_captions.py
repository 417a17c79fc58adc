"""Captioner ``hf-captions``: a causal language model of the Hugging Face kind writes captions from facts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from trialbook import TrialbookError
from trialbook.contracts import CPU, device_of
from trialbook.contracts.conversations import Turn
from trialbook_plugins.llms.hf_causal import HFCausal

_PROMPT = "Describe in one sentence what a person does, from these facts of a window of sensor data: {facts}"


class HFCaptions:
    """Any causal language model with a tokenizer writes a caption from the facts of each window; greedy, so that it repeats.

    The prompt is a user's turn where the model has a chat template, else a text that the model continues. What it writes is
    cut at its first line break; where it writes nothing, an error says so. Captions want to be looked at before they are used.

    Args:
        data_root: folder in which a relative ``model`` is looked for, too.
        device: where the model computes.
        model: a folder, or a name of the hub.
        revision: branch, tag or commit of a name of the hub.
        dtype: number format of weights and computation.
        prompt: what the model is asked; ``{facts}`` stands for all facts, and ``{activity}`` and other names for one of them.
        max_new_tokens: of a caption.
        batch_size: windows at once.
    Raises:
        TrialbookError: the model cannot be loaded, a value is out of its range, the prompt names a fact that is not known or is
            too long for the model, or the model writes nothing.
    """

    def __init__(
        self, data_root: Path | None = None, device: torch.device = CPU, /, *, model: str, revision: str | None = None,
        dtype: Literal["auto", "float32", "bfloat16", "float16"] = "float32", prompt: str = _PROMPT, max_new_tokens: int = 48,
        batch_size: int = 16,
    ) -> None:  # fmt: skip
        if max_new_tokens < 1 or batch_size < 1:
            raise TrialbookError(f"max_new_tokens ({max_new_tokens}) and batch_size ({batch_size}) must be at least 1")
        if "{" not in prompt:
            raise TrialbookError(f"prompt ({prompt!r}) names no facts; write {{facts}} where they belong")
        self.prompt = prompt
        self.max_new_tokens = max_new_tokens
        self.batch_size = batch_size
        self._llm = HFCausal(data_root, device, model=model, revision=revision, dtype=dtype).eval().to(device)

    def caption(self, facts: Sequence[Mapping[str, Any]]) -> list[str]:
        """One text for each window.

        Raises:
            TrialbookError: see the class.
        """
        texts: list[str] = []
        for at in range(0, len(facts), self.batch_size):
            texts += self._batch([self._ids(window) for window in facts[at : at + self.batch_size]])
        if empty := [number for number, text in enumerate(texts) if not text]:
            raise TrialbookError(
                f"model '{self._llm.name}' wrote nothing for {len(empty)} of {len(texts)} windows, first for {empty[0]}"
            )
        return texts

    def _ids(self, facts: Mapping[str, Any]) -> list[int]:
        told = {name: value for name, value in facts.items() if name != "key"}
        try:
            question = self.prompt.format_map({**told, "facts": json.dumps(told, ensure_ascii=False)})
        except (KeyError, IndexError, ValueError) as error:
            raise TrialbookError(f"prompt names {error}, which is not among the facts: {', '.join(told)}") from error
        if self._llm.template.plain:  # a model that continues a text, and knows no questions
            return list(self._llm.tokenizer(question).input_ids)
        return [token for piece in self._llm.render([Turn("user", question)], 0, answer=False) for token in piece.ids]

    @torch.no_grad()
    def _batch(self, rows: Sequence[list[int]]) -> list[str]:
        longest = max(map(len, rows))
        ids, mask = torch.zeros(len(rows), longest, dtype=torch.long), torch.zeros(len(rows), longest, dtype=torch.bool)
        for place, row in enumerate(rows):
            ids[place, : len(row)], mask[place, : len(row)] = torch.tensor(row), True
        device = device_of(self._llm)
        embeds: Tensor = self._llm.embed(ids.to(device))
        written = self._llm.generate(embeds, mask.to(device), max_new_tokens=self.max_new_tokens)
        return [one.text.strip().partition("\n")[0].strip() for one in written]
