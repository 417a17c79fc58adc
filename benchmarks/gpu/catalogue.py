"""The parts of the benchmark, those first whose answers are worth most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: Shipped experiments that need nothing but the tree, every task among them.
EXPERIMENTS = (
    "perceiver_vs_mlp", "mini_llava", "grounding", "sensor_text", "sensor_text_mlm", "sensor_hard_negatives", "matryoshka",
    "spatial/qwen2_5_vl", "spatial/latent_alignment", "spatial/reconstruction",
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """Something that is measured in a process of its own.

    Args:
        title: of the section that it belongs to.
        module: of this package; its function ``measure`` does the work.
        of: what the module is asked for, where it does several things.
        seconds: that it may take; what is not done then is given up.
        alone: nothing else runs beside it, as its speed counts.
        pretend: rehearsed on the pretend CUDA device rather than on the CPU.
    """

    title: str
    module: str
    of: str = ""
    seconds: float = 60
    alone: bool = False
    pretend: bool = True

    @property
    def name(self) -> str:
        """The full name, e.g. ``experiments/grounding``."""
        return f"{self.module}/{self.of}" if self.of else self.module


PARTS = (
    *(Part("Shipped experiments, three steps each", "experiments", name, 90) for name in EXPERIMENTS),
    Part("Stored features", "store", seconds=70),
    Part("Half precision in two stages", "half", "norms", 60),
    Part("Half precision in two stages", "half", "resumed", 60),
    Part("Waits in a step", "waits", seconds=70),
    Part("Memory from run to run", "memory", seconds=60, pretend=False),
    Part("A language model of 1.5 billion parameters", "adapters", "lora", 90, alone=True, pretend=False),
    Part("A language model of 1.5 billion parameters", "adapters", "nf4", 90, alone=True, pretend=False),
    Part("The resampler at full size", "resampler", seconds=80, alone=True),
    Part("The same steps twice", "repeats", "as-it-is", 60),
    Part("The same steps twice", "repeats", "deterministic", 60),
    Part("Failing on purpose", "mishaps", seconds=60),
    Part("Layers of vision-language models", "layers", seconds=110, alone=True),
    Part("Matrix products", "products", seconds=30, alone=True),
)


def choose(names: Sequence[str], parts: Sequence[Part] = PARTS) -> list[Part]:
    """The parts of these names (or modules), in their order; all if there are none.

    Raises:
        ValueError: a name is of no part.
    """
    for name in names:
        if not any(name in (part.name, part.module) for part in parts):
            known = ", ".join(dict.fromkeys(part.module for part in parts))
            raise ValueError(f"there is no part '{name}'; there are {known}")
    return [part for part in parts if not names or part.name in names or part.module in names]
