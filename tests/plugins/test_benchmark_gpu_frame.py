"""What stands around the parts of the benchmark on a GPU: limits, rows, the page, the wheels to carry."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import all as every  # noqa: E402
from benchmarks.gpu import report, rows, schedule, wheels  # noqa: E402
from benchmarks.gpu.catalogue import PARTS, Part, choose  # noqa: E402
from benchmarks.gpu.idle import idle_share  # noqa: E402

ROW = json.dumps({"what": "begun", "value": 1, "unit": "", "bound": "", "passed": None, "note": ""})
PATHS = {"PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in (".", "core", "plugins"))}


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "_GRACE", 0.3)
    monkeypatch.setattr(schedule, "_LEAST", 0.1)


def scheduled(folder: Path, programs: dict[Part, str], budget: float = 60, jobs: int = 1) -> schedule.Schedule:
    """Parts that are Python programs, given their folder as the first argument."""

    def command(part: Part, place: Path, seconds: float) -> list[str]:
        return schedule.python("-c", programs[part], str(place))

    return schedule.Schedule(list(programs), command, folder, budget, jobs)


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


STUCK = f"""
import pathlib, subprocess, sys, time
folder = pathlib.Path(sys.argv[1])
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
(folder / "child").write_text(str(child.pid))
(folder / "rows.jsonl").write_text('''{ROW}\\n{{"what": "half a ro''')
time.sleep(600)
"""


def test_a_part_past_its_limit_is_killed_with_its_children_and_its_rows_stay(tmp_path: Path) -> None:
    stuck, after = Part("", "stuck", seconds=2), Part("", "after")
    first, second = scheduled(tmp_path, {stuck: STUCK, after: ""}).results()
    assert (first.state, second.state) == ("out of time", "done")
    assert 2 <= first.seconds < 20
    assert [row["what"] for row in first.rows] == ["begun"]
    assert not is_alive(int((tmp_path / "stuck" / "child").read_text()))


def test_whoever_stops_listening_ends_the_processes(tmp_path: Path) -> None:
    stuck, quick = Part("", "stuck"), Part("", "quick")
    results = scheduled(tmp_path, {stuck: STUCK, quick: ""}, jobs=2).results()
    assert next(results).part is quick
    wait_until((tmp_path / "stuck" / "rows.jsonl").exists)
    child = int((tmp_path / "stuck" / "child").read_text())
    assert is_alive(child)
    results.close()
    wait_until(lambda: not is_alive(child))


def test_a_part_that_fails_is_told_with_the_end_of_what_it_printed(tmp_path: Path) -> None:
    (result,) = scheduled(
        tmp_path, {Part("", "broken"): "print('first'); raise ValueError('what went wrong')"}
    ).results()
    assert result.state == "failed"
    assert result.said.startswith("first\n")
    assert result.said.endswith("ValueError: what went wrong")


def test_where_a_part_stood_when_its_time_was_up_is_told(tmp_path: Path) -> None:
    waits = "import faulthandler, time; faulthandler.dump_traceback_later(1, exit=True)\ndef deep(): time.sleep(600)\ndeep()"
    (result,) = scheduled(tmp_path, {Part("", "waits", seconds=1): "print('a line\\n' * 99)\n" + waits}).results()
    assert result.state == "out of time"
    assert result.said.startswith("Timeout (")
    assert "in deep" in result.said


def test_what_does_not_fit_into_the_budget_is_not_run(tmp_path: Path) -> None:
    slow, late = Part("", "slow", seconds=600), Part("", "late")
    first, second = scheduled(tmp_path, {slow: "import time; time.sleep(600)", late: ""}, budget=2).results()
    assert (first.state, second.state) == ("out of time", "not run")
    assert not (tmp_path / "late").exists()


def test_parts_whose_speed_counts_run_alone(tmp_path: Path) -> None:
    program = "import sys, time; b = time.monotonic(); time.sleep(0.7); print(b, time.monotonic())"
    parts = [Part("", "a"), Part("", "b"), Part("", "c", alone=True), Part("", "d")]
    assert all(one.state == "done" for one in scheduled(tmp_path, dict.fromkeys(parts, program), jobs=2).results())
    spans = {p.name: tuple(map(float, (tmp_path / p.name / "printed.txt").read_text().split())) for p in parts}
    assert spans["a"][1] > spans["b"][0]  # beside one another
    assert max(spans["a"][1], spans["b"][1]) < spans["c"][0]
    assert spans["c"][1] < spans["d"][0]


def test_a_part_ends_when_the_benchmark_is_killed(tmp_path: Path) -> None:
    part = f"from benchmarks.gpu import child; child._end_with_parent()\n{STUCK}"
    starts = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {part!r}, sys.argv[1]], start_new_session=True)"
    )
    process = subprocess.Popen([sys.executable, "-c", starts, str(tmp_path)], env={**os.environ, **PATHS})
    wait_until((tmp_path / "rows.jsonl").exists, 60)
    child = int((tmp_path / "child").read_text())
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not is_alive(child))


@pytest.mark.parametrize(
    ("value", "bound", "kept"),
    [(5, "<= 5", True), (5.1, "<= 5", False), (0, "= 0", True), (1, "> 0", True), (0.3, ">= 0.3", True),
     (float("nan"), "<= 5", False), (float("nan"), ">= 5", False)],
)  # fmt: skip
def test_bounds(value: float, bound: str, kept: bool) -> None:
    assert rows.holds(value, bound) is kept


def test_what_is_no_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="no bound"):
        rows.holds(1, "about 5")


def test_a_rehearsal_does_not_judge_what_depends_on_the_size(tmp_path: Path) -> None:
    for rehearsal in (True, False):
        found = rows.Rows(tmp_path / f"{rehearsal}.jsonl", rehearsal=rehearsal)
        found.add("speed", 0.1, "x", ">= 0.95", at_size=True)
        found.add("number", 1, bound="= 0")
        found.check("so it is", True)
        found.facts({"torch": "2"})
        told, facts = rows.read_rows(found.file)
        assert [row["passed"] for row in told] == [None if rehearsal else False, False, True]
        assert facts == {"torch": "2"}


@pytest.mark.parametrize(
    ("spans", "idle"),
    [([], 1.0), ([(0, 4)], 0.0), ([(0, 1), (3, 4)], 0.5),
     ([(3, 4), (0, 2), (1, 2), (0, 1)], 0.25), ([(0, 9), (1, 2), (9, 10)], 0)],
)  # fmt: skip
def test_idle_time_is_what_no_span_covers(spans: list[tuple[float, float]], idle: float) -> None:
    assert idle_share(spans) == pytest.approx(idle)


def test_parts_are_chosen_by_name_or_module_in_their_own_order() -> None:
    assert [part.name for part in choose(["products", "adapters/nf4", "adapters/lora"])] == [
        "adapters/lora", "adapters/nf4", "products",
    ]  # fmt: skip
    assert len(choose(["experiments"])) == 10
    assert choose([]) == list(PARTS)
    with pytest.raises(ValueError, match="there is no part 'product'"):
        choose(["product"])


def test_the_page_says_where_the_benchmark_was_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(every, "RESULTS", tmp_path / "results")
    assert "Not run: no GPU was at hand." in every.write_page().read_text()


def test_the_page_shows_what_was_expected_and_what_was_not_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = rows.Rows(tmp_path / "rows.jsonl")
    found.add("speed", 0.9, "x", ">= 0.95")
    found.check("it runs", True)
    made = [
        schedule.Result(
            PARTS[0],
            "done",
            3.0,
            rows.read_rows(found.file)[0],
            {"python": "3.12", "torch": "2.11", "device": {"name": "A Card"}},
        ),
        schedule.Result(PARTS[1], "out of time", 90.0, said="Timeout (0:01:30)!"),
    ]
    result = report.write(made, tmp_path / "results" / "gpu.json", rehearsal=False, seconds=93)
    monkeypatch.setattr(every, "RESULTS", tmp_path / "results")
    page = every.write_page().read_text()
    assert "| speed | 0.9 x | >= 0.95 | FAILED |" in page
    assert "| it runs | yes  | yes | passed |" in page
    assert f"{PARTS[1].name}: out of time after 90 s." in page
    assert "\nA Card; " in page
    assert "Not run" not in page
    as_expected, told = report.summary(result["parts"])
    assert not as_expected
    assert told.splitlines()[1:] == [f"{PARTS[1].name}: out of time", f"{PARTS[0].name}: speed"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what it does without a GPU")
def test_without_a_gpu_it_says_so() -> None:
    command = [sys.executable, "-m", "benchmarks.gpu"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **PATHS}, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("there is no GPU that torch can use here; --cpu-rehearsal")


def wheel(folder: Path, name: str, requires: list[str], more: dict[str, str] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}-1-py3-none-any.whl"
    metadata = "".join(f"Requires-Dist: {one}\n" for one in requires)
    with zipfile.ZipFile(file, "w") as archive:
        for path, text in {f"{name}/__init__.py": "", **(more or {})}.items():
            archive.writestr(path, text)
        archive.writestr(f"{name}-1.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n{metadata}")
        archive.writestr(f"{name}-1.dist-info/RECORD", "")
    return file


def test_wheels_are_gathered_for_all_that_the_image_has_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = {
        "own": ["near==2", "has>=1", "adapters; extra == 'llm'", "docs; extra == 'docs'"],
        "near": ["far<3", "old; python_version < '3.11'", "Has"], "far": ["near"], "adapters": [],
    }  # fmt: skip
    asked: list[str] = []

    def download(wanted: Requirement, folder: Path) -> Path:
        asked.append(str(wanted))
        return wheel(folder, wanted.name, needs[wanted.name])

    monkeypatch.setattr(wheels, "download", download)
    monkeypatch.setattr(wheels, "build", lambda folder: wheel(folder, "own", needs["own"]))
    found = wheels.gather(tmp_path / "carried", ["has"])
    assert [one.name.partition("-")[0] for one in found] == ["adapters", "far", "near", "own"]
    assert asked == ["near==2", 'adapters; extra == "llm"', "far<3"]
    assert zipfile.ZipFile(found[-1]).namelist() == ["own-1.dist-info/METADATA", "own-1.dist-info/RECORD"]


def test_a_stripped_wheel_has_the_wanted_library_alone_and_can_be_installed(tmp_path: Path) -> None:
    libraries = [f"bitsandbytes/libbitsandbytes_{kind}.so" for kind in ("cpu", "cuda124", "cuda130", "rocm70")]
    whole = wheel(
        tmp_path, "bitsandbytes", [], {name: name for name in libraries} | {"bitsandbytes-1.dist-info/WHEEL": WHEEL}
    )
    stripped = wheels.strip(whole, wheels._kept)
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--target",
        str(tmp_path / "there"),
    ]
    subprocess.run([*command, str(stripped)], check=True, capture_output=True)
    installed = {path.name for path in (tmp_path / "there" / "bitsandbytes").glob("*.so")}
    assert installed == {"libbitsandbytes_cpu.so", "libbitsandbytes_cuda130.so"}


WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
