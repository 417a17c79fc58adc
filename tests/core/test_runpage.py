"""The page of one run, as it stands in its directory: finished, failed, killed, odd."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from trialbook.config.runspec import Plan, RunSpec
from trialbook.contracts.findings import Finding
from trialbook.contracts.records import Arrays, Event, Facts, Item, ModuleStats, Record
from trialbook.registry.run_directory import RunDirectory
from trialbook.reports.document.html import to_html
from trialbook.reports.document.markdown import to_markdown
from trialbook.reports.pages.run_page import run_page
from trialbook.reports.pages.write import PageOptions, write_run_pages

Course = Callable[..., Plan]
Write = Callable[..., Path]


@pytest.fixture
def one(record_course: Course, toy_file: Write, tmp_path: Path) -> Callable[..., RunDirectory]:
    """The directory of the first run of the toy experiment."""

    def record(
        change: Callable[[RunSpec, list[Item]], list[Item]] = lambda spec, items: items, **more: object
    ) -> RunDirectory:
        file = toy_file(("seeds = [0, 1]", "seeds = [0]"))
        plan = record_course(file, change, **more)
        return RunDirectory(tmp_path / "runs" / plan.runs[0].relative_path)

    return record


def test_a_finished_run_has_both_pages_and_its_plots(one: Callable[..., RunDirectory]) -> None:
    run = one()
    written = write_run_pages(run)
    assert written.problems == ()
    assert all(file.is_file() for file in written.files)
    assert [file.name for file in written.files] == [
        "report.md", "report.html", "loss.svg", "progress.svg", "at-k.svg", "similarity.svg", "tsne.svg",
    ]  # fmt: skip
    for page in written.files[:2]:
        text = page.read_text()
        for said in (
            "Is deep better than flat?", "It finished in", "seed 0", "train 90, test 40", "f" * 64, "c" * 40,
            f"mlrun reproduce {run.path.name}", "chance", "256 MiB", "640", "a processor", "torch 2",
        ):  # fmt: skip
            assert said in text, (page.name, said)
    assert "](<plots/tsne.svg>)" in written.files[0].read_text()
    assert written.files[1].read_text().count("<svg") == 5


def test_the_device_and_how_numbers_were_computed_are_told(one: Callable[..., RunDirectory]) -> None:
    run = one()
    env = run.read("env")
    device = {"type": "cuda", "name": "H200", "memory": 150 * 2**30, "cuda": "12.8", "cudnn": 91002, "driver": "570.86"}
    compute = {
        "processes": 4,
        "precision": "bf16",
        "matmul_precision": "high",
        "cudnn_tf32": True,
        "deterministic": True,
    }
    told = {
        "H200, 150 GiB, CUDA 12.8, cuDNN 91002, driver 570.86, 4 processes": {"device": device, "compute": compute},
        "precision bf16, matrix products high, TF32, deterministic": {"device": device, "compute": compute},
        "NVIDIA A100, 40960 MiB, 535.1": {
            "hardware": {"gpus": ["NVIDIA A100, 40960 MiB, 535.1"]}
        },  # of an older version
    }
    for said, around in told.items():
        run.json("env").write_text(json.dumps({**env, **around}))
        assert said in to_markdown(run_page(run, run.read("results")))


def test_the_report_can_be_had_without_plots(one: Callable[..., RunDirectory]) -> None:
    run = one()
    without = write_run_pages(run, PageOptions(plots=False))
    assert run.report.read_text() == to_markdown(run_page(run, run.read("results")))
    assert "plots/" not in run.report.read_text()
    assert [file.name for file in without.files] == ["report.md", "report.html"]


def test_findings_stand_before_the_figures_with_their_evidence(one: Callable[..., RunDirectory]) -> None:
    found = Finding(
        "loss-at-chance",
        "error",
        "loss.pull",
        "the loss is <that> of chance",
        {"loss": 4.15888, "batch": 64},
        "try less",
    )
    text = to_html(run_page(run := one(findings=lambda spec: [found]), run.read("results")))
    assert "The doctor found what breaks it" in text
    assert text.index("the loss is &lt;that&gt; of chance") < text.index("All metrics over the course")
    for said in (
        'class="notice error"',
        "loss 4.159; batch 64",
        "try less",
        "loss-at-chance",
        "<code>loss.pull</code>",
    ):
        assert said in text


def test_a_failed_run_tells_its_error_letter_by_letter_and_what_it_had_recorded(
    one: Callable[..., RunDirectory],
) -> None:
    def fails(spec: RunSpec, items: list[Item]) -> list[Item]:
        raise RuntimeError("<img src=x onerror=alert(1)> mat1 and mat2")

    run = one(fails)
    written = write_run_pages(run)
    assert written.problems == ()
    text = written.files[1].read_text()
    assert "It failed" in text
    assert "&lt;img src=x onerror=alert(1)&gt; mat1 and mat2" in text
    assert "<img" not in text
    assert "Nothing was recorded." in text
    assert "mat1 and mat2" in run.report.read_text()


def test_a_killed_run_shows_how_far_it_came(one: Callable[..., RunDirectory]) -> None:
    run = one()
    run.json("results").unlink()
    written = write_run_pages(run)
    text = written.files[0].read_text()
    assert "It is not finished" in text
    assert "step 100" in text
    assert "| found/i2t@1 |" in text
    assert len(written.files) == 7


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_no_numbers_are_named_and_drawn_nowhere(one: Callable[..., RunDirectory], value: float) -> None:
    def broken(spec: RunSpec, items: list[Item]) -> list[Item]:
        dim = {name: rows * value for name, rows in items[-1].values.items() if name.startswith("emb")}  # type: ignore[union-attr]
        rest = [Record(i.step, dict.fromkeys(i.values, value)) if isinstance(i, Record) else i for i in items[:-1]]
        return [*rest, Arrays(100, "test", {**items[-1].values, **dim})]  # type: ignore[union-attr]

    written = write_run_pages(one(broken))
    assert written.problems == ()
    assert [file.name for file in written.files] == ["report.md", "report.html"]
    text = written.files[1].read_text()
    assert "Not finite" in text
    assert "loss (11 of 11)" in text
    assert "loss has no finite value" in text
    assert "embeddings of image are not finite" in text


def test_a_task_that_trains_nothing_has_a_page_without_curves(one: Callable[..., RunDirectory]) -> None:
    run = one(lambda spec, items: [Record(0, {"image/rank": 3.5})])
    spec = run.read("run")
    spec["config"].pop("train")
    run.json("run").write_text(json.dumps(spec))
    written = write_run_pages(run)
    assert [file.name for file in written.files] == ["report.md", "report.html"]
    text = written.files[1].read_text()
    assert "none: nothing is trained" in text
    assert "image/rank" in text
    assert "3.5" in text


def test_a_plot_that_breaks_leaves_the_rest_and_is_told(one: Callable[..., RunDirectory]) -> None:
    run = one()
    run.arrays("test").write_bytes(b"torn")
    written = write_run_pages(run)
    assert len(written.problems) == 2
    assert all("could not be drawn" in problem for problem in written.problems)
    text = written.files[1].read_text()
    assert text.count("This plot could not be drawn") == 2
    assert "found/i2t@1" in text
    assert (run.path / "plots" / "loss.svg").is_file()


def test_a_page_without_any_plot_is_written_where_nothing_can_be_drawn(
    one: Callable[..., RunDirectory], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "trialbook.reports.plots.run_plots", None)
    written = write_run_pages(one())
    assert [file.name for file in written.files] == ["report.md", "report.html"]
    assert "could not be drawn" in written.problems[0]
    assert "This plot could not be drawn" in written.files[1].read_text()


def test_a_disk_that_takes_nothing_is_a_problem_and_no_crash(one: Callable[..., RunDirectory]) -> None:
    run = one()
    run.report.mkdir()
    written = write_run_pages(run, PageOptions(plots=False))
    assert written.files == ()
    assert "could not be written" in written.problems[0]


def test_events_overlaps_and_operations_are_told(one: Callable[..., RunDirectory]) -> None:
    overlap = {"modality": "image", "first": "train", "second": "val", "count": 5, "rows": 64}
    more: list[Item] = [
        Event(3, "resume", "resumed from step 3"), Facts(0, {"overlaps": [overlap], "flops": {"training": 2.5e12}}),
        ModuleStats(0, "modules", {"projector": {"dead": 0.0}}),
    ]  # fmt: skip
    run = one(lambda spec, items: [*more, *items])
    text = to_markdown(run_page(run, run.read("results")))
    assert "step 3: resumed from step 3" in text
    assert "5 rows of 'image' stand in 'train' and 'val'" in text
    assert "2.5 T" in text


def test_a_run_that_lacks_every_other_file_still_has_a_page(one: Callable[..., RunDirectory]) -> None:
    run = one()
    for file in run.path.iterdir():
        if file.is_file() and file.name != "run.json":
            file.unlink()
    written = write_run_pages(run)
    assert written.problems == ()
    assert "not finished" in written.files[1].read_text()
