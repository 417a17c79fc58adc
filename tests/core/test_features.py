"""Outputs of frozen encoders are stored once, and any change misses the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import nn

from trialbook.contracts import Features
from trialbook.errors import TrialbookError
from trialbook.features import FeatureStore, address, weights_hash

ROWS = 150
TRUTH = torch.randn(ROWS, 3, 5, generator=torch.Generator().manual_seed(0))
MASK = torch.rand(ROWS, 3, generator=torch.Generator().manual_seed(1)) > 0.3


class _Counting:
    """An encode function that counts the rows it was asked for, and may die after some."""

    def __init__(self, die_after: int | None = None, mask: bool = True) -> None:
        self.rows = 0
        self.die_after, self.mask = die_after, mask

    def __call__(self, rows: NDArray[np.int64]) -> Features:
        if self.die_after is not None and self.rows >= self.die_after:
            raise KeyboardInterrupt
        self.rows += len(rows)
        return Features(TRUTH[rows], MASK[rows] if self.mask else None)


def test_features_are_encoded_once_and_read_back_exactly(tmp_path: Path) -> None:
    store, encode = FeatureStore(tmp_path), _Counting()
    for _ in range(2):
        stored = store.get({"weights": "a"}, ROWS, encode)
        assert isinstance(stored.tokens, np.memmap)
        assert np.array_equal(stored.tokens, TRUTH.numpy())
        assert stored.mask is not None
        assert np.array_equal(stored.mask, MASK.numpy())
    assert encode.rows == ROWS


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    FeatureStore(tmp_path).get({"weights": "a"}, ROWS, _Counting())
    with safe_open(next(tmp_path.glob("*.safetensors")), "pt") as file:
        assert set(file.keys()) == {"tokens", "mask"}
        assert torch.equal(file.get_tensor("tokens"), TRUTH)
        assert torch.equal(file.get_tensor("mask"), MASK)


def test_an_interrupted_encoding_goes_on_where_it_stopped(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    first = _Counting(die_after=64)
    with pytest.raises(KeyboardInterrupt):
        store.get({"weights": "a"}, ROWS, first)
    second = _Counting()
    stored = store.get({"weights": "a"}, ROWS, second)
    assert second.rows == ROWS - 64
    assert np.array_equal(stored.tokens, TRUTH.numpy())


def test_features_are_not_written_through_a_map_where_a_full_disk_would_end_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, modes = np.memmap, []

    def note(*args: Any, mode: str, **options: Any) -> Any:
        modes.append(mode)
        return made(*args, mode=mode, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(np, "memmap", note)
    FeatureStore(tmp_path).get({"weights": "a"}, ROWS, _Counting())
    assert set(modes) == {"r"}


@pytest.mark.parametrize("first", [True, False])
def test_a_mask_with_some_rows_only_is_refused(tmp_path: Path, first: bool) -> None:
    def encode(rows: NDArray[np.int64]) -> Features:
        return Features(TRUTH[rows], MASK[rows] if (rows[0] == 0) == first else None)

    with pytest.raises(TrialbookError, match="a mask with all rows or with none"):
        FeatureStore(tmp_path).get({"weights": "a"}, ROWS, encode)


def test_double_tokens_and_whole_numbers_as_mask_are_stored_as_float_and_bool(tmp_path: Path) -> None:
    stored = FeatureStore(tmp_path).get(
        {"weights": "a"}, ROWS, lambda rows: Features(TRUTH[rows].double(), MASK[rows].long())
    )
    assert stored.mask is not None
    assert np.array_equal(stored.mask, MASK.numpy())
    assert np.array_equal(stored.tokens, TRUTH.numpy())


def test_any_change_of_what_made_them_is_another_address() -> None:
    base = {"weights": "w", "options": {"layer": -2}, "dtype": "float32", "data": "d", "identity": {"mean": "0.5"}}
    changes = [
        {"weights": "v"},
        {"options": {"layer": -1}},
        {"dtype": "float16"},
        {"data": "e"},
        {"identity": {"mean": "0.4"}},
    ]
    addresses = {address(base), *(address({**base, **change}) for change in changes)}
    assert len(addresses) == 1 + len(changes)


def test_the_weights_hash_sees_every_tensor_its_name_and_its_dtype() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    before = weights_hash(module)
    assert weights_hash(module) == before
    module[1].running_mean[0] += 1e-6  # type: ignore[index,operator]
    changed = weights_hash(module)
    assert changed != before
    with torch.no_grad():
        module[0].weight[0, 0] += 1e-6  # type: ignore[index]
    assert weights_hash(module) not in (before, changed)
    assert weights_hash(module.half()) not in (before, changed)


def test_features_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    def encode(rows: NDArray[np.int64]) -> Features:
        return Features(torch.full((len(rows), 1, 2), float("nan")))

    with pytest.raises(TrialbookError, match="NaN"):
        FeatureStore(tmp_path).get({"weights": "a"}, 3, encode)


def test_a_file_that_was_cut_is_refused_not_read(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    store.get({"weights": "a"}, ROWS, _Counting())
    path = next(tmp_path.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(TrialbookError, match="cut short"):
        store.get({"weights": "a"}, ROWS, _Counting())
