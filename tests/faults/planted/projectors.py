"""Projectors with one fault each. All are linear maps [B, N, D_in] -> [B, M, D_out] but for it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Linear(nn.Module):
    """The sound part."""

    keeps_tokens = True

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim_in, dim_out)


class Collapses(_Linear):
    """Rows differ by next to nothing beside what all have in common.

    Args:
        left: factor on what sets rows apart.
    """

    def __init__(self, dim_in: int, dim_out: int, /, *, left: float = 1e-4) -> None:
        super().__init__(dim_in, dim_out)
        self.left = left
        self.register_buffer("common", torch.randn(dim_out))

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.common + self.left * self.linear(tokens)


class OneDirection(_Linear):
    """All rows lie on one line."""

    def __init__(self, dim_in: int, dim_out: int, /) -> None:
        super().__init__(dim_in, 1)
        self.out = nn.Linear(1, dim_out, bias=False)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.out(self.linear(tokens))


class Detaches(_Linear):
    """Its output is cut off from the graph."""

    def __init__(self, dim_in: int, dim_out: int, /) -> None:
        super().__init__(dim_in, dim_out)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.linear(tokens).detach()


class HalfUsed(_Linear):
    """A second branch is there and never taken."""

    def __init__(self, dim_in: int, dim_out: int, /) -> None:
        super().__init__(dim_in, dim_out)
        self.other = nn.Sequential(nn.Linear(dim_in, dim_out), nn.GELU(), nn.Linear(dim_out, dim_out))

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.linear(tokens)


class SpoilsForward(_Linear):
    """Puts out a NaN from its n-th training step on.

    Args:
        after: training steps that are sound.
    """

    def __init__(self, dim_in: int, dim_out: int, /, *, after: int = 30) -> None:
        super().__init__(dim_in, dim_out)
        self.after = after
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        outputs = self.linear(tokens)
        if self.training:
            self.steps += 1
        return (outputs - 1e6).sqrt() if self.steps > self.after else outputs


class SpoilsBackward(_Linear):
    """Adds a distance that is 0, and the slope of its square root infinite: the forward pass is sound."""

    def __init__(self, dim_in: int, dim_out: int, /) -> None:
        super().__init__(dim_in, dim_out)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        outputs = self.linear(tokens)
        return outputs + (outputs - outputs.detach()).pow(2).sum(dim=-1, keepdim=True).sqrt()


class DeadReLU(_Linear):
    """A ReLU head whose biases lie so low that nothing passes."""

    def __init__(self, dim_in: int, dim_out: int, /) -> None:
        super().__init__(dim_in, dim_out)
        nn.init.constant_(self.linear.bias, -30.0)
        self.activation = nn.ReLU()
        self.out = nn.Linear(dim_out, dim_out)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.out(self.activation(self.linear(tokens)))


class _Gain(nn.Module):
    def forward(self, tokens: Tensor) -> Tensor:
        return 1e6 * tokens


class Gains(_Linear):
    """A stray factor of a million, which the normalisation behind it hides."""

    def __init__(self, dim_in: int, dim_out: int, /) -> None:
        super().__init__(dim_in, dim_out)
        self.gain = _Gain()

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.gain(self.linear(tokens))


class SigmoidStack(_Linear):
    """So many sigmoids one after the other that no gradient comes through."""

    def __init__(self, dim_in: int, dim_out: int, /, *, depth: int = 16) -> None:
        super().__init__(dim_in, dim_out)
        self.stack = nn.Sequential(*(one for _ in range(depth) for one in (nn.Linear(dim_out, dim_out), nn.Sigmoid())))
        self.out = nn.Linear(dim_out, dim_out)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.out(self.stack(self.linear(tokens)))


class FixedQueries(nn.Module):
    """Attention pooling by queries that never learn and are far too small or far too large: [B, N, D_in] -> [B, 4, D_out].

    Args:
        size: standard deviation of the queries.
    """

    keeps_tokens = False

    def __init__(self, dim_in: int, dim_out: int, /, *, size: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("queries", torch.randn(4, 32) * size)
        self.key, self.value = nn.Linear(dim_in, 32), nn.Linear(dim_in, 32)
        self.out = nn.Linear(32, dim_out)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        queries = self.queries.expand(len(tokens), -1, -1)
        return self.out(F.scaled_dot_product_attention(queries, self.key(tokens), self.value(tokens)))


class AddsConstant(_Linear):
    """Moves all rows far to one side."""

    def __init__(self, dim_in: int, dim_out: int, /, *, length: float = 5.0) -> None:
        super().__init__(dim_in, dim_out)
        self.register_buffer("side", F.normalize(torch.randn(dim_out), dim=0) * length)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        return F.normalize(self.linear(tokens), dim=-1) + self.side


class KeepsStatistics(_Linear):
    """Its batch norm takes running statistics down though it is frozen."""

    def __init__(self, dim_in: int, dim_out: int, /) -> None:
        super().__init__(dim_in, dim_out)
        self.norm = nn.BatchNorm1d(dim_in)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        self.norm.train()
        return self.linear(self.norm(tokens.transpose(1, 2)).transpose(1, 2))


class HalfWeights(_Linear):
    """Weights in bf16, in which small steps are lost."""

    def __init__(self, dim_in: int, dim_out: int, /) -> None:
        super().__init__(dim_in, dim_out)
        self.linear = self.linear.to(torch.bfloat16)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.linear(tokens.to(torch.bfloat16)).float()


class Undoes(_Linear):
    """Puts its weights back to where they began before every forward pass."""

    def __init__(self, dim_in: int, dim_out: int, /) -> None:
        super().__init__(dim_in, dim_out)
        self.register_buffer("begun", self.linear.weight.detach().clone())
        self.linear.bias = None

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        with torch.no_grad():
            self.linear.weight.copy_(self.begun)
        return self.linear(tokens)


class BatchCentred(_Linear):
    """Takes the batch's mean off its output with no regard to the split: row by row at evaluation it would be nothing."""

    def __init__(self, dim_in: int, dim_out: int, /) -> None:
        super().__init__(dim_in, dim_out)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        outputs = self.linear(tokens)
        return outputs if self.training else outputs - outputs
