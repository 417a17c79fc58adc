"""Stored features: whatever fills the store first, equal addresses hold equal bytes."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

from benchmarks.gpu import standins
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.workplace import Workplace

_FILE = """
seeds = [0]
[task]
use = "align"
dim = 64
[dataset]
use = "coco-captions"
root = "coco"
size = {side}
val = 0.25
test = 0.25
[encoder.image]
use = "hf-vision"
model = "clip"
frozen = true
[encoder.text]
use = "hf-text"
model = "clip"
frozen = true
[projector.image]
use = "mlp"
pool = "attention"
[projector.text]
use = "linear"
[[loss]]
use = "info-nce"
[train]
steps = 3
batch_size = 8
precision = "{precision}"
"""


def measure(bench: Bench) -> None:
    """Fill one store by a run in float32 and another by one in bfloat16, and compare what both hold."""
    side, data = bench.size(224, 32), bench.folder / "data"
    standins.save_clip(data / "clip", small=bench.rehearsal)
    standins.save_coco(data / "coco", bench.size(256, 32), side)
    stored: dict[str, dict[str, str]] = {}
    for name, precision in {"float32": "no", "bf16": "bf16", "float32 again": "no"}.items():
        place = Workplace(bench, name.replace(" ", "-"), data=data)
        place.run(f"features under {name}", place.write("stored", _FILE.format(side=side, precision=precision)))
        stored[name] = _hashes(place.runs / ".features")
    for name in ("bf16", "float32 again"):
        _compare(bench, name, stored["float32"], stored[name])


def _compare(bench: Bench, name: str, first: dict[str, str], second: dict[str, str]) -> None:
    both = first.keys() & second.keys()
    differing = Counter(first[address] == second[address] for address in both)[False]
    bench.rows.add(f"addresses in the stores of float32 and of {name}", len(both), bound=">= 1")
    bench.rows.add(f"equal addresses with other bytes, float32 and {name}", differing, bound="= 0")


def _hashes(folder: Path) -> dict[str, str]:
    """Address to the hash of the features there."""
    return {file.stem: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.glob("*.safetensors")}
