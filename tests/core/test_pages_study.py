"""What the page of a study says beside its metrics: what it is built of, what each stage took, how its arms fail."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trialbook.analysis.compare.compare import compare_plan
from trialbook.analysis.failures.judge import judge
from trialbook.analysis.statistics import t_interval
from trialbook.config.runspec import Plan, RunSpec
from trialbook.contracts.files import read_json
from trialbook.contracts.predictions import Prediction
from trialbook.contracts.records import Facts, Item, Predictions, Timing
from trialbook.engine.flops import seeing_shapes
from trialbook.registry.run_directory import RunDirectory
from trialbook.reports.document.blocks import Diagram, Examples, TableBlock
from trialbook.reports.document.diagram import Box, draw_layers, layers_text
from trialbook.reports.document.html import to_fragment
from trialbook.reports.pages.experiment_results import write_conclusion
from trialbook.reports.pages.failure_modes import failure_blocks
from trialbook.reports.pages.run_page import run_page
from trialbook.reports.pages.stage_costs import stage_costs
from trialbook.reports.pages.write import PageOptions

Course = Callable[..., Plan]
Write = Callable[..., Path]

DATA = {
    "parameters": {"encoder.image": 900, "projector.image": 1234, "encoder.text": 4000},
    "trained": {"projector.image": 1234, "encoder.text": 40},
    "shapes": {"projector.image": {"in": [16, 192], "out": [16, 32]}, "encoder.text": {"in": [7], "out": [7, 48]}},
    "stages": [
        {"name": "first", "start": 0, "stop": 40, "batch": 8, "trained": {"projector.image": 1234}},
        {"name": "second", "start": 40, "stop": 100, "batch": 16, "trained": {"encoder.text": 40}},
    ],
    "flops": {"training": 5e9, "stages": [1e9, 4e9]},
}


def answers(seed: int, wrong: int) -> tuple[Prediction, ...]:
    """Twenty answers; of the wrong ones every second is another text of the page, the others keep no silence."""
    rows = []
    for number in range(20):
        asked: dict[str, Any] = {"id": f"q{number}", "question": f"What is {number}?", "texts": ("north", "south")}
        if number >= wrong:
            rows.append(Prediction(prediction="east", answers=("east",), confidence=0.9, **asked))
        elif number % 2:
            rows.append(Prediction(prediction="north", answers=("east",), confidence=(number + seed) / 50, **asked))
        else:
            rows.append(Prediction(prediction="north", answers=(), answerable=False, confidence=0.2, **asked))
    return tuple(rows)


def timings(*lines: tuple[int, float, float]) -> list[Item]:
    return [Timing(step, {"train_seconds": spent, "stage_peak_memory": peak}) for step, spent, peak in lines]


@pytest.fixture
def study(record_course: Course, toy_file: Write, tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Records two arms with two seeds each, and gives the texts of the experiment's pages."""

    def record(wrong: dict[tuple[str, int], int] | None = None) -> dict[str, str]:
        def change(spec: RunSpec, items: list[Item]) -> list[Item]:
            own: list[Item] = [Facts(0, DATA)]
            # 40 steps in one process, another one resumes from step 30, and a third one makes the rest
            own += timings((20, 2.0, 7e8), (40, 4.0, 9e8), (40, 1.5, 8e8), (70, 5.5, 3e8), (100, 2.5, 2e8))
            if wrong:
                rows = answers(spec.seed, wrong[spec.arm, spec.seed])
                own.append(Predictions(100, "test", rows))
            return [item for item in items if not isinstance(item, Timing)] + own

        plan = record_course(toy_file(), change)
        written = write_conclusion(
            plan, compare_plan(plan, tmp_path / "runs" / "registry.db"), tmp_path / "runs", PageOptions(plots=False)
        )
        assert written.problems == ()
        return {file.suffix: file.read_text() for file in written.files}

    return record


def runs_of(tmp_path: Path) -> dict[str, list[RunDirectory]]:
    found: dict[str, list[RunDirectory]] = {}
    for file in sorted(tmp_path.glob("runs/toy/*/run.json")):
        run = RunDirectory(file.parent)
        found.setdefault(read_json(file)["arm"], []).append(run)
    return found


# --- architecture ------------------------------------------------------------------------------------------------


def test_the_parts_stand_from_the_data_to_the_metrics_with_their_sizes(study: Callable[..., dict[str, str]]) -> None:
    texts = study()
    drawn = texts[".md"].split("## Architecture")[1].split("```")[1]
    order = ["data", "encoder image", "projector image", "losses", "metrics"]
    assert [drawn.index(f"| {heading} ") for heading in order] == sorted(drawn.index(f"| {one} ") for one in order)
    for said in (
        "shapes", "train 90, test 40", "pixels", "900 parameters, frozen", "16 × 192", "words", "4 k parameters, 40 of them",
        "7 × 48", "· flat: flat", "· deep: deep", "1.23 k parameters, trained", "16 × 192 → 16 × 32", "pull", "found",
    ):  # fmt: skip
        assert said in drawn, said
    assert len({len(line) for line in drawn.splitlines() if line.startswith("+--") and line.endswith("-+")}) <= 2
    page = texts[".html"].split('<section id="architecture"')[1].split("</section>")[0]
    assert page.count("<svg") == 1
    assert "From the data to the metrics" in page
    assert re.findall(r'font-weight="600">([^<]+)<', page) == [
        "data", "encoder image", "encoder text", "projector image", "losses", "metrics",
    ]  # fmt: skip


def test_arrows_go_along_names_and_none_crosses_a_box() -> None:
    layers = [
        [Box("data", ["d"], to=[(1, 0), (1, 1)])],
        [Box("encoder image", ["a", "b"], "frozen", [(2, 0)]), Box("encoder text", ["c"], "trained", [(3, 0)])],
        [Box("projector image", ["p"], "trained", [(3, 0)]), None],
        [Box("losses", ["l"])],
    ]
    svg = draw_layers(layers)
    boxes = [
        tuple(map(float, found))
        for found in re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)" rx="3"', svg)
    ]
    assert len(boxes) == 5
    assert all(x >= 0 and x + width <= 280 for x, _, width, _ in boxes)
    arrows = re.findall(r'<path d="M([\d.]+) ([\d.]+)(?:V([\d.]+)H([\d.]+))?V([\d.]+)"', svg)
    assert len(arrows) == 5
    for x, y, bend, to, foot in arrows:
        legs = [(x, y, bend or foot), (to or x, bend or y, foot)]
        for at, top, bottom in [tuple(map(float, leg)) for leg in legs]:
            inside = [
                b for b in boxes if b[0] < at < b[0] + b[2] and b[1] + 0.1 < (top + bottom) / 2 < b[1] + b[3] - 0.1
            ]
            assert not inside, (at, top, bottom)
    assert svg.count("stroke-dasharray") == 1
    assert "| projector image" in layers_text(layers)


def test_what_a_user_wrote_is_text_in_the_drawing() -> None:
    evil = "<script>alert('x')</script> & \"q\" \x00"
    svg = draw_layers([[Box(evil, [evil])]])
    assert "<script" not in svg
    assert "\x00" not in svg
    assert "<script" not in to_fragment([Diagram(evil, evil, svg, evil, evil)])


def test_many_parts_of_a_kind_become_one_box(record_course: Course, toy_file: Write, tmp_path: Path) -> None:
    from trialbook.reports.pages.architecture import architecture
    from trialbook.reports.plots.run_data import RunData

    record_course(toy_file())
    run = RunData(next(iter(runs_of(tmp_path).values()))[0])
    run.spec["config"]["encoder"] = {name: {"use": "words"} for name in ("a", "b", "c", "d")}
    (found,) = architecture({"flat": run})
    assert isinstance(found, Diagram)
    assert "encoders" in found.text
    assert re.search(r"\| a: words", found.text)
    assert architecture({}) == []


def test_shapes_are_those_of_the_first_pass_and_modules_are_left_as_they_were() -> None:
    first, second = torch.nn.Linear(6, 3), torch.nn.Linear(3, 2)
    with seeing_shapes({"a": first, "b": second, "c": torch.nn.Linear(1, 1)}) as shapes:
        second(first(torch.zeros(4, 5, 6)))
        first(torch.zeros(4, 9, 6))
    assert shapes == {"a": {"in": [5, 6], "out": [5, 3]}, "b": {"in": [5, 3], "out": [5, 2]}}
    assert not first._forward_hooks


# --- stages ------------------------------------------------------------------------------------------------------


def test_time_of_stages_adds_up_over_processes_and_memory_is_the_most(
    study: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    texts = study()
    first, second = stage_costs(runs_of(tmp_path)["flat"][0])
    assert (first.seconds, second.seconds) == (4.0 + 1.5, (5.5 - 1.5) + 2.5)
    assert (first.memory, second.memory) == (9e8, 3e8)
    assert (first.flops, second.flops) == (1e9, 4e9)
    row = r"\| flat \| first \| projector.image 1.23 k \| 40 \| 8 \| 5.5 s \| 1 G \| 858 MiB \|"
    assert re.search(row, texts[".md"]), texts[".md"].split("Stages and what")[1][:900]
    assert re.search(r"\|  \| second \| encoder.text 40 \| 60 \| 16 \| 6.5 s \| 4 G \| 286 MiB \|", texts[".md"])


def test_a_run_without_a_record_of_stages_has_no_table_of_them(
    record_course: Course, toy_file: Write, tmp_path: Path
) -> None:
    record_course(toy_file())
    run = runs_of(tmp_path)["flat"][0]
    assert stage_costs(run) == []
    page = run_page(run, run.read("results"))
    (cost,) = [section for section in page.sections if section.title == "Cost"]
    assert not [block for block in cost.blocks if isinstance(block, TableBlock)]


CLOCK = """
import json, sys
import numpy as np, torch
from pathlib import Path
from trialbook.engine.timing import Clock
first = Clock(4, torch.device("cpu"))
with first.paused():
    large = np.ones(200 << 20, np.uint8)
    told = first.values()
del large
second = Clock(8, torch.device("cpu"), first)
with second.paused():
    later = second.values()
try:
    Path("/proc/self/clear_refs").write_text("5")
    resets = True
except OSError:
    resets = False
print(json.dumps([dict(told), dict(later), resets]))
"""


def test_the_clock_goes_on_over_stages_and_memory_of_a_stage_begins_anew() -> None:
    """In a process of its own, whose memory nothing else has filled before."""
    done = subprocess.run([sys.executable, "-c", CLOCK], capture_output=True, text=True, check=True)
    told, later, resets = json.loads(done.stdout)
    assert later["train_seconds"] > told["train_seconds"] > 0
    assert later["peak_memory"] >= told["peak_memory"] >= told["stage_peak_memory"]
    if not resets:
        pytest.skip("this system does not let a process reset its peak")
    assert later["stage_peak_memory"] < told["stage_peak_memory"] - (100 << 20)


# --- failures ----------------------------------------------------------------------------------------------------

WRONG = {("flat", 0): 10, ("flat", 1): 16, ("deep", 0): 4, ("deep", 1): 4}


def test_failures_are_shares_of_all_answers_with_intervals_over_runs(
    study: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    texts = study(WRONG)
    (grid,) = [block for block in failure_blocks(runs_of(tmp_path)) if isinstance(block, TableBlock)]
    told, tag = {}, ""
    for name, arm, count, share, interval, *_ in grid.rows:
        tag = str(name) or tag
        told[tag, arm] = (count, share, interval)
    expected = t_interval([5 / 20, 8 / 20])
    assert told["layout", "flat"][:2] == ("13", f"{expected.mean:.1%}")
    assert expected.low is not None
    assert told["layout", "flat"][2] == f"{max(0, expected.low):.1%} to 100.0%"
    assert told["any", "deep"] == ("8", "20.0%", "20.0% to 20.0%")
    assert told["should-have-abstained", "flat"][0] == "13"
    assert {tag for tag, _ in told} == {"any", "layout", "should-have-abstained"}
    assert "## Failure modes" in texts[".md"]
    assert "most often **layout**" in texts[".md"] or "most often **should-have-abstained**" in texts[".md"]


def test_examples_are_of_the_most_frequent_failure_each_question_once(
    study: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    study({**WRONG, ("flat", 0): 19})
    (shown,) = [block for block in failure_blocks(runs_of(tmp_path)) if isinstance(block, Examples)]
    flat = [one for one in shown.examples if one.marks["arm"] == "flat"]
    assert len(flat) == 3
    assert len({one.title for one in flat}) == 3
    assert len({one.marks["tag"] for one in flat}) == 1
    assert all(one.pairs["run"] for one in flat)


def test_an_experiment_without_answers_says_nothing_of_failures(study: Callable[..., dict[str, str]]) -> None:
    assert "Failure modes" not in study()[".md"]


def test_a_run_s_page_knows_what_stands_in_the_images(study: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    study(WRONG)
    run = runs_of(tmp_path)["flat"][0]
    page = to_fragment([block for s in run_page(run, run.read("results")).sections for block in s.blocks])
    assert '<th scope="row">layout</th><td class="number">5</td>' in page
    assert '<th scope="row">other' not in page


def test_texts_that_are_known_from_elsewhere_take_the_place_of_recorded_ones() -> None:
    (one,) = judge([Prediction("a", "What?", "west", ("east",), texts=("north",))]).answers
    assert one.tag == "other"
    (one,) = judge([Prediction("a", "What?", "west", ("east",), texts=("north",))], texts={"a": ["west"]}).answers
    assert one.tag == "layout"
