"""The inventory of a run: its components, its parts and their sizes, its data."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trialbook.config.runspec import RunSpec

if TYPE_CHECKING:
    from trialbook.engine.builder import Part, RunBuilder


@dataclass(frozen=True)
class PartSize:
    """A part of a variant and its parameters."""

    name: str
    use: str
    parameters: int
    frozen: bool


@dataclass(frozen=True)
class VariantSize:
    """The parts of a variant, and what its optimiser gets.

    Args:
        parts: all parts.
        stages: stage to the number of parameters that it trains; empty where nothing is trained, or where that is known only
            once the runs that it needs are done.
    """

    parts: Sequence[PartSize]
    stages: Mapping[str, int] = field(default_factory=dict)


def components_of(spec: RunSpec) -> dict[str, tuple[str, str]]:
    """Part name to (kind, component) of a run."""
    found = {}
    for part in spec.sources:
        kind, _, name = part.partition(".")
        tables = spec.config[kind]
        if isinstance(tables, list):
            table = next(t for t in tables if name == t.get("name", t["use"]))
        else:
            table = tables if "use" in tables else tables[name]
        found[part] = (kind, table["use"])
    return found


def parameters_of(builder: RunBuilder) -> dict[str, int]:
    """Part to its number of parameters, where it has any."""
    return {part.name: part.parameters for part in builder.parts if part.parameters}


def _is_random(part: Part, started: Collection[str]) -> bool:
    """Return whether a part has random weights that nothing trains: a stand-in for a model that has learned."""
    if part.name in started or not hasattr(part.module, "modules"):
        return False
    stands_in = any(getattr(one, "random_weights", False) for one in part.module.modules())
    return stands_in and not any(one.requires_grad for one in part.module.parameters())


def describe(builder: RunBuilder) -> dict[str, Any]:
    """Return the content of ``data.json``: the data's fingerprint and splits, overlaps, parameters by part."""
    started = {one.part for one in builder.lineage}
    described: dict[str, Any] = {
        "parameters": parameters_of(builder),
        "frozen": [part.name for part in builder.parts if part.frozen],
        "random_weights": [part.name for part in builder.parts if _is_random(part, started)],
        "overlaps": [
            {"modality": o.modality, "first": o.first, "second": o.second, "count": o.count, "rows": o.rows}
            for o in builder.overlaps
        ],
    }
    if builder.dataset is not None:
        splits = builder.dataset.splits()
        described["dataset"] = {
            "fingerprint": builder.dataset.fingerprint,
            "splits": {name: len(split) for name, split in splits.items()},
        }
    return described
