"""An architecture that a stranger's installed package adds, as a table of a few lines, works as ours do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("transformers")

ROOT = Path(__file__).parents[2]
TABLE = """GEMMA_3 = Architecture(
    "gemma-3", ("gemma3",), "paligemma",
    areas=(
        Area("model.vision_tower", blocks=("encoder.layers.*",)),
        Area("model.multi_modal_projector", blocks=("",)),
        Area("model.language_model", "sequence", blocks=("layers.*",), norm="norm"),
    ),
    connector="model.multi_modal_projector",
    points={
        "G1": "in:model.multi_modal_projector", "G2": "out:model.multi_modal_projector",
        "G3": "out:model.language_model.layers.{1/2}", "G4": "out:model.language_model.layers.{1}",
    },
    tiny="gemma_tables:tiny",
)
"""
MODULE = (
    """from trialbook.plugins.hookspec import Component, hookimpl
from trialbook_plugins.vlms.architecture import Architecture, Area

"""
    + TABLE
    + """

def tiny():
    import transformers

    sides = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    return transformers.Gemma3Config(
        vision_config={**sides, "model_type": "siglip_vision_model", "image_size": 64, "patch_size": 8, "vision_use_head": False},
        text_config={**sides, "model_type": "gemma3_text", "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 64,
                     "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
        mm_tokens_per_image=16, image_token_index=9, boi_token_index=10, eoi_token_index=11,
    )


@hookimpl
def mlrun_architectures():
    yield Component("gemma-3", "gemma_tables:GEMMA_3", "points G1 to G4")
"""
)
FILE = """[task]
use = "probe"

[dataset]
use = "shapes"
train = 24
val = 8
test = 8
size = 64

[encoder.image]
use = "hf-vlm"
tiny = "gemma-3"
layers = ["G1", "G2", "G3", "G4"]

[probe.boxes]
use = "token-boxes"
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with the package as an installer leaves it."""
    folder = tmp_path / "site"
    info = folder / "gemma_tables-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "gemma_tables.py").write_text(MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gemma-tables\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[trialbook.plugins]\ngemma = gemma_tables\n")
    return folder


def mlrun(site: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = [site, ROOT / "core", ROOT / "plugins"]
    own = {
        "PYTHONPATH": os.pathsep.join(map(str, paths)), "TRIALBOOK_CACHE": str(cwd / "cache"),
        "TRIALBOOK_RUNS": str(cwd / "runs"), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    command = [sys.executable, "-m", "trialbook", *arguments]
    return subprocess.run(command, cwd=cwd, env=os.environ | own, capture_output=True, text=True, check=False)


def test_a_table_of_fifteen_lines_is_enough_to_probe_another_model(site: Path, tmp_path: Path) -> None:
    assert len(TABLE.splitlines()) <= 15
    (tmp_path / "gemma.toml").write_text(FILE)
    done = mlrun(site, tmp_path, "run", "gemma.toml")
    assert done.returncode == 0, done.stdout + done.stderr
    kept = list((tmp_path / "runs").glob("*/*/results.json"))
    assert len(kept) == 1
    assert all(f'"{point}/boxes/iou"' in kept[0].read_text() for point in ("G1", "G2", "G3", "G4"))


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ('"sequence", blocks', '"sequence", "transposed", blocks', "tokens do not stand in the order 'transposed'"),
        pytest.param(
            "layers.{1/2}", "lyers.{1/2}", "'model.language_model' has 'embed_tokens', 'layers'", marks=pytest.mark.slow
        ),
        pytest.param(
            'model.multi_modal_projector", blocks',
            'model.projector", blocks',
            "'model' has 'vision_tower', 'multi_modal_projector'",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_table_that_is_wrong_is_refused(site: Path, tmp_path: Path, right: str, wrong: str, said: str) -> None:
    assert right in MODULE
    (site / "gemma_tables.py").write_text(MODULE.replace(right, wrong))
    (tmp_path / "gemma.toml").write_text(FILE)
    done = mlrun(site, tmp_path, "run", "gemma.toml")
    assert done.returncode != 0
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
