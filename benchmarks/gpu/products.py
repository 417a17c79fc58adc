"""Rates of matrix products: what the device can do at most, in float32, in TF32 and in bfloat16."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from benchmarks.gpu.bench import Bench

_ROUNDS = 10


def measure(bench: Bench) -> None:
    """Square products on random numbers."""
    side = bench.size(8192, 128)
    for name, dtype, precision in (
        ("float32", torch.float32, "highest"), ("TF32", torch.float32, "high"), ("bfloat16", torch.bfloat16, "highest"),
    ):  # fmt: skip
        one = torch.randn(side, side, device=bench.device, dtype=dtype)
        with _matmul_precision(precision):
            for _ in range(3):
                one @ one
            seconds = statistics.median(bench.timed(lambda one=one: one @ one) for _ in range(_ROUNDS))
        bench.rows.add(f"{name}, {side} x {side}", 2 * side**3 / seconds / 1e12, "TFLOP/s", "> 0")


@contextmanager
def _matmul_precision(name: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
