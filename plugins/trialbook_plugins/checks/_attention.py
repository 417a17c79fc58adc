"""Attention as the newest look found it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trialbook.contracts.evidence import RunEvidence, component_of
from trialbook_plugins.checks._tensors import part_names

#: Among fewer keys, entropy says little.
FEWEST_KEYS = 4


def attention(chart: RunEvidence) -> Iterator[tuple[str, int, dict[str, Mapping[str, Any]]]]:
    """Part, step of the newest look, and what its attending modules did then."""
    newest, parts = chart.newest("attention", ""), part_names(chart)
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for name, facts in newest.values.items() if newest else ():
        if facts["keys"] >= FEWEST_KEYS:
            found.setdefault(component_of(name, parts), {})[name] = facts
    for part, modules in found.items():
        assert newest is not None
        yield part, newest.step, modules
