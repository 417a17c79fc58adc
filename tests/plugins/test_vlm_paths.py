"""Points of models whose modules lie elsewhere: other releases, code in checkpoints; and what is said where nothing fits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

pytest.importorskip("transformers")

from trialbook.errors import TrialbookError
from trialbook_plugins.vlms import architectures as tables
from trialbook_plugins.vlms.layer_names import connector, resolve

LLAVA = "model.multi_modal_projector"


def shaped(*paths: str) -> nn.Module:
    """Empty modules at ``paths``; ``blocks*24`` is a list of 24, ``blocks*1,1,9,1`` lists in a list."""
    root = nn.Module()
    for path in paths:
        at = root
        for piece in path.split("."):
            name, _, counts = piece.partition("*")
            if not hasattr(at, name):
                sizes = [int(count) for count in counts.split(",") if count]
                lists = [nn.ModuleList(nn.Module() for _ in range(size)) for size in sizes]
                at.add_module(name, nn.Module() if not sizes else lists[0] if len(lists) == 1 else nn.ModuleList(lists))
            at = getattr(at, name)
    return root


@pytest.mark.parametrize(
    ("table", "model", "points"),
    [
        pytest.param(
            tables.LLAVA_NEXT, ("model.vision_tower.encoder.layers*24", LLAVA, "model.language_model.layers*32"),
            {"L1": f"in:{LLAVA}", "L2": f"out:{LLAVA}", **{
                f"L{n}": f"out:model.language_model.layers.{index}" for n, index in ((3, 7), (4, 15), (5, 31))
            }}, id="LLaVA-NeXT",
        ),
        pytest.param(
            tables.LLAVA_NEXT,
            ("model.vision_tower.vision_model.encoder.layers*24", LLAVA, "model.language_model.layers*32"),
            {"L3": "out:model.language_model.layers.7", "out:model.vision_tower.encoder.layers.22":
             "out:model.vision_tower.vision_model.encoder.layers.22"}, id="LLaVA-NeXT with the level that went in 5.6",
        ),
        pytest.param(
            tables.LLAVA_NEXT,
            ("vision_tower.vision_model.encoder.layers*24", "multi_modal_projector", "language_model.model.layers*32"),
            {"L1": "in:multi_modal_projector", "L5": "out:language_model.model.layers.31"}, id="LLaVA-NeXT of 4.x",
        ),
        pytest.param(
            tables.QWEN2_5_VL, ("visual.patch_embed", "visual.blocks*32", "visual.merger", "model.layers*28"),
            {"Q1": "out:visual.patch_embed", "Q3": "out:visual.blocks.31", "Q5": "out:model.layers.6"}, id="Qwen2.5-VL of 4.x",
        ),
        pytest.param(
            tables.INTERNVL,
            ("model.vision_tower.encoder.layers*24", "model.vision_tower.layernorm", LLAVA, "model.language_model.layers*28"),
            {"I1": "out:model.vision_tower.encoder.layers.12", "I2": "out:model.vision_tower.layernorm"}, id="InternVL, plural",
        ),
        pytest.param(
            tables.INTERNVL_CHAT,
            ("vision_model.encoder.layers*24", "mlp1", "language_model.model.tok_embeddings", "language_model.model.layers*32"),
            {"I2": "out:vision_model.encoder.layers.23", "I3": "in:mlp1", "I4": "out:language_model.model.layers.7",
             "I5": "out:language_model.model.layers.15"}, id="InternVL2's own code",
        ),
        pytest.param(
            tables.COGVLM2, ("model.vision.transformer.layers*63", "model.vision.linear_proj", "model.layers*32"),
            {"C1": "out:model.vision.transformer", "C2": "out:model.layers.7", "C3": "out:model.layers.15",
             "C4": "out:model.layers.31"}, id="CogVLM2's own code",
        ),
        pytest.param(
            tables.PALIGEMMA,
            ("vision_tower.vision_model.encoder.layers*27", "multi_modal_projector", "language_model.model.layers*18"),
            {"P1": "out:vision_tower.vision_model.encoder.layers.13", "P6": "out:language_model.model.layers.17"},
            id="PaliGemma of 4.x",
        ),
        pytest.param(
            tables.FLORENCE2,
            ("model.vision_tower.blocks*1,1,9,1", "model.multi_modal_projector", "model.language_model.encoder.layers*12"),
            {"F3": "out:model.vision_tower.blocks.2.8", "F6": "out:model.language_model.encoder.layers.5"}, id="Florence-2",
        ),
        *(
            pytest.param(tables.VISION, (f"{path}*12",), {"V1": f"out:{path}.2", "V4": f"out:{path}.11"}, id=path)
            for path in ("vision_model.encoder.layers", "encoder.layers", "encoder.layer", "layers")
        ),
    ],
)  # fmt: skip
def test_points_are_found_where_each_release_has_them(
    table: tables.Architecture, model: tuple[str, ...], points: dict[str, str]
) -> None:
    made = shaped(*model)
    assert {hook.name: hook.where for hook in resolve(made, table, list(points))} == points
    assert len(resolve(made, table, list(table.points))) == len(table.points)
    assert len(resolve(made, table, ["all"])) > 10
    assert (connector(made, table) is None) == (table is tables.VISION)


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ("L33", "'L33' is no point of llava-next (L1, L2, L3, L4, L5)"),
        (
            "out:model.language_model.layers.32",
            "no module 'model.language_model.layers.32'; 'model.language_model.layers' has '0'",
        ),
        ("out:model.language_modle.layers.7", "no module 'model.language_modle.layers.7'; 'model' has 'vision_tower'"),
        ("out:modle.language_model.layers.7", "did you mean 'model.language_model.layers.7'?"),
    ],
)
def test_where_nothing_fits_the_nearest_paths_are_named(layer: str, said: str) -> None:
    made = shaped("model.vision_tower.encoder.layers*24", LLAVA, "model.language_model.layers*32")
    with pytest.raises(TrialbookError) as caught:
        resolve(made, tables.LLAVA_NEXT, [layer])
    assert said in str(caught.value)


def test_a_model_of_another_shape_is_refused_with_what_it_has() -> None:
    made = shaped("model.vision_tower.encoder.layers*24", "model.projector", "model.language_model.layers*32")
    with pytest.raises(TrialbookError, match=r"no module 'model.multi_modal_projector'; 'model' has .*'projector'"):
        resolve(made, tables.LLAVA_NEXT, ["L1"])


def test_code_of_a_checkpoint_is_refused_with_file_and_line(tmp_path: Path) -> None:
    """By the command, before anything is run: the code here would leave a trace."""
    folder = tmp_path / "cogvlm2"
    folder.mkdir()
    (folder / "config.json").write_text(
        json.dumps(
            {"model_type": "cogvlm", "auto_map": {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}}
        )
    )
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    text = f"""[task]
use = "probe"

[dataset]
use = "shapes"
train = 8
val = 4
test = 4
size = 64

[encoder.image]
use = "hf-vlm"
model = "{folder}"
layers = ["C1"]

[probe.boxes]
use = "token-boxes"
"""
    (tmp_path / "cog.toml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "trialbook", "run", str(tmp_path / "cog.toml")], cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode != 0
    told = done.stdout + done.stderr
    assert "runs code that lies in its checkpoint: read it, then set trust_remote_code = true" in told
    assert "cog.toml:13" in told
    assert "Traceback" not in told
    assert not (tmp_path / "ran").exists()
