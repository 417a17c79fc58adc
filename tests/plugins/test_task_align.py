"""Task align: rows that belong together are drawn together, and frozen or trained encoders give the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from trialbook.contracts import FeatureTable, Measurable, Step, Task, Trainable
from trialbook.contracts.datasets import Modality
from trialbook.errors import TrialbookError
from trialbook_plugins.encoders.identity import Identity
from trialbook_plugins.losses.info_nce import InfoNCE
from trialbook_plugins.metrics.retrieval import Retrieval
from trialbook_plugins.projectors.linear import Linear
from trialbook_plugins.tasks.align import Align

GROUPS = {"image": np.arange(20), "text": np.array([g for g in range(20) for _ in range(1 + g % 3)])[::-1].copy()}


class _Split:
    """Vectors that carry their group in the first place, with 1 to 3 texts an image, in reverse order."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __len__(self) -> int:
        return 20

    def groups(self, modality: str) -> NDArray[np.int64]:
        return GROUPS[modality]

    def read(self, modality: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        rng = np.random.default_rng(0)
        table = rng.normal(size=(len(GROUPS[modality]), 4)).astype(np.float32)
        table[:, 0] = GROUPS[modality]
        return table[rows]

    def content(self, modality: str) -> list[str]:
        return [f"{self.name}{row}" for row in range(len(GROUPS[modality]))]

    def labels(self, name: str) -> Any:
        raise KeyError(name)


class _Data:
    modalities = {"image": "vector", "text": "vector"}
    fingerprint = "0"

    def describe(self, modality: str) -> Modality:
        return Modality("vector", (4,))

    def splits(self) -> Mapping[str, _Split]:
        return {"train": _Split("train"), "val": _Split("val")}


class _Builder:
    """A builder of fixed parts."""

    seed, data_root, batch_size, eval_batch_size = 0, None, 8, 7
    inputs: Mapping[str, Path] = {}

    def __init__(
        self, frozen: bool = False, projector: bool = True, modalities: tuple[str, ...] = ("image", "text")
    ) -> None:
        self.frozen, self.projector, self.modalities = frozen, projector, modalities
        self.encoded = 0

    def names(self, kind: str) -> tuple[str, ...]:
        named = {
            "encoder": self.modalities,
            "projector": self.modalities if self.projector else (),
            "loss": ("info-nce",),
        }
        return named.get(kind, ("retrieval",))

    def make(self, kind: str, name: str | None = None, /, **injected: Any) -> Any:
        torch.manual_seed(hash((kind, name)) % 1000)
        makers = {
            "dataset": _Data, "encoder": lambda: Identity(injected["modality"]), "loss": InfoNCE,
            "metric": lambda: Retrieval(k=[1]),
            "projector": lambda: Linear(injected["dim_in"], injected["dim_out"]),
        }  # fmt: skip
        return makers[kind]()

    def option(self, kind: str, name: str | None, key: str, default: Any = None) -> Any:
        return self.frozen if key == "frozen" else default

    def features(self, name: str, encoder: Any, dataset: Any, split: str, modality: str) -> FeatureTable:
        self.encoded += 1
        part = dataset.splits()[split]
        return FeatureTable.of(encoder(encoder.prepare(part.read(modality, np.arange(len(part.groups(modality)))))))


def _task(builder: _Builder, dim: int = 4) -> Align:
    task = Align(builder, dim=dim)  # type: ignore[arg-type]
    task.setup()
    return task


def test_it_is_a_task_that_trains_and_does_not_measure() -> None:
    task = _task(_Builder())
    assert isinstance(task, Task)
    assert isinstance(task, Trainable)
    assert not isinstance(task, Measurable)


def test_the_rows_of_a_batch_belong_to_the_same_samples_in_every_modality() -> None:
    task = _task(_Builder())
    for epoch in range(20):
        samples = np.random.default_rng(epoch).permutation(20)
        batch = task.batch(samples, epoch, Step(0, "train", 0))
        for rows in batch.values():
            assert rows.prepared[:, 0].tolist() == samples.tolist()


def test_over_the_epochs_every_caption_is_drawn_about_equally_often() -> None:
    task = _task(_Builder())
    drawn = np.zeros(len(GROUPS["text"]))
    table = _Split("train").read("text", np.arange(len(drawn)))
    for epoch in range(3000):
        rows = task.batch(np.arange(20), epoch, Step(0, "train", 0))["text"].prepared.numpy()
        drawn[[int(np.flatnonzero((table == row).all(axis=1))[0]) for row in rows[2:3]]] += 1
    counts = drawn[GROUPS["text"] == 2]
    assert len(counts) == 3
    assert counts.min() > 900  # 1000 expected of each; 100 is about 4 standard deviations


def test_stored_features_of_a_frozen_encoder_give_the_losses_of_the_encoder_itself() -> None:
    stored, direct = _task(builder := _Builder(frozen=True)), _task(_Builder())
    stored.parts["projector"].load_state_dict(direct.parts["projector"].state_dict())
    samples, step = np.arange(8), Step(0, "train", 0)
    a, b = (task.losses(task.batch(samples, 0, step))["loss"] for task in (stored, direct))
    assert a.item() == pytest.approx(b.item(), abs=1e-7)
    assert builder.encoded == 2
    assert list(stored.parts["encoder"]) == []


def test_evaluation_is_the_loss_at_the_training_batch_and_the_metrics_over_all_rows() -> None:
    task = _task(_Builder())
    figures = task.evaluate("val")
    assert set(figures) == {
        "loss",
        "info-nce/loss",
        "retrieval/i2t@1",
        "retrieval/t2i@1",
        "retrieval/i2t/median_rank",
        "retrieval/t2i/median_rank",
    }
    split = _Split("val")
    embeddings = {}
    for name in ("image", "text"):
        rows = torch.from_numpy(split.read(name, np.arange(len(GROUPS[name]))))
        embeddings[name] = task.projectors[name](rows[:, None])[:, 0]  # type: ignore[misc]
    first = {name: torch.tensor([int(np.flatnonzero(GROUPS[name] == g)[0]) for g in range(16)]) for name in GROUPS}
    halves = [InfoNCE()(embeddings={n: embeddings[n][first[n][k : k + 8]] for n in first}) for k in (0, 8)]
    assert figures["loss"] == pytest.approx(sum(half.item() for half in halves) / 2, abs=1e-6)
    assert task.evaluate("test") == {}


def test_a_modality_without_projector_must_have_the_common_width() -> None:
    assert _task(_Builder(projector=False), dim=4).projectors == {"image": None, "text": None}
    with pytest.raises(TrialbookError, match=r"\[projector\.image\].*width \(4\) is not dim \(8\)"):
        _task(_Builder(projector=False), dim=8)


def test_one_modality_is_not_enough() -> None:
    with pytest.raises(TrialbookError, match="at least two modalities"):
        _task(_Builder(modalities=("image",)))


def test_a_loss_that_gives_no_scalar_is_named() -> None:
    task = _task(_Builder())
    batch = task.batch(np.arange(8), 0, Step(0, "train", 0))
    loss = task.losses_by_name["info-nce"]
    loss.forward = lambda embeddings: embeddings["image"].mean(dim=1)
    with pytest.raises(TrialbookError, match=r"loss 'info-nce' must give a scalar tensor, not one of shape \(8,\)"):
        task.losses(batch)
