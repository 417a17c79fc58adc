"""Task ``align`` with one fault each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trialbook.contracts import Builder, Step
from trialbook_plugins.tasks.align import Align


class _Align(Align):
    def __init__(self, builder: Builder, dim: int) -> None:
        super().__init__(builder, dim=dim)


class LeavesOut(_Align):
    """The module that is trained lacks the projector of the texts."""

    def __init__(self, builder: Builder, /, *, dim: int = 32) -> None:
        super().__init__(builder, dim)

    def module(self) -> nn.Module:
        projectors = nn.ModuleDict({name: p for name, p in self.parts["projector"].items() if name != "text"})
        return nn.ModuleDict({"encoder": self.parts["encoder"], "projector": projectors, "loss": self.parts["loss"]})


class OneByOne(_Align):
    """The losses of a split are taken row by row."""

    def __init__(self, builder: Builder, /, *, dim: int = 32) -> None:
        super().__init__(builder, dim)

    def evaluate(self, split: str) -> dict[str, float]:
        figures = super().evaluate(split)
        sources = self._split(split)
        rows = [{n: self._moved(s.read(np.array([row]))) for n, s in sources.items()} for row in range(8)]
        losses = [self.losses(one) for one in rows]
        return {
            **figures,
            **{n: torch.stack([o[n] for o in losses]).mean().item() for n in losses[0] if "scale" not in n},
        }


class Thaws(_Align):
    """Trains encoders that the file freezes."""

    def __init__(self, builder: Builder, /, *, dim: int = 32) -> None:
        super().__init__(builder, dim)

    def setup(self) -> None:
        super().setup()
        self.frozen = dict.fromkeys(self.frozen, False)
        self.parts["encoder"] = nn.ModuleDict({n: e.requires_grad_(True) for n, e in self.encoders.items()})


class SwapsInTraining(_Align):
    """In training every row meets the partner of the row before it."""

    def __init__(self, builder: Builder, /, *, dim: int = 32) -> None:
        super().__init__(builder, dim)

    def losses(self, batch: Mapping[str, object]) -> dict[str, Tensor]:
        return super().losses(batch)

    def batch(self, samples: NDArray[np.int64], epoch: int, step: Step) -> dict[str, object]:
        rows = super().batch(samples, epoch, step)
        other = super().batch((samples + 1) % self.size(step.stage), epoch, step)
        return {"image": rows["image"], "text": other["text"]}
