"""Gathering rows over real gloo processes; this file is also the program that each of them runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from trialbook.contracts.distributed import everyone, gather_with_grad, gathering, spread, spread_in_turns
from trialbook.engine.group import mean_of_all, share_buffers

WORLD = 2


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
    found = {"gathered": gathered.tolist(), "grad": mine.grad.tolist(), **told(rank)}
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def told(rank: int) -> dict[str, Any]:
    """What the rest of what processes do together gives on this rank."""
    done: list[int] = []

    def square(item: int) -> dict[str, Any]:
        done.append(item)
        return {"tensor": torch.tensor(item**2), "text": str(item)}

    with gathering("own"):
        own = gather_with_grad(rows(rank))
    with gathering("stand-in"):
        like = gather_with_grad(rows(rank))
    shared = [(int(one["tensor"]), one["text"]) for one in spread(square, range(5))]
    turns = []
    for one in spread_in_turns(square, [5, 6, 7]):
        turns.append((one["text"], len(done)))
    norm = torch.nn.BatchNorm1d(3)
    norm.register_buffer("odd", torch.tensor([True, False, rank == 1]))
    norm.register_buffer("even", torch.ones(2, 2).T)
    norm(rows(rank).float())
    differed = share_buffers(norm)
    means = mean_of_all({"loss": torch.tensor(float(rank)), "b": torch.tensor(rank + 2.0)})
    return {
        "own": own.tolist(), "like": like.tolist(), "shared": shared, "turns": turns, "done": done, "differed": differed,
        "mean": norm.running_mean.tolist(), "odd": norm.odd.tolist(), "everyone": everyone({"rank": rank}),
        "means": {name: one.item() for name, one in means.items()},
    }  # fmt: skip


def test_without_a_process_group_it_returns_the_tensor_itself():
    t = torch.randn(2, 3, requires_grad=True)
    assert gather_with_grad(t) is t


def test_one_process_does_all_work_itself_as_it_is_asked_for():
    done: list[int] = []
    assert spread(lambda item: done.append(item) or item + 1, [1, 2, 3]) == [2, 3, 4]
    for number, item in enumerate(spread_in_turns(lambda item: done.append(item) or item, [4, 5]), 4):
        assert done[3:] == list(range(4, number + 1))
        assert item == number


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes gives."""
    folder = tmp_path_factory.mktemp("ranks")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, __file__, str(WORLD), str(folder)]
    ranks = [subprocess.Popen([*command, str(rank)], env=env) for rank in range(WORLD)]
    assert [process.wait(timeout=120) for process in ranks] == [0] * WORLD
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(WORLD)]


def test_rows_come_in_the_order_of_ranks_and_gradients_add_up_over_ranks(results: list[dict[str, Any]]):
    whole = torch.cat([rows(rank) for rank in range(WORLD)]).requires_grad_()
    sum(objective(whole, rank) for rank in range(WORLD)).backward()
    for result, expected in zip(results, whole.grad.chunk(WORLD), strict=True):
        torch.testing.assert_close(torch.tensor(result["gathered"], dtype=torch.float64), whole.detach())
        torch.testing.assert_close(torch.tensor(result["grad"], dtype=torch.float64), expected)


def test_nothing_is_gathered_where_rows_are_the_same_everywhere(results: list[dict[str, Any]]):
    for rank, result in enumerate(results):
        assert result["own"] == rows(rank).tolist()
        assert result["like"] == rows(rank).tolist() * WORLD


def test_work_is_shared_out_and_its_results_are_those_of_one_process(results: list[dict[str, Any]]):
    for rank, result in enumerate(results):
        assert result["shared"] == [[item**2, str(item)] for item in range(5)]
        assert result["done"] == [[0, 2, 4, 5, 7], [1, 3, 6]][rank]
    assert results[0]["turns"] == [["5", 4], ["6", 4], ["7", 5]]


def test_buffers_become_those_of_the_first_process_and_what_differed_is_told(results: list[dict[str, Any]]):
    expected = torch.nn.BatchNorm1d(3)
    expected(rows(0).float())
    for result in results:
        assert result["differed"] == ["running_mean", "running_var", "odd"]
        assert result["mean"] == expected.running_mean.tolist()
        assert result["odd"] == [True, False, False]


def test_what_processes_tell_is_in_the_order_of_ranks(results: list[dict[str, Any]]):
    for result in results:
        assert result["everyone"] == [{"rank": 0}, {"rank": 1}]
        assert result["means"] == {"loss": 0.5, "b": 2.5}


if __name__ == "__main__":
    run_rank(int(sys.argv[3]), int(sys.argv[1]), Path(sys.argv[2]))
