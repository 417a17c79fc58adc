"""Plots and pictures that tasks declare are drawn from what was recorded, for any task and any names."""

from __future__ import annotations

import base64
import itertools
import json
import re
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from trialbook.analysis.compare.compare import compare_plan
from trialbook.config.runspec import Plan, RunSpec
from trialbook.contracts.plots import (
    HeatMap,
    Profile,
    Shown,
    declare_pictures,
    declare_plots,
    look_up,
    read_pictures,
    read_plots,
)
from trialbook.contracts.records import Arrays, Artifact, Facts, Item, Record
from trialbook.registry.recorder import Recorder
from trialbook.registry.run_directory import RunDirectory
from trialbook.reports.pages.experiment_results import write_conclusion
from trialbook.reports.pages.run_pictures import run_pictures
from trialbook.reports.pages.write import write_run_pages
from trialbook.reports.plots.arms import Arms
from trialbook.reports.plots.canvas import WIDTH, standalone
from trialbook.reports.plots.declared import arms_declared, run_declared
from trialbook.reports.plots.heatmap import Cells, draw_heat_maps
from trialbook.reports.plots.profiles import Strip, Track, draw_profiles
from trialbook.reports.plots.run_data import RunData
from trialbook.reports.plots.tick_labels import Ticks, shorten

Course = Callable[..., Plan]
Write = Callable[..., Path]
DEPTHS = ["shallow", "middle", "deep"]
PROFILE = Profile(
    name="glow", title="Glow by depth", axis="depth", places=DEPTHS, metrics={"glow": "{place}/glow", "gloom": "{place}/gloom"},
    ceiling=["sun"], baseline=["lamp"], floor=["moon", "cave"], chosen=["chosen_depth", "glow"],
)  # fmt: skip


def png(width: int = 4, height: int = 3) -> bytes:
    """A grey picture."""
    rows = b"".join(b"\0" + b"\x80" * width for _ in range(height))
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


def glow(spec: RunSpec, _: list[Item]) -> list[Item]:
    """What a task records that measures at depths: arm ``deep`` is twice as bright, seed 1 a tenth brighter."""
    factor = (2.0 if spec.arm == "deep" else 1.0) * (1 + 0.1 * spec.seed)
    items: list[Item] = [declare_plots([PROFILE]), Facts(0, {"chosen_depth": {"glow": "deep"}})]
    for place, depth in enumerate(DEPTHS):
        value = factor * (0.2 + 0.1 * place)
        values = {f"{depth}/glow": value, f"{depth}/glow/low": value - 0.05, f"{depth}/glow/high": value + 0.05,
                  f"{depth}/glow/sun": 0.95, f"{depth}/glow/lamp": 0.3, f"{depth}/glow/moon": 0.05,
                  f"{depth}/glow/cave": 0.1 * place}  # fmt: skip
        items.append(Record(0, values))
    return items


@pytest.fixture
def recorded(record_course: Course, toy_file: Write, tmp_path: Path) -> Callable[..., Arms]:
    """The runs of the toy experiment with other records."""

    def record(change: Callable[[RunSpec, list[Item]], list[Item]]) -> Arms:
        plan = record_course(toy_file(), change)
        comparison = compare_plan(plan, tmp_path / "runs" / "registry.db")
        runs: dict[str, list[RunData]] = {}
        for spec in plan.runs:
            runs.setdefault(spec.arm, []).append(RunData(RunDirectory(tmp_path / "runs" / spec.relative_path)))
        return Arms(comparison, runs)

    return record


def texts(svg: str) -> list[str]:
    return [text for node in ElementTree.fromstring(svg).iter() if (text := (node.text or "").strip())]


# --- declaring ------------------------------------------------------------------------------------------------------


def test_what_was_declared_is_read_back_from_json() -> None:
    heat = HeatMap(name="m", title="m", rows=["a"], columns=["{row}"], metric="{row}/{column}/m", null="null")
    facts = {**declare_plots([PROFILE, heat]).values, **declare_pictures([Shown(file="a.png", title="A")]).values}
    read = json.loads(json.dumps(facts))
    assert declare_plots(read_plots(read)) == declare_plots([PROFILE, heat])
    assert read_pictures(read) == [Shown(file="a.png", title="A")]


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "profile", "name": "x"},  # no places
        {"kind": "profile", "name": "x", "title": "x", "places": "abc", "metrics": {}},
        {"kind": "profile", "name": "x", "title": "x", "places": [1], "metrics": {}},
        {"kind": "spiral", "name": "x"},
        "profile",
    ],
)
def test_an_entry_that_is_none_is_left_out_and_the_others_are_read(wrong: Any) -> None:
    later = {**declare_plots([PROFILE]).values["plots"][0], "of_a_later_version": True}
    assert [one.title for one in read_plots({"plots": [wrong, later]})] == ["Glow by depth"]
    assert read_plots({"plots": wrong}) == []


def test_plots_of_earlier_runs_are_read_under_the_names_of_now() -> None:
    heat = HeatMap(name="m", title="m", rows=["a"], columns=["b"], metric="{row}/{column}/m")
    profile, heat_map = declare_plots([PROFILE, heat]).values["plots"]
    old = [{"figures": profile.pop("metrics"), **profile}, {"figure": heat_map.pop("metric"), **heat_map}]
    assert declare_plots(read_plots({"plots": old})) == declare_plots([PROFILE, heat])


def test_keys_lead_to_a_fact_or_nowhere() -> None:
    assert look_up({"best": {"a/b": "L3"}}, ["best", "a/b"]) == "L3"
    assert look_up({"best": "L3"}, ["best", "a"]) is None
    assert look_up({"best": "L3"}, []) is None


def test_declaring_again_when_a_run_goes_on_is_no_change_of_its_data(
    record_course: Course, toy_file: Write, tmp_path: Path
) -> None:
    spec = record_course(toy_file(), glow).runs[0]
    path = tmp_path / "runs" / spec.relative_path
    with Recorder(path, None) as recorder:
        for item in glow(spec, []):
            if isinstance(item, Facts):
                recorder.add(item)
    assert [one["kind"] for one in RunDirectory(path).read_lines("events")] == []


# --- curves along places --------------------------------------------------------------------------------------------


def test_a_profile_has_the_recorded_values_between_its_ceiling_and_its_floor(recorded: Callable[..., Arms]) -> None:
    run = recorded(glow).runs["flat"][0]
    (one,) = run_declared(run)
    assert (one.name, one.title, one.error) == ("profile-1", "Glow by depth", "")
    words = texts(one.svg)
    assert all(said in words for said in ("value", "ceiling", "lamp", "floor", "chosen", "depth", "glow", *DEPTHS))
    assert one.alt == "glow: shallow 0.2, middle 0.3, deep 0.4."
    for said in ("ceiling (sun)", "the best of moon and cave", "Dashed: lamp", "the chosen depth, deep"):
        assert said in one.caption


def test_a_figure_that_was_not_recorded_has_no_panel(recorded: Callable[..., Arms]) -> None:
    (one,) = run_declared(recorded(glow).runs["flat"][0])
    assert "glow" in texts(one.svg)
    assert "gloom" not in texts(one.svg)


def test_a_plot_of_which_nothing_was_recorded_is_left_out(recorded: Callable[..., Arms]) -> None:
    def nothing(spec: RunSpec, items: list[Item]) -> list[Item]:
        return [declare_plots([PROFILE]), Record(0, {"other": 1.0})]

    assert run_declared(recorded(nothing).runs["flat"][0]) == []


def test_a_run_that_was_stopped_shows_the_places_that_it_came_to(recorded: Callable[..., Arms]) -> None:
    (one,) = run_declared(recorded(lambda spec, items: glow(spec, items)[:-1]).runs["flat"][0])
    assert one.alt == "glow: shallow 0.2, middle 0.3."
    assert all(depth in texts(one.svg) for depth in DEPTHS)


def test_a_profile_without_references_has_no_bands(recorded: Callable[..., Arms]) -> None:
    def plain(spec: RunSpec, items: list[Item]) -> list[Item]:
        alone = Profile(name="glow", title="Glow", places=DEPTHS, metrics={"glow": "{place}/glow"})
        return [declare_plots([alone]), *[item for item in glow(spec, items) if isinstance(item, Record)]]

    (one,) = run_declared(recorded(plain).runs["flat"][0])
    assert not {"ceiling", "floor", "chosen"} & set(texts(one.svg))
    assert "Shaded" not in one.caption


def test_arms_with_the_same_places_are_overlaid_with_the_mean_of_their_seeds(recorded: Callable[..., Arms]) -> None:
    (one,) = arms_declared(recorded(glow))
    words = texts(one.svg)
    assert "flat" in words
    assert "deep" in words
    assert one.alt == (
        "glow of flat: shallow 0.21, middle 0.315, deep 0.42; glow of deep: shallow 0.42, middle 0.63, deep 0.84."
    )
    assert "Mean over seeds" in one.caption


def test_arms_with_other_places_have_panels_of_their_own(recorded: Callable[..., Arms]) -> None:
    def other(spec: RunSpec, items: list[Item]) -> list[Item]:
        if spec.arm == "flat":
            return glow(spec, items)
        named = Profile(
            name="glow", title="Glow by depth", axis="depth", places=["A", "B"], metrics={"glow": "{place}/glow"}
        )
        return [declare_plots([named]), Record(0, {"A/glow": 0.5, "B/glow": 0.6})]

    (one,) = arms_declared(recorded(other))
    assert one.title == "Glow by depth: glow"
    assert {"flat", "deep", "A", "B", "shallow"} <= set(texts(one.svg))
    assert one.alt == "flat: shallow 0.21, middle 0.315, deep 0.42; deep: A 0.5, B 0.6."


def test_the_ceiling_of_a_figure_that_is_better_when_lower_lies_below() -> None:
    values = np.array([0.4, 0.5])
    track = Track("value", 0, values, values - 0.05, values + 0.05, values[None])

    def height(corners: str) -> float:
        return float(np.mean([float(part) for part in re.findall(r"[ML] [-\d.]+ ([-\d.]+)", corners)]))

    def bands(*, lower: bool) -> tuple[float, float]:
        """Heights of the shaded and the hatched area in the picture, whose axis goes down."""
        ends = (0.1, 0.9) if lower else (0.9, 0.1)
        strip = Strip("l1", ["a", "b"], [track], np.full(2, ends[0]), np.full(2, ends[1]), lower=lower)
        svg, _ = draw_profiles([strip], "depth", {"ceiling": "ceiling", "floor": "floor"})
        (name, moved) = re.findall(
            r'<use xlink:href="#(\w+)" x="0" y="([\d.]+)" style="fill: currentColor; fill-opacity: 0.16"', svg
        )[0]
        shaded = height(re.findall(rf'<path id="{name}" d="([^"]+)"', svg)[0]) + float(moved)
        return shaded, height(re.findall(r'<path d="([^"]+)" clip-path="[^"]+" style="fill: url', svg)[0])

    (ceiling, floor), (ceiling_below, floor_above) = bands(lower=False), bands(lower=True)
    assert ceiling < floor
    assert ceiling_below > floor_above


@pytest.mark.parametrize("names", [[f"L{i}" for i in range(1, 33)], [f"out:model.language.layers.{i}" for i in range(80)],
                                   ["connector", *(f"tower.blocks.{i}.a.very.long.name" for i in range(40))]])  # fmt: skip
def test_labels_of_many_places_do_not_meet(names: list[str]) -> None:
    ticks = Ticks(names, WIDTH - 0.6)
    places, labels = ticks.shown
    each = ticks.room / len(names)
    width = 0.12 if ticks.turned else max(map(len, labels)) * 0.06
    assert all((b - a) * each >= width for a, b in itertools.pairwise(places))
    assert len(places) >= 5
    assert len(set(labels)) == len(labels)


def test_names_are_cut_to_what_tells_them_apart() -> None:
    assert shorten(["out:model.layers.0", "out:model.layers.1", "out:model.layers.10"]) == ["0", "1", "10"]
    assert shorten(["tower.blocks.0", "model.layers.0", "merger"]) == ["blocks.0", "layers.0", "merger"]
    assert shorten(["in:model.a", "out:model.a"]) == ["in:model.a", "out:model.a"]
    assert shorten(["a", "a"]) == ["a", "a"]
    assert shorten(["0.001", "0.1", "1", "v1.5/x"]) == ["0.001", "0.1", "1", "x"]


# --- maps of pairs ----------------------------------------------------------------------------------------------------


def hues(spec: RunSpec, _: list[Item]) -> list[Item]:
    """A metric of pairs with a null, and one of many channels from arrays."""
    pairs = {f"{a}/{b}/hue": (0.5 if a == b else 0.04) + 0.02 * spec.seed for a in "xy" for b in "xyz"}
    nulls = {f"{name}/null": 0.1 for name in pairs}
    declared = [
        HeatMap(name="hue", title="hue", rows=["x", "y"], columns=["x", "y", "z"], row_axis="from", column_axis="to",
                metric="{row}/{column}/hue", null="null", chosen=["pair"]),
        HeatMap(name="tones", title="tones", rows=["x", "y"], arrays="tones-{row}", key="tone", column_axis="tone"),
    ]  # fmt: skip
    arrays = [Arrays(0, f"tones-{a}", {"tone": np.linspace(0, 1 + place, 128)}) for place, a in enumerate("xy")]
    return [declare_plots(declared), Facts(0, {"pair": ["y", "y"]}), *arrays, Record(0, {**pairs, **nulls})]


def test_a_map_has_its_numbers_and_marks_what_is_within_chance(recorded: Callable[..., Arms]) -> None:
    one, tones = run_declared(recorded(hues).runs["flat"][0])
    words = texts(one.svg)
    assert words.count("0.50") == 2
    assert words.count("0.04") == 4
    assert {"from", "to", "x", "y", "z", "hue"} <= set(words)
    assert "A marked corner: not above 'null'" in one.caption
    assert "the chosen pair" in one.caption
    assert one.alt == "highest 0.5 at x and x, lowest 0.04 at x and y."
    assert tones.alt == "highest 2 at y and 127, lowest 0 at x and 0."
    assert {"0", "20", "100", "120"} <= set(texts(tones.svg))


def test_maps_of_arms_share_a_scale_and_are_means_over_seeds(recorded: Callable[..., Arms]) -> None:
    one, _ = arms_declared(recorded(hues))
    words = texts(one.svg)
    assert words.count("0.51") == 4 + 1  # two of each arm, and the end of the scale
    assert "flat" in words
    assert "deep" in words
    assert "mean over seeds" in one.caption


def test_a_map_whose_arrays_are_missing_is_left_out(recorded: Callable[..., Arms]) -> None:
    def without(spec: RunSpec, items: list[Item]) -> list[Item]:
        return [item for item in hues(spec, items) if not isinstance(item, Arrays)]

    assert [one.name for one in run_declared(recorded(without).runs["flat"][0])] == ["map-1"]


def test_columns_that_do_not_fit_their_arrays_are_told(recorded: Callable[..., Arms]) -> None:
    def wrong(spec: RunSpec, items: list[Item]) -> list[Item]:
        heat = HeatMap(name="t", title="t", rows=["x"], columns=["one", "two"], arrays="tones-{row}", key="tone")
        return [declare_plots([heat]), Arrays(0, "tones-x", {"tone": np.arange(3.0)}), Record(0, {"a": 1.0})]

    (one,) = run_declared(recorded(wrong).runs["flat"][0])
    assert one.error == "2 columns were declared, and there are 3"
    assert not one.fault


def test_what_was_not_measured_is_no_colour_and_values_below_the_scale_are_said() -> None:
    values = np.array([[np.nan, -0.5], [0.2, 1.0]])
    panel = Cells("", values, ["a", "b"], ["c", "d"], np.zeros((2, 2), bool))
    svg, _ = draw_heat_maps([panel], "r2", ("row", "column"), 0.0)
    words = texts(svg)
    assert "≤ 0" in words
    assert "−0.50" in words
    assert not any("nan" in word for word in words)
    ElementTree.fromstring(standalone(svg).encode())


# --- pictures -----------------------------------------------------------------------------------------------------------


def pictured(shown: Mapping[str, bytes]) -> Callable[[RunSpec, list[Item]], list[Item]]:
    def change(spec: RunSpec, items: list[Item]) -> list[Item]:
        made = [Artifact(0, name, lambda file, data=data: file.write_bytes(data)) for name, data in shown.items()]  # type: ignore[misc]
        told = [Shown(file=name, title=f"The <{name}>", caption="as it was", alt="grey") for name in shown]
        return [*made, declare_pictures(told), Record(0, {"glow": 1.0})]

    return change


def test_a_declared_picture_stands_in_the_page_of_its_run(recorded: Callable[..., Arms]) -> None:
    run = recorded(pictured({"a.png": png()})).runs["flat"][0].directory
    write_run_pages(run)
    page = (run.path / "report.html").read_text()
    assert f'<img src="data:image/png;base64,{base64.b64encode(png()).decode()}" alt="grey">' in page
    assert "The &lt;a.png&gt;" in page
    assert "![grey](<artifacts/a.png>)" in (run.path / "report.md").read_text()


def test_pictures_of_arms_stand_in_the_page_of_the_experiment(
    record_course: Course, toy_file: Write, tmp_path: Path
) -> None:
    plan = record_course(toy_file(), pictured({"a.png": png()}))
    written = write_conclusion(plan, compare_plan(plan, tmp_path / "runs" / "registry.db"), tmp_path / "runs")
    assert written.files[1].read_text().count("<img ") == 2
    first = Path(next(run for run in plan.runs if run.arm == "deep").relative_path).name
    assert f"](<{first}/artifacts/a.png>)" in written.files[0].read_text()
    assert (written.files[0].parent / first / "artifacts" / "a.png").is_file()


def test_what_is_no_picture_or_too_large_is_linked_and_what_lies_elsewhere_is_left_out(
    recorded: Callable[..., Arms],
) -> None:
    run = recorded(pictured({"a.png": png(), "b.png": b"<script>"})).runs["flat"][0].directory
    facts = json.loads(run.json("data").read_text())
    facts["pictures"] += [{"file": "../run.json", "title": "out"}, {"file": "gone.png", "title": "gone"}]
    run.json("data").write_text(json.dumps(facts))
    found = run_pictures(run)
    assert [(one.target, bool(one.uri)) for one in found] == [("artifacts/a.png", True), ("artifacts/b.png", False)]
    assert [bool(one.uri) for one in run_pictures(run, largest=10)] == [False, False]
    write_run_pages(run)
    assert '<a href="artifacts/b.png">' in (run.path / "report.html").read_text()
