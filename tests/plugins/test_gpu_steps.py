"""Steps on a GPU: none of ours waits for it, whatever is trained, and they compute what they compute on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from trialbook.contracts import Step, to_device
from trialbook.contracts.datasets import Modality
from trialbook.errors import TrialbookError
from trialbook.testing import PartsBuilder, pretend_cuda
from trialbook.testing.pretend_cuda import PretendDevice
from trialbook_plugins.datasets.documents import Documents
from trialbook_plugins.datasets.mixture import Mixture
from trialbook_plugins.datasets.shapes import Shapes
from trialbook_plugins.datasets.smart_home import SmartHome
from trialbook_plugins.encoders.patches import Patches
from trialbook_plugins.encoders.sensor_transformer import SensorTransformer
from trialbook_plugins.encoders.tiles import Tiles
from trialbook_plugins.encoders.token_embedding import TokenEmbedding
from trialbook_plugins.encoders.vit import ViT
from trialbook_plugins.losses.hard_negatives import HardNegatives
from trialbook_plugins.losses.info_nce import InfoNCE
from trialbook_plugins.losses.l2 import L2
from trialbook_plugins.losses.masked_modelling import MaskedModelling
from trialbook_plugins.losses.matryoshka import Matryoshka
from trialbook_plugins.losses.perceptual import PerceptualRandom
from trialbook_plugins.losses.siglip import SigLIP
from trialbook_plugins.projectors.cross_attention_adapter import CrossAttentionAdapter
from trialbook_plugins.projectors.linear import Linear
from trialbook_plugins.projectors.mlp import MLP
from trialbook_plugins.projectors.mlp_adapter import MLPAdapter
from trialbook_plugins.projectors.perceiver import Perceiver
from trialbook_plugins.projectors.pixel_shuffle import PixelShuffle
from trialbook_plugins.tasks.align import Align
from trialbook_plugins.tasks.instruct import Instruct
from trialbook_plugins.tasks.reconstruct import Reconstruct

transformers = pytest.importorskip("transformers")

from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: E402

from trialbook_plugins.encoders.hf_text import HFText  # noqa: E402
from trialbook_plugins.llms.small_causal import SmallCausal  # noqa: E402

AT = Step(0, "train", 0)
TEXTS = ["a red square", "two small blue circles left of a green star", "a star"]


def step(task: Any, samples: int) -> float:
    """Loss of a step, forwards and backwards, with gradients in the parts; random numbers are those of the CPU."""
    torch.manual_seed(0)
    task.module().zero_grad()
    batch = to_device(task.batch(np.arange(samples), 0, AT), next(task.module().parameters()).device)
    loss = task.losses(batch)["loss"]
    loss.backward()
    return loss


def own_waits(device: PretendDevice) -> dict[str, int]:
    """Waits and blocking copies of ours in the phase ``step``; not those that a library makes on our behalf."""
    found = {**device.waits, **{one: n for one, n in device.copies.items() if one.kind != "non-blocking"}}
    return {f"{one.kind} at {one.place}": n for one, n in found.items() if one.phase == "step" and not one.library}


def on_both(make: Callable[[], Any], samples: int = 4) -> None:
    """A step of a task that ``make`` sets up: no wait of ours, and loss and gradients as on the CPU."""
    task = make()
    expected = step(task, samples).item()
    gradients = {name: p.grad.clone() for name, p in task.module().named_parameters() if p.grad is not None}
    assert gradients
    with pretend_cuda() as device:
        task.module().to("cuda")
        with device.phase("step"):
            loss = step(task, samples)
        assert own_waits(device) == {}
        assert loss.item() == pytest.approx(expected, rel=1e-5)  # attention is computed another way there
        for name, parameter in task.module().named_parameters():
            if name in gradients:
                torch.testing.assert_close(parameter.grad.cpu(), gradients[name], rtol=1e-3, atol=1e-5)
        task.module().to("cpu")


@pytest.fixture(scope="module")
def home() -> SmartHome:
    return SmartHome(residents=1, days=4)


@pytest.mark.parametrize("pool", ["mean", "class"])
def test_sensors_and_texts_with_hidden_tokens_and_a_queue(home: SmartHome, pool: Any) -> None:
    def make() -> Align:
        torch.manual_seed(0)
        sensors = SensorTransformer(home.describe("sensor"), width=16, depth=1, heads=2, pool=pool)
        encoders = {"sensor": sensors, "text": TokenEmbedding(home.describe("text"), width=16)}
        modalities = {name: home.describe(name) for name in encoders}
        losses = {
            "info-nce": InfoNCE(duplicates="excluded"),
            "hard-negatives": HardNegatives(modalities, 16, queue=8, hardest=2),
            "masked-modelling": MaskedModelling(encoders),
        }
        task = Align(PartsBuilder({"dataset": home, "encoder": encoders, "loss": losses}), dim=16)
        task.setup()
        return task

    on_both(make, samples=6)


def test_hidden_samples_of_series_of_different_lengths() -> None:
    torch.manual_seed(0)
    encoder = SensorTransformer(Modality("series", (0, 2)), width=16, depth=1, heads=2, patch=4)
    loss = MaskedModelling({"sensor": encoder})
    rows = encoder.prepare([np.random.default_rng(n).standard_normal((n, 2)).astype(np.float32) for n in (30, 7, 18)])
    torch.manual_seed(1)
    expected = loss(encoders={"sensor": encoder}, prepared={"sensor": rows}).item()
    with pretend_cuda() as device:
        loss.to("cuda")
        encoder.to("cuda")
        moved = to_device(rows, device.device)
        torch.manual_seed(1)
        with device.phase("step"):
            found = loss(encoders={"sensor": encoder}, prepared={"sensor": moved})
        assert own_waits(device) == {}
        assert found.item() == pytest.approx(expected, rel=1e-5)  # the same tokens are hidden


class Captions:
    """Pictures with texts of very different lengths."""

    def __init__(self) -> None:
        self.pictures = Documents(train=12, val=0, test=0, size=64)
        self.texts = [TEXTS[i % len(TEXTS)] for i in range(12)]

    def describe(self, name: str) -> Any:
        return Modality("text", corpus=lambda: TEXTS) if name == "text" else self.pictures.describe("image")

    def splits(self) -> dict[str, Any]:
        return {"train": self}

    name, fingerprint = "train", "captions"

    def __len__(self) -> int:
        return 12

    def groups(self, name: str) -> np.ndarray:
        return np.arange(12)

    def read(self, name: str, rows: np.ndarray) -> Any:
        if name == "text":
            return [self.texts[row] for row in rows]
        return self.pictures.splits()["train"].read("image", rows)

    def labels(self, name: str) -> Any:
        raise KeyError(name)


def save_bert(folder: Path) -> None:
    words = ["[PAD]", "[UNK]", *sorted({word for text in TEXTS for word in text.split()})]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", model_max_length=16)
    wrapped.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=32, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, max_position_embeddings=16,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)


def test_a_text_tower_that_is_trained(tmp_path: Path) -> None:
    save_bert(tmp_path)
    data = Captions()

    def make() -> Align:
        torch.manual_seed(0)
        parts = {
            "dataset": data,
            "encoder": {"image": Patches(data.describe("image"), patch=16), "text": HFText(model=str(tmp_path))},
            "projector": {"image": Linear(3 * 16 * 16 + 32, 16), "text": MLP(32, 16)},
            "loss": {"info-nce": InfoNCE()},
        }
        task = Align(PartsBuilder(parts), dim=16)
        task.setup()
        return task

    on_both(make)


@pytest.mark.parametrize("frozen", [True, False])
def test_conversations_about_pages_of_different_numbers_of_tiles(frozen: bool) -> None:
    sources = {
        "small": Documents(train=6, val=0, test=3, size=64),
        "large": Documents(train=6, val=0, test=3, size=128, seed=1),
    }
    data = Mixture(sources)

    def make() -> Instruct:
        torch.manual_seed(0)
        crops = ViT(Documents(train=1, size=64).describe("image"), patch=16, width=16, depth=1, heads=2)
        tiles = Tiles(data.describe("image"), crops, size=64, tiles=4)
        parts = {
            "dataset": data, "encoder": {"image": tiles}, "projector": {"image": MLP(tiles.dim, 32)},
            "llm": SmallCausal(width=32, depth=2, heads=2, context=512),
        }  # fmt: skip
        builder = PartsBuilder(parts, options={("encoder", "image", "frozen"): frozen}, batch_size=4)
        task = Instruct(builder, max_length=400, max_new_tokens=3)
        task.setup()
        return task

    on_both(make, samples=12)


@pytest.mark.parametrize("on", ["pictures", "latents"])
def test_pictures_back_from_tokens(on: Any) -> None:
    pytest.importorskip("diffusers")
    from trialbook_plugins.encoders.ltx_video import LTXVideo

    data = Shapes(train=6, val=2, test=2, size=64)

    def make() -> Reconstruct:
        torch.manual_seed(0)
        described = data.describe("image")
        parts = {
            "dataset": data, "encoder": {"image": Patches(described, patch=32, positions=0)},
            "projector": {"image": MLPAdapter(3 * 32 * 32, 128, (1, 2, 2), (1, 2, 2), hidden=8)},
            "decoder": {"image": LTXVideo(described, tiny=True)},
            "loss": {"l2": L2(on=on), **({"perceptual": PerceptualRandom()} if on == "pictures" else {})},
        }  # fmt: skip
        task = Reconstruct(PartsBuilder(parts))
        task.setup()
        return task

    on_both(make)


def test_a_batch_without_a_token_to_learn_from_is_refused_before_it_reaches_the_device() -> None:
    data = Documents(train=4, val=0, test=0)
    parts = {
        "dataset": data, "encoder": {"image": Patches(data.describe("image"), patch=16)},
        "projector": {"image": Linear(3 * 16 * 16 + 32, 32)}, "llm": SmallCausal(width=32, depth=1, heads=2),
    }  # fmt: skip
    task = Instruct(PartsBuilder(parts), max_length=96)
    task.setup()
    dialogues = task._split("train")
    batch = dialogues.batch([0, 1])
    assert batch.learned == sum(dialogues.sequence(row).supervised for row in (0, 1)) > 0
    dialogues.sequence(0).labels[:] = -100
    with pytest.raises(TrialbookError, match="no token to learn from"):
        dialogues.batch([0])


PROJECTORS: dict[str, Callable[[], nn.Module]] = {
    **{f"linear, {pool}": lambda pool=pool: Linear(16, 8, pool=pool, heads=2) for pool in ("none", "mean", "attention", "class")},
    "mlp": lambda: MLP(16, 8, norm=True, dropout=0.1),
    "perceiver": lambda: Perceiver(16, 8, latents=3, depth=1, heads=2, head_dim=4, pool="attention"),
    "pixel-shuffle": lambda: PixelShuffle(16, 8),
    "mlp-adapter": lambda: MLPAdapter(16, 8, (1, 4, 4), (1, 2, 2), hidden=8),
    "cross-attention-adapter": lambda: CrossAttentionAdapter(16, 8, (1, 4, 4), (1, 2, 2), depth=1, heads=2, width=12),
}  # fmt: skip


@pytest.mark.parametrize("name", PROJECTORS)
@pytest.mark.parametrize("masked", [False, True])
def test_no_projector_waits(name: str, masked: bool) -> None:
    with pretend_cuda() as device:
        projector = PROJECTORS[name]().to("cuda")
        tokens = torch.randn(3, 16, 16, device="cuda")
        mask = (torch.arange(16) < torch.tensor([[16], [5], [1]])).to("cuda") if masked else None
        with device.phase("step"):
            projector(tokens, mask).square().sum().backward()
        assert own_waits(device) == {}


SIDES = {name: Modality("vector", (16,)) for name in ("image", "text", "sound")}
LOSSES: dict[str, Callable[[], Any]] = {
    **{f"info-nce, {kind}": lambda kind=kind: InfoNCE(duplicates=kind) for kind in ("negatives", "excluded", "shared")},
    "siglip": SigLIP,
    "matryoshka": lambda: Matryoshka(16, InfoNCE(), dims=[4, 16]),
    "hard-negatives": lambda: HardNegatives(SIDES, 16, queue=12, hardest=3, warm_up=False),
}


@pytest.mark.parametrize("name", LOSSES)
def test_no_loss_waits(name: str) -> None:
    with pretend_cuda() as device:
        loss = LOSSES[name]().to("cuda")
        offered = {
            "embeddings": {side: torch.randn(6, 16, device="cuda", requires_grad=True) for side in SIDES},
            "content": {side: (torch.arange(6) // 2).to("cuda") for side in SIDES},
        }
        with device.phase("step"):
            for _ in range(3):
                loss(**{need: offered[need] for need in loss.needs}).backward()
                loss.report()
                getattr(loss, "after_step", lambda: None)()
        assert own_waits(device) == {}


class Slow(nn.Module):
    """A projector that asks the device something."""

    keeps_tokens = True

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(16, 16)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return self.map(tokens) if tokens.sum() > 0 else -self.map(tokens)


def test_a_part_that_waits_is_found(home: SmartHome) -> None:
    """What the tests above stand on."""
    torch.manual_seed(0)
    encoders = {name: TokenEmbedding(home.describe("text"), width=16) for name in ("text",)}
    encoders["sensor"] = SensorTransformer(home.describe("sensor"), width=16, depth=1, heads=2)
    parts = {"dataset": home, "encoder": encoders, "projector": {"text": Slow()}, "loss": {"info-nce": InfoNCE()}}
    task = Align(PartsBuilder(parts), dim=16)
    task.setup()
    with pretend_cuda() as device:
        task.module().to("cuda")
        with device.phase("step"):
            step(task, 4)
        (wait,) = own_waits(device)
        assert "test_gpu_steps.py" in wait
        task.module().to("cpu")
