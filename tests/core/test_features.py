"""Outputs of frozen encoders are stored once, and any change misses the store."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import nn

from trialbook.contracts import Features, FeatureTable
from trialbook.engine import feature_file
from trialbook.engine.feature_store import FeatureStore, address, weights_hash
from trialbook.errors import TrialbookError

ROWS = 150
EVERY = slice(None)
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
        assert (len(stored), stored.shape, stored.dtype) == (ROWS, (ROWS, 3, 5), torch.float32)
        assert torch.equal(stored.rows(EVERY), TRUTH)
        assert torch.equal(stored.mask(), MASK)
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
    assert torch.equal(stored.rows(EVERY), TRUTH)


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
    assert torch.equal(stored.mask(), MASK)
    assert torch.equal(stored.rows(EVERY), TRUTH)


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
    for value in (torch.tensor(torch.nan), torch.tensor(1e300, dtype=torch.float64)):

        def encode(rows: NDArray[np.int64], value: torch.Tensor = value) -> Features:
            return Features(value.expand(len(rows), 1, 2))

        with pytest.raises(TrialbookError, match="NaN"):
            FeatureStore(tmp_path).get({"weights": "a"}, 3, encode)


def _stored(folder: Path) -> Path:
    FeatureStore(folder).get({"weights": "a"}, ROWS, _Counting())
    (path,) = folder.glob("*.safetensors")
    return path


def _write_at(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def _zero_second_half(path: Path) -> None:
    size = path.stat().st_size
    _write_at(path, size // 2, bytes(size - size // 2))


def _zero_and_keep_time(path: Path) -> None:
    before = path.stat()
    _write_at(path, path.stat().st_size - 60, bytes(60))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _zero_sums(path: Path) -> None:
    _write_at(path.with_suffix(".sums"), 200, bytes(100))
    path.with_suffix(".checked").unlink()


def _replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "half of it zero": _zero_second_half,
    "a few bytes, its time kept": _zero_and_keep_time,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-4]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"0000"),
    "empty": lambda path: path.write_bytes(b""),
    "header zero": lambda path: _write_at(path, 8, bytes(20)),
    "header of another shape": lambda path: path.write_bytes(path.read_bytes().replace(b"[150, 3, 5]", b"[150, 5, 3]")),
    "header too long": lambda path: _write_at(path, 0, b"\xff" * 8),
    "a folder": _replace_by_folder,
    "no checksums": lambda path: path.with_suffix(".sums").unlink(),
    "checksums cut": lambda path: path.with_suffix(".sums").write_bytes(path.with_suffix(".sums").read_bytes()[:40]),
    "checksums zero": _zero_sums,
}


@pytest.mark.parametrize("how", DAMAGE)
def test_damaged_features_are_made_again_and_that_is_said(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = _stored(tmp_path)
    assert torch.equal(FeatureStore(tmp_path).get({"weights": "a"}, ROWS, _Counting()).rows(EVERY), TRUTH)
    sound = path.read_bytes()
    DAMAGE[how](path)
    encode = _Counting()
    stored = FeatureStore(tmp_path).get({"weights": "a"}, ROWS, encode)
    assert torch.equal(stored.rows(np.arange(ROWS)), TRUTH)
    assert torch.equal(stored.mask(), MASK)
    assert encode.rows > 0
    assert any(path.stem in record.getMessage() for record in caplog.records)
    assert path.read_bytes() == sound
    again = _Counting()
    assert torch.equal(FeatureStore(tmp_path).get({"weights": "a"}, ROWS, again).rows(EVERY), TRUTH)
    assert again.rows == 0


def test_only_the_rows_around_the_damage_are_made_again_and_only_when_they_are_read(tmp_path: Path) -> None:
    path = _stored(tmp_path)
    _write_at(path, path.stat().st_size - MASK.numel() - 20, bytes(20))  # in the last row of the tokens
    encode, contexts = _Counting(), []

    @contextmanager
    def context() -> Iterator[None]:
        contexts.append("in")
        yield
        contexts.append("out")

    stored = FeatureStore(tmp_path).get({"weights": "a"}, ROWS, encode, context)
    assert torch.equal(stored.rows(slice(0, 128)), TRUTH[:128])
    assert (encode.rows, contexts) == (0, [])
    assert torch.equal(stored.on_grid(3, 1)[slice(140, ROWS)], TRUTH[140:].reshape(-1, 3, 1, 5))
    assert (encode.rows, contexts) == (ROWS - 128, ["in", "out"])


def test_layers_are_repaired_one_by_one(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    store.get_many(_made_of(*LAYERS), ROWS, 8, _Many())
    _zero_second_half(tmp_path / f"{address(_made_of('layer 2')['layer 2'])}.safetensors")
    encode = _Many()
    stored = store.get_many(_made_of(*LAYERS), ROWS, 8, encode)
    assert all(torch.equal(stored[name].rows(EVERY), tokens) for name, tokens in LAYERS.items())
    assert encode.asked == [("layer 2",)]


def test_a_row_is_compared_with_its_checksum_once_by_all_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stored(tmp_path)
    looked: list[int] = []
    plain = feature_file._sum
    monkeypatch.setattr(feature_file, "_sum", lambda data: looked.append(1) or plain(data))

    def read(index: slice | NDArray[np.int64]) -> int:
        """Rows that are compared when a new process reads some."""
        stored = FeatureStore(tmp_path).get({"weights": "a"}, ROWS, _Counting())
        looked.clear()
        assert torch.equal(stored.rows(index), TRUTH[index])
        return len(looked)

    assert read(np.array([7, 0, 149, 7])) == 3
    assert read(slice(0, 10)) == 8
    assert read(EVERY) == ROWS - 11
    assert read(EVERY) == 0
    path = next(tmp_path.glob("*.safetensors"))
    os.utime(path)
    assert read(EVERY) == ROWS
    shutil.copy2(path, tmp_path / "copy")
    (tmp_path / "copy").replace(path)
    assert read(EVERY) == ROWS


@pytest.mark.parametrize("how", ["rows zero", "progress is no number", "progress ahead", "empty", "cut", "no partial"])
def test_half_made_features_that_are_damaged_become_whole(tmp_path: Path, how: str) -> None:
    store = FeatureStore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        store.get({"weights": "a"}, ROWS, _Counting(die_after=128))
    (partial,), (progress,) = tmp_path.glob("*.partial"), tmp_path.glob("*.progress")
    assert progress.read_text() == "128"
    {
        "rows zero": lambda: _write_at(partial, 400, bytes(3000)),
        "progress is no number": lambda: progress.write_text(""),
        "progress ahead": lambda: progress.write_text(
            "150"
        ),  # as after a power cut, had it not been forced to the disk
        "empty": lambda: partial.write_bytes(b""),
        "cut": lambda: partial.write_bytes(partial.read_bytes()[:500]),
        "no partial": lambda: partial.unlink(),
    }[how]()
    stored = store.get({"weights": "a"}, ROWS, _Counting())
    assert torch.equal(stored.rows(EVERY), TRUTH)
    assert torch.equal(stored.mask(), MASK)
    assert not [*tmp_path.glob("*.partial"), *tmp_path.glob("*.progress")]


def test_a_store_that_cannot_be_written_is_read_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _stored(tmp_path)

    def refuse(*_: object) -> int:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "pwrite", refuse)
    monkeypatch.setattr(Path, "write_bytes", refuse)
    for _ in range(2):
        stored = FeatureStore(tmp_path).get({"weights": "a"}, ROWS, _Counting())
        assert torch.equal(stored.rows(EVERY), TRUTH)


def test_what_counts_as_done_is_on_the_disk_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    plain = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda handle: synced.append(Path(f"/proc/self/fd/{handle}").readlink().suffix) or plain(handle)
    )
    FeatureStore(tmp_path).get({"weights": "a"}, 64, _Counting())
    assert synced[:3] == [".partial", ".sums", ".new"]


LAYERS = {f"layer {i}": torch.randn(ROWS, 2, 3, 4 + i, generator=torch.Generator().manual_seed(i)) for i in range(3)}


class _Many:
    """Makes encode functions for several features, counts the rows and the calls, and may die after some rows."""

    def __init__(self, die_after: int | None = None) -> None:
        self.rows, self.asked, self.die_after = 0, [], die_after

    def __call__(self, missing: tuple[str, ...]) -> Any:
        self.asked.append(missing)

        def encode(rows: NDArray[np.int64]) -> dict[str, torch.Tensor]:
            if self.die_after is not None and self.rows >= self.die_after:
                raise KeyboardInterrupt
            self.rows += len(rows)
            return {name: tokens[rows] for name, tokens in LAYERS.items()}

        return encode


def _made_of(*names: str) -> dict[str, dict[str, str]]:
    return {name: {"weights": "a", "point": name} for name in names}


def test_features_of_one_pass_lie_each_under_its_own_address(tmp_path: Path) -> None:
    store, encode = FeatureStore(tmp_path), _Many()
    for _ in range(2):
        stored = store.get_many(_made_of(*LAYERS), ROWS, 8, encode)
        for name, tokens in LAYERS.items():
            assert torch.equal(stored[name].rows(EVERY), tokens)
            assert (tmp_path / f"{address(_made_of(name)[name])}.safetensors").exists()
    assert (encode.rows, encode.asked) == (ROWS, [tuple(LAYERS)])
    assert not list(tmp_path.glob("*.pro*")) + list(tmp_path.glob("*.partial"))


def test_only_features_that_are_not_there_are_made(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    store.get_many(_made_of("layer 1"), ROWS, 8, _Many())
    encode = _Many()
    stored = store.get_many(_made_of(*LAYERS), ROWS, 8, encode)
    assert encode.asked == [("layer 0", "layer 2")]
    assert all(torch.equal(stored[name].rows(EVERY), tokens) for name, tokens in LAYERS.items())


def test_a_name_is_no_part_of_an_address(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    store.get_many(_made_of("layer 1"), ROWS, 8, _Many())
    again = store.get_many({"another name": _made_of("layer 1")["layer 1"]}, ROWS, 8, _Many(die_after=0))
    assert torch.equal(again["another name"].rows(EVERY), LAYERS["layer 1"])


@pytest.mark.parametrize("die_after", [8, 64, 72, 144])
def test_many_features_go_on_where_they_were_interrupted(tmp_path: Path, die_after: int) -> None:
    store = FeatureStore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        store.get_many(_made_of("layer 0", "layer 2"), ROWS, 8, _Many(die_after=die_after))
    encode = _Many()
    stored = store.get_many(_made_of("layer 0", "layer 2"), ROWS, 8, encode)
    assert encode.rows == ROWS - die_after // 64 * 64
    assert all(torch.equal(stored[name].rows(EVERY), LAYERS[name]) for name in stored)
    with pytest.raises(KeyboardInterrupt):  # another choice of layers begins at the start, and is whole, too
        store.get_many(_made_of("layer 1"), ROWS, 8, _Many(die_after=64))
    every = store.get_many(_made_of(*LAYERS), ROWS, 8, _Many())
    assert all(torch.equal(every[name].rows(EVERY), tokens) for name, tokens in LAYERS.items())


_EXTRACT = """
import os, sys
from pathlib import Path
import numpy as np, torch
from trialbook.engine.timing import peak_memory
from trialbook.engine.feature_store import FeatureStore

torch.set_num_threads(1)
rows, names = int(sys.argv[2]), [f"layer {i}" for i in range(4)]

def values(chunk):
    return torch.from_numpy(chunk.astype(np.float32))[:, None, None, None].expand(-1, 16, 16, 64)

def encode(chunk):
    if len(sys.argv) > 3 and chunk[0] >= int(sys.argv[3]):
        os.kill(os.getpid(), 9)
    return {name: values(chunk) + i for i, name in enumerate(names)}

peak = lambda: peak_memory(torch.device("cpu"))  # ru_maxrss would begin at what the parent process has
encode(np.arange(16))
before = peak()
stored = FeatureStore(Path(sys.argv[1])).get_many({n: {"point": n} for n in names}, rows, 16, lambda _: encode)
grown = peak() - before
right = all((stored[n][r : r + 1] == r + i).all() for i, n in enumerate(names) for r in (0, 15, 16, rows // 2, rows - 1))
print(grown // 2**20, sum(file.stat().st_size for file in Path(sys.argv[1]).glob("*.safetensors")) // 2**20, right)
"""


def _extract(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", _EXTRACT, *arguments], capture_output=True, text=True)


def test_features_of_many_times_the_memory_that_is_used_are_stored(tmp_path: Path) -> None:
    done = _extract(str(tmp_path), "1600")
    grown, stored, right = done.stdout.split()
    assert right == "True", done.stderr
    assert int(stored) == 400  # MiB: 4 layers of 1,600 rows; a chunk of 16 rows is 4 MiB
    assert int(grown) < 40


def test_features_are_the_same_after_a_kill(tmp_path: Path) -> None:
    killed, names = tmp_path / "killed", [f"layer {i}" for i in range(4)]
    assert _extract(str(killed), "320", "200").returncode == -9
    assert [int(path.read_text()) for path in killed.glob("*.progress")] == [192] * 4
    seen: list[int] = []

    def encode(chunk: NDArray[np.int64]) -> dict[str, torch.Tensor]:
        seen.extend(chunk)
        values = torch.from_numpy(chunk.astype(np.float32))[:, None, None, None].expand(-1, 16, 16, 64)
        return {name: values + i for i, name in enumerate(names)}

    for folder in (killed, tmp_path / "whole"):
        FeatureStore(folder).get_many({name: {"point": name} for name in names}, 320, 16, lambda _: encode)
    assert seen == [*range(192, 320), *range(320)]
    for path in (tmp_path / "whole").glob("*.safetensors"):
        assert (killed / path.name).read_bytes() == path.read_bytes()


def test_a_table_gives_rows_and_masks_in_the_precision_of_the_tokens() -> None:
    rows = np.array([7, 0, 149])
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        table = FeatureTable.of(Features(TRUTH.to(dtype), MASK))
        assert (table.dtype, table.rows(rows).dtype) == (dtype, dtype)
        assert torch.equal(table.rows(rows), TRUTH.to(dtype)[rows])
        assert torch.equal(table.mask(rows), MASK[rows])
        assert torch.equal(table.on_grid(3, 1)[2:4], TRUTH.to(dtype)[2:4].reshape(2, 3, 1, 5))
    table[0:2].zero_()
    assert torch.equal(table[0:2], TRUTH.to(torch.bfloat16)[0:2])  # what is given is a copy
    assert FeatureTable.of(Features(TRUTH)).mask(rows) is None
