"""How this process computes: flags that are set for a run and put back, the device and what is recorded of both."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_align import align_file

import trialbook_plugins.plugin
from trialbook.config.load import load_experiment
from trialbook.config.numerics import CUBLAS_VARIABLE, Numerics
from trialbook.config.settings import Settings
from trialbook.engine import compute
from trialbook.engine import trainer as loop
from trialbook.engine.compute import compute_facts, computing, device_facts, driver_version
from trialbook.engine.execute import make_accelerator
from trialbook.errors import TrialbookError
from trialbook.execution.launcher import Launcher
from trialbook.execution.progress import PlainProgress
from trialbook.planning.planner import make_plan
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook
from trialbook.testing import pretend_cuda

SWITCHES = ("cuda.matmul", "mkldnn.matmul", "cudnn.conv", "cudnn.rnn")


def switch(name: str) -> Any:
    backend, kind = name.split(".")
    return getattr(getattr(torch.backends, backend), kind)


def flags() -> dict[str, Any]:
    """All that a run may change, as far as it can be read: older flags cannot where a newer switch says another thing."""

    def read(flag: Callable[[], Any]) -> Any:
        try:
            return flag()
        except RuntimeError:
            return None

    found = {
        "matmul": read(torch.get_float32_matmul_precision), "cudnn": read(lambda: torch.backends.cudnn.allow_tf32),
        "benchmark": torch.backends.cudnn.benchmark, "cudnn deterministic": torch.backends.cudnn.deterministic,
        "deterministic": torch.get_deterministic_debug_mode(),
        **{name: switch(name).fp32_precision for name in SWITCHES},
    }  # fmt: skip
    return {name: value for name, value in found.items() if value is not None}


@pytest.fixture(autouse=True)
def _process_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test does to the process is undone."""
    monkeypatch.delenv(CUBLAS_VARIABLE, raising=False)
    before = compute._Flags()
    yield
    before.restore()
    torch.backends.fp32_precision = "none"
    os.environ.pop(CUBLAS_VARIABLE, None)


# --- flags ---------------------------------------------------------------------------------------------------------


def older_flags() -> None:
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True


def newer_switches() -> None:
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    switch("cudnn.conv").fp32_precision = "ieee"


def switch_for_all() -> None:
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.fp32_precision = "tf32"


def warning_only() -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.deterministic = True


@pytest.mark.parametrize("process", [lambda: None, older_flags, newer_switches, switch_for_all, warning_only])
@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
@pytest.mark.parametrize("deterministic", [False, True])
def test_a_run_begins_from_its_own_flags_and_leaves_the_process_as_it_was(
    process: Callable[[], None], precision: Any, deterministic: bool
) -> None:
    process()
    before, tf32 = flags(), precision != "highest"
    benchmark = not deterministic
    with computing(Numerics("no", precision, deterministic, benchmark), "cpu"):
        found = flags()
        assert (found["matmul"], found["cudnn.conv"] == "tf32", found["cudnn.rnn"] == "tf32") == (precision, tf32, tf32)
        assert found["cuda.matmul"] == ("tf32" if tf32 else "ieee")
        assert (found["deterministic"], found["cudnn deterministic"]) == (2 * deterministic, deterministic)
        assert found["benchmark"] == benchmark
    assert flags().items() >= before.items()
    with suppress(ZeroDivisionError), computing(Numerics("no", precision, deterministic), "cpu"):
        raise ZeroDivisionError
    assert flags().items() >= before.items()


def test_older_and_newer_ways_to_read_tf32_agree_within_a_run() -> None:
    for precision in ("high", "highest"):
        with computing(Numerics(matmul_precision=precision), "cpu"):  # type: ignore[arg-type]
            found = flags()
        assert found["cudnn"] == (precision == "high")


def test_an_operation_that_cannot_be_deterministic_is_said_in_a_sentence() -> None:
    rows = torch.zeros(3)
    with pytest.raises(TrialbookError, match="'deterministic' is set, and put_ of torch has no deterministic"):  # noqa: SIM117
        with computing(Numerics(deterministic=True), "cpu"):
            rows.put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))
    with computing(Numerics(), "cpu"):
        rows.put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))
    with pytest.raises(RuntimeError, match=r"^another$"), computing(Numerics(deterministic=True), "cpu"):
        raise RuntimeError("another")


# --- CUDA ----------------------------------------------------------------------------------------------------------


def test_cublas_is_asked_to_repeat_itself_before_cuda_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str | None] = []
    with pretend_cuda():
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: bool(order))
        monkeypatch.setattr(torch.cuda, "init", lambda: order.append(os.environ.get(CUBLAS_VARIABLE)))
        with computing(Numerics(), "cuda"), computing(Numerics(), "auto"):
            assert order == [None, None]
        with pytest.raises(TrialbookError, match=f"CUDA is in use already, .* {CUBLAS_VARIABLE}=':4096:8' before"):  # noqa: SIM117
            with computing(Numerics(deterministic=True), "cuda"):
                pass
        order.clear()
        with computing(Numerics(deterministic=True), "cuda"), computing(Numerics(deterministic=True), "cuda"):
            assert order == [":4096:8", ":4096:8"]
        monkeypatch.setenv(CUBLAS_VARIABLE, ":0:0")
        with pytest.raises(TrialbookError, match=r"is ':0:0', and a deterministic run needs ':4096:8' or ':16:8'"):  # noqa: SIM117
            with computing(Numerics(deterministic=True), "cuda"):
                pass
        with computing(Numerics(deterministic=True), "cpu"):
            assert os.environ[CUBLAS_VARIABLE] == ":0:0"


def test_the_device_is_recorded_as_torch_has_it() -> None:
    assert device_facts(torch.device("cpu")) == {"type": "cpu"}
    with pretend_cuda():
        found = device_facts(torch.device("cuda"))
        assert found == device_facts(torch.device("cuda", 0))
        same = {"type": "cuda", "index": 0, "name": torch.cuda.get_device_name(0), "capability": "9.0", "visible": 1}
        assert found.items() >= same.items()
        assert found["memory"] == torch.cuda.get_device_properties(0).total_memory
        assert {"cuda", "cudnn", "driver"} <= set(found)


def test_the_driver_is_asked_of_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def library(start: int = 0, answer: int = 0) -> None:
        def version(buffer: Any, size: int) -> int:
            assert size == len(buffer)
            buffer.value = b"570.86.15"
            return answer

        nvml = SimpleNamespace(
            nvmlInit_v2=lambda: start, nvmlSystemGetDriverVersion=version, nvmlShutdown=lambda: 0
        )  # fmt: skip
        monkeypatch.setattr(ctypes, "CDLL", lambda name: nvml)

    library()
    assert driver_version() == "570.86.15"
    for failing in ({"start": 9}, {"answer": 3}):
        library(**failing)
        assert driver_version() is None

    def none(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", none)
    assert driver_version() is None


# --- runs ----------------------------------------------------------------------------------------------------------

ARMS = """
[arm.plain]
[arm.repeated.train]
deterministic = true
[arm.fast.train]
matmul_precision = "high"
cudnn_benchmark = true
[arm.half.train]
precision = "bf16"
"""


def launch(root: Path, text: str, **options: Any) -> dict[str, Any]:
    """Runs the experiment; what each arm recorded of its environment."""
    file = root / "small.toml"
    file.write_text(text)
    settings = Settings(root=root, runs=root / "runs", data_root=root, cache=root / "cache", **options)
    book = SchemaBook(PluginManager.from_modules({"trialbook": trialbook_plugins.plugin}), settings.cache)
    plan = make_plan(load_experiment(file), book)
    outcomes = Launcher(settings, book.host, book, PlainProgress(print), plots=False).mlrun_launch(plan)
    assert {outcome.state for outcome in outcomes} == {"finished"}
    return {
        spec.arm: json.loads((settings.runs / spec.relative_path / "env.json").read_text()) for spec in plan.runs
    }  # fmt: skip


def test_runs_of_one_process_compute_and_record_as_each_of_them_says(tmp_path: Path) -> None:
    before = flags()
    found = launch(tmp_path, align_file(more=ARMS))
    assert flags() == before
    plain = found["plain"]["compute"]
    assert found["plain"]["device"] == {"type": "cpu"}
    assert plain == {
        "processes": 1, "precision": "no", "matmul_precision": "highest", "matmul_tf32": False, "cudnn_tf32": False,
        "cudnn_benchmark": False, "deterministic": False, "attention": ["flash", "mem_efficient", "cudnn", "math"],
    }  # fmt: skip
    fast = {"matmul_precision": "high", "matmul_tf32": True, "cudnn_tf32": True, "cudnn_benchmark": True}
    changes = {"repeated": {"deterministic": True}, "fast": fast, "half": {"precision": "bf16"}}
    for arm, changed in changes.items():
        assert found[arm]["compute"] == plain | changed
    assert {one["variables"][CUBLAS_VARIABLE] for one in found.values()} == {":4096:8"}  # one process, one cuBLAS


def test_what_a_file_leaves_open_is_the_workplaces(tmp_path: Path) -> None:
    found = launch(tmp_path, align_file(more=ARMS), matmul_precision="medium", cudnn_benchmark=True)
    seen = {arm: one["compute"]["matmul_precision"] for arm, one in found.items()}
    assert seen == {"plain": "medium", "repeated": "medium", "fast": "high", "half": "medium"}
    assert {arm: one["compute"]["cudnn_benchmark"] for arm, one in found.items()} == {
        "plain": True, "repeated": False, "fast": True, "half": True,
    }  # fmt: skip


def test_cuda_begins_before_anything_is_seeded_and_the_device_is_in_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    seed = loop.seed_step
    monkeypatch.setattr(loop, "seed_step", lambda *place: (order.append("seed"), seed(*place)))
    with pretend_cuda():
        monkeypatch.setattr(torch.cuda, "init", lambda: order.append("init"))
        found = launch(tmp_path, align_file())
        assert found["main"]["device"]["name"] == torch.cuda.get_device_name(0)
    assert order[0] == "init"
    assert "seed" in order


def test_features_are_shared_by_runs_that_compute_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = align_file(more=ARMS).replace(
        '[encoder.image]\nuse = "identity"', '[encoder.image]\nuse = "patches"\nfrozen = true'
    )
    text = text.replace('use = "paired-latents"', 'use = "scenes"').replace(
        '[encoder.text]\nuse = "identity"', '[encoder.text]\nuse = "token-embedding"'
    )

    def stored(place: str) -> int:
        (tmp_path / place).mkdir()
        launch(tmp_path / place, text)
        return len(list((tmp_path / place / "runs" / ".features").rglob("*.safetensors")))

    here = stored("cpu")
    with pretend_cuda():
        monkeypatch.setenv(CUBLAS_VARIABLE, ":4096:8")  # the pretend device has begun already
        assert (here / 2, stored("cuda") / 3) == (3, 3)  # three splits: fast apart from the rest; on CUDA repeated, too


def test_facts_are_those_of_the_moment() -> None:
    accelerator = make_accelerator("cpu", "bf16")
    with computing(Numerics(matmul_precision="high", deterministic=True), "cpu"):
        torch.backends.cuda.enable_flash_sdp(False)
        found = compute_facts(accelerator)["compute"]
        torch.backends.cuda.enable_flash_sdp(True)
    assert (found["precision"], found["deterministic"], found["matmul_tf32"]) == ("bf16", True, True)
    assert found["attention"] == ["mem_efficient", "cudnn", "math"]
