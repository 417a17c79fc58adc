"""Checkpoints are complete or not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from trialbook.engine.checkpoint import CheckpointStore


def _save(store: CheckpointStore, step: int) -> Path:
    tensors = {"model": {"w": torch.full((3,), float(step))}, "optimizer": {"exp_avg/w": torch.zeros(3)}}
    return store.save(step, tensors, {"records": step * 2})


def test_the_newest_checkpoint_is_read_back_bit_for_bit(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints", keep=2)
    assert store.latest() == (None, [])
    for step in (10, 20):
        _save(store, step)
    found, passed = store.latest()
    assert found is not None
    assert found.step == 20
    assert found.state["records"] == 40
    assert torch.equal(found.tensors["model"]["w"], torch.full((3,), 20.0))
    assert found.tensors["optimizer"].keys() == {"exp_avg/w"}
    assert passed == []


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    for step in (1, 2, 3, 4):
        _save(store, step)
    assert [path.name for path in store.paths()] == ["step-00000004", "step-00000003"]


@pytest.mark.parametrize("name", ["model.safetensors", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "delete", "null", "array", "deep", "pipe", "folder"])
def test_a_broken_checkpoint_falls_back_to_the_one_before(tmp_path: Path, name: str, damage: str) -> None:
    store = CheckpointStore(tmp_path, keep=3)
    _save(store, 1)
    victim = _save(store, 2) / name
    body = bytearray(victim.read_bytes())
    if damage == "delete":
        victim.unlink()
    elif damage in ("null", "array", "deep"):
        victim.write_text({"null": "null", "array": "[]", "deep": "[" * 100_000}[damage])
    elif damage in ("pipe", "folder"):
        victim.unlink()
        (os.mkfifo if damage == "pipe" else Path.mkdir)(victim)
    else:
        body[-3] ^= 1
        victim.write_bytes(bytes(body if damage == "flip" else body[: len(body) // 2]))
    found, passed = store.latest()
    assert found is not None
    assert found.step == 1
    assert len(passed) == 1
    assert "step-00000002" in passed[0]


def test_a_checkpoint_that_was_being_written_does_not_count(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    _save(store, 1)
    (tmp_path / ".writing-00000002").mkdir()
    (tmp_path / ".writing-00000002" / "model.safetensors").write_bytes(b"half")
    found, passed = store.latest()
    assert found is not None
    assert found.step == 1
    assert passed == []
    _save(store, 2)
    assert not (tmp_path / ".writing-00000002").exists()


def test_a_checkpoint_that_does_not_fit_is_passed_over_and_goes_when_the_run_writes_an_older_one(
    tmp_path: Path,
) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    for step in (1, 2, 3):
        _save(store, step)
    found, passed = store.latest(lambda state: "too many" if state["records"] > 2 else None)
    assert found is None
    assert passed == ["step-00000003: too many", "step-00000002: too many"]
    _save(store, 1)
    assert [path.name for path in store.paths()] == ["step-00000001"]
