"""Probes tell where things are in features that know it, nothing in features that do not, and refuse what cannot be believed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trialbook.contracts import Features
from trialbook.contracts.plots import Profile, look_up, read_pictures, read_plots
from trialbook.contracts.records import Artifact, Event, Facts, Record
from trialbook.errors import TrialbookError
from trialbook.testing import PartsBuilder, check_component
from trialbook_plugins.datasets.shapes import Shapes
from trialbook_plugins.encoders.patches import Patches
from trialbook_plugins.probes.attribute import Attribute
from trialbook_plugins.probes.boxes import match_boxes
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
    blind, low = [item for item in items if isinstance(item, Event)]
    assert (blind.kind, low.kind) == ("position-blind", "low-ceiling")
    assert "on a grid of 8 x 8" in low.message
    assert "of 60 boxes" in low.message
    assert "are less than 2 cells wide or high" in low.message


def test_a_class_that_only_one_split_has_is_told_alike_in_both() -> None:
    """The ceiling of a probe with classes is made for the pictures of both splits together."""

    class Odd(Shapes):
        """In the test split every object is of a class that no other split has."""

        def splits(self) -> Any:
            found = dict(super().splits())
            own = found["test"].labels
            found["test"] = Relabelled(
                found["test"], lambda name: own(name) if name != "classes" else [np.array([9])] * 12
            )
            return found

    class Relabelled:
        def __init__(self, split: Any, labels: Any) -> None:
            self.split, self.labels = split, labels

        def __getattr__(self, name: str) -> Any:
            return getattr(self.split, name)

        def __len__(self) -> int:
            return len(self.split)

    shapes = Odd(train=24, val=8, test=12, size=64, min_side=0.3, max_side=0.5)
    encoder = Patches(shapes.describe("image"), patch=8, positions=0)
    probes = {"boxes": TokenBoxes(per_class=True), "found": Detection(steps=2), "kind": Attribute(label="classes")}
    figures, _ = measured(task_of(shapes, encoder, **probes))
    assert figures["tokens/boxes/iou"] == figures["tokens/kind/score"] == 0
    assert figures["tokens/found/map"] < 0.1
    assert figures["tokens/kind/score/oracle"] == 0  # nothing to learn the class from
    figures, _ = measured(task_of(shapes, encoder, found=Detection(steps=2, per_class=False)))
    assert figures["tokens/found/map/low"] <= figures["tokens/found/map"] <= figures["tokens/found/map/high"]


def test_layers_of_one_shape_share_what_does_not_depend_on_them(shapes: Shapes) -> None:
    from trialbook.contracts import Probed
    from trialbook_plugins.tasks._references import ReferenceMetrics

    class Counting(TokenBoxes):
        fits = 0

        def measure(self, *data: Any) -> Any:
            Counting.fits += 1
            return super().measure(*data)

    split, rng = shapes.splits()["val"], np.random.default_rng(0)
    images = torch.from_numpy(np.asarray(split.read("image", np.arange(30))))
    labels = {name: list(split.labels(name)) for name in ("boxes", "classes")}
    metrics, probe, found = ReferenceMetrics(["oracle", "pixels", "shuffled", "random"], 0), Counting(), []
    for width in (4, 4, 6):
        data = Probed(torch.from_numpy(rng.standard_normal((30, 8, 8, width), dtype=np.float32)), labels, images)
        found.append(metrics.measure("boxes", probe, data, data))
    assert Counting.fits == 4 + 1 + 3  # of the second the shuffled alone; of the third all but the pixels
    one = ReferenceMetrics(["oracle", "pixels", "shuffled", "random"], 0).measure("boxes", probe, data, data)
    assert found[2] == one


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
            from trialbook.contracts import LayerPoint

            return {name: LayerPoint(self.inner.dim, (8, 8), name) for name in ("noise", "patches", "mean")}

        def encode_layers(self, prepared: Any) -> dict[str, torch.Tensor]:
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
    check_component(ProbeLayers, "task", injected={"builder": PartsBuilder(parts)}, options={"references": ["oracle"]})


@pytest.mark.parametrize(
    ("probe", "options"),
    [(TokenBoxes, {}), (PooledBoxes, {}), (Attribute, {"label": "class"}), (Detection, {}), (Reconstruction, {})],
)
def test_probes_keep_their_contract(probe: type, options: dict[str, Any]) -> None:
    check_component(probe, "probe", options=options)


def test_trained_probes_learn_more_from_pixels_than_from_noise(shapes: Shapes) -> None:
    task = task_of(
        shapes, boxes=Detection(steps=20, width=32, depth=1, queries=3), picture=Reconstruction(steps=40, width=16)
    )
    figures, _ = measured(task)
    assert figures["tokens/picture/ssim"] > figures["tokens/picture/ssim/random"]
    assert figures["tokens/picture/l1"] < figures["tokens/picture/l1/random"]
    assert 0 <= figures["tokens/boxes/map"] <= figures["tokens/boxes/map@0.5"] <= 1


# --- what pages show --------------------------------------------------------------------------------------------------


def small_task(shapes: Shapes, **probes: Any) -> ProbeLayers:
    """On a grid of 4 x 4 tokens, with one reference."""
    encoder = Patches(shapes.describe("image"), patch=16, positions=0)
    parts = {"dataset": shapes, "encoder": {"image": encoder}, "probe": probes}
    return ProbeLayers(PartsBuilder(parts), references=["pixels"])


def pictures_of(items: list[Any], folder: Path) -> dict[str, bytes]:
    """The files that a run leaves."""
    found = {}
    for item in items:
        if isinstance(item, Artifact):
            item.write(folder / item.name)
            found[item.name] = (folder / item.name).read_bytes()
    return found


def test_the_same_run_leaves_the_same_pictures_also_where_it_was_stopped(shapes: Shapes, tmp_path: Path) -> None:
    probes = {"boxes": TokenBoxes(), "flat": PooledBoxes(), "what": Attribute(label="classes", kind="number")}
    whole = pictures_of(measured(small_task(shapes, **probes))[1], tmp_path)
    assert list(whole) == ["boxes-boxes.png", "boxes-flat.png"]
    assert pictures_of(measured(small_task(shapes, **probes))[1], tmp_path) == whole
    assert pictures_of(measured(small_task(shapes, **probes), done=2)[1], tmp_path) == whole
    assert pictures_of(measured(small_task(shapes, **probes), done=4)[1], tmp_path) == {}


def test_pictures_are_declared_with_the_layer_that_was_read(shapes: Shapes) -> None:
    _, items = measured(small_task(shapes, boxes=TokenBoxes()))
    facts = {key: value for item in items if isinstance(item, Facts) for key, value in item.values.items()}
    (shown,) = read_pictures(facts)
    assert (shown.file, shown.title) == ("boxes-boxes.png", "Boxes found by probe 'boxes'")
    assert "found in the tokens of tokens" in shown.caption
    assert "8 of 60 pictures" in shown.caption
    assert len(re.findall(r"IoU 0\.\d\d", shown.alt)) == 8
    kinds = [type(item) for item in items]
    assert kinds.index(Artifact) < len(kinds) - 1 - kinds[::-1].index(Record)  # before the metric that speaks of it


def test_no_picture_is_made_where_none_is_wanted(shapes: Shapes) -> None:
    parts = {"dataset": shapes, "encoder": {"image": Patches(shapes.describe("image"), patch=8, positions=0)}}
    task = ProbeLayers(PartsBuilder({**parts, "probe": {"boxes": TokenBoxes()}}), shown=0, references=[])
    assert not [item for item in measured(task)[1] if isinstance(item, Artifact)]
    with pytest.raises(TrialbookError, match=r"shown \(99\) must be from 0 to 48"):
        ProbeLayers(PartsBuilder(parts), shown=99)


@pytest.mark.parametrize("probe", [TokenBoxes(), TokenBoxes(per_class=True), PooledBoxes(), Detection(steps=20)])
def test_the_boxes_that_are_shown_are_those_of_the_figures(shapes: Shapes, probe: Any) -> None:
    task = small_task(shapes, boxes=probe)
    task.setup()
    data = task._data("tokens", probe)
    others = {"val": data["val"], "test": data["test"]}
    figures = probe.measure(data["train"], others, 0)["test"]
    found = probe.find(data["train"], others, 0)["test"]
    kinds = (None, None) if found.classes is None else (found.classes, data["test"].labels["classes"])
    scores = match_boxes(found.boxes, data["test"].labels["boxes"], *kinds)
    assert scores.iou.mean() == pytest.approx(figures["iou"], abs=1e-12)  # sums in another order
    assert scores.recall() == figures["recall@0.5"]


def test_a_plot_of_each_probe_is_declared_between_its_references(shapes: Shapes) -> None:
    figures, items = measured(
        task_of(
            shapes,
            Patches(shapes.describe("image"), patch=16, positions=0),
            boxes=TokenBoxes(),
            what=Attribute(label="classes", kind="number"),
        )
    )
    facts = {key: value for item in items if isinstance(item, Facts) for key, value in item.values.items()}
    boxes, what = read_plots(facts)
    assert isinstance(boxes, Profile)
    assert isinstance(what, Profile)
    assert (list(boxes.places), next(iter(boxes.metrics))) == (["tokens"], "iou")
    assert boxes.metric("iou", "tokens") in figures
    for end in (*boxes.ceiling, *boxes.baseline, *boxes.floor, "low", "high"):
        assert boxes.metric("iou", "tokens", end) in figures
    assert look_up(facts, boxes.chosen) == "tokens"
    assert list(what.metrics) == ["score"]
