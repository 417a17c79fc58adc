"""The checker knows the names of all metrics before a run: right ones pass as gates, misspelt ones are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_align import align_file

from trialbook.config.load import load_experiment
from trialbook.config.runspec import Plan
from trialbook.errors import ExperimentErrors
from trialbook.planning.planner import make_plan
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook

FILE = align_file(
    head='headline = ["{metric}"]', dim=128, train=32, steps=2, batch_size=8,
    more="""
lr = 1e-3
[[metric]]
use = "matryoshka-retrieval"
name = "cut"
k = [1, 5]
dims = [8, 128]
[[metric]]
use = "alignment-uniformity"
[[metric]]
use = "effective-rank"
[[metric]]
use = "modality-gap"
[[gate]]
metric = "{metric}"
at_most = 1.0
""",
)  # fmt: skip


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> SchemaBook:
    return SchemaBook(PluginManager.discover(), tmp_path_factory.mktemp("cache"))


def plan_of(metric: str, book: SchemaBook, folder: Path) -> Plan:
    file = folder / "gate.toml"
    file.write_text(FILE.format(metric=metric))
    return make_plan(load_experiment(file), book)


@pytest.mark.parametrize(
    ("right", "typo"),
    [
        ("cut/i2t@1/d8", "cut/i2t@1/d9"),
        ("cut/t2i@5/kept/d128", "cut/t2i@5/keep/d128"),
        ("alignment-uniformity/alignment/image-text", "alignment-uniformity/alignment/image-txt"),
        ("alignment-uniformity/uniformity/text", "alignment-uniformity/uniformity/texts"),
        ("effective-rank/image", "effective-rank/imag"),
        ("effective-rank/text/share", "effective-rank/text/shares"),
        ("modality-gap/image-text", "modality-gap/image-test"),
        ("val/modality-gap/image-text/positive", "val/modality-gap/image-text/positve"),
    ],
)
def test_a_gate_on_a_misspelt_figure_is_refused_with_the_right_name(
    right: str, typo: str, book: SchemaBook, tmp_path: Path
):
    assert len(plan_of(right, book, tmp_path).runs) == 1
    with pytest.raises(ExperimentErrors) as caught:
        plan_of(typo, book, tmp_path)
    assert {problem.suggestion for problem in caught.value.problems} <= {right, "cut/i2t@1/d8"}
    assert len(caught.value.problems) == 2  # the headline and the gate


def test_which_figures_are_better_when_lower_is_declared(book: SchemaBook, tmp_path: Path):
    lower = set(plan_of("cut/i2t@1/d8", book, tmp_path).runs[0].info.lower_is_better)
    assert lower >= {
        "alignment-uniformity/alignment/image-text", "alignment-uniformity/uniformity/image", "modality-gap/image-text",
        "modality-gap/image-text/negative", "val/modality-gap/image-text",
    }  # fmt: skip
    assert not [name for name in lower if "cut/" in name or "effective-rank" in name or name.endswith("positive")]
