"""Check ``dead-units``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trialbook.contracts.evidence import RunEvidence, component_of
from trialbook.contracts.findings import Finding, Severity
from trialbook_plugins.checks._tensors import named, part_names

#: Share of a module's units that are 0 for every row of the batch. A trained ReLU network has a few dead in a hundred.
ALL, MOST, HALF = 0.99, 0.8, 0.5
#: What is dead at the first look already is dead for good where the activation has no slope at 0.
HARD = ("relu", "threshold")
#: Fewest units for a share to mean something.
FEWEST = 4


def check(chart: RunEvidence) -> Iterable[Finding]:
    """Modules most of whose units are exactly 0 over the whole batch, counted by part.

    A module that is 0 at the first look counts only if it is a ReLU or the like: layers that begin at 0 wake up.
    """
    parts = part_names(chart)
    dead: dict[str, list[tuple[float, str, Mapping[str, Any], int]]] = {}
    for name, seen in _last_two(chart).items():
        step, facts = seen[-1]
        hard = any(word in facts["type"].lower() for word in HARD)
        share = min(one["dead"] for _, one in seen)
        if facts["units"] >= FEWEST and share >= HALF and (hard or len(seen) > 1):
            dead.setdefault(component_of(name, parts), []).append((share, name, facts, step))
    for part, found in dead.items():
        share, name, facts, step = max(found, key=lambda one: one[0])
        severity: Severity = "error" if share >= ALL else "warning" if share >= MOST else "note"
        many = f" ({named(one[1] for one in found)})" if len(found) > 1 else ""
        how_many = "all" if share >= 1 else f"{share:.0%}"
        yield Finding(
            "dead-units", severity, part,
            f"{how_many} of the {facts['units']} units of {name} are 0 for every row of the batch{many}",
            {"dead": share, "units": facts["units"], "type": facts["type"], "modules": len(found)},
            "units of a ReLU die where its inputs are all negative: lower the learning rate, begin with smaller or zero biases, "
            "put a norm before it, or take GELU or LeakyReLU",
            step,
        )  # fmt: skip


def _last_two(chart: RunEvidence) -> dict[str, list[tuple[int, Mapping[str, Any]]]]:
    """Module to (step, facts) of the last two looks."""
    seen: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for one in chart.of("modules", "")[-2:]:
        for name, facts in one.values.items():
            seen.setdefault(name, []).append((one.step, facts))
    return seen
