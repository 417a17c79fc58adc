"""Similarity of layers: 1 of a rotation, chance of noise, and nothing for a gate to stand on that noise would pass."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from linear_similarity import linear_similarity

from trialbook.analysis.compare.metrics import higher_is_better
from trialbook.config.load import load_experiment
from trialbook.contracts import Features, LayerPoint
from trialbook.contracts.metric_names import expand_produces
from trialbook.contracts.plots import HeatMap, Profile, fill, look_up, read_plots
from trialbook.contracts.records import Arrays, Facts, Record
from trialbook.errors import TrialbookError
from trialbook.planning.check import check_experiment
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook
from trialbook.testing import PartsBuilder, check_component
from trialbook_plugins.datasets.shapes import Shapes
from trialbook_plugins.encoders.patches import Patches
from trialbook_plugins.tasks.similarity import Similarity


@pytest.fixture(scope="module")
def shapes() -> Shapes:
    return Shapes(train=1, val=24, test=40, size=32)


class Changed(torch.nn.Module):
    """What another function makes of the tokens of patches."""

    def __init__(self, shapes: Shapes, change: Callable[[torch.Tensor], torch.Tensor], patch: int = 8) -> None:
        super().__init__()
        self.inner = Patches(shapes.describe("image"), patch=patch, positions=0)
        self.dim, self.prepare, self.change = self.inner.dim, self.inner.prepare, change

    def forward(self, prepared: Any) -> Features:
        return Features(self.change(self.inner(prepared).tokens))


def rotated(tokens: torch.Tensor) -> torch.Tensor:
    turn = torch.linalg.qr(
        torch.randn(tokens.shape[-1], tokens.shape[-1], generator=torch.Generator().manual_seed(1))
    ).Q
    return 3 * tokens @ turn.to(tokens.device)


def noise(tokens: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(len(tokens)).standard_normal(tokens.shape, dtype=np.float32))


def figures_of(shapes: Shapes, second: torch.nn.Module, **options: Any) -> tuple[dict[str, float], list[Any]]:
    first = Changed(shapes, lambda tokens: tokens)
    task = Similarity(
        PartsBuilder({"dataset": shapes, "encoder": {"a": first, "b": second}}), permutations=39, **options
    )
    task.setup()
    items = list(task.measurements())
    return {k: v for item in items if isinstance(item, Record) for k, v in item.values.items()}, items


@pytest.mark.parametrize("pool", ["cells", "mean", "flatten"])
def test_a_rotation_is_wholly_alike_and_noise_is_chance(shapes: Shapes, pool: Any) -> None:
    measures: Any = [
        "cka",
        *(["procrustes"] if pool != "flatten" else []),
        "rsa",
        "overlap",
    ]  # flat sets are too wide for it
    same, _ = figures_of(shapes, Changed(shapes, rotated), pool=pool, measures=measures)
    assert same["best/cka"] == pytest.approx(1, abs=1e-6)
    assert same.get("best/procrustes", 0.0) == pytest.approx(0, abs=1e-5)
    assert same["best/rsa"] == pytest.approx(1, abs=1e-3)  # cells of plain background are equally far but for rounding
    other, _ = figures_of(shapes, Changed(shapes, noise), pool=pool, measures=measures)
    assert abs(other["best/cka"]) < 0.1
    assert other["best/cka"] < same["best/cka/null"] + 0.2
    assert other["best/cka/p"] > 0.02 < other["best/rsa/p"]


def test_figures_are_those_of_their_definitions(shapes: Shapes) -> None:
    second = Changed(shapes, lambda tokens: tokens.square())
    figures, items = figures_of(shapes, second, measures=["cka", "cka_biased", "r2"], pool="mean", channels=True)
    tokens = Changed(shapes, lambda tokens: tokens)
    images = shapes.splits()["test"].read("image", np.arange(40))
    x, y = tokens(tokens.prepare(images)).tokens.mean(1), second(second.prepare(images)).tokens.mean(1)
    assert figures["tokens/tokens/cka"] == pytest.approx(
        linear_similarity(x, y).cka()["x", "y"], abs=1e-6
    )  # means in float32
    (by_channel,) = [item for item in items if isinstance(item, Arrays)]
    assert by_channel.name == "channels-tokens-tokens"
    assert by_channel.values["cka"][7] == pytest.approx(linear_similarity(x, y[:, 7:8]).cka()["x", "y"], abs=1e-5)
    assert figures["tokens/tokens/cka_biased"] == pytest.approx(
        linear_similarity(x, y).biased_cka()["x", "y"], abs=1e-6
    )
    assert figures["tokens/tokens/r2/low"] <= figures["tokens/tokens/r2"] <= figures["tokens/tokens/r2/high"]


def test_grids_of_different_sizes_meet_on_the_coarser_one(shapes: Shapes) -> None:
    figures, _ = figures_of(shapes, Changed(shapes, lambda tokens: tokens, patch=16), measures=["cka"])
    assert figures["best/cka"] > 0.5  # the same pixels, averaged over four cells and side by side


def test_one_token_an_input_has_no_cells(shapes: Shapes) -> None:
    with pytest.raises(TrialbookError, match="one of them has one token an input: use 'mean'"):
        figures_of(shapes, Changed(shapes, lambda tokens: tokens.mean(1, keepdim=True)), measures=["cka"])


def test_two_encoders_are_needed(shapes: Shapes) -> None:
    one = {"dataset": shapes, "encoder": {"a": Changed(shapes, rotated)}}
    with pytest.raises(TrialbookError, match="compares two encoders, not 1"):
        Similarity(PartsBuilder(one)).setup()


def test_no_gate_stands_on_the_biased_estimate(tmp_path: Path) -> None:
    file = tmp_path / "biased.toml"
    file.write_text("""
[task]
use = "similarity"
measures = ["cka", "cka_biased"]
[dataset]
use = "shapes"
val = 8
[encoder.a]
use = "patches"
[encoder.b]
use = "patches"
[[gate]]
metric = "best/cka_biased"
at_least = 0.4
[[gate]]
metric = "best/cka"
at_least = 0.4
""")
    book = SchemaBook(PluginManager.discover(), tmp_path / "cache")
    (problem,) = check_experiment(load_experiment(file), book).problems
    assert problem.line == 13
    assert "'best/cka_biased' decides nothing: biased" in problem.message


PLACES = """
[task]
use = "{task}"
[dataset]
use = "shapes"
val = 8
[encoder.image]
use = "patches"
{more}
[[gate]]
metric = "best/{metric}"
at_least = 0.4
"""


@pytest.mark.parametrize(
    ("task", "more", "metric", "lines"),
    [
        ("similarity", '[encoder.b]\nuse = "patches"', "cka", []),
        ("similarity", 'pool = "mean"', "cka", [13]),
        ("probe", '[probe.where]\nuse = "pooled-boxes"', "where/iou", []),
        ("probe", '[probe.where]\nuse = "pooled-boxes"\npool = "mean"', "where/iou", [13]),
        ("probe", '[probe.what]\nuse = "attribute"\nlabel = "classes"', "what/score", []),
    ],
)
def test_no_gate_stands_on_what_averages_over_places(
    task: str, more: str, metric: str, lines: list[int], tmp_path: Path
) -> None:
    text = PLACES.format(task=task, more=more, metric=metric)
    if more.startswith("pool"):
        text = PLACES.format(task=task, more='[encoder.b]\nuse = "patches"', metric=metric).replace(
            'use = "similarity"', f'use = "similarity"\n{more}'
        )
    file = tmp_path / "places.toml"
    file.write_text(text)
    book = SchemaBook(PluginManager.discover(), tmp_path / "cache")
    problems = check_experiment(load_experiment(file), book).problems
    assert [one.line for one in problems if "decides nothing" in one.message] == lines


def test_it_keeps_its_contract(shapes: Shapes) -> None:
    parts = {"dataset": shapes, "encoder": {"a": Changed(shapes, rotated), "b": Changed(shapes, noise)}}
    check_component(Similarity, "task", injected={"builder": PartsBuilder(parts)}, options={"permutations": 19})


# --- what pages show --------------------------------------------------------------------------------------------------


class Depths(torch.nn.Module):
    """Two layers: tokens of patches, and their squares."""

    tap_rows = 8
    tap_choices = ()

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.inner = Patches(shapes.describe("image"), patch=8, positions=0)
        self.prepare = self.inner.prepare

    def points(self) -> dict[str, LayerPoint]:
        return {name: LayerPoint(self.inner.dim, (4, 4), name) for name in ("first", "second")}

    def encode_layers(self, prepared: Any) -> dict[str, torch.Tensor]:
        tokens = self.inner(prepared).tokens.reshape(len(prepared), 4, 4, -1)
        return {"first": tokens, "second": tokens.square()}

    def identity(self) -> dict[str, str]:
        return {}

    def verify(self) -> None:
        return None

    def check_order(self) -> Any:
        return None


def items_of(
    shapes: Shapes, a: torch.nn.Module, b: torch.nn.Module
) -> tuple[dict[str, float], dict[str, Any], set[str]]:
    """Metrics, facts and names of arrays of a comparison."""
    parts = {"dataset": shapes, "encoder": {"a": a, "b": b}}
    task = Similarity(PartsBuilder(parts), permutations=19, measures=["cka", "procrustes"], pool="mean", channels=True)
    task.setup()
    items = list(task.measurements())
    figures = {k: v for item in items if isinstance(item, Record) for k, v in item.values.items()}
    facts = {key: value for item in items if isinstance(item, Facts) for key, value in item.values.items()}
    return figures, facts, {item.name for item in items if isinstance(item, Arrays)}


def test_pairs_of_layers_are_declared_as_a_map_for_each_measure_and_one_of_channels_for_each_layer(
    shapes: Shapes,
) -> None:
    figures, facts, arrays = items_of(shapes, Depths(shapes), Depths(shapes))
    plots = read_plots(facts)
    assert [one.name for one in plots] == ["cka", "procrustes", "channels-first", "channels-second"]
    cka, procrustes, first, _ = (one for one in plots if isinstance(one, HeatMap))
    assert cka.null
    assert not procrustes.null
    for row, column in itertools.product(cka.rows, cka.columns):
        assert {
            fill(cka.metric, row=row, column=column),
            fill(f"{cka.metric}/{cka.null}", row=row, column=column),
        } <= set(figures)
    assert {fill(first.arrays, row=row) for row in first.rows} <= arrays
    assert look_up(facts, cka.chosen) == facts["best_layers"]


def test_layers_beside_one_other_are_declared_as_curves(shapes: Shapes) -> None:
    figures, facts, _ = items_of(shapes, Depths(shapes), Changed(shapes, rotated))
    curve = next(one for one in read_plots(facts) if isinstance(one, Profile))
    assert list(curve.places) == ["first", "second"]
    assert all(curve.metric(label, place) in figures for label in ("cka", "procrustes") for place in curve.places)
    assert look_up(facts, curve.chosen) == "first"
    lower = expand_produces(Similarity.lower_is_better, {}, [])
    assert not higher_is_better(curve.metric("procrustes", "first"), lower)
    assert higher_is_better(curve.metric("cka", "first"), lower)
