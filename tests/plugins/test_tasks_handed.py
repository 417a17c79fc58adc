"""What losses, metrics, probes and captioners are handed stays as it is, and what they return is what they declare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trialbook.contracts import Handover, Modality, Probed, Step, checked_values, read_only
from trialbook.errors import TrialbookError
from trialbook.testing import MadeUpDataset, PartsBuilder
from trialbook_plugins.encoders.identity import Identity
from trialbook_plugins.losses.info_nce import InfoNCE
from trialbook_plugins.metrics.retrieval import Retrieval
from trialbook_plugins.tasks._values import fit
from trialbook_plugins.tasks.align import Align
from trialbook_plugins.tasks.caption import CaptionSamples


class Mean:
    """A metric of the embeddings, after something was done to what it is handed."""

    needs: ClassVar[tuple[str, ...]] = ("embeddings", "groups", "train")
    produces: ClassVar[tuple[str, ...]] = ("mean",)

    def __init__(self, act: Callable[..., Any], found: Mapping[str, Any] | None = None) -> None:
        self.act, self.found = act, found

    def compute(self, *, embeddings: Any, groups: Any, train: Any) -> Any:
        self.act(embeddings, groups, train)
        return {"mean": float(embeddings["image"].mean())} if self.found is None else self.found


class Doubling(nn.Module):
    """A loss that doubles the embeddings that it is given."""

    needs: ClassVar[tuple[str, ...]] = ("embeddings",)

    def forward(self, embeddings: Mapping[str, Tensor]) -> Tensor:
        for one in embeddings.values():
            one.mul_(2)
        return torch.stack([one.mean() for one in embeddings.values()]).sum()


VECTORS = {name: Modality("vector", (4,)) for name in ("image", "text")}


def align(metric: Any = None, loss: nn.Module | None = None) -> Align:
    data = MadeUpDataset(VECTORS)
    task = Align(
        PartsBuilder({
            "dataset": data, "encoder": {name: Identity(one) for name, one in VECTORS.items()},
            "loss": {"first": loss or InfoNCE(), "second": InfoNCE()},
            "metric": {"own": metric or Mean(lambda *_: None), "retrieval": Retrieval(k=[1])},
        }),
        dim=4,
    )  # fmt: skip
    task.setup()
    return task


def numpy_of(tensor: Tensor) -> Any:
    return tensor.detach().numpy()


@pytest.mark.parametrize(
    "act",
    [
        lambda embeddings, groups, train: embeddings["image"].mul_(0),
        lambda embeddings, groups, train: embeddings["text"][:2].fill_(1),
        lambda embeddings, groups, train: np.negative(numpy_of(embeddings["image"]), out=numpy_of(embeddings["image"])),
        lambda embeddings, groups, train: embeddings["image"].data.add_(1),
        lambda embeddings, groups, train: embeddings.update(image=embeddings["text"]),
        lambda embeddings, groups, train: embeddings.pop("text"),
        lambda embeddings, groups, train: groups["image"].copy_(groups["image"].flip(0)),
        lambda embeddings, groups, train: train["embeddings"]["image"].zero_(),
    ],
)
def test_a_metric_that_changes_what_it_is_handed_is_named(act: Callable[..., Any]) -> None:
    with pytest.raises(TrialbookError, match="metric 'own'"):
        align(Mean(act)).evaluate("val")


def test_a_metric_that_only_reads_leaves_the_others_what_they_were() -> None:
    values = align(Mean(lambda embeddings, groups, train: embeddings["image"].clone().mul_(0))).evaluate("val")
    assert values["retrieval/i2t@1"] == align().evaluate("val")["retrieval/i2t@1"]


def test_a_loss_that_changes_what_it_is_handed_is_named() -> None:
    task = align(loss=Doubling())
    with pytest.raises(TrialbookError, match="loss 'first'"):
        task.losses(task.batch(np.arange(8), 0, Step(0, "train", 0)))


@pytest.mark.parametrize(
    "found", [{}, None, {"other": 1.0}, {"mean": 1.0, "more": 2.0}, {"mean": "high"}, {"mean": None}, [("mean", 1.0)]]
)
def test_a_metric_gives_numbers_under_the_names_that_it_declares(found: Any) -> None:
    metric = Mean(lambda *_: None)
    metric.compute = lambda **_: found  # type: ignore[method-assign]
    with pytest.raises(TrialbookError, match="metric 'own'"):
        align(metric).evaluate("val")


def test_all_names_that_are_declared_are_given_and_ends_of_intervals_need_not_be_declared() -> None:
    given = {"a": np.float32(1), "a/low": torch.tensor(0.5)}
    assert checked_values("metric 'm'", given, ["a"]) == {"a": 1.0, "a/low": 0.5}
    with pytest.raises(TrialbookError, match="'b'"):
        checked_values("metric 'm'", given, ["a", "b"])
    assert checked_values("probe 'p'", given, ["a", "b"], complete=False)["a"] == 1.0


class Reading:
    """A probe of nothing, after something was done to what it is handed."""

    def __init__(self, act: Callable[[Probed], Any], found: Any) -> None:
        self.act, self.found = act, found

    def measure(self, train: Probed, others: Mapping[str, Probed], seed: int) -> Any:
        self.act(train)
        return self.found


@pytest.mark.parametrize(
    ("act", "found"),
    [
        (lambda data: data.features.add_(1), {"test": {"r2": 0.5}}),
        (lambda data: data.labels["boxes"][0].fill(0), {"test": {"r2": 0.5}}),
        (lambda data: data.labels["boxes"].append(1), {"test": {"r2": 0.5}}),
        (lambda data: None, {"test": {"r3": 0.5}}),
        (lambda data: None, {"test": {}}),
        (lambda data: None, {"val": {"r2": 0.5}}),
        (lambda data: None, {}),
    ],
)
def test_a_probe_that_changes_what_it_is_handed_or_gives_other_values_is_named(act: Any, found: Any) -> None:
    boxes = read_only({"boxes": [np.ones((1, 4))]})
    data = Probed(torch.zeros(1, 2, 2, 3), boxes, torch.zeros(1, 3, 4, 4))
    with pytest.raises(TrialbookError, match="probe 'p'"):
        fit("p", Reading(act, found), data, {"test": data}, 0, ["r2"])  # type: ignore[arg-type]


def test_an_error_of_a_component_itself_is_not_taken_for_another() -> None:
    with pytest.raises(ValueError, match="of its own"), Handover().to("metric 'm'"):
        raise ValueError("of its own")


def test_a_captioner_cannot_change_what_is_known_of_samples() -> None:
    class Greedy:
        def caption(self, facts: Any) -> list[str]:
            return [one.pop("what") for one in facts]

    known = [{"what": f"sample {i}"} for i in range(8)]
    task = CaptionSamples(PartsBuilder({"dataset": MadeUpDataset(VECTORS, {"facts": known}), "captioner": Greedy()}))
    task.setup()
    with pytest.raises(TrialbookError, match="captioner"):
        list(task.measurements())
    assert known[0] == {"what": "sample 0"}
