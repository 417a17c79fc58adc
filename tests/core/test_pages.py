"""Pages of experiments, and ``mlrun report``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from trialbook.analysis.compare.compare import compare_plan
from trialbook.analysis.compare.effects import Effect
from trialbook.analysis.statistics import Estimate
from trialbook.cli.main import cli
from trialbook.config.runspec import Plan, RunSpec
from trialbook.contracts.files import read_json
from trialbook.contracts.findings import Finding
from trialbook.contracts.records import Item, Record
from trialbook.registry.lock import RunLock
from trialbook.registry.run_directory import RunDirectory
from trialbook.reports.pages.experiment_results import write_conclusion
from trialbook.reports.pages.verdicts import verdict_sentences
from trialbook.reports.pages.write import Written, write_experiment_pages

Course = Callable[..., Plan]
Write = Callable[..., Path]
GRID = '\n[grid]\n"train.lr" = [1e-4, 1e-3]\n"train.batch_size" = [32, 64]\n'
SEEDS = ("seeds = [0, 1]", "seeds = [0, 1, 2]")


def conclude(plan: Plan, root: Path, **options: bool) -> Written:
    return write_conclusion(plan, compare_plan(plan, root / "runs" / "registry.db"), root / "runs", **options)


def said(sentence: object) -> str:
    parts = [sentence] if isinstance(sentence, str) else list(sentence)  # type: ignore[call-overload]
    return "".join(part if isinstance(part, str) else part.text for part in parts)


def test_the_answer_stands_at_the_top_in_a_sentence(record_course: Course, toy_file: Write, tmp_path: Path) -> None:
    plan = record_course(toy_file(SEEDS))
    comparison = compare_plan(plan, tmp_path / "runs" / "registry.db")
    (sentence,) = [said(one) for one in verdict_sentences(comparison)]
    row = next(row for row in comparison.rows if row.arm == "deep")
    assert row.difference is not None
    assert row.verdict == "better"
    assert re.match(
        rf"deep is better than flat at {row.metric} by {row.difference.mean:.3g} \[[\d.]+, [\d.]+\], p [<\d.]+",
        sentence,
    )
    written = conclude(plan, tmp_path)
    text = written.files[1].read_text()
    assert text.index("is better than") < text.index("Every metric of every arm")
    assert "deep** is better than **flat** at `found/i2t@1`" in written.files[0].read_text()


def test_worse_is_told_without_a_minus_and_undecided_with_the_seeds_it_takes(
    record_course: Course, toy_file: Write, tmp_path: Path
) -> None:
    plan = record_course(toy_file(SEEDS))
    comparison = compare_plan(plan, tmp_path / "runs" / "registry.db")
    first, second = (next(row for row in comparison.rows if row.arm == arm) for arm in ("flat", "deep"))
    worse = replace(second, difference=Estimate(3, -0.2, -0.3, -0.1), p_holm=0.01, verdict="worse")
    open_ = replace(
        second, metric="found/i2t@5", difference=Estimate(3, 0.1, -0.3, 0.4), verdict="undecided", seeds_to_decide=9
    )
    (sentence,) = verdict_sentences(replace(comparison, rows=(first, worse, open_)))
    assert said(sentence) == (
        "deep is worse than flat at found/i2t@1 by 0.2 [0.1, 0.3], p 0.0100; undecided at found/i2t@5 "
        "(about 9 seeds would decide)."
    )
    assert said(verdict_sentences(replace(comparison, rows=(first,)))[0]).startswith("The experiment names no baseline")
    assert (
        said(verdict_sentences(replace(comparison, rows=(first,), arms=("flat",)))[0])
        == "There is one arm: nothing is compared."
    )


def test_an_experiment_has_all_that_its_figures_rest_on(record_course: Course, toy_file: Write, tmp_path: Path) -> None:
    found = Finding(
        "low-rank", "warning", "encoder.image", "rows lie in few directions", {"rank": 1.25}, "look at the data"
    )
    plan = record_course(toy_file(SEEDS), findings=lambda spec: [found] if spec.arm == "deep" and spec.seed else [])
    written = conclude(plan, tmp_path)
    assert written.problems == ()
    names = [file.name for file in written.files]
    assert names[:3] == ["report.md", "report.html", "results.json"]
    assert {
        "metric-1.svg",
        "differences.svg",
        "loss.svg",
        "loss-evaluated.svg",
        "progress-1.svg",
        "similarity.svg",
        "tsne.svg",
    } <= set(names)
    for page in written.files[:2]:
        text = page.read_text()
        for told in (
            "Is deep better than flat?", "found/i2t@1 ≥ 0.5", "rows lie in few directions", "deep, 2 of 3 runs", "rank 1.25",
            "look at the data", "Cost of a run, mean", "mlrun run", "mlrun reproduce", "f" * 64,
            "c" * 40, "projector.image.use = deep",
            "train 90, test 40", "4.16",
        ):  # fmt: skip
            assert told in text, (page.name, told)
        for spec in plan.runs:
            assert f"{spec.name}/report.html" in text
    linked = set(re.findall(r"plots/([\w-]+\.svg)", written.files[0].read_text()))
    assert linked == {name for name in names if name.endswith(".svg")}
    assert set(read_json(tmp_path / "runs" / "toy" / "results.json")["arms"]) == {"flat", "deep"}


def test_a_grid_has_its_effects_and_panels_that_can_be_read(
    record_course: Course, toy_file: Write, tmp_path: Path
) -> None:
    written = conclude(record_course(toy_file(SEEDS, append=GRID)), tmp_path)
    assert written.problems == ()
    text = written.files[1].read_text()
    assert "effects-1.svg" in {file.name for file in written.files}
    assert "main effects" in text
    assert "lr=0.0001, batch_size=32" in text
    assert "Effects on found/i2t@1" in text
    assert re.search(r"<strong>arm: flat → deep</strong> raises <code>found/i2t@1</code> by", text)


def test_claims_are_answered_first(record_course: Course, toy_file: Write, tmp_path: Path) -> None:
    claim = '\n[[claim]]\nfactor = "arm"\nlevel = "deep"\nmetric = "found/i2t@1"\ndirection = "higher"\n'
    claim += 'text = "deep <b>wins</b>"\n'
    written = conclude(record_course(toy_file(SEEDS, append=claim)), tmp_path)
    text = written.files[1].read_text()
    assert "<strong>Supported</strong>: “deep &lt;b&gt;wins&lt;/b&gt;”" in text
    assert "claims.svg" in {file.name for file in written.files}


def test_missing_runs_and_broken_arms_are_told_before_the_figures(
    record_course: Course, toy_file: Write, tmp_path: Path
) -> None:
    def change(spec: RunSpec, items: list[Item]) -> list[Item]:
        if spec.arm == "deep" and spec.seed == 1:
            raise RuntimeError("out of memory")
        return items

    bad = Finding("nan", "error", "", "the loss is no number")
    written = conclude(
        record_course(toy_file(SEEDS), change, findings=lambda spec: [bad] if spec.arm == "flat" else []), tmp_path
    )
    text = written.files[1].read_text()
    head = text[: text.index("Every metric of every arm")]
    assert "1 run is not finished" in head
    assert "Broken runs</strong> in flat" in head
    assert "deep seed 1: failed" in text


def test_runs_without_a_number_to_show_still_make_a_page(
    record_course: Course, toy_file: Write, tmp_path: Path
) -> None:
    def change(spec: RunSpec, items: list[Item]) -> list[Item]:
        return [
            Record(item.step, dict.fromkeys(item.values, float("nan"))) for item in items if isinstance(item, Record)
        ]

    written = conclude(record_course(toy_file(("seeds = [0, 1]", "seeds = [0]")), change), tmp_path)
    assert written.problems == ()
    text = written.files[1].read_text()
    assert "has no finite value" in text
    assert "is not finite" in text
    assert [file.suffix for file in written.files] == [".md", ".html", ".json"]


def test_a_profile_has_pages_and_plots_of_its_own(record_course: Course, toy_file: Write, tmp_path: Path) -> None:
    plan = record_course(toy_file(SEEDS))
    comparison = compare_plan(plan, tmp_path / "runs" / "registry.db")
    runs = {
        arm: [RunDirectory(tmp_path / "runs" / s.relative_path) for s in plan.runs if s.arm == arm]
        for arm in comparison.arms
    }
    written = write_experiment_pages(comparison, runs, tmp_path, "full")
    assert [file.name for file in written.files[:2]] == ["report.full.md", "report.full.html"]
    assert {file.parent.name for file in written.files[2:]} == {"plots.full"}
    assert "(<plots.full/loss.svg>)" in written.files[0].read_text()


def test_many_arms_are_counted_and_only_those_decided_are_told(
    record_course: Course, toy_file: Write, tmp_path: Path
) -> None:
    comparison = compare_plan(record_course(toy_file(SEEDS)), tmp_path / "runs" / "registry.db")
    row = next(row for row in comparison.rows if row.arm == "deep")
    rows = [replace(row, arm=f"arm{i}", verdict="undecided" if i else "better") for i in range(9)]
    sentences = [
        said(one) for one in verdict_sentences(replace(comparison, rows=tuple(rows), arms=tuple(r.arm for r in rows)))
    ]
    assert sentences[0] == "At found/i2t@1, of 9 arms against their baselines: 1 better, 0 worse, 8 undecided."
    assert len(sentences) == 2
    assert sentences[1].startswith("arm0 is better than flat")


def test_effects_that_are_not_decided_are_named(record_course: Course, toy_file: Write, tmp_path: Path) -> None:
    comparison = compare_plan(record_course(toy_file(SEEDS)), tmp_path / "runs" / "registry.db")
    effects = (
        Effect("found/i2t@1", ("train.lr",), (1e-3,), (1e-4,), Estimate(3, -0.1, -0.2, -0.05), 0.001, 0.002, "lowers"),
        Effect("found/i2t@1", ("arm",), ("deep",), ("flat",), Estimate(3, 0.1, -0.2, 0.4), 0.5, 0.5, "undecided"),
    )
    lowers, rest, *_ = (said(one) for one in verdict_sentences(replace(comparison, effects=effects)))
    assert lowers.startswith("lr: 0.0001 → 0.001 lowers found/i2t@1 by 0.1 [0.05, 0.2], p 0.0020")
    assert rest == "Undecided is the effect on found/i2t@1 of arm: flat → deep."


# --- the command --------------------------------------------------------------------------------------------------


@pytest.fixture
def workplace(record_course: Course, toy_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRIALBOOK_RUNS", str(tmp_path / "runs"))
    return record_course(toy_file(SEEDS))


def report(*arguments: str, status: int = 0) -> str:
    done = CliRunner().invoke(cli, ["report", *arguments], catch_exceptions=True)
    assert done.exit_code == status, (done.output, done.exception)
    return done.output


def test_the_report_of_an_experiment_is_written_with_those_that_its_runs_lack(workplace: Plan, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "toy"
    out = report()
    assert out.splitlines()[:2] == [str(folder / "report.md"), str(folder / "report.html")]
    assert f"{folder / 'plots'}/ with" in out
    for spec in workplace.runs:
        assert (tmp_path / "runs" / spec.relative_path / "report.html").is_file()
    before = (folder / "report.html").read_text()
    assert report("toy").splitlines()[0] == str(folder / "report.md")
    assert (folder / "report.html").read_text() == before


def test_the_report_of_a_run_is_written_by_name_or_path_and_png_is_made_when_asked_for(
    workplace: Plan, tmp_path: Path
) -> None:
    run = tmp_path / "runs" / workplace.runs[0].relative_path
    assert report(workplace.runs[0].name).splitlines()[0] == str(run / "report.md")
    assert not list(run.rglob("*.png"))
    report(str(run), "--png")
    assert (run / "plots" / "loss.png").read_bytes().startswith(b"\x89PNG")
    (run / "report.html").unlink()
    report(str(run), "--no-plots")
    assert "<svg" not in (run / "report.html").read_text()


def test_open_shows_the_page_in_the_browser(workplace: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import webbrowser

    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    report("toy", "--open", "--no-plots")
    assert opened == [(tmp_path / "runs" / "toy" / "report.html").as_uri()]


def test_a_name_that_means_nothing_is_answered_with_one_that_does(workplace: Plan) -> None:
    done = CliRunner().invoke(cli, ["report", "tyo"])
    assert "did you mean 'toy'?" in str(done.exception)


def test_a_run_that_is_at_work_is_left_alone(workplace: Plan, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "runs" / workplace.runs[0].relative_path)
    lock = RunLock(run.lock)
    lock.acquire()
    try:
        done = CliRunner().invoke(cli, ["report", workplace.runs[0].name])
        assert "in use" in str(done.exception)
        report("toy", "--no-plots")
        assert not (run.path / "report.html").exists()
    finally:
        lock.release()


def test_pages_of_the_same_runs_are_the_same_bytes(workplace: Plan, tmp_path: Path) -> None:
    first = conclude(workplace, tmp_path)
    before = {file.name: file.read_bytes() for file in first.files}
    assert {file.name: file.read_bytes() for file in conclude(workplace, tmp_path).files} == before


def test_the_page_of_an_experiment_is_sound_html(workplace: Plan, tmp_path: Path) -> None:
    from xml.etree import ElementTree

    page = conclude(workplace, tmp_path).files[1].read_text()
    body = page[page.index("<body>") : page.index("</html>")]
    ElementTree.fromstring(body.replace("&nbsp;", " "))  # every tag is closed, so it is XML, too
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
