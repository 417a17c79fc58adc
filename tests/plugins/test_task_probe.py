"""Probes tell where things are in features that know it, nothing in features that do not, and refuse what cannot be believed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from trialbook.contracts import Features
from trialbook.errors import TrialbookError
from trialbook.records import Event, Facts, Record
from trialbook.testing import PartsBuilder, check_component
from trialbook_plugins.datasets.shapes import Shapes
from trialbook_plugins.encoders.patches import Patches
from trialbook_plugins.probes.attribute import Attribute
from trialbook_plugins.probes.detection_queries import Detection
from trialbook_plugins.probes.pooled_boxes import PooledBoxes
from trialbook_plugins.probes.reconstructed_pictures import Reconstruction
from trialbook_plugins.probes.token_boxes import TokenBoxes
from trialbook_plugins.tasks.probe import ProbeLayers


@pytest.fixture(scope="module")
def shapes() -> Shapes:
    return Shapes(train=200, val=30, test=60, size=64)


class Averaged(torch.nn.Module):
    """An encoder whose tokens are all the mean of the patches."""

    def __init__(self, inner: Patches) -> None:
        super().__init__()
        self.inner, self.dim = inner, inner.dim
        self.prepare = inner.prepare

    def forward(self, prepared: Any) -> Features:
        tokens = self.inner(prepared).tokens
        return Features(tokens.mean(dim=1, keepdim=True).expand_as(tokens))


def task_of(shapes: Any, encoder: torch.nn.Module | None = None, **probes: Any) -> ProbeLayers:
    encoder = encoder or Patches(shapes.describe("image"), patch=4, positions=0)
    parts = {"dataset": shapes, "encoder": {"image": encoder}, "probe": probes}
    return ProbeLayers(PartsBuilder(parts))


def measured(task: ProbeLayers, done: int = 0) -> tuple[dict[str, float], list[Any]]:
    task.setup()
    task.measured(done)
    items = list(task.measurements())
    return {name: value for item in items if isinstance(item, Record) for name, value in item.values.items()}, items


def test_pixels_know_where_one_object_is_and_shuffled_or_averaged_ones_do_not(shapes: Shapes) -> None:
    figures, items = measured(task_of(shapes, boxes=TokenBoxes(), mean=PooledBoxes(pool="mean")))
    assert figures["tokens/boxes/iou"] >= 0.7
    assert figures["tokens/boxes/iou/oracle"] >= 0.99
    assert figures["tokens/boxes/iou/shuffled"] <= 0.05
    assert figures["tokens/boxes/iou/random"] <= 0.05
    assert figures["tokens/mean/iou"] < 0.2
    assert figures["tokens/boxes/iou/low"] < figures["tokens/boxes/iou"] < figures["tokens/boxes/iou/high"]
    assert figures["best/boxes/iou"] == figures["tokens/boxes/iou"]
    (flag,) = [item for item in items if isinstance(item, Event)]
    assert flag.kind == "position-blind"
    assert "'mean' on 'tokens' averages the tokens" in flag.message


def test_tokens_that_are_alike_everywhere_are_flagged_for_what_reads_places(shapes: Shapes) -> None:
    encoder = Averaged(Patches(shapes.describe("image"), patch=8, positions=0))
    figures, items = measured(task_of(shapes, encoder, boxes=TokenBoxes()))
    assert figures["tokens/boxes/iou"] < 0.25
    assert [item.kind for item in items if isinstance(item, Event)] == ["position-blind"]


def test_a_run_that_was_stopped_measures_the_rest_as_if_it_had_not(shapes: Shapes) -> None:
    probes = {"boxes": TokenBoxes(), "flat": PooledBoxes()}
    whole = [item for item in measured(task_of(shapes, **probes))[1] if isinstance(item, Record)]
    for done in range(4):
        rest = [item for item in measured(task_of(shapes, **probes), done)[1] if isinstance(item, Record)]
        assert rest == whole[done:]


def test_the_best_layer_is_chosen_on_val_and_told_of_test(shapes: Shapes) -> None:
    class Layers(torch.nn.Module):
        """Three layers: noise, the patches, their mean."""

        tap_rows = 8
        tap_choices = ()

        def __init__(self) -> None:
            super().__init__()
            self.inner = Patches(shapes.describe("image"), patch=8, positions=0)
            self.prepare = self.inner.prepare

        def points(self) -> dict[str, Any]:
            from trialbook.contracts import Point

            return {name: Point(self.inner.dim, (8, 8), name) for name in ("noise", "patches", "mean")}

        def tap(self, prepared: Any) -> dict[str, torch.Tensor]:
            tokens = self.inner(prepared).tokens.reshape(len(prepared), 8, 8, -1)
            noise = torch.from_numpy(np.random.default_rng(0).standard_normal(tokens.shape, dtype=np.float32))
            return {"noise": noise, "patches": tokens, "mean": tokens.mean((1, 2), keepdim=True).expand_as(tokens)}

        def identity(self) -> dict[str, str]:
            return {}

        def check_order(self) -> dict[str, Any]:
            return {}

        def verify(self) -> None:
            return None

    figures, items = measured(task_of(shapes, Layers(), boxes=TokenBoxes()))
    assert figures["best/boxes/iou"] == figures["patches/boxes/iou"] > figures["noise/boxes/iou"]
    facts = {key: value for item in items if isinstance(item, Facts) for key, value in item.values.items()}
    assert facts["best_layers"] == {"boxes": "patches"}
    assert facts["layers"]["mean"]["grid"] == (8, 8)


def test_splits_that_share_a_picture_are_refused(shapes: Shapes) -> None:
    class Leaking:
        modalities = shapes.modalities

        def splits(self) -> dict[str, Any]:
            found = dict(shapes.splits())
            return {**found, "test": found["val"]}

        def describe(self, modality: str) -> Any:
            return shapes.describe(modality)

    with pytest.raises(TrialbookError, match="30 of 'image' stand in both val and test"):
        task_of(Leaking(), boxes=TokenBoxes()).setup()


@pytest.mark.parametrize(
    ("probes", "said"),
    [
        ({}, "needs a \\[probe.NAME\\]"),
        ({"age": Attribute(label="age")}, "probe 'age' needs the annotation 'age'"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is(
    shapes: Shapes, probes: dict[str, Any], said: str
) -> None:
    with pytest.raises(TrialbookError, match=said):
        task_of(shapes, **probes).setup()


def test_without_val_no_layer_can_be_chosen() -> None:
    with pytest.raises(TrialbookError, match="needs a split 'val' to choose a layer on; the data set has train, test"):
        task_of(Shapes(train=4, val=0, test=4, size=64), boxes=TokenBoxes()).setup()


def test_it_keeps_its_contract(shapes: Shapes) -> None:
    parts = {
        "dataset": shapes, "encoder": {"image": Patches(shapes.describe("image"), patch=16, positions=0)},
        "probe": {"boxes": TokenBoxes()},
    }  # fmt: skip
    check_component(ProbeLayers, "task", wired={"builder": PartsBuilder(parts)}, options={"references": ["oracle"]})


@pytest.mark.parametrize(
    ("probe", "options"),
    [(TokenBoxes, {}), (PooledBoxes, {}), (Attribute, {"label": "class"}), (Detection, {}), (Reconstruction, {})],
)
def test_probes_keep_their_contract(probe: type, options: dict[str, Any]) -> None:
    check_component(probe, "probe", options=options)


def test_trained_probes_learn_more_from_pixels_than_from_noise(shapes: Shapes) -> None:
    task = task_of(
        shapes, boxes=Detection(steps=60, width=32, depth=1, queries=3), picture=Reconstruction(steps=60, width=16)
    )
    figures, _ = measured(task)
    assert figures["tokens/picture/ssim"] > figures["tokens/picture/ssim/random"]
    assert figures["tokens/picture/l1"] < figures["tokens/picture/l1/random"]
    assert 0 <= figures["tokens/boxes/map"] <= figures["tokens/boxes/map@0.5"] <= 1
