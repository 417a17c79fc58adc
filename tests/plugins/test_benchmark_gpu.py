"""Every part of the benchmark on a GPU is rehearsed: the code itself, on small sizes, on a pretend device or the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

for package in ("transformers", "peft", "bitsandbytes", "diffusers"):
    pytest.importorskip(package)

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.gpu import child  # noqa: E402
from benchmarks.gpu.catalogue import PARTS, Part  # noqa: E402
from benchmarks.gpu.rows import failures, read_rows  # noqa: E402

#: Parts that take a few seconds; the others are for ``make rehearsal``.
QUICK = ("store", "memory", "adapters/lora", "adapters/nf4", "resampler", "products")
#: Those of them that stand for the others wherever the tests are run.
QUICKEST = ("store", "products")


def parts() -> list[object]:
    slow, rehearsal = pytest.mark.slow, pytest.mark.rehearsal
    marks = {p.name: () if p.name in QUICKEST else slow if p.name in QUICK else rehearsal for p in PARTS}
    return [pytest.param(p, id=p.name, marks=marks[p.name]) for p in PARTS]


@pytest.mark.parametrize("part", parts())
def test_the_part_runs_and_finds_all_as_expected(part: Part, tmp_path: Path) -> None:
    found, facts = read_rows(child.measure(part, tmp_path, rehearsal=True))
    assert found
    assert not failures(found)
    assert facts["torch"]


@pytest.mark.rehearsal
def test_the_command_rehearses_within_its_budget_and_writes_its_result(tmp_path: Path) -> None:
    paths = {"PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("core", "plugins"))}
    out = tmp_path / "gpu.json"
    command = [sys.executable, "-m", "benchmarks.gpu", "--cpu-rehearsal", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **paths}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    found = json.loads(out.read_text())
    assert [part["name"] for part in found["parts"]] == [part.name for part in PARTS]
    assert {part["state"] for part in found["parts"]} == {"done"}
