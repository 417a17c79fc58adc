"""The heads of shipped experiments: what a run of them measured is written there, and again in the same place."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from trialbook.analysis.compare.compare import Row
from trialbook.analysis.compare.gates import GateResult
from trialbook.analysis.statistics import Estimate
from trialbook.api.comparison import ExperimentComparison

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import shipped  # noqa: E402

FILE = """# Does it help?
#
# mlrun run here.toml
name = "here"
# no head
seeds = [0]
"""
ROW = Row("r@1", "flat", True, Estimate(3, 0.51234, 0.4, 0.6), {}, verdict="baseline")
FOUND = ExperimentComparison(
    ("here",), "Does it help?", "last", "arm", ("flat", "deep"),
    rows=(ROW, replace(ROW, arm="deep", estimate=None), replace(ROW, arm="deep", verdict="better")),
    gates=(GateResult("r@1", "deep", "\u2265 0.5", verdict="pass"),), costs={}, missing=(), differences=(), notes=(),
)  # fmt: skip


def test_results_are_a_line_each() -> None:
    assert list(shipped.results(FOUND)) == [
        "r@1  flat: 0.5123 [0.4, 0.6]", "r@1  deep: not recorded", "r@1  deep: 0.5123 [0.4, 0.6]; better",
        "gate r@1 \u2265 0.5  deep: pass",
    ]  # fmt: skip


def test_the_head_of_a_file_is_written_and_written_again(tmp_path: Path) -> None:
    file = tmp_path / "here.toml"
    file.write_text(FILE)
    for value in ("0.5", "0.6"):
        shipped.write_head(file, [f"{shipped.BEGINNING}: one seed.", f"#   r@1  flat: {value}"])
        head = f"{shipped.BEGINNING}: one seed.\n#   r@1  flat: {value}\n"
        assert file.read_text() == FILE.replace("here.toml\n", f"here.toml\n#\n{head}")


def test_every_experiment_that_is_shipped_and_compares_runs_can_be_measured() -> None:
    names = set(shipped.files())
    assert {"linear_vs_mlp", "perceiver_vs_mlp", "spatial/llava_next"} <= names
    assert not {"spatial/recommendation", "spatial/screening"} & names  # decisions on the runs of others
