"""The smallest experiment that aligns two modalities, as the text of its file."""

from __future__ import annotations


def align_file(
    *, head: str = "", dim: int = 8, train: int = 64, val: int = 32, test: int = 32, steps: int = 2, batch_size: int = 32,
    more: str = "",
) -> str:  # fmt: skip
    """Two linear projectors between paired latents.

    Args:
        head: keys that stand before all tables.
        dim: of the shared space.
        train, val, test: groups of each split.
        steps, batch_size: of training; keys of ``more`` that stand before its first table belong to ``[train]`` too.
        more: all that follows.
    """
    return f"""{head.strip()}
[task]
use = "align"
dim = {dim}
[dataset]
use = "paired-latents"
train = {train}
val = {val}
test = {test}
[encoder.image]
use = "identity"
[encoder.text]
use = "identity"
[projector.image]
use = "linear"
[projector.text]
use = "linear"
[[loss]]
use = "info-nce"
[train]
steps = {steps}
batch_size = {batch_size}
{more.strip()}
"""
