"""A plugin from elsewhere, for tests: cards of one grey each with questions, and a tiny task that learns to answer them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from interrupts import Interrupts
from torch import nn

import trialbook_plugins.plugin
from trialbook.config.load import load_experiment
from trialbook.config.settings import Settings
from trialbook.contracts.conversations import Conversation, Turn, conversation_hash
from trialbook.contracts.datasets import Modality, content_hash
from trialbook.contracts.predictions import UNANSWERABLE, Prediction, is_abstention
from trialbook.execution.launcher import Launcher
from trialbook.execution.progress import PlainProgress
from trialbook.planning.planner import make_plan
from trialbook.plugins.hookspec import Component, hookimpl
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook
from trialbook.registry.run_directory import RunDirectory

EXPERIMENT = """
seeds = [0]
[task]
use = "ask"
[dataset]
use = "cards"
[[metric]]
use = "hits"
[train]
steps = 60
batch_size = 16
lr = 0.05
log_every = 20
[checkpoint]
every = 20
"""


class Cards:
    """Grey cards: how bright they are, and whether anything is written on them (nothing is).

    Args:
        train: cards of the train split.
        words: what bright and dark are called.
        seed: draws others.
        root: folder with a file ``words.txt``: what bright and dark are called there.
    """

    modalities = {"image": "image", "conversation": "conversation"}

    def __init__(
        self, data_root=None, /, *, train: int = 64, test: int = 12, words: str = "bright dark", seed: int = 0,
        root: str | None = None, only: str | None = None,
    ) -> None:  # fmt: skip
        self.words = words.split() if root is None else Path(root, "words.txt").read_text().split()
        sizes = {"train": train, "val": test, "test": test}
        self._splits = {
            name: Split(name, self.words, np.random.default_rng([seed, place]).integers(0, 256, count))
            for place, (name, count) in enumerate(sizes.items())
            if only in (None, name)
        }

    def describe(self, modality):
        corpus = (lambda: [*self.words, UNANSWERABLE]) if modality == "conversation" else None
        return Modality(modality, (3, 8, 8) if modality == "image" else (), corpus)

    def splits(self):
        return self._splits

    @property
    def fingerprint(self):
        whole = [one for split in self._splits.values() for one in split.content("conversation")]
        return hashlib.sha256("".join(whole).encode()).hexdigest()


class Split:
    def __init__(self, name, words, greys):
        self.name, self.words, self.greys = name, words, greys

    def __len__(self):
        return len(self.greys)

    def groups(self, modality):
        rows = np.arange(len(self.greys))
        return rows if modality == "image" else np.repeat(rows, 2)

    def read(self, modality, rows):
        if modality == "image":
            return np.stack([np.full((3, 8, 8), self.greys[row], np.uint8) for row in rows])
        return [self._conversation(int(row)) for row in rows]

    def _conversation(self, row):
        card, second = divmod(row, 2)
        said = UNANSWERABLE if second else self.words[int(self.greys[card] < 128)]
        turns = (Turn("user", "What is written?" if second else "How bright is it?"), Turn("assistant", said))
        kind = "absent-field" if second else "value"
        answers = () if second else (said,)
        one = Conversation(
            f"{self.name}-{row}", (f"{self.name}-{card}.png",), turns, answers, not second, "cards", kind
        )
        return Conversation(**{**vars(one), "hash": conversation_hash(one, [content_hash(str(self.greys[card]))])})

    def content(self, modality):
        if modality == "image":
            return [content_hash(str(grey)) for grey in self.greys]
        return [one.hash for one in self.read("conversation", range(2 * len(self.greys)))]

    def labels(self, name):
        raise KeyError(name)


class Ask:
    """One linear map from brightness and question to a word of the vocabulary; asks two cards of splits in between."""

    takes = {"dataset": "one", "metric": "many"}
    provides = ("predictions",)
    produces = ("loss",)
    lower_is_better = ("loss",)

    def __init__(self, builder, /):
        self.builder = builder

    def setup(self):
        self.dataset = self.builder.make("dataset")
        self.vocabulary = sorted(set(self.dataset.describe("conversation").corpus()))
        self.metrics = {name: self.builder.make("metric", name) for name in self.builder.names("metric")}
        inner = nn.Linear(3, len(self.vocabulary))
        idle = nn.Linear(2, 2).requires_grad_(False)
        self.parts = nn.ModuleDict({"projector": nn.ModuleDict({"image": inner}), "llm": idle})
        self._shown = ("", [])

    def module(self):
        return self.parts

    def size(self, stage):
        return len(self.dataset.splits()["train"])

    def _inputs(self, split, rows):
        part = self.dataset.splits()[split]
        said = part.read("conversation", rows)
        grey = part.read("image", np.asarray(rows) // 2).mean(axis=(1, 2, 3)) / 128 - 1
        absent = np.array([one.question == "What is written?" for one in said], dtype=np.float32)
        return said, torch.tensor(np.stack([grey, absent, grey * (1 - absent)], 1), dtype=torch.float32)

    def batch(self, samples, epoch, step):
        said, inputs = self._inputs("train", np.concatenate([samples * 2, samples * 2 + 1]))
        return inputs, torch.tensor([self.vocabulary.index(one.answer) for one in said])

    def losses(self, batch):
        inputs, wanted = batch
        return {"loss": nn.functional.cross_entropy(self.parts["projector"]["image"](inputs), wanted)}

    def after_step(self):
        pass

    def evaluate(self, split):
        if split not in self.dataset.splits():
            return {}
        cards = len(self.dataset.splits()[split])
        rows = np.arange(2 * (cards if split == self.builder.final_split else min(cards, 2)))
        said, inputs = self._inputs(split, rows)
        shares = self.parts["projector"]["image"](inputs).softmax(-1)
        self._shown = (split, [self._prediction(one, own) for one, own in zip(said, shares, strict=True)])
        figures = {"loss": float(-shares.clamp(min=1e-6).log().max(-1).values.mean())}
        for name, metric in self.metrics.items():
            figures |= {f"{name}/{key}": value for key, value in metric.compute(predictions=self._shown[1]).items()}
        return figures

    def _prediction(self, asked, shares):
        text = self.vocabulary[int(shares.argmax())]
        return Prediction(
            asked.id, asked.question, text, asked.answers, asked.answerable, is_abstention(text), float(shares.max()),
            asked.source, asked.kind, asked.images,
        )  # fmt: skip

    def shown(self, split):
        return {"predictions": self._shown[1]} if self._shown[0] == split else {}

    def export(self, folder, *, merged):
        if merged:
            (folder / "half").write_text("written before it failed")
            raise ValueError("nothing to merge")
        torch.save(self.parts["projector"]["image"].state_dict(), folder / "linear.pt")
        return ["linear.pt: the linear map"]


class Hits:
    """Share of accepted answers."""

    needs = ("predictions",)
    produces = ("share",)

    def compute(self, *, predictions):
        right = [one.prediction in one.answers or (one.abstained and not one.answerable) for one in predictions]
        return {"share": sum(right) / len(right)}


class Asking:
    """The plugin."""

    @hookimpl
    def mlrun_tasks(self) -> Iterable[Component]:
        yield Component("ask", "ask_parts:Ask", "")

    @hookimpl
    def mlrun_datasets(self) -> Iterable[Component]:
        yield Component("cards", "ask_parts:Cards", "")

    @hookimpl
    def mlrun_metrics(self) -> Iterable[Component]:
        yield Component("hits", "ask_parts:Hits", "")


class Place:
    """A workplace with this plugin and the first-party ones."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.settings = Settings(root=root, runs=root / "runs", data_root=root, cache=root / "cache", device="cpu")
        self.host = PluginManager.from_modules({"trialbook": trialbook_plugins.plugin, "asking": Asking()})
        self.book = SchemaBook(self.host, self.settings.cache)

    def run(self, text: str = EXPERIMENT, name: str = "small", stop: int | None = None) -> RunDirectory:
        """Run an experiment of one run, as far as a step if one is given; its directory. The file is gone afterwards."""
        file = self.root / f"{name}.toml"
        file.write_text(text)
        plan = make_plan(load_experiment(file), self.book)
        file.unlink()
        watcher = PlainProgress(lambda line: None) if stop is None else Interrupts(stop)
        try:
            Launcher(self.settings, self.host, self.book, watcher, plots=False).mlrun_launch(plan)
        except KeyboardInterrupt:
            assert stop is not None
        return RunDirectory(self.settings.runs / plan.runs[-1].relative_path)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in _files(folder)}


def _files(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.rglob("*")) if file.is_file())
