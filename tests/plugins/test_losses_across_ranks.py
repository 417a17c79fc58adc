"""Losses under DistributedDataParallel on real gloo processes; this file is also the program that each of them runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from trialbook_plugins.losses.info_nce import InfoNCE
from trialbook_plugins.losses.matryoshka import Matryoshka
from trialbook_plugins.losses.siglip import SigLIP

LOSSES: dict[str, Callable[[], nn.Module]] = {
    "info-nce": InfoNCE,
    "siglip": SigLIP,
    "matryoshka": lambda: Matryoshka(5, InfoNCE(), dims=[2, 5]),
}
BATCH = 6


class TwoTowers(nn.Module):
    """A map for each of three modalities, and a loss over what they give."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.maps = nn.ModuleDict({name: nn.Linear(4, 5) for name in ("image", "text", "audio")})
        self.loss = loss

    def forward(self, x: Tensor) -> Tensor:
        return self.loss(embeddings={name: part(x[:, i]) for i, (name, part) in enumerate(self.maps.items())})


def step(name: str, rank: int = 0, world: int = 1) -> dict[str, Tensor]:
    """Loss and gradients of this rank's share of a batch that is the same for any number of ranks."""
    torch.manual_seed(0)
    module = TwoTowers(LOSSES[name]()).double()
    batch = torch.randn(BATCH, 3, 4, dtype=torch.float64)
    model = DistributedDataParallel(module) if world > 1 else module
    loss = model(batch.chunk(world)[rank])
    loss.backward()
    told = torch.tensor(list(module.loss.stats().values()), dtype=torch.float64)
    return {"value": loss.detach(), "told": told} | {key: p.grad.clone() for key, p in module.named_parameters()}


def run_rank(rank: int, world: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    for name in LOSSES:
        save_file(step(name, rank, world), folder / f"{name}-{rank}.safetensors")
    dist.destroy_process_group()


@pytest.mark.parametrize("world", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_ranks_together_give_loss_and_gradients_of_one_process_over_the_whole_batch(world: int, tmp_path: Path):
    """Float64 within 1e-12, the scale's gradient included; what could go wrong is a factor of ``world``."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, __file__, str(world), str(tmp_path)]
    ranks = [subprocess.Popen([*command, str(rank)], env=env) for rank in range(world)]
    assert [process.wait(timeout=120) for process in ranks] == [0] * world
    for name in LOSSES:
        expected = step(name)
        assert {key.split(".")[-1] for key in expected} >= {"value", "weight", "log_scale"}
        for rank in range(world):
            result = load_file(tmp_path / f"{name}-{rank}.safetensors")
            torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)


if __name__ == "__main__":
    run_rank(int(sys.argv[3]), int(sys.argv[1]), Path(sys.argv[2]))
