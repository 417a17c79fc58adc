"""Plots: what is drawn is what was measured, and the picture fits a page, light or dark."""

from __future__ import annotations

import itertools
import math
import os
import re
import subprocess
import sys
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from scipy.stats import gaussian_kde, mannwhitneyu

from trialbook.analysis.statistics import Estimate
from trialbook.reports.plots.bars import Series, draw_bars, draw_points
from trialbook.reports.plots.canvas import INK, PALETTE, standalone, tick_text
from trialbook.reports.plots.curves import MOST_POINTS, Lines, bundle, draw_curves
from trialbook.reports.plots.embeddings import draw_maps, draw_similarity, make_map, measure_similarity
from trialbook.reports.plots.forest import ForestRow, draw_forest
from trialbook.reports.plots.layout import MOST_LINES, Arm, Layout, make_layout
from trialbook.reports.plots.matryoshka import draw_sizes, find_sizes
from trialbook.reports.plots.plot import Drawn, Undrawable, find_stems, picture

RNG = np.random.default_rng(0)


def few(*labels: str) -> Layout:
    return make_layout([Arm(label, label, {}) for label in labels])


def grid(*levels: int) -> list[Arm]:
    """Arms a and b at each point of a grid with so many levels of each key."""
    keys = [f"train.k{i}" for i in range(len(levels))]
    points = [dict(zip(keys, chosen, strict=True)) for chosen in itertools.product(*map(range, levels))]
    return [Arm(f"{base},{point}", base, point) for base in "ab" for point in points]


def texts(svg: str) -> list[str]:
    """All words of a picture."""
    return [text for node in ElementTree.fromstring(svg).iter() if (text := (node.text or "").strip())]


# --- which arm goes where -----------------------------------------------------------------------------------------


def test_few_arms_share_a_panel_and_each_has_its_colour() -> None:
    (panel,) = few("x", "y", "z").panels
    assert [(member.name, member.colour) for member in panel.members] == [("x", 0), ("y", 1), ("z", 2)]


def test_a_grid_has_a_colour_for_each_arm_and_a_panel_for_each_point() -> None:
    layout = make_layout(grid(2, 2))
    assert [panel.title for panel in layout.panels] == ["k0=0, k1=0", "k0=0, k1=1", "k0=1, k1=0", "k0=1, k1=1"]
    assert [[member.name for member in panel.members] for panel in layout.panels] == [["a", "b"]] * 4
    assert layout.names == {"a": 0, "b": 1}


def test_no_panel_ever_has_more_lines_than_can_be_read_and_what_is_left_out_is_counted() -> None:
    layout = make_layout(grid(3, 4, 4))
    assert all(len(panel.members) <= MOST_LINES for panel in layout.panels)
    assert len(layout.panels) + layout.left_out == 48
    many = make_layout([Arm(f"arm{i}", f"arm{i}", {}) for i in range(9)], baseline="arm3")
    assert len(many.panels) == 8
    assert all([m.arm for m in panel.members] == ["arm3", panel.title] for panel in many.panels)
    assert all(panel.members[0].colour == -1 for panel in many.panels)


# --- what is drawn ------------------------------------------------------------------------------------------------


def test_a_bundle_is_the_mean_of_seeds_at_the_steps_that_all_have() -> None:
    one = bundle([([0, 10, 20], [1.0, 2.0, 3.0]), ([10, 20, 30], [4.0, math.nan, 6.0])])
    assert one is not None
    assert one.steps.tolist() == [10, 20]
    np.testing.assert_array_equal(one.mean, [3.0, math.nan])
    assert bundle([([0], [1.0]), ([1], [1.0])]) is None
    assert bundle([]) is None


def test_long_curves_are_averaged_in_bins_whose_mean_is_theirs() -> None:
    steps = list(range(0, 7 * MOST_POINTS))
    values = RNG.normal(size=len(steps))
    one = bundle([(steps, values.tolist())])
    assert one is not None
    assert one.steps.size == MOST_POINTS
    np.testing.assert_allclose(one.mean, values.reshape(-1, 7).mean(axis=1), atol=1e-12)
    assert one.steps[0] == pytest.approx(3)


def curves_of(*arms: str) -> dict[str, list[tuple[list[int], list[float]]]]:
    return {arm: [([0, 50, 100], [4.0, 3.0, 2.0 + i + s]) for s in range(3)] for i, arm in enumerate(arms)}


def test_curves_show_each_arm_its_chance_level_and_the_learning_rate() -> None:
    lines = Lines("loss in training", curves_of("mlp", "perceiver"), {"mlp": 4.159, "perceiver": 4.159})
    svg, png = draw_curves(few("mlp", "perceiver"), lines, Lines("learning rate", curves_of("mlp")))
    words = texts(svg)
    assert {"mlp", "perceiver", "loss in training", "optimiser steps", "learning rate", "chance 4.16"} <= set(words)
    assert words.count("chance 4.16") == 1
    assert PALETTE[0] in svg
    assert PALETTE[1] in svg
    assert png == b""


def test_arms_with_other_batches_have_chance_levels_of_their_own() -> None:
    lines = Lines("loss", curves_of("a", "b"), {"a": math.log(64), "b": math.log(128)})
    words = texts(draw_curves(few("a", "b"), lines)[0])
    assert {"chance 4.16", "chance 4.85"} <= set(words)


def test_a_grid_is_drawn_in_small_panels() -> None:
    arms = grid(2, 2)
    svg, _ = draw_curves(make_layout(arms), Lines("loss", curves_of(*(arm.label for arm in arms))))
    assert {"a", "b", "k0=0, k1=0", "k0=1, k1=1"} <= set(texts(svg))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_curves_without_a_finite_value_cannot_be_drawn_and_say_so(value: float) -> None:
    with pytest.raises(Undrawable, match="loss has no finite value"):
        draw_curves(few("a"), Lines("loss", {"a": [([0, 1], [value, value])]}))


def test_a_curve_that_ends_in_nan_is_drawn_up_to_there() -> None:
    svg, _ = draw_curves(few("a"), Lines("loss", {"a": [([0, 1, 2], [1.0, 2.0, math.nan])]}))
    assert "nan" not in svg.lower()


def test_bars_have_their_values_and_the_interval_that_compare_has() -> None:
    series = [Series("mlp", 0, [[0.2, 0.4], [0.5]]), Series("flat", 1, [[], [math.nan]])]
    assert series[0].estimates()[0] == Estimate(
        2, pytest.approx(0.3), pytest.approx(-0.9706, abs=1e-4), pytest.approx(1.5706, abs=1e-4)
    )
    assert series[1].estimates() == [None, None]
    words = texts(draw_bars("retrieval/i2t@k", ["1", "5"], series, "k")[0])
    assert {"0.3", "0.5", "mlp", "flat", "retrieval/i2t@k"} <= set(words)
    with pytest.raises(Undrawable):
        draw_bars("x", ["1"], [Series("a", 0, [[math.nan]])], "k")


def test_many_arms_stand_in_rows_as_points() -> None:
    arms = grid(2, 2)
    values = {arm.label: [0.1 * i, 0.1 * i + 0.02] for i, arm in enumerate(arms[:-1])}
    words = texts(draw_points(make_layout(arms), "retrieval/i2t@1", values)[0])
    assert {"k0=1, k1=1", "a", "b", "retrieval/i2t@1"} <= set(words)
    with pytest.raises(Undrawable):
        draw_points(make_layout(arms), "x", {})


def test_a_forest_plot_has_each_effect_with_its_interval() -> None:
    rows = [
        ForestRow("main effects"),
        ForestRow("lr: 0.1 → 1", Estimate(3, -0.25, -0.5, 0.0), "bad", mark=-0.1),
        ForestRow("x", Estimate(1, 0.5)),
    ]
    words = texts(draw_forest("change", rows)[0])
    assert {"main effects", "lr: 0.1 → 1", "−0.25 [−0.5, 0]", "+0.5", "change"} <= set(words)
    with pytest.raises(Undrawable):
        draw_forest("change", [ForestRow("x", Estimate(2, math.nan))])


def test_sizes_are_found_by_their_names_and_drawn_on_a_logarithmic_axis() -> None:
    names = ["m/i2t@1/d8", "m/i2t@1/d64", "m/i2t@1/d16", "m/i2t@1/kept/d8", "m/i2t@1", "m/d/x"]
    found = find_sizes(names)
    assert found == {"m/i2t@1": {8: "m/i2t@1/d8", 16: "m/i2t@1/d16", 64: "m/i2t@1/d64"}}
    curve = {8: [0.1, 0.2], 16: [0.3, 0.35], 64: [0.4, math.nan]}
    svg, _ = draw_sizes(few("mrl", "plain"), {"i2t@1": {"mrl": curve, "plain": curve}})
    assert {"8", "16", "64", "dimensions kept", "mrl", "plain"} <= set(texts(svg))
    with pytest.raises(Undrawable):
        draw_sizes(few("a"), {"x": {"a": {8: [math.nan], 16: []}}})


def test_stems_group_the_figures_of_all_k() -> None:
    assert find_stems(["r/i2t@10", "r/i2t@1", "r/t2i@1", "r/iou@0.5", "loss"]) == {
        "r/i2t": {1: "r/i2t@1", 10: "r/i2t@10"}, "r/t2i": {1: "r/t2i@1"},
    }  # fmt: skip


# --- the picture itself -------------------------------------------------------------------------------------------


def test_ink_comes_from_the_page_and_no_two_pictures_share_a_name() -> None:
    one, _ = draw_curves(few("a", "b"), Lines("loss", curves_of("a", "b")))
    other, _ = draw_curves(few("a", "c"), Lines("loss", curves_of("a", "c")))
    for svg in (one, other):
        assert "currentColor" in svg
        assert INK not in svg
        assert "<style" not in svg
        assert "http" not in svg.replace("http://www.w3.org", "")
        ids = set(re.findall(r' id="([^"]+)"', svg))
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', svg)) == ids
    assert not set(re.findall(r' id="([^"]+)"', one)) & set(re.findall(r' id="([^"]+)"', other))


def test_the_same_data_give_the_same_bytes_in_another_process_and_pyplot_is_not_needed() -> None:
    code = (
        "import sys; from trialbook.reports.plots.curves import *; from trialbook.reports.plots.layout import *\n"
        "print(draw_curves(make_layout([Arm('a', 'a', {})]), Lines('loss', {'a': [([0, 1], [1.0, 2.0])]}))[0])\n"
        "assert not {'matplotlib.pyplot', 'torch', 'scipy'} & set(sys.modules)"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        )
        for seed in ("1", "2")
    ]  # fmt: skip
    assert runs[0].stdout == runs[1].stdout
    assert runs[0].stdout.startswith("<svg")


def test_names_are_shown_letter_by_letter_whatever_they_hold() -> None:
    name = "a$b$ <b>&</b> \\frac_{x} \x07"
    svg, _ = draw_curves(few(name, "b"), Lines("loss", curves_of(name, "b")))
    assert "a$b$ <b>&</b> \\frac_{x} \ufffd" in texts(svg)


def test_numbers_and_labels_keep_their_digits_when_paths_lose_theirs() -> None:
    svg, _ = draw_forest("0.123456", [ForestRow("lr 0.000123", Estimate(3, 0.123, 0.111, 0.135))])
    assert {"0.123456", "lr 0.000123"} <= set(texts(svg))
    assert not re.search(r' d="[^"]*\.\d{3}', svg)


def test_settings_of_whoever_runs_it_change_nothing() -> None:
    before, _ = draw_bars("x", ["1"], [Series("a", 0, [[0.5]])], "k")
    with matplotlib.rc_context({"text.usetex": True, "font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path"}):
        assert draw_bars("x", ["1"], [Series("a", 0, [[0.5]])], "k")[0] == before


def test_a_file_of_its_own_has_a_ground_and_a_title() -> None:
    svg = standalone(draw_bars("x", ["1"], [Series("a", 0, [[0.5]])], "k")[0], "what <it> shows")
    root = ElementTree.fromstring(svg.encode())
    assert root.find("{http://www.w3.org/2000/svg}title").text == "what <it> shows"  # type: ignore[union-attr]
    assert "prefers-color-scheme:dark" in svg


def test_png_is_made_when_asked_for() -> None:
    _, png = draw_bars("x", ["1"], [Series("a", 0, [[0.5]])], "k", png=True)
    assert png.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("value", "text"), [(20000, "20k"), (1500, "1500"), (0.25, "0.25"), (2e-4, "2e−4"), (-3e6, "−3M"), (0, "0")]
)
def test_ticks_are_short(value: float, text: str) -> None:
    assert tick_text(value) == text


def test_a_plot_that_breaks_says_so_in_its_place() -> None:
    def breaks() -> Drawn:
        raise KeyError("no such thing")

    (broken,) = picture("p", "T", breaks)
    assert (broken.fault, broken.error) == (True, "KeyError: 'no such thing'")

    def empty() -> Drawn:
        raise Undrawable("loss has no finite value")

    (said,) = picture("p", "T", empty)
    assert (said.fault, said.error) == (False, "loss has no finite value")
    assert picture("p", "T", lambda: None) == []


# --- colours ------------------------------------------------------------------------------------------------------

#: Linear RGB as people see it who lack one kind of cone. Source: Machado, Oliveira and Fernandes 2009, severity 1.
VISIONS = {
    "all cones": np.eye(3),
    "no long": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "no medium": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]),
    "no short": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]]),
}  # fmt: skip


def linear(colour: str) -> np.ndarray:
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def luminance(colour: str) -> float:
    return float(np.array([0.2126, 0.7152, 0.0722]) @ linear(colour))


def lab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    t = to_xyz @ np.clip(rgb, 0, 1) / np.array([0.9505, 1, 1.089])
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("colour", PALETTE)
def test_every_colour_stands_out_from_a_light_and_from_a_dark_page(colour: str) -> None:
    """WCAG 2 asks for a contrast of 3 for graphics."""
    dark = luminance("#14171b")
    assert 1.05 / (luminance(colour) + 0.05) >= 3
    assert (luminance(colour) + 0.05) / (dark + 0.05) >= 3


@pytest.mark.parametrize("vision", VISIONS)
def test_colours_can_be_told_apart_with_any_colour_vision(vision: str) -> None:
    """A CIELAB distance of 10 is several just noticeable differences (about 2.3)."""
    seen = [lab(VISIONS[vision] @ linear(colour)) for colour in PALETTE]
    assert min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2)) > 10


# --- embeddings ---------------------------------------------------------------------------------------------------


def arrays(noise: float, rows: int = 60, captions: int = 2) -> dict[str, np.ndarray]:
    image = RNG.normal(size=(rows, 6)).astype(np.float32)
    groups = np.repeat(np.arange(rows), captions)
    text = (image[groups] + noise * RNG.normal(size=(len(groups), 6))).astype(np.float32)
    return {"embeddings.image": image, "embeddings.text": text, "groups.image": np.arange(rows), "groups.text": groups}


def cosines(kept: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    x, y = (kept[f"embeddings.{name}"] for name in ("image", "text"))
    found = (x @ y.T) / np.linalg.norm(x, axis=1)[:, None] / np.linalg.norm(y, axis=1)
    same = kept["groups.image"][:, None] == kept["groups.text"]
    return found[same], found[~same]


def test_similarities_are_those_of_scipy() -> None:
    kept = arrays(noise=1.0)
    matching, other = cosines(kept)
    found = measure_similarity(kept, ("image", "text"))
    assert found.means == (pytest.approx(matching.mean(), abs=1e-6), pytest.approx(other.mean(), abs=1e-6))
    above = mannwhitneyu(matching, other).statistic / (len(matching) * len(other))
    assert found.above == pytest.approx(above, abs=1e-4)  # float32 rounds some pairs into ties


def test_densities_are_those_of_a_kernel_estimate() -> None:
    """Binned to a hundredth and with the kernel in bins: within 3% of the peak of scipy's, with the same width."""
    kept = arrays(noise=1.0, rows=200)
    _, other = cosines(kept)
    found = measure_similarity(kept, ("image", "text")).other
    centres = (np.arange(len(found)) + 0.5) * 2 / len(found) - 1
    width = 0.9 * min(other.std(), np.subtract(*np.percentile(other, [75, 25])) / 1.34) * len(other) ** -0.2
    expected = gaussian_kde(other, bw_method=max(width, 4 / len(found)) / other.std(ddof=1))(centres)
    inner = (centres > other.min()) & (centres < other.max())
    assert np.abs(found - expected)[inner].max() < 0.03 * expected.max()
    assert found.sum() * 2 / len(found) == pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"groups.text": np.arange(1000, 1120)}, "no positive pairs"),
        ({"groups.text": np.zeros(120, int), "groups.image": np.zeros(60, int)}, "no negative pairs"),
        ({"embeddings.image": np.full((60, 6), np.nan, np.float32)}, "image are not finite"),
    ],
)
def test_embeddings_that_cannot_be_compared_say_why(change: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises(Undrawable, match=said):
        measure_similarity({**arrays(1.0), **change}, ("image", "text"))


def test_collapsed_embeddings_are_drawn() -> None:
    kept = {
        **arrays(1.0),
        "embeddings.image": np.ones((60, 6), np.float32),
        "embeddings.text": np.zeros((120, 6), np.float32),
    }
    assert "positive pairs" in texts(draw_similarity({"a": measure_similarity(kept, ("image", "text"))})[0])
    assert np.isfinite(make_map(kept).places).all()


def clusters(rows: int = 150) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(rows) % 5
    points = RNG.normal(size=(5, 20))[labels] * 3 + RNG.normal(size=(rows, 20))
    return points, labels


def test_a_map_keeps_clusters_together_and_is_always_the_same() -> None:
    points, labels = clusters()
    kept = {"embeddings.image": points, "groups.image": np.arange(len(points))}
    places = make_map(kept).places
    np.testing.assert_array_equal(places, make_map(kept).places)
    nearest = squareform(pdist(places)) + np.diag(np.full(len(places), np.inf))
    assert (labels[nearest.argmin(axis=1)] == labels).mean() > 0.95


def test_a_map_marks_modalities_and_colours_the_most_frequent_classes() -> None:
    kept = {**arrays(0.5), "classes": np.arange(60) % 9}
    made = make_map(kept)
    assert len(made.places) == 120
    assert made.classes.tolist() == [*(np.arange(60) % 9), *(np.arange(60) % 9)]
    svg, _ = draw_maps({"a": made, "b": made}, ["image", "text"])
    words = texts(svg)
    assert {"image", "text", "class 0", "class 6", "other classes", "a", "b"} <= set(words)
    assert "class 7" not in words
    with pytest.raises(Undrawable, match="too few"):
        make_map(arrays(0.5, rows=3))
