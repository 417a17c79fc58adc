"""Every component keeps the contract of its kind."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from plugin_v1.cosines import Cosines
from plugin_v1.distance import Distance
from plugin_v1.flat import flat
from plugin_v1.nearest import Nearest
from plugin_v1.pairs import Pairs
from plugin_v1.spread import Spread
from plugin_v1.turn import Turn

from trialbook.contracts import Record, RunEvidence
from trialbook.testing import PartsBuilder, check_component

KINDS = {"dataset": Pairs, "encoder": Cosines, "projector": Turn, "loss": Distance, "metric": Nearest}
PUBLIC = {"trialbook", "trialbook.contracts", "trialbook.testing"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_component_keeps_the_contract_of_its_kind(kind: str) -> None:
    check_component(KINDS[kind], kind)


def test_the_task_measures_stored_features() -> None:
    data = Pairs()
    parts = {"dataset": data, "encoder": {name: Cosines(data.describe(name)) for name in data.modalities}}
    check_component(Spread, "task", injected={"builder": PartsBuilder(parts)})


def test_the_check_finds_a_metric_that_never_moved() -> None:
    def run(values: list[float]) -> RunEvidence:
        return RunEvidence({}, records=[Record(i, {"val/v1-nearest/l2r": value}) for i, value in enumerate(values)])

    (finding,) = flat(run([0.5, 0.5, 0.5]))
    assert (finding.check, finding.severity, finding.evidence) == ("v1-flat", "note", {"value": 0.5, "evaluations": 3})
    assert not list(flat(run([0.5, 0.6, 0.5])))
    assert not list(flat(run([0.5, 0.5])))


def test_only_public_names_are_imported() -> None:
    for file in Path(__file__).parents[1].rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0].startswith("trialbook"):
                assert node.module in PUBLIC, file
