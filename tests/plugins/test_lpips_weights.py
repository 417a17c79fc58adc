"""What a run says of LPIPS whose weights are not the published ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from trialbook.cli.main import cli
from trialbook.contracts.files import read_lines
from trialbook_plugins.probes import perceptual

SHAPES = {"0": (64, 3, 11), "3": (192, 64, 5), "6": (384, 192, 3), "8": (256, 384, 3), "10": (256, 256, 3)}
FILE = """
[task]
use = "probe"
references = ["random"]
[dataset]
use = "shapes"
train = 6
val = 3
test = 4
size = 64
[encoder.image]
use = "hf-vlm"
tiny = "vision"
layers = ["out:layers.0"]
frozen = true
[probe.picture]
use = "reconstruction"
steps = 2
width = 8
perceptual = "lpips"
"""


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose settings name random AlexNet filters as the weights of LPIPS."""
    if perceptual.find_spec("lpips") is None:
        pytest.skip("needs lpips, installed without its dependencies")
    weights = {}
    for place, (outputs, inputs, side) in SHAPES.items():
        weights[f"features.{place}.weight"] = torch.randn(outputs, inputs, side, side) / side / inputs**0.5
        weights[f"features.{place}.bias"] = torch.zeros(outputs)
    torch.save(weights, tmp_path / "alexnet.pth")
    (tmp_path / "runner.toml").write_text('[files]\nlpips_backbone = "alexnet.pth"\n')
    (tmp_path / "picture.toml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    for name in ("RUNS", "CACHE"):
        monkeypatch.setenv(f"TRIALBOOK_{name}", str(tmp_path / name.lower()))
    return tmp_path


def said(folder: Path) -> list[str]:
    done = CliRunner().invoke(cli, ["run", "picture.toml"])
    assert done.exit_code == 0, done.output
    (file,) = folder.glob("runs/picture/*/events.jsonl")
    return [event["message"] for event in read_lines(file) if event["kind"] == "lpips-weights"]


def test_other_weights_than_the_published_ones_are_named(workplace: Path) -> None:
    (message,) = said(workplace)
    assert "alexnet.pth" in message
    assert "compare these metrics of LPIPS with none from elsewhere" in message


def test_the_published_file_is_taken_without_a_word(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptual, "_PUBLISHED", ("",))  # any file counts as published
    assert said(workplace) == []
