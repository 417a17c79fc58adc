"""Gathering rows over real gloo processes; this file is also the program that each of them runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from trialbook.engine.distributed import gather_with_grad


def objective(gathered: torch.Tensor, rank: int) -> torch.Tensor:
    """Something that every rank computes differently, so that the backward pass must add up over ranks."""
    return (rank + 1) * (gathered.pow(3) * torch.arange(1, len(gathered) + 1)[:, None]).sum()


def rows(rank: int) -> torch.Tensor:
    return torch.randn(2, 3, generator=torch.Generator().manual_seed(rank), dtype=torch.float64)


def run_rank(rank: int, world: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    mine = rows(rank).requires_grad_()
    gathered = gather_with_grad(mine.T.contiguous().T)  # not contiguous
    objective(gathered, rank).backward()
    (folder / f"{rank}.json").write_text(json.dumps({"gathered": gathered.tolist(), "grad": mine.grad.tolist()}))
    dist.destroy_process_group()


def test_without_a_process_group_it_returns_the_tensor_itself():
    t = torch.randn(2, 3, requires_grad=True)
    assert gather_with_grad(t) is t


@pytest.mark.parametrize("world", [2])
def test_rows_come_in_the_order_of_ranks_and_gradients_add_up_over_ranks(world: int, tmp_path: Path):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, __file__, str(world), str(tmp_path)]
    ranks = [subprocess.Popen([*command, str(rank)], env=env) for rank in range(world)]
    assert [process.wait(timeout=120) for process in ranks] == [0] * world
    whole = torch.cat([rows(rank) for rank in range(world)]).requires_grad_()
    sum(objective(whole, rank) for rank in range(world)).backward()
    for rank, expected in enumerate(whole.grad.chunk(world)):
        result = json.loads((tmp_path / f"{rank}.json").read_text())
        torch.testing.assert_close(torch.tensor(result["gathered"], dtype=torch.float64), whole.detach())
        torch.testing.assert_close(torch.tensor(result["grad"], dtype=torch.float64), expected)


if __name__ == "__main__":
    run_rank(int(sys.argv[3]), int(sys.argv[1]), Path(sys.argv[2]))
