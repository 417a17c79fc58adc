"""Task instruct: what is learned of a conversation, exact resume, and parts that are exchanged by changing the file alone."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trialbook.config.load import load_experiment
from trialbook.config.options import CheckpointOptions, EvaluateOptions, stages_of
from trialbook.contracts import (
    Piece,
    Step,
    SupportsAnswers,
    SupportsEvidence,
    SupportsExport,
    SupportsNotes,
    SupportsWeights,
    Task,
    Trainable,
)
from trialbook.contracts.conversations import IMAGE, Conversation, Turn
from trialbook.contracts.records import Facts, Record
from trialbook.engine.builder import BuildContext, RunBuilder
from trialbook.engine.checkpoint import CheckpointStore
from trialbook.engine.execute import make_accelerator
from trialbook.engine.feature_store import FeatureStore
from trialbook.engine.trainer import Trainer
from trialbook.errors import ExperimentErrors, TrialbookError
from trialbook.planning.planner import make_plan
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook
from trialbook.testing import PartsBuilder, check_component
from trialbook_plugins.datasets.documents import Documents
from trialbook_plugins.encoders.patches import Patches
from trialbook_plugins.llms.small_causal import SmallCausal
from trialbook_plugins.metrics.abstention import Abstention
from trialbook_plugins.projectors.linear import Linear
from trialbook_plugins.tasks._token_sequences import IGNORED, Sequencer, TokenSequence

pytest.importorskip("transformers")

from vision_checkpoints import make_checkpoint

FILE = """
name = "tiny"
seeds = [0]
[task]
use = "instruct"
max_length = 96
max_new_tokens = 4
[dataset]
use = "documents"
train = 24
val = 6
test = 6
[encoder.image]
use = "patches"
patch = 16
frozen = true
[projector.image]
use = "mlp"
[llm]
use = "small-causal"
width = 32
depth = 2
heads = 2
dropout = 0.1
[[metric]]
use = "exact-match"
[train]
steps = 6
batch_size = 8
accumulate = 2
lr = 1e-2
log_every = 1
"""
STAGES = """
[[stage]]
name = "smoke"
steps = 2
[[stage]]
name = "warm-up"
train = ["projector"]
steps = 4
[[stage]]
name = "instruct"
train = ["projector", "llm"]
steps = 3
"""


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> SchemaBook:
    return SchemaBook(PluginManager.discover(), tmp_path_factory.mktemp("schemas"))


@pytest.fixture
def build(book: SchemaBook, tmp_path: Path) -> Callable[..., Any]:
    """Makes the task of a file."""
    workshop = BuildContext(book, FeatureStore(tmp_path / "features"), None)

    def make(text: str = FILE) -> Any:
        (tmp_path / "tiny.toml").write_text(text)
        plan = make_plan(load_experiment(tmp_path / "tiny.toml"), book)
        builder = RunBuilder(plan.runs[0], workshop)
        task = builder.task()
        task.config = dict(plan.runs[0].config)  # type: ignore[attr-defined]
        return task

    return make


def step_of(task: Any, count: int = 8) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return task.losses(task.batch(np.arange(count), 0, Step(0, "train", 0)))


def with_table(text: str, header: str, body: str) -> str:
    """The text with another body of a table."""
    start = text.index(header) + len(header)
    return f"{text[:start]}\n{body}\n{text[start:][text[start:].index(chr(10) + '[') + 1 :]}"


def test_it_offers_what_the_contracts_name(build) -> None:
    task = build()
    assert all(
        isinstance(task, kind)
        for kind in (Task, Trainable, SupportsEvidence, SupportsWeights, SupportsNotes, SupportsAnswers, SupportsExport)
    )


def test_it_conforms() -> None:
    data = Documents(train=16, val=4, test=4)
    torch.manual_seed(0)
    parts: dict[str, Any] = {
        "dataset": data,
        "encoder": {"image": Patches(data.describe("image"), patch=16)},
        "projector": {"image": Linear(3 * 16 * 16 + 32, 32)},
        "llm": SmallCausal(width=32, depth=1, heads=2, tokens="byte"),
        "metric": {"abstention": Abstention()},
    }
    builder = PartsBuilder(parts, batch_size=8)
    options = {"max_length": 96, "max_new_tokens": 3}
    check_component("trialbook_plugins.tasks.instruct:Instruct", "task", options=options, injected={"builder": builder})


# --- what is learned ---------------------------------------------------------------------------------------------


class Letters:
    """Stands in for a language model: a letter is a token, and turns are marked with theirs."""

    dim, context = 4, 0

    def render(self, turns: Any, images: int, *, answer: bool) -> list[Piece]:
        placed = sum(turn.text.count(IMAGE) for turn in turns if turn.role == "user")
        pieces, at = [Piece("image", (), 0, number) for number in range(images - placed)], images - placed
        for place, turn in enumerate(turns):
            if turn.role == "assistant":
                pieces.append(Piece("answer", (*map(ord, turn.text), 1), place))
                continue
            for part in turn.text.replace(IMAGE, f"\0{IMAGE}\0").split("\0"):
                pieces.append(
                    Piece("image", (), place, at) if part == IMAGE else Piece("prompt", tuple(map(ord, part)), place)
                )
                at += part == IMAGE
        return pieces


def some_conversation(rng: random.Random) -> Conversation:
    turns, images = [Turn("system", "Be brief.")] if rng.random() < 0.3 else [], rng.randint(0, 1)
    for _ in range(rng.randint(1, 5)):
        here = rng.choice([0, 0, 1, 2])
        images += here
        turns.append(Turn("user", IMAGE * here + "q" * rng.randint(1, 70)))
        turns.append(Turn("assistant", "a" * rng.randint(1, 40)))
    return Conversation(f"c{rng.random()}", tuple("i" * images), tuple(turns))


def test_nothing_but_answers_is_learned_and_no_image_is_cut_over_10000_conversations() -> None:
    rng, made, kept, shortened, dropped = random.Random(0), 10_000, 0, 0, 0
    sequencer = Sequencer(Letters(), max_length=60)
    for _ in range(made):
        one = some_conversation(rng)
        lengths = [rng.choice([3, 5, 8]) for _ in one.images]
        whole = sequencer.sequence(Letters().render(one.turns, len(one.images), answer=True), lengths)
        found = sequencer.training(one, lengths)
        first = 1 + sum(turn.role == "system" for turn in one.turns)
        images = len(one.images) - sum(turn.text.count(IMAGE) for turn in one.turns[first:] if turn.role == "user")
        asked = sum(lengths[:images]) + sum(len(turn.text.replace(IMAGE, "")) for turn in one.turns[:first])
        if found is None:
            assert asked >= 60
            dropped += 1
            continue
        kept, shortened = kept + 1, shortened + found.shortened
        assert len(found.ids) <= 60
        assert found.shortened == (len(found.ids) < len(whole.ids))
        learned = found.labels != IGNORED
        assert set(found.ids[learned].tolist()) <= {ord("a"), 1}
        assert (found.labels[learned] == found.ids[learned]).all()
        assert not learned[found.slots >= 0].any()
        assert set(found.ids[~learned & (found.slots < 0)].tolist()) <= set(map(ord, "qBe brief."))
        assert found.slots[found.slots >= 0].tolist() == list(range((found.slots >= 0).sum()))
        assert (found.slots >= 0).sum() == sum(lengths[: found.images]) == found.image_tokens
        assert found.supervised > 0
    assert kept + dropped == made
    assert min(shortened, dropped) > 100


def test_an_answer_that_is_cut_ends_without_its_end() -> None:
    one = Conversation("c", ("i",), (Turn("user", "q" * 10), Turn("assistant", "a" * 100)))
    found = Sequencer(Letters(), max_length=40).training(one, [5])
    assert found is not None
    assert found.shortened
    assert found.ids.tolist() == [0] * 5 + [ord("q")] * 10 + [ord("a")] * 25


def test_what_is_shortened_and_dropped_is_told(build) -> None:
    found = [
        item for item in build(FILE.replace("max_length = 96", "max_length = 36")).notes() if isinstance(item, Facts)
    ]
    counts = found[0].values["samples"]["train"]
    task = build(FILE.replace("max_length = 96", "max_length = 36"))
    conversations = task._split("train")
    made = [conversations.sequence(row) for row in range(len(conversations))]
    assert counts["conversations"] == len(made)
    assert counts["dropped"] == sum(one is None for one in made)
    assert counts["shortened"] == sum(one is not None and one.shortened for one in made)
    assert task.size("train") == counts["conversations"] - counts["dropped"]


def test_a_length_that_no_sample_fits_is_refused(build) -> None:
    with pytest.raises(
        (TrialbookError, ExperimentErrors), match=r"no training sample fits max_length \(10\).* 16 tokens"
    ):
        build(FILE.replace("max_length = 96", "max_length = 10")).size("train")


def test_the_loss_is_that_of_the_answers_tokens_one_by_one(build) -> None:
    """Against each sequence by itself through the language model, without padding; float32, sums in another order."""
    task = build()
    task.parts.eval()
    conversations, rows = task._split("train"), [0, 3, 5, 7]
    total, count = 0.0, 0
    for row in rows:
        one: TokenSequence = conversations.sequence(row)
        batch = conversations.batch([row])
        logits = task.llm(task._embed(batch), batch.mask)[0].log_softmax(dim=-1)
        for at in range(1, len(one.ids)):
            if one.labels[at] != IGNORED:
                total, count = total - logits[at - 1, one.ids[at]].item(), count + 1
    together = task.losses(conversations.batch(rows))["loss"]
    assert float(together) == pytest.approx(total / count, rel=1e-5)
    assert sum(conversations.sequence(row).supervised for row in rows) == count


def test_images_come_from_their_own_document(build) -> None:
    """Another picture in place of one changes the loss of that row alone."""
    task = build()
    task.parts.eval()
    conversations = task._split("train")
    batch = conversations.batch([0, 20])
    moved = batch.images.stored.tokens.clone()
    moved[1] = 0.0
    other = batch._replace(images=batch.images._replace(stored=batch.images.stored._replace(tokens=moved)))
    before, after = (task._embed(one) for one in (batch, other))
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])
    text = batch.slots[1] < 0
    assert torch.equal(before[1][text], after[1][text])


def test_the_same_batch_and_seed_give_the_same_loss_bit_for_bit(build) -> None:
    assert torch.equal(step_of(build())["loss"], step_of(build())["loss"])


def test_a_stage_s_mixture_follows_its_weights_and_leaves_nothing_out(build) -> None:
    task = build()
    conversations = task._split("train")
    sources = np.array(["few" if group < 4 else "many" for group in range(24)])
    conversations.split.labels = lambda name: {"source": sources}[name]
    rows = np.arange(len(conversations))
    mixed = conversations.mixed(rows, {"few": 1.0, "many": 1.0})
    of = sources[conversations.groups[mixed]]
    assert abs((of == "few").mean() - 0.5) < 0.02
    assert set(mixed.tolist()) == set(rows.tolist())
    assert set(sources[conversations.groups[conversations.mixed(rows, {"few": 2.0})]]) == {"few"}
    with pytest.raises(TrialbookError, match=r"weighs .fw.\W.* did you mean .few."):
        conversations.mixed(rows, {"fw": 1.0})


# --- resume ------------------------------------------------------------------------------------------------------


def train(task: Any, folder: Path, recorded: int = 0) -> Iterator[Any]:
    training = Trainer(
        task, stages_of(task.config), seed=0, accelerator=make_accelerator("cpu", "no"), checkpoints=CheckpointStore(folder, 9),
        evaluate=EvaluateOptions(every=3, batch_size=8), checkpoint=CheckpointOptions(every=1, keep_last=9),
    )  # fmt: skip
    training.restore(recorded)
    yield from training.run()


def test_a_run_that_stops_in_any_stage_goes_on_bit_for_bit(build, tmp_path: Path) -> None:
    """Within stages, at their borders, and with every step in two micro-batches."""
    text = FILE + STAGES
    whole = [item for item in train(build(text), tmp_path / "whole") if isinstance(item, Record)]
    final = CheckpointStore(tmp_path / "whole").latest()[0]
    assert final is not None
    assert final.step == 9
    for stop in (1, 2, 4, 6, 8):
        folder, seen = tmp_path / f"stop{stop}", []
        for item in train(build(text), folder):
            if isinstance(item, Record):
                seen.append(item)
                if item.step > stop:
                    break
        again = [item for item in train(build(text), folder, recorded=len(seen)) if isinstance(item, Record)]
        assert again == whole[-len(again) :]
        assert len(again) < len(whole)
        other = CheckpointStore(folder).latest()[0]
        assert other is not None
        for name, tensor in final.tensors["model"].items():
            assert torch.equal(tensor, other.tensors["model"][name]), (stop, name)


def test_a_checkpoint_holds_everything_that_any_stage_trains_and_nothing_that_is_only_read(
    build, tmp_path: Path, llm_folder
) -> None:
    llm = f'use = "hf-causal"\nmodel = "{llm_folder("qwen2")}"\nlora_rank = 2'
    only = STAGES.replace("steps = 2\n", 'steps = 2\ntrain = ["projector"]\n').replace('"projector", "llm"', '"llm"')
    task = build(with_table(FILE, "[llm]", llm).replace("max_length = 96", "max_length = 120") + only)
    list(train(task, tmp_path / "c"))
    saved = CheckpointStore(tmp_path / "c").latest()[0]
    assert saved is not None
    names = set(saved.tensors["model"])
    parameters = dict(task.module().named_parameters())
    assert {name for name in parameters if name.startswith("projector.image.")} <= names
    assert {name for name in parameters if "lora_" in name} <= names
    assert any("lora_" in name for name in names)
    assert not [name for name in names if name.startswith("llm.") and "lora_" not in name]


def test_adapters_of_the_language_model_leave_the_vision_tower_alone(build, vision, llm_folder, tmp_path: Path) -> None:
    llm = f'use = "hf-causal"\nmodel = "{llm_folder("llama")}"\nlora_rank = 2'
    text = with_table(FILE, "[llm]", llm).replace("max_length = 96", "max_length = 120")
    vit = f'use = "hf-vision"\nmodel = "{vision("clip")}"'
    task = build(with_table(text, "[encoder.image]", vit) + '[[stage]]\ntrain = ["projector", "llm"]\n')
    before = {name: p.detach().clone() for name, p in task.parts["encoder"].named_parameters()}
    list(train(task, tmp_path / "c"))
    assert before
    assert not [name for name in before if "lora" in name]
    for name, parameter in task.parts["encoder"].named_parameters():
        assert torch.equal(parameter, before[name]), name
        assert parameter.grad is None
    adapted = {name for name, _ in task.parts["llm"].named_parameters() if "lora_" in name}
    assert adapted


# --- exchanging parts --------------------------------------------------------------------------------------------

PROJECTORS = {
    "linear": 'use = "linear"',
    "mlp": 'use = "mlp"',
    "perceiver": 'use = "perceiver"\nlatents = 4\ndepth = 1\nheads = 2\nhead_dim = 8',
    "pixel-shuffle": 'use = "pixel-shuffle"',
}
VISION = ("clip", "siglip", "dinov2")
FAMILIES = {"qwen2": "chatml", "llama": "headers", "gemma": "gemma", "phi3": "phi"}


@pytest.fixture(scope="module")
def vision(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def give(kind: str) -> Path:
        if kind not in made:
            made[kind] = make_checkpoint(kind, tmp_path_factory.mktemp(kind))
        return made[kind]

    return give


def exchanged(vision: Path, projector: str, llm: Path) -> str:
    text = with_table(
        FILE, "[encoder.image]", f'use = "hf-vision"\nmodel = "{vision}"\nfrozen = true\ndrop_class_token = true'
    )
    text = with_table(text, "[projector.image]", PROJECTORS[projector])
    text = with_table(text, "[llm]", f'use = "hf-causal"\nmodel = "{llm}"\nlora_rank = 2')
    return text.replace("max_length = 96", "max_length = 120")


def check_exchanged(task: Any, tmp_path: Path) -> None:
    """One step moves the projector and the adapters, and a question is answered."""
    before = {name: p.detach().clone() for name, p in task.module().named_parameters() if p.requires_grad}
    loss = step_of(task, 4)["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    torch.optim.SGD([p for p in task.module().parameters() if p.requires_grad], lr=0.1).step()
    moved = {
        name.split(".")[0]
        for name, p in task.module().named_parameters()
        if name in before and not torch.equal(p, before[name])
    }
    assert moved == {"projector", "llm"}
    figures = task.evaluate("test")
    assert np.isfinite(figures["loss"])
    assert len(task.shown("test")["predictions"]) == len(task._split("test"))


@pytest.mark.parametrize(
    ("eye", "projector", "family"),
    [
        ("clip", "linear", "qwen2"),
        ("siglip", "mlp", "llama"),
        ("dinov2", "perceiver", "gemma"),
        ("clip", "pixel-shuffle", "phi3"),
    ],
)
def test_parts_are_exchanged_by_changing_the_file_alone(
    build, vision, llm_folder, tmp_path, eye, projector, family
) -> None:
    check_exchanged(build(exchanged(vision(eye), projector, llm_folder(family, FAMILIES[family]))), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("eye", "projector", "family"), list(itertools.product(VISION, PROJECTORS, FAMILIES)))
def test_every_combination_of_parts_runs(build, vision, llm_folder, tmp_path, eye, projector, family) -> None:
    check_exchanged(build(exchanged(vision(eye), projector, llm_folder(family, FAMILIES[family]))), tmp_path)


# --- answering ---------------------------------------------------------------------------------------------------


def trained(build, tmp_path: Path) -> Any:
    task = build(FILE.replace("steps = 6", "steps = 30"))
    list(train(task, tmp_path / "trained"))
    return task


def test_answers_do_not_depend_on_what_is_asked_beside_them(build, vision, llm_folder) -> None:
    task, found = build(exchanged(vision("clip"), "mlp", llm_folder("qwen2"))), {}
    for size in (1, 8):
        task._builder = _Sized(task._builder, size)
        task.evaluate("test")
        found[size] = [(one.id, one.prediction) for one in task.shown("test")["predictions"]]
    assert found[1] == found[8]
    assert len({prediction for _, prediction in found[1]}) > 1


class _Sized:
    """A builder with another size of batches in evaluation."""

    def __init__(self, builder: Any, size: int) -> None:
        self._builder, self.eval_batch_size = builder, size

    def __getattr__(self, name: str) -> Any:
        return getattr(self._builder, name)


def test_a_question_of_one_s_own_gets_the_answer_that_the_evaluation_gave(build, tmp_path: Path) -> None:
    task = trained(build, tmp_path)
    task.evaluate("test")
    asked = task.shown("test")["predictions"][0]
    split = task.dataset.splits()["test"]
    group = int(split.groups("conversation")[0])
    picture = np.asarray(split.read("image", np.array([group]))[0])
    found = task.answer([picture], asked.question)
    assert (found.prediction, found.abstained) == (asked.prediction, asked.abstained)
    assert found.confidence == pytest.approx(asked.confidence, rel=1e-4)
    larger = task.answer([np.kron(picture, np.ones((1, 3, 2), np.uint8))], asked.question)
    assert isinstance(larger.prediction, str)
    with pytest.raises(TrialbookError, match="too long"):
        task.answer([picture], "why " * 400)
    with pytest.raises(TrialbookError, match="ask a question"):
        task.answer([picture], "  ")


def test_truth_and_confidence_stand_beside_every_answer(build, tmp_path: Path) -> None:
    task = trained(build, tmp_path)
    figures = task.evaluate("test")
    predictions = task.shown("test")["predictions"]
    rows = task._split("test").conversations
    assert [one.id for one in predictions] == [one.id for one in rows]
    for one, row in zip(predictions, rows, strict=True):
        assert (one.question, one.answerable, one.kind) == (row.question, row.answerable, row.kind)
        assert one.answers == (row.answers if row.answerable else ())
        assert 0 < one.confidence <= 1
    right = [one.prediction == one.answers[0] if one.answerable else one.abstained for one in predictions]
    assert figures["exact-match/exact"] == pytest.approx(np.mean(right))
    assert task.shown("test")["per_sample"]["exact-match/exact"].tolist() == right
    json.dumps([one.as_dict() for one in predictions])


def test_few_questions_are_asked_on_the_way_and_all_in_the_end(build) -> None:
    task = build(FILE.replace("max_new_tokens = 4", "max_new_tokens = 4\nquestions = 5"))
    task.evaluate("val")
    assert len(task.shown("val")["predictions"]) == 5
    task.evaluate("test")
    assert len(task.shown("test")["predictions"]) == len(task._split("test"))
    assert task.shown("val") == {}
