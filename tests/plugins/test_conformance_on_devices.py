"""The conformance suite finds components that make tensors on the wrong device, on a machine without any."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trialbook.contracts import Features, device_of
from trialbook.contracts.datasets import Modality
from trialbook.testing import PartsBuilder, check_component, pretend_cuda
from trialbook_plugins.datasets.paired_latents import PairedLatents
from trialbook_plugins.encoders.identity import Identity
from trialbook_plugins.llms.small_causal import SmallCausal
from trialbook_plugins.losses.info_nce import InfoNCE
from trialbook_plugins.metrics.retrieval import Retrieval
from trialbook_plugins.projectors.linear import Linear
from trialbook_plugins.tasks.align import Align


class Padded(nn.Module):
    """A linear map that takes a mask of its own where none is given.

    Source: none.
    """

    keeps_tokens = True
    home: str | None = None

    def __init__(self, dim_in: int, dim_out: int, /) -> None:
        super().__init__()
        self.map = nn.Linear(dim_in, dim_out)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None:
            mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=self.home or tokens.device)
        return self.map(tokens * mask[..., None])


class PaddedOnCPU(Padded):
    """Makes it on the CPU.

    Source: none.
    """

    home = "cpu"


class Scaled(nn.Module):
    """Vectors times a constant.

    Source: none.
    """

    accepts: ClassVar[tuple[str, ...]] = ("vector",)

    def __init__(self, modality: Modality, /) -> None:
        super().__init__()
        self.dim = modality.shape[0]
        self.keep("factor", torch.linspace(1, 2, self.dim))

    def keep(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value)

    def prepare(self, raw: Any) -> Tensor:
        return torch.from_numpy(np.asarray(raw))

    def forward(self, prepared: Tensor) -> Features:
        return Features((prepared * self.factor)[:, None], self.mask_of(prepared))

    def mask_of(self, prepared: Tensor) -> Tensor | None:
        return None


class ScaledByAttribute(Scaled):
    """The constant is no buffer.

    Source: none.
    """

    def keep(self, name: str, value: Tensor) -> None:
        setattr(self, name, value)


class ScaledWithMask(Scaled):
    """The mask is made on the CPU.

    Source: none.
    """

    def mask_of(self, prepared: Tensor) -> Tensor:
        return torch.ones(len(prepared), 1, dtype=torch.bool)


class ScaledNoisy(Scaled):
    """Draws from a generator of the CPU.

    Source: none.
    """

    def mask_of(self, prepared: Tensor) -> Tensor:
        noise = torch.rand(len(prepared), 1, generator=torch.Generator().manual_seed(0), device=prepared.device)
        return noise < 2


class ScaledByName(Scaled):
    """Looks for CUDA when it is made.

    Source: none.
    """

    def keep(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value)
        self.home = "cuda" if torch.cuda.is_available() else "cpu"

    def mask_of(self, prepared: Tensor) -> Tensor:
        return torch.ones(len(prepared), 1, dtype=torch.bool, device=self.home)


class Apart(nn.Module):
    """Mean distance of matching rows, at least that of the first.

    Source: none.
    """

    needs: ClassVar[tuple[str, ...]] = ("embeddings",)

    def forward(self, *, embeddings: Mapping[str, Tensor]) -> Tensor:
        a, b = embeddings.values()
        distances = (a - b).square().mean(1)
        return distances.mean() + 0 * self.least(distances)

    def least(self, distances: Tensor) -> Any:
        return float(distances.detach().cpu().numpy().min())


class ApartByNumpy(Apart):
    """Goes to numpy from the device.

    Source: none.
    """

    def least(self, distances: Tensor) -> Any:
        return float(distances.detach().numpy().min())


class ApartOnCPU(Apart):
    """Gives a value on the CPU.

    Source: none.
    """

    def forward(self, *, embeddings: Mapping[str, Tensor]) -> Tensor:
        return super().forward(embeddings=embeddings).cpu()


class Widest:
    """The largest number of all.

    Source: none.
    """

    needs: ClassVar[tuple[str, ...]] = ("embeddings", "groups")
    produces: ClassVar[tuple[str, ...]] = ("{modality}",)

    def compute(self, *, embeddings: Mapping[str, Tensor], groups: Mapping[str, Tensor]) -> dict[str, float]:
        return {name: self.of(rows, groups[name]) for name, rows in embeddings.items()}

    def of(self, rows: Tensor, groups: Tensor) -> float:
        return float(rows.cpu().numpy()[groups.numpy()].max())


class WidestByNumpy(Widest):
    """Without ``cpu()``.

    Source: none.
    """

    def of(self, rows: Tensor, groups: Tensor) -> float:
        return float(rows.numpy().max())


class WidestByGroup(Widest):
    """Puts numbers of the device where groups of the CPU say.

    Source: none.
    """

    def of(self, rows: Tensor, groups: Tensor) -> float:
        return float(rows.index_select(0, groups).max())


class CountsOnCPU(SmallCausal):
    """Counts positions on the CPU.

    Args:
        width: of it.

    Source: none.
    """

    def __init__(self, corpus: Any = None, /, *, width: int = 16) -> None:
        super().__init__(corpus, width=width, depth=1, heads=2)

    def forward(self, embeds: Tensor, mask: Tensor, positions: Tensor | None = None) -> Tensor:
        return super().forward(embeds + 0 * torch.arange(embeds.shape[1])[:, None], mask, positions)


class EvaluatesOnCPU(Align):
    """Weighs its losses by a tensor of the CPU.

    Args:
        dim: width of the embeddings.
    """

    def __init__(self, builder: Any, /, *, dim: int = 8) -> None:
        super().__init__(builder, dim=dim)

    def losses(self, batch: Any) -> dict[str, Tensor]:
        found = super().losses(batch)
        return {**found, "loss": (found["loss"] * torch.ones(1)).sum()}


SOUND: list[tuple[type, str]] = [(Padded, "projector"), (Scaled, "encoder"), (Apart, "loss"), (Widest, "metric")]

FAULTY: list[tuple[type, str, str]] = [
    (PaddedOnCPU, "projector", "two devices, cuda:0 and cpu! .*aten.mul.Tensor at .*:{Padded.forward}.*`device=x.device`"),
    (ScaledByAttribute, "encoder", "aten.mul.Tensor at .*:{Scaled.forward}.*keep those of a module as its buffers"),
    (ScaledWithMask, "encoder", "gives tokens or their mask on cpu, though its inputs and weights lie on cuda:0"),
    (ScaledNoisy, "encoder", "Expected a 'cuda' device type for generator but found 'cpu' .*:{ScaledNoisy.mask_of}"),
    (ApartByNumpy, "loss", "can't convert cuda:0 .*at .*:{ApartByNumpy.least}.*call `.cpu\\(\\)` before `.numpy\\(\\)`"),
    (ApartOnCPU, "loss", "gives its value on cpu"),
    (WidestByNumpy, "metric", "can't convert cuda:0 .*at .*:{WidestByNumpy.of}"),
    (WidestByGroup, "metric", "aten.index_select.default at .*:{WidestByGroup.of}"),
    (CountsOnCPU, "llm", "aten.add.Tensor at .*:{CountsOnCPU.forward}"),
]  # fmt: skip


def place_of(pattern: str) -> str:
    """The pattern with ``{Class.method}`` as the lines of that method and its name."""

    def lines(found: re.Match[str]) -> str:
        owner, name = found[1].split(".")
        code = getattr(globals()[owner], name).__code__
        numbers = sorted({line for _, _, line in code.co_lines() if line})
        return f"({'|'.join(map(str, numbers))}) {name}"

    return re.sub(r"\{(\w+\.\w+)\}", lines, pattern)


@pytest.mark.parametrize(("cls", "kind"), SOUND)
def test_a_sound_component_passes(cls: type, kind: str) -> None:
    check_component(cls, kind)


@pytest.mark.parametrize(("cls", "kind", "said"), FAULTY, ids=lambda value: getattr(value, "__name__", ""))
def test_a_component_that_leaves_the_device_is_named_with_operation_and_place(cls: type, kind: str, said: str) -> None:
    with pytest.raises(AssertionError, match=place_of(said)) as caught:
        check_component(cls, kind)
    assert str(caught.value).startswith(f"{cls.__name__} ")


def test_a_component_that_asks_for_cuda_when_it_is_made_is_sound_where_it_is() -> None:
    check_component(ScaledByName, "encoder")


def parts() -> PartsBuilder:
    data = PairedLatents(train=64, val=16, test=16)
    return PartsBuilder({
        "dataset": data, "encoder": {m: Identity(data.describe(m)) for m in ("image", "text")},
        "projector": {"image": Linear(64, 8), "text": Linear(48, 8)}, "loss": {"info-nce": InfoNCE()},
        "metric": {"retrieval": Retrieval()},
    })  # fmt: skip


def test_a_task_is_checked_with_its_parts_which_stay_where_they_are() -> None:
    builder = parts()
    check_component(Align, "task", options={"dim": 8}, injected={"builder": builder})
    assert device_of(builder.make("projector", "image")).type == "cpu"
    with pytest.raises(AssertionError, match=r"EvaluatesOnCPU works on a CPU, but not on a CUDA device: .*aten\.mul"):
        check_component(EvaluatesOnCPU, "task", injected={"builder": parts()})


def test_parts_that_were_given_stay_on_the_cpu() -> None:
    inner = InfoNCE()
    check_component(
        "trialbook_plugins.losses.matryoshka:Matryoshka", "loss", options={"dims": [4, 16]}, injected={"of": inner}
    )
    assert type(next(inner.parameters())) is nn.Parameter
    assert device_of(inner).type == "cpu"


def test_a_device_that_is_on_already_is_used() -> None:
    with pretend_cuda() as device:
        check_component(Padded, "projector")
        with pytest.raises(AssertionError, match="two devices"):
            check_component(PaddedOnCPU, "projector")
    assert device.copies
