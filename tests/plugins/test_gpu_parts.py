"""Probes, similarity, metrics, captions and answers use the device of the run, and say there what they say on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trialbook.config.load import load_experiment
from trialbook.contracts import CPU, Probed, as_float64, device_of, float64_device
from trialbook.contracts.records import Event, Facts, Record, Timing
from trialbook.engine.builder import BuildContext, RunBuilder
from trialbook.engine.feature_store import FeatureStore
from trialbook.planning.planner import make_plan
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook
from trialbook.testing import PartsBuilder, pretend_cuda
from trialbook_plugins.datasets.documents import Documents
from trialbook_plugins.datasets.shapes import Shapes
from trialbook_plugins.encoders.patches import Patches
from trialbook_plugins.encoders.vit import ViT
from trialbook_plugins.metrics.perceptual import PerceptualRandom
from trialbook_plugins.metrics.pictures import Pictures
from trialbook_plugins.metrics.redetection import Redetection
from trialbook_plugins.probes.attribute import Attribute
from trialbook_plugins.probes.detection_queries import Detection
from trialbook_plugins.probes.pooled_boxes import PooledBoxes
from trialbook_plugins.probes.reconstructed_pictures import Reconstruction
from trialbook_plugins.probes.rows import roomy_device
from trialbook_plugins.probes.token_boxes import TokenBoxes
from trialbook_plugins.projectors.linear import Linear
from trialbook_plugins.tasks import speed
from trialbook_plugins.tasks.instruct import Instruct
from trialbook_plugins.tasks.similarity import Similarity
from trialbook_plugins.tasks.speed import Speed

CUDA = torch.device("cuda", 0)
MPS = torch.device("mps")


@pytest.fixture(scope="module")
def shapes() -> Shapes:
    return Shapes(train=40, val=16, test=16, size=64)


def probed(shapes: Shapes, split: str) -> Probed:
    """Tokens of patches [n, 8, 8, 192] of a split, with what is known of its pictures."""
    part = shapes.splits()[split]
    images = np.asarray(part.read("image", np.arange(len(part))))
    encoder = Patches(shapes.describe("image"), patch=8, positions=0)
    tokens = encoder(encoder.prepare(images)).tokens.unflatten(1, (8, 8)).numpy()
    labels = {name: list(part.labels(name)) for name in ("boxes", "classes")}
    return Probed(tokens, {**labels, "count": [len(one) for one in labels["boxes"]]}, images)


PROBES: dict[str, tuple[Callable[[torch.device], Any], float]] = {
    "token-boxes": (lambda device: TokenBoxes(device), 1e-6),
    "token-boxes, an MLP": (lambda device: TokenBoxes(device, hidden=8), 0.05),  # 300 steps from rounding on
    "pooled-boxes": (lambda device: PooledBoxes(device), 1e-6),
    "pooled-boxes, an MLP": (lambda device: PooledBoxes(device, hidden=8), 0.05),
    "attribute": (lambda device: Attribute(device, label="count", kind="number"), 1e-6),
    "detection": (lambda device: Detection(device, steps=4, width=16, depth=1, queries=3), 0.05),
    "reconstruction": (
        lambda device: Reconstruction({}, device, steps=3, width=16, perceptual="perceptual-random"),
        1e-3,
    ),
}


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_is_fitted_on_the_device_and_finds_the_same(shapes: Shapes, name: str) -> None:
    make, tolerance = PROBES[name]
    train, test = probed(shapes, "train"), probed(shapes, "test")
    expected = make(CPU).measure(train, {"test": test}, 0)["test"]
    with pretend_cuda() as device:
        found = make(CUDA).measure(train, {"test": test}, 0)["test"]
        assert device.copies.total() > 0
    assert found == pytest.approx(expected, abs=tolerance, nan_ok=True)


@pytest.mark.parametrize("pool", ["cells", "mean"])
def test_similarity_is_computed_on_the_device_and_is_the_same_but_for_rounding(shapes: Shapes, pool: Any) -> None:
    def figures(device: torch.device) -> dict[str, float]:
        encoders = {str(patch): Patches(shapes.describe("image"), patch=patch, positions=0) for patch in (8, 16)}
        measures: Any = ["cka", "cka_biased", "procrustes", "rsa", "overlap", "r2"]
        task = Similarity(
            PartsBuilder({"dataset": shapes, "encoder": encoders}), device, pool=pool, measures=measures, neighbours=3,
            samples=512, permutations=19, channels=pool == "mean",
        )  # fmt: skip
        task.setup()
        return {k: v for item in task.measurements() if isinstance(item, Record) for k, v in item.values.items()}

    expected = figures(CPU)
    with pretend_cuda() as device:
        found = figures(CUDA)
        assert device.copies.total() > 0
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-6)


FILE = """
name = "probed"
[task]
use = "probe"
[dataset]
use = "shapes"
train = 8
val = 4
test = 4
size = 32
[encoder.image]
use = "patches"
[probe.boxes]
use = "token-boxes"
[probe.picture]
use = "reconstruction"
steps = 1
"""


def test_what_is_made_for_a_run_is_told_its_device(tmp_path: Path) -> None:
    (tmp_path / "probed.toml").write_text(FILE)
    book = SchemaBook(PluginManager.discover(), tmp_path / "schemas")
    plan = make_plan(load_experiment(tmp_path / "probed.toml"), book)
    with pretend_cuda():
        workshop = BuildContext(book, FeatureStore(tmp_path / "features"), None, device=CUDA)
        task: Any = RunBuilder(plan.runs[0], workshop).task()
        assert {probe._device for probe in task.probes.values()} == {CUDA}
        records = [item for item in task.measurements() if isinstance(item, Record)]
        assert {name.split("/")[1] for one in records for name in one.values} >= {"boxes", "picture"}


def test_a_matrix_that_would_fill_the_device_stays_on_the_cpu() -> None:
    with pretend_cuda():
        room = torch.cuda.get_device_properties(CUDA).total_memory // 16 // 8
        assert [roomy_device(numbers, CUDA) for numbers in (room, room + 1)] == [CUDA, CPU]


def test_float64_is_computed_on_the_cpu_where_the_device_has_none() -> None:
    assert [float64_device(device) for device in (CPU, CUDA, MPS)] == [CPU, CUDA, CPU]
    assert roomy_device(1, MPS) == CPU
    values = torch.arange(3, dtype=torch.bfloat16)
    assert as_float64(values).dtype == torch.float64
    with pretend_cuda():
        assert as_float64(values.to(CUDA)).device == CUDA


METRICS: dict[str, Callable[[torch.device], Any]] = {
    "pictures": lambda device: Pictures(device, figures=["ssim", "spatial_iou", "edge_f1"]),
    "perceptual-random": lambda device: PerceptualRandom(device),
    "redetection": lambda device: Redetection(device, cells=8, hidden=0),
}


@pytest.mark.parametrize("name", METRICS)
def test_pictures_are_judged_on_the_device_in_full_precision(shapes: Shapes, name: str) -> None:
    def figures(device: torch.device) -> dict[str, float]:
        metric, known = METRICS[name](device), {}
        for split in ("train", "test"):
            data = probed(shapes, split)
            known[split] = {"targets": torch.from_numpy(data.images)[:, None], "labels": data.labels}
        noise = torch.randint(0, 40, known["test"]["targets"].shape, generator=torch.Generator().manual_seed(0))
        made = (known["test"]["targets"].int() + noise).clamp(max=255).to(torch.uint8)
        offered = {**known["test"], "pictures": made, "train": known["train"]}
        return metric.compute(**{need: offered[need] for need in metric.needs})

    expected = figures(CPU)
    with pretend_cuda() as device, torch.autocast("cuda", dtype=torch.bfloat16):
        found = figures(CUDA)
        assert device.copies.total() > 0
    assert found == pytest.approx(expected, abs=1e-5)


def test_speed_is_measured_on_the_device_of_the_run(shapes: Shapes, monkeypatch: pytest.MonkeyPatch) -> None:
    encoders = {str(depth): ViT(shapes.describe("image"), patch=8, width=16, depth=depth, heads=2) for depth in (1, 2)}
    with pretend_cuda() as device:
        task = Speed(PartsBuilder({"dataset": shapes, "encoder": encoders}), CUDA, rounds=3, warm_up=1)
        task.setup()
        assert {device_of(encoder) for encoder in task.encoders.values()} == {CUDA}
        items = list(task.measurements())
        (facts,) = [item for item in items if isinstance(item, Facts)]
        assert facts.values["speed"]["device"] == torch.cuda.get_device_name()
        waited = sum(n for one, n in device.waits.items() if one.kind == "synchronize" and "wait_for" in one.place)
        assert waited == 2 * 2 * (3 + 1)  # before and after each pass of two encoders, warm-up included
        names = {name for item in items if isinstance(item, Timing) for name in item.values}
        assert {"1/memory", "2/memory/ratio", "2/seconds/ratio/low"} <= names
        monkeypatch.setattr(speed, "peak_growth", lambda work, device: None)  # as devices that count no peak
        told = list(task._memories())
        assert [type(one) for one in told] == [Event]
        assert "no peak" in told[0].message


def test_speed_on_the_cpu_stays_there_though_there_is_a_gpu(shapes: Shapes) -> None:
    with pretend_cuda() as device:
        encoder = ViT(shapes.describe("image"), patch=8, width=16, depth=1, heads=2)
        task = Speed(PartsBuilder({"dataset": shapes, "encoder": {"a": encoder}}), rounds=3)
        task.setup()
        (facts,) = [item for item in task.measurements() if isinstance(item, Facts)]
        assert facts.values["speed"]["device"] == "cpu"
        assert not device.copies


transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")
pytest.importorskip("bitsandbytes")  # before there is a pretended device: it would look for its kernels

from trialbook_plugins.captioners.hf_captions import HFCaptions  # noqa: E402
from trialbook_plugins.llms.hf_causal import HFCausal  # noqa: E402
from trialbook_plugins.llms.small_causal import SmallCausal  # noqa: E402

FACTS = [{"activity": "Sleep", "key": "k"}, {"activity": "Walk about the house", "key": "l"}]


def test_captions_are_written_on_the_device_of_the_run(llm_folder: Any) -> None:
    options = {"model": str(llm_folder("llama")), "prompt": "{activity}", "max_new_tokens": 5}
    expected = HFCaptions(**options).caption(FACTS)
    with pretend_cuda() as device:
        here = HFCaptions(**options)  # no device of the run: the CPU, whatever there is
        assert (device_of(here._llm), here.caption(FACTS)) == (CPU, expected)
        assert not device.copies
        there = HFCaptions(None, CUDA, **options)
        assert (device_of(there._llm), there.caption(FACTS)) == (CUDA, expected)


@pytest.mark.parametrize("index", [0, 1])
def test_weights_in_four_bits_are_made_on_the_processs_own_device(
    llm_folder: Any, index: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    class Read(Exception):
        """What would be read is known."""

    def read(*_: Any, **options: Any) -> None:
        seen.update(options)
        raise Read

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", read)
    with pretend_cuda(), pytest.raises(Read):
        HFCausal(None, torch.device("cuda", index), model=str(llm_folder("qwen2")), quantize="nf4")
    assert seen["device_map"] == {"": f"cuda:{index}"}
    assert seen["quantization_config"].bnb_4bit_compute_dtype == torch.bfloat16


def test_weights_in_four_bits_stay_on_the_cpu_where_the_run_is(llm_folder: Any) -> None:
    with pretend_cuda() as device:
        model = HFCausal(model=str(llm_folder("qwen2")), quantize="nf4")
        assert {p.device for p in model.parameters()} == {CPU}
        assert model.model.config.quantization_config.bnb_4bit_compute_dtype == torch.float32
        assert not device.copies


def test_merged_weights_are_written_from_the_cpu(llm_folder: Any, tmp_path: Path) -> None:
    """A GPU that holds a model has no room for a second one."""
    model = HFCausal(model=str(llm_folder("llama")), lora_rank=2)
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    model.save_merged(tmp_path / "here")
    with pretend_cuda():
        model.to(CUDA)
        model.save_merged(tmp_path / "there")
        model.to(CPU)
    assert (tmp_path / "there" / "model.safetensors").read_bytes() == (
        tmp_path / "here" / "model.safetensors"
    ).read_bytes()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_rows_are_continued_alike_and_one_token_is_waited_for_at_a_time(temperature: float) -> None:
    torch.manual_seed(0)
    model = SmallCausal(width=32, depth=2, heads=2).eval()
    ids, mask = torch.randint(3, 200, (3, 7)), torch.arange(7) < torch.tensor([[7], [2], [5]])

    def made(device: torch.device, count: int) -> list[Any]:
        with torch.no_grad():
            embeds = model.embed(ids.to(device))
            return model.generate(embeds, mask.to(device), max_new_tokens=count, temperature=temperature, seed=3)

    expected, waits = made(CPU, 12), {}
    with pretend_cuda() as device:
        model.to(CUDA)
        for count in (4, 12):
            before = device.waits.total()
            found = made(CUDA, count)
            waits[count] = device.waits.total() - before
        model.to(CPU)
    assert [one.ids for one in found] == [one.ids for one in expected]
    assert all(len(one.logprobs) == 12 for one in found)  # none ended early, so that all were waited for
    assert waits[12] - waits[4] == 8


@pytest.mark.parametrize("frozen", [True, False])
def test_questions_are_answered_on_the_device_with_the_encoder_that_is_stored(frozen: bool) -> None:
    data = Documents(train=4, val=0, test=2, size=64)
    torch.manual_seed(0)
    encoder = ViT(data.describe("image"), patch=16, width=16, depth=1, heads=2)
    parts = {
        "dataset": data, "encoder": {"image": encoder}, "projector": {"image": Linear(16, 32)},
        "llm": SmallCausal(width=32, depth=1, heads=2),
    }  # fmt: skip
    builder = PartsBuilder(parts, options={("encoder", "image", "frozen"): frozen}, batch_size=2)
    task = Instruct(builder, max_length=96, max_new_tokens=4)
    task.setup()
    pictures = [np.asarray(data.splits()["test"].read("image", np.arange(1)))[0]]
    expected = task.answer(pictures, "What is it?"), task.evaluate("test")
    with pretend_cuda() as device:
        task.module().to(CUDA)
        builder.device = CUDA
        home = device_of(encoder)
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=False):
            found = task.answer(pictures, "What is it?"), task.evaluate("test")
        assert device_of(encoder) == home
        with device.phase("bf16"), torch.autocast("cuda", dtype=torch.bfloat16):
            assert task.answer(pictures, "What is it?").prediction is not None
        task.module().to(CPU)
    assert found[0].prediction == expected[0].prediction
    assert found[1]["loss"] == pytest.approx(expected[1]["loss"], rel=1e-5)
