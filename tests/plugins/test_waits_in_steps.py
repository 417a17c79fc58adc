"""Training steps do not wait for the device: the host can prepare the next kernels while the GPU computes.

What libraries do inside of their own code is told apart; a wait of theirs is bounded, not forbidden.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path

import pytest
import torch

from trialbook.config.load import load_experiment
from trialbook.config.settings import Settings
from trialbook.execution.launcher import Launcher
from trialbook.execution.progress import PlainProgress
from trialbook.planning.planner import make_plan
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook
from trialbook.testing import pretend_cuda
from trialbook.testing.pretend_cuda import PretendDevice

STEPS = 4

SCENES = """
[dataset]
use = "scenes"
train = 16
val = 8
test = 8
size = 24
"""

ALIGN = f"""
[task]
use = "align"
dim = 8
{SCENES}
[encoder.image]
use = "vit"
patch = 8
width = 16
depth = 1
heads = 2
[encoder.text]
use = "text-transformer"
width = 16
depth = 1
heads = 2
[projector.image]
use = "perceiver"
latents = 3
depth = 1
heads = 2
head_dim = 4
pool = "attention"
[projector.text]
use = "mlp"
"""

INSTRUCT = """
[task]
use = "instruct"
max_length = 96
max_new_tokens = 2
[dataset]
use = "documents"
train = 16
val = 4
test = 4
kinds = ["form"]
ask = ["value"]
themes = 2
[encoder.image]
use = "patches"
patch = 8
[projector.image]
use = "pixel-shuffle"
factor = [2, 8]
[llm]
use = "small-causal"
width = 16
depth = 1
heads = 2
context = 160
"""

PATCHES = 'use = "patches"\npatch = 8'
SHUFFLE = 'use = "pixel-shuffle"\nfactor = [2, 8]'
TILES = """use = "tiles"
size = 32
tiles = 4
of = { use = "vit", patch = 16, width = 16, depth = 1, heads = 2 }"""

SENSOR = """
[prepare.sample.task]
use = "sample"
[prepare.sample.dataset]
use = "smart-home"
residents = 1
days = 5
by = "count"
window = 12
[prepare.captions.task]
use = "caption"
[prepare.captions.dataset]
use = "samples"
modalities = { sensor = "sample" }
[prepare.captions.captioner]
use = "sensor-templates"
style = "plain"
[task]
use = "align"
dim = 8
[dataset]
use = "samples"
modalities = { sensor = "sample", text = "captions" }
[encoder.sensor]
use = "sensor-transformer"
width = 16
depth = 1
heads = 2
[encoder.text]
use = "token-embedding"
width = 16
[projector.sensor]
use = "linear"
[projector.text]
use = "linear"
"""

LOSSES = {
    "info-nce": '[[loss]]\nuse = "info-nce"\n',
    "shared": '[[loss]]\nuse = "info-nce"\nduplicates = "shared"\n',
    "siglip": '[[loss]]\nuse = "siglip"\n',
    "matryoshka": '[[loss]]\nuse = "matryoshka"\ndims = [4, 8]\nof = { use = "info-nce" }\n',
    "hard-negatives": '[[loss]]\nuse = "hard-negatives"\nqueue = 16\n',
    "masked-modelling": '[[loss]]\nuse = "info-nce"\n[[loss]]\nuse = "masked-modelling"\n',
}


def hf_text(folder: Path) -> str:
    """An alignment whose text side is a small BERT that learns."""
    module = importlib.util.spec_from_file_location("made", Path(__file__).with_name("test_encoders_hf_text.py"))
    assert module is not None
    made = importlib.util.module_from_spec(module)
    module.loader.exec_module(made)  # type: ignore[union-attr]
    made.make_model("bert").save_pretrained(folder)
    made.make_tokenizer(folder, framed=True)
    text = 'use = "text-transformer"\nwidth = 16\ndepth = 1\nheads = 2'
    return ALIGN.replace(text, f'use = "hf-text"\nmodel = "{folder}"')


def counted(text: str, folder: Path, precision: str = "no") -> PretendDevice:
    """Train for a few steps on the pretend device."""
    file = folder / "question.toml"
    end = f'[train]\nsteps = {STEPS}\nbatch_size = 8\nprecision = "{precision}"\n[evaluate]\nat_start = false\n'
    file.write_text(text + end)
    settings = Settings(root=folder, runs=folder / "runs", data_root=None, cache=folder / "cache", device="cuda")
    torch.manual_seed(0)
    with pretend_cuda() as device:
        host = PluginManager.discover()
        book = SchemaBook(host, settings.cache)
        launcher = Launcher(settings, host, book, PlainProgress(lambda line: None), plots=False)
        plan = make_plan(load_experiment(file), book)
        for one in (*plan.before, plan):
            for outcome in launcher.mlrun_launch(one):
                assert outcome.state == "finished", outcome.message
    return device


def in_steps(device: PretendDevice, *, ours: bool) -> Counter[str]:
    """Waits of training steps by place and kind: of our code, or of libraries."""
    return Counter({
        f"{one.kind} at {one.place} in {one.library}": times
        for one, times in device.waits.items() if one.phase == "step" and ours is not bool(one.library)
    })  # fmt: skip


@pytest.mark.parametrize(
    "loss",
    [
        "info-nce",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("shared", "siglip", "matryoshka", "hard-negatives")),
    ],
)
def test_alignment_does_not_wait(loss: str, tmp_path: Path) -> None:
    device = counted(ALIGN + LOSSES[loss], tmp_path)
    assert not in_steps(device, ours=True)
    assert not in_steps(device, ours=False)
    assert any(one.phase == "step" for one in device.copies)


def test_a_mixed_precision_step_does_not_wait_either(tmp_path: Path) -> None:
    assert not in_steps(counted(ALIGN + LOSSES["info-nce"], tmp_path, "bf16"), ours=True)


def test_masked_modelling_does_not_wait(tmp_path: Path) -> None:
    device = counted(SENSOR + LOSSES["masked-modelling"], tmp_path)
    assert not in_steps(device, ours=True)


def test_a_text_encoder_of_transformers_does_not_wait_for_us(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    device = counted(hf_text(tmp_path / "bert") + LOSSES["info-nce"], tmp_path)
    assert not in_steps(device, ours=True)


@pytest.mark.parametrize(
    ("encoder", "projector"), [(PATCHES, SHUFFLE), (TILES, 'use = "mlp"')], ids=["patches", "tiles"]
)
def test_instruction_tuning_does_not_wait_for_us(encoder: str, projector: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    device = counted(INSTRUCT.replace(PATCHES, encoder).replace(SHUFFLE, projector), tmp_path)
    assert not in_steps(device, ours=True)
    assert sum(in_steps(device, ours=False).values()) <= 2 * STEPS
