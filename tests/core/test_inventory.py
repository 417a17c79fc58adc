"""What a run says of its parts: which of them have random weights that nothing trains."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from trialbook.engine.builder import Part
from trialbook.engine.inventory import describe


def stand_in(*, trained: bool = False, inside: bool = False) -> nn.Module:
    module: Any = nn.Linear(2, 2).requires_grad_(trained)
    module.random_weights = True
    return nn.Sequential(module) if inside else module


@pytest.mark.parametrize(
    ("module", "started", "named"),
    [
        (stand_in(), (), True),
        (stand_in(inside=True), (), True),
        (stand_in(trained=True), (), False),
        (stand_in(), ("encoder.image",), False),  # it goes on from an earlier run
        (nn.Linear(2, 2).requires_grad_(False), (), False),
        (object(), (), False),
    ],
)
def test_parts_with_random_weights_that_nothing_trains_are_named(
    module: Any, started: tuple[str, ...], named: bool
) -> None:
    lineage = [SimpleNamespace(part=name) for name in started]
    builder: Any = SimpleNamespace(
        parts=[Part("encoder.image", module, False)], lineage=lineage, overlaps=[], dataset=None
    )
    assert describe(builder)["random_weights"] == (["encoder.image"] if named else [])
