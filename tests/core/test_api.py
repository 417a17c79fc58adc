"""The public API: the session of its page, what it imports, and what its results hold and show."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from installed import pip_install
from safetensors.torch import load_file

import trialbook
from trialbook.api.check import CheckResult
from trialbook.api.execute import RunOutcomes
from trialbook.config.runspec import Outcome, Plan
from trialbook.config.settings import Settings, load_settings
from trialbook.contracts.files import read_lines
from trialbook.errors import Problem

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
#: A block of Python, and the block behind it that shows what comes of it, if there is one.
_CELL = re.compile(r"^```python\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
#: What differs between machines and versions: ids of runs, times, and numbers with a point, which are compared as numbers.
_VARIES = re.compile(
    r"(?P<id>\b[0-9a-f]{8}\b)|(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|[\d.]+ s\b)|(?P<number>[+-]?\d+\.\d+)"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed this project."""
    target = tmp_path_factory.mktemp("site")
    pip_install([ROOT], target)
    return target


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workplace outside the repository that holds the page's experiment file; the session leaves its runs in it."""
    folder = tmp_path_factory.mktemp("notebook")
    (toml,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (folder / "width.toml").write_text(toml, encoding="utf-8")
    return folder


def python(*arguments: str, place: Path, site: Path, told: str = "") -> str:
    """What Python prints, in a workplace and with the installed packages alone."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("TRIALBOOK_")}
    own |= {"PYTHONPATH": str(site), "TRIALBOOK_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=place, env=own, input=told, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def shown(place: Path, site: Path) -> list[str]:
    """What each cell of the page shows when all are run in their order."""
    script = str(Path(__file__).parents[1] / "helpers" / "notebook_session.py")
    cells = [code for code, _ in _CELL.findall(PAGE)]
    return list(json.loads(python(script, place=place, site=site, told=json.dumps(cells))))


def pattern_of(text: str) -> tuple[re.Pattern[str], list[float]]:
    """What a shown text looks like whatever varies in it, with a group for each number, and these numbers."""
    numbers: list[float] = []
    pattern, end = "", 0
    words = " ".join(re.sub("─+", "─", text).split())
    for found in _VARIES.finditer(words):
        pattern += re.escape(words[end : found.start()])
        if found["number"]:
            numbers.append(float(found["number"]))
        pattern += {"id": "[0-9a-f]{8}", "time": ".+?", "number": r"([+-]?[\d.]+)"}[str(found.lastgroup)]
        end = found.end()
    return re.compile((pattern + re.escape(words[end:])).replace("…", ".*?"), re.DOTALL), numbers


def same(expected: str, shown: str) -> bool:
    """Whether a text is what the page shows: numbers with a point may differ a little, ids and times in any way."""
    pattern, numbers = pattern_of(expected)
    found = pattern.fullmatch(" ".join(re.sub("─+", "─", shown).split()))
    return found is not None and [float(one) for one in found.groups()] == pytest.approx(numbers, rel=0.2, abs=0.05)


# --- the page -----------------------------------------------------------------------------------------------------


def test_the_session_of_the_page_shows_what_the_page_says(shown: list[str]) -> None:
    cells = _CELL.findall(PAGE)
    assert sum(bool(expected) for _, expected in cells) > 20
    wrong = [(code, got) for (code, expected), got in zip(cells, shown, strict=True) if not same(expected, got)]
    assert wrong == []


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        ("mean 0.52", "mean 0.82"),
        ("6 runs", "7 runs"),
        ("narrow-s0-d237c331  finished", "narrow-s0-d237c331  failed"),
        ("a\n…\nb", "a\nc"),
        ("", "4"),
    ],
)
def test_another_output_would_be_noticed(expected: str, got: str) -> None:
    assert not same(expected, got)
    assert same(expected, expected)


def test_every_public_name_stands_on_the_page() -> None:
    names = PAGE.partition("## All names")[2]
    missing = [name for name in trialbook.__all__ if not re.search(rf"`{name}\b", names)]
    assert missing == []
    assert set(trialbook.__all__) <= set(dir(trialbook))
    assert [name for name in dir(trialbook) if not name.startswith("__")] == trialbook.__all__


# --- what is imported ---------------------------------------------------------------------------------------------


#: What needs no model, asked of the runs of the page.
CALLS = (
    "runs()", "check('width.toml')", "plan('width.toml')", "compare('width.toml')", "compare('width').to_dataframe()",
    "runs('width').to_dataframe()", "load_run('wide-s0').metrics", "load_run('wide-s0').per_sample()",
    "open_registry().sql('select 1')", "contracts.Finding", "stages_of",
)  # fmt: skip


@pytest.mark.usefixtures("shown")
def test_what_needs_no_model_imports_no_torch(place: Path, site: Path) -> None:
    lines = ["import sys, trialbook"]
    for call in CALLS:
        lines += [f"shown = repr(trialbook.{call})", f"assert 'torch' not in sys.modules, {call!r}"]
    python("-c", "\n".join(lines), place=place, site=site)


def test_tables_without_pandas_say_what_to_install(
    record_plan: Callable[..., Plan], toy_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_plan(toy_file(), lambda spec: {"found/i2t@1": 0.5})
    runs = tmp_path / "runs"
    results = [
        trialbook.runs(runs=runs), trialbook.compare("toy", runs=runs), trialbook.open_registry(runs=runs).sql("select 1"),
        trialbook.ExperimentPlan("toy", "", ()),
    ]  # fmt: skip
    monkeypatch.setitem(sys.modules, "pandas", None)
    for result in results:
        with pytest.raises(trialbook.TrialbookError, match="pip install pandas"):
            result.to_dataframe()  # type: ignore[attr-defined]


# --- what is shown ------------------------------------------------------------------------------------------------

HOSTILE = "<script>alert('x')</script>"


def test_hostile_names_are_escaped(
    record_plan: Callable[..., Plan], toy_file: Callable[..., Path], tmp_path: Path
) -> None:
    file = toy_file(("[arm.flat]", f'[arm."{HOSTILE}"]'), ('baseline = "flat"', f'baseline = "{HOSTILE}"'))
    plan = record_plan(file, lambda spec: {"found/i2t@1": 0.5, f"{HOSTILE}/{spec.seed}": 0.5})
    runs, settings = tmp_path / "runs", load_settings(tmp_path).with_runs(tmp_path / "runs")
    listed = trialbook.runs(runs=runs)
    assert HOSTILE in {run.arm for run in listed}
    results = [
        listed, listed[0], trialbook.compare("toy", metrics=["found/i2t@1", f"{HOSTILE}/0"], runs=runs),
        trialbook.open_registry(runs=runs).sql(f'select arm as "{HOSTILE}" from run_overview'),
        CheckResult(Path(HOSTILE), (Problem(HOSTILE, 1, HOSTILE, HOSTILE, HOSTILE),)),
        RunOutcomes((Outcome(plan.runs[0], "failed", HOSTILE),), (HOSTILE,), settings),
        trialbook.ExperimentPlan(HOSTILE, HOSTILE, ()),
    ]  # fmt: skip
    for result in results:
        page = result._repr_html_()
        assert "<script" not in page, type(result)
        assert "&lt;script&gt;" in page, type(result)


# --- a run --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def settings(place: Path, shown: list[str]) -> Settings:
    return load_settings(place)


def test_a_run_gives_what_its_directory_holds(settings: Settings) -> None:
    run = trialbook.load_run("narrow-s1", root=settings.root)
    assert run.config["projector"]["image"] == {**run.config["projector"]["image"], "use": "mlp", "hidden": 4}
    lines = [(line["step"], line["values"]) for line in read_lines(run.path / "metrics.jsonl")]
    losses = {step: values["loss"] for step, values in lines if "loss" in values}
    steps, values = run.metrics["loss"]
    assert (steps.dtype, values.dtype) == (np.int64, np.float64)
    assert dict(zip(steps.tolist(), values.tolist(), strict=True)) == losses
    assert [one.as_dict() for one in run.findings] == json.loads((run.path / "findings.json").read_text())
    assert run.arrays("val") == {}
    hits = run.per_sample("test")["retrieval/i2t@1"]
    assert hits.shape == (128,)
    assert hits.mean() == run.metrics["retrieval/i2t@1"].values[-1]


def test_the_task_of_a_run_has_the_weights_of_its_checkpoint(settings: Settings) -> None:
    run = trialbook.load_run("narrow-s1", root=settings.root)
    (checkpoint,) = (run.path / "checkpoints").iterdir()
    saved = load_file(checkpoint / "model.safetensors")
    module = run.task().module()  # type: ignore[attr-defined]
    assert not module.training
    weights = dict(module.named_parameters())
    assert weights.keys() == saved.keys()
    assert all(bool((weights[name] == saved[name]).all()) for name in saved)


def test_predictions_are_those_of_the_run(
    record_plan: Callable[..., Plan], toy_file: Callable[..., Path], tmp_path: Path
) -> None:
    plan = record_plan(toy_file(), lambda spec: {"found/i2t@1": 0.5})
    run = trialbook.load_run(tmp_path / "runs" / plan.runs[0].relative_path, runs=tmp_path / "runs")
    assert run.predictions == []
    given = trialbook.contracts.Prediction("a", "how many?", "3", ("3", "three"), confidence=0.5)
    (run.path / "predictions.jsonl").write_text(json.dumps(given.as_dict()) + "\n", encoding="utf-8")
    assert run.predictions == [given]
