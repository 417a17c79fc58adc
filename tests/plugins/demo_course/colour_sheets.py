"""A plugin for tests of the demo: sheets of one colour, and a task that learns to name it and declines other questions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trialbook.contracts import Builder, Step
from trialbook.contracts.conversations import Conversation, Turn, conversation_hash
from trialbook.contracts.datasets import Modality, content_hash
from trialbook.contracts.predictions import UNANSWERABLE, Prediction
from trialbook.plugins.hookspec import Component, hookimpl

COLOURS = {"red": (200, 40, 40), "green": (40, 160, 60), "blue": (40, 60, 200)}
ASKED, UNASKABLE = "What colour is the sheet?", "Who signed the sheet?"


@hookimpl
def mlrun_tasks() -> Iterable[Component]:
    """Tasks."""
    yield Component("colour-reader", "colour_sheets:ColourReader", "names colours")


@hookimpl
def mlrun_datasets() -> Iterable[Component]:
    """Datasets."""
    yield Component("colour-sheets", "colour_sheets:ColourSheets", "sheets of one colour")


class Sheets:
    """A split: a sheet is a group, with one question that it answers and one that it does not."""

    def __init__(self, name: str, count: int, seed: int) -> None:
        self.name = name
        random = np.random.default_rng(seed)
        self.colours = [list(COLOURS)[i % 3] for i in range(count)]
        shades = random.integers(-30, 31, (count, 3, 1, 1))
        plain = np.array([COLOURS[one] for one in self.colours])[:, :, None, None] + shades
        self.pixels = np.clip(np.broadcast_to(plain, (count, 3, 48, 64)), 0, 255).astype(np.uint8).copy()
        self.pixels[:, :, :2], self.pixels[:, :, -2:] = 20, 20

    def __len__(self) -> int:
        return len(self.colours)

    def groups(self, modality: str) -> Any:
        return np.arange(len(self)) if modality == "image" else np.repeat(np.arange(len(self)), 2)

    def read(self, modality: str, rows: Any) -> Any:
        return self.pixels[rows] if modality == "image" else [self.conversation(int(row)) for row in rows]

    def conversation(self, row: int) -> Conversation:
        group, lost = divmod(row, 2)
        answer = UNANSWERABLE if lost else self.colours[group]
        turns = (Turn("user", UNASKABLE if lost else ASKED), Turn("assistant", answer))
        made = Conversation(
            f"{self.name}-{row}", (f"{group}.png",), turns, () if lost else (answer,), not lost, "sheets",
            "absent" if lost else "colour",
        )  # fmt: skip
        return made

    def content(self, modality: str) -> Sequence[str]:
        images = [content_hash(one) for one in self.pixels]
        if modality == "image":
            return images
        return [conversation_hash(self.conversation(row), [images[row // 2]]) for row in range(2 * len(self))]

    def labels(self, name: str) -> Any:
        raise KeyError(name)


class ColourSheets:
    """Sheets of one colour."""

    modalities = {"image": "image", "conversation": "conversation"}

    def __init__(self, *, train: int = 60) -> None:
        self.train = train

    def describe(self, modality: str) -> Modality:
        return Modality("image", (3, 48, 64)) if modality == "image" else Modality("conversation")

    def splits(self) -> Mapping[str, Sheets]:
        return {"train": Sheets("train", self.train, 0), "val": Sheets("val", 6, 1), "test": Sheets("test", 12, 2)}

    @property
    def fingerprint(self) -> str:
        return content_hash("colour sheets", str(self.train))


class ColourReader(nn.Module):
    """Names the colour of a sheet; 'say …' makes it say that, 'break' breaks it."""

    takes = {"dataset": "one"}
    provides = ()
    produces = ("loss", "accuracy")
    lower_is_better = ("loss",)

    def __init__(self, builder: Builder, /) -> None:
        super().__init__()
        self._builder = builder

    def setup(self) -> None:
        self.dataset = self._builder.make("dataset")
        self.parts = nn.ModuleDict({"decoder": nn.Linear(3, 3)})
        self._shown: tuple[str, list[Prediction]] = ("", [])

    def module(self) -> nn.Module:
        return self.parts

    def size(self, stage: str) -> int:
        return len(self.dataset.splits()["train"])

    def batch(self, samples: Any, epoch: int, step: Step) -> tuple[Tensor, Tensor]:
        split = self.dataset.splits()["train"]
        wanted = torch.tensor([list(COLOURS).index(split.colours[i]) for i in samples])
        return torch.from_numpy(split.pixels[samples]), wanted

    def losses(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        return {"loss": nn.functional.cross_entropy(self._scores(batch[0]), batch[1])}

    def _scores(self, pixels: Tensor) -> Tensor:
        scores: Tensor = self.parts["decoder"](pixels.float().mean((2, 3)) / 64 - 2)
        return scores

    def after_step(self) -> None:
        pass

    def evaluate(self, split: str) -> dict[str, float]:
        if split not in self.dataset.splits():
            return {}
        sheets = self.dataset.splits()[split]
        said = []
        for row in range(2 * len(sheets)):
            asked = sheets.conversation(row)
            found = self.answer([sheets.pixels[row // 2]], asked.question)
            said.append(
                Prediction(
                    asked.id, asked.question, found.prediction, asked.answers, asked.answerable, found.abstained,
                    found.confidence, asked.source, asked.kind, asked.images, 1,
                )
            )  # fmt: skip
        self._shown = (split, said)
        right = [one.prediction in one.answers if one.answerable else one.abstained for one in said]
        return {"loss": 0.0, "accuracy": sum(right) / len(right)}

    def shown(self, split: str) -> dict[str, Any]:
        return {"predictions": self._shown[1]} if self._shown[0] == split else {}

    def answer(
        self,
        images: Sequence[Any],
        question: str,
        *,
        max_new_tokens: int | None = None,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Prediction:
        if "break" in question:
            raise RuntimeError("a tensor of the wrong size\nwith a second line")
        with torch.no_grad():
            chances = self._scores(torch.from_numpy(np.stack(images))).softmax(-1)[0]
        known = "colour" in question or question.startswith("say ")
        name = list(COLOURS)[int(chances.argmax())] if known else UNANSWERABLE
        name = question.removeprefix("say ") if question.startswith("say ") else name
        return Prediction(
            "asked", question, name, (), True, not known, float(chances.max()) if known else 0.75, tokens=1
        )
