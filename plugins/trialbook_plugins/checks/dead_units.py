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
#: Other activations; like these they have no weights of their own, and are trained where their part is.
SOFT = ("elu", "silu", "mish", "glu", "tanh", "sigmoid", "swish")
#: Fewest units for a share to mean something.
FEWEST = 4


def check(chart: RunEvidence) -> Iterable[Finding]:
    """Modules most of whose units are exactly 0 over the whole batch, counted by part.

    Only what the stage trains counts: a ReLU or the like at once if its part is trained, any other module at the second look
    after its weights (those of its part, for an activation) moved, since layers that begin at 0, as the second of a LoRA
    adapter, wake up.
    """
    parts = part_names(chart)
    dead: dict[str, list[tuple[float, str, Mapping[str, Any], int]]] = {}
    for name, seen in _last_two(chart).items():
        step, facts = seen[-1]
        share = min(one["dead"] for _, one in seen)
        if (
            facts["units"] >= FEWEST
            and share >= HALF
            and _could_wake(chart, name, facts["type"].lower(), seen[0][0], step)
        ):
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


def _could_wake(chart: RunEvidence, name: str, kind: str, first: int, last: int) -> bool:
    """Return whether a module is trained at the last look and had its chance not to be 0 since the first."""
    parts = part_names(chart)
    looks = {one.step: one.values for one in chart.of("parameters", "") if one.step in (first, last)}
    hard = any(word in kind for word in HARD)
    if hard or any(word in kind for word in SOFT):
        part = component_of(name, parts)
        own = {
            step: [f for other, f in seen.items() if component_of(other, parts) == part] for step, seen in looks.items()
        }
    else:
        own = {
            step: [f for other, f in seen.items() if other.rpartition(".")[0] == name] for step, seen in looks.items()
        }
    if not own.get(last):
        return False
    return hard or (first < last and any(facts["update"] for facts in own.get(first, ())))


def _last_two(chart: RunEvidence) -> dict[str, list[tuple[int, Mapping[str, Any]]]]:
    """Module to (step, facts) of the last two looks."""
    seen: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for one in chart.of("modules", "")[-2:]:
        for name, facts in one.values.items():
            seen.setdefault(name, []).append((one.step, facts))
    return seen
