"""Task ``next-token``."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from trialbook import TrialbookError
from trialbook.contracts import Builder, Step, device_of


class NextToken:
    """Train a language model to predict the next token of sequences; stages say which of its parts learn when.

    The loss is the mean cross-entropy in nats over all positions that are predicted.

    Args:
        prompt: tokens at the beginning that are given and not predicted.

    Raises:
        TrialbookError: ``prompt`` is below 1, or leaves nothing to predict.

    Source: Bengio et al. 2003, "A Neural Probabilistic Language Model", equation 5.3 without the penalty.
    """

    takes = {"dataset": "one", "llm": "one"}
    provides = ()
    produces = ("loss", "perplexity")

    def __init__(self, builder: Builder, /, *, prompt: int = 2) -> None:
        if prompt < 1:
            raise TrialbookError(f"prompt ({prompt}) must be at least 1")
        self.builder, self.prompt = builder, prompt

    def setup(self) -> None:
        """Make the data set and the model."""
        self.dataset = self.builder.make("dataset")
        length = self.dataset.describe("tokens").shape[0]
        if self.prompt >= length:
            raise TrialbookError(f"prompt ({self.prompt}) leaves nothing to predict in sequences of {length} tokens")
        self.llm = self.builder.make("llm", vocab_size=self.dataset.vocab_size)
        self.parts = nn.ModuleDict({"llm": self.llm})

    def module(self) -> nn.Module:
        """The language model, as ``llm``."""
        return self.parts

    def size(self, stage: str) -> int:
        """Sequences of the train split."""
        return len(self.dataset.splits()["train"])

    def batch(self, samples: NDArray[np.int64], epoch: int, step: Step) -> Tensor:
        """Tokens [B, L] of these sequences."""
        return torch.from_numpy(self.dataset.splits()["train"].read("tokens", samples))

    def losses(self, batch: Tensor) -> dict[str, Tensor]:
        """Mean cross-entropy of the tokens after the prompt."""
        logits = self.llm(batch[:, :-1])[:, self.prompt - 1 :]
        return {"loss": F.cross_entropy(logits.flatten(0, 1), batch[:, self.prompt :].flatten())}

    def evaluate(self, split: str) -> dict[str, float]:
        """Loss and perplexity of a whole split."""
        if split not in self.dataset.splits():
            return {}
        part = self.dataset.splits()[split]
        rows = torch.from_numpy(part.read("tokens", np.arange(len(part)))).to(device_of(self.parts))
        with torch.no_grad():
            loss = float(self.losses(rows)["loss"])
        return {"loss": loss, "perplexity": math.exp(loss)}

    def after_step(self) -> None:
        """Nothing to clamp."""
