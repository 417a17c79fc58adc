"""Dataset ``progressions``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from acme_trialbook._splits import ArraySplit
from trialbook import TrialbookError
from trialbook.contracts.datasets import Modality, assign_splits, content_hash


class Progressions:
    """Arithmetic progressions modulo the vocabulary's size, as sequences of tokens: 3, 5, 7, 9 …

    Two tokens of a sequence determine the rest, so a model that has understood them predicts without error. There is
    one sequence for each first token and each step.

    Args:
        vocab_size: number of tokens V.
        max_step: largest step; the smallest is 1.
        length: tokens in a sequence.
        val: share of the sequences in the val split.
        test: share of the sequences in the test split.
        seed: another one deals the splits differently.

    Raises:
        TrialbookError: ``vocab_size`` or ``length`` is below 3, or ``max_step`` outside [1, vocab_size).
    """

    modalities = {"tokens": "tokens"}

    def __init__(
        self,
        *,
        vocab_size: int = 32,
        max_step: int = 4,
        length: int = 8,
        val: float = 0.2,
        test: float = 0.2,
        seed: int = 0,
    ) -> None:
        if vocab_size < 3 or length < 3:
            raise TrialbookError(f"vocab_size ({vocab_size}) and length ({length}) must be at least 3")
        if not 1 <= max_step < vocab_size:
            raise TrialbookError(f"max_step ({max_step}) must be at least 1 and below vocab_size ({vocab_size})")
        self.max_step = max_step
        self.vocab_size, self.length, self.seed = vocab_size, length, seed
        self.shares = {"train": 1 - val - test, "val": val, "test": test}

    def describe(self, modality: str) -> Modality:
        """Sequences [L] of token numbers."""
        return Modality("tokens", (self.length,))

    def splits(self) -> Mapping[str, ArraySplit]:
        """Train, val and test."""
        return self._splits

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all sequences."""
        return content_hash(*(part for split in self._splits.values() for part in (split.name, split.rows)))

    @cached_property
    def _splits(self) -> dict[str, ArraySplit]:
        start, step = np.divmod(np.arange(self.vocab_size * self.max_step), self.max_step)
        step = step + 1
        rows = (start[:, None] + step[:, None] * np.arange(self.length)) % self.vocab_size
        dealt = assign_splits([f"{a}+{b}" for a, b in zip(start, step, strict=True)], self.shares, self.seed)
        return {name: ArraySplit(name, rows[members], {"step": step[members]}) for name, members in dealt.items()}
