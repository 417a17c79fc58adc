"""A second arm on stored features against encoding again, with a frozen encoder of ViT-S/16's size."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._measure import in_turn, ratio, save
from trialbook.contracts import Features, FeatureTable
from trialbook.contracts.datasets import Modality
from trialbook.engine.feature_store import FeatureStore, weights_hash
from trialbook_plugins.encoders.vit import ViT

ROWS = 128
IMAGES = np.random.default_rng(0).integers(0, 256, (ROWS, 3, 224, 224), dtype=np.uint8)


def main() -> None:
    """In turn, 3 rounds: one pass over 128 pictures of 224 x 224 pixels, by encoding and from the store."""
    torch.manual_seed(0)
    encoder = ViT(Modality("image", (3, 224, 224)), patch=16, width=384, depth=12, heads=6).eval()

    def encode(rows: np.ndarray) -> Features:
        with torch.no_grad():
            return encoder(encoder.prepare(IMAGES[rows]))

    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(Path(folder))
        made_of = {"weights": weights_hash(encoder), "data": "random"}
        store.get(made_of, ROWS, encode)

        def again() -> float:
            started = time.perf_counter()
            for start in range(0, ROWS, 64):
                encode(np.arange(start, min(start + 64, ROWS)))
            return time.perf_counter() - started

        def stored() -> float:
            started = time.perf_counter()
            features = store.get({"weights": weights_hash(encoder), "data": "random"}, ROWS, encode)
            for start in range(0, ROWS, 64):
                features.rows(np.arange(start, min(start + 64, ROWS)))
            return time.perf_counter() - started

        taken = in_turn({"again": again, "stored": stored}, rounds=3)
    reading = _reading()
    save("feature_store", "A second arm on stored features", [
        {"what": "encoding again / reading the store", "value": ratio(taken, "again", "stored"), "unit": "x", "bound": ">= 10"},
        {"what": "encoding 128 pictures, median", "value": statistics.median(taken["again"]), "unit": "s", "bound": ""},
        {"what": "reading their features, median", "value": statistics.median(taken["stored"]), "unit": "s", "bound": ""},
        *reading,
    ])  # fmt: skip


def _reading(rows: int = 8192, rounds: int = 3) -> list[dict[str, Any]]:
    """A warm file of 512 MiB, in batches of 64 rows in any order: by a bare map, the store's first read, and later ones."""
    values = torch.randn(rows, 16, 1024)
    order = np.random.default_rng(0).permutation(rows)

    def timed(table: FeatureTable) -> float:
        started = time.perf_counter()
        for start in range(0, rows, 64):
            table.rows(order[start : start + 64])
        return time.perf_counter() - started

    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(Path(folder))

        def table() -> FeatureTable:
            return store.get({"what": "numbers"}, rows, lambda places: Features(values[places]))

        table()
        (file,) = Path(folder).glob("*.safetensors")
        bare = np.memmap(file, np.float32, "r", file.stat().st_size - values.numel() * 4, tuple(values.shape))

        def first() -> float:
            file.with_suffix(".checked").unlink(missing_ok=True)
            return timed(table())

        taken = in_turn(
            {"bare": lambda: timed(FeatureTable(bare)), "first": first, "later": lambda: timed(table())}, rounds
        )
    speeds = {name: values.numel() * 4 / 1e9 / statistics.median(seconds) for name, seconds in taken.items()}
    what = "reading 512 MiB of features"
    return [
        {"what": f"{what}, later reads / a bare map", "value": ratio(taken, "later", "bare"), "unit": "x", "bound": "<= 1.1"},
        {"what": f"{what}, a bare map", "value": speeds["bare"], "unit": "GB/s", "bound": ""},
        {"what": f"{what}, first read, with checksums", "value": speeds["first"], "unit": "GB/s", "bound": ""},
        {"what": f"{what}, later reads", "value": speeds["later"], "unit": "GB/s", "bound": ""},
    ]  # fmt: skip


if __name__ == "__main__":
    main()
