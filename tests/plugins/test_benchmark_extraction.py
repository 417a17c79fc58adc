"""The benchmark of extraction runs: both of its programs read the same layers, on small sizes of the same code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers")

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import _measure, extraction  # noqa: E402


def test_it_prints_and_saves_speed_and_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_measure, "RESULTS", tmp_path)
    extraction.main(only="llava", batches=(2, 4), rounds=1)
    rows = json.loads((tmp_path / "extraction.json").read_text())["rows"]
    told = {row["what"]: row["value"] for row in rows}
    for batch in (2, 4):
        for program in ("layer reader", "plain"):
            assert told[f"llava-next, tiny, {batch} images a pass: {program}"] > 0
    assert told["peak memory of the process, all together"] > 0
    assert "llava-next, tiny, 4 images a pass: plain loop / layer reader" in capsys.readouterr().out


@pytest.mark.parametrize("model", extraction.TINY, ids=lambda model: model.name)
def test_every_small_model_is_read_at_all_points(model: extraction.Model) -> None:
    made = extraction._layer_reader(model, "cpu", torch.float32)
    assert [hook.name for hook in made.hooks] == list(model.architecture.points)


def test_the_real_sizes_are_of_the_architectures_they_are_said_to_be() -> None:
    """On the meta device, which has shapes and no numbers."""
    import transformers

    for model in extraction.REAL:
        maker = transformers.AutoModelForImageTextToText if model.architecture.connector else transformers.AutoModel
        with torch.device("meta"):
            made = maker.from_config(model.config())
        billions = sum(parameter.numel() for parameter in made.parameters()) / 1e9
        assert billions == pytest.approx(EXPECTED[model.name], rel=0.03), model.name


#: Parameters in 10^9, as published: the vision towers of CLIP and SigLIP, and whole models.
EXPECTED = {
    "CLIP ViT-L/14-336": 0.303,
    "SigLIP so400m": 0.413,
    "LLaVA-NeXT-7B": 7.06,
    "InternVL-8B": 7.94,
    "Qwen2.5-VL-7B": 8.29,
}


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what it does without a GPU")
def test_without_a_gpu_it_says_so() -> None:
    paths = {"PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("core", "plugins"))}
    command = [sys.executable, "-m", "benchmarks.extraction", "--gpu"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | paths, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "there is no GPU that torch can use here" in done.stderr
