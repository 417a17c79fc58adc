"""The setup of an experiment, for its page: what the arms share, what each changes, and the grid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trialbook.analysis.selection import flatten
from trialbook.reports.document.blocks import Block, CodeBlock, Collapsible, Items, KeyValues, Paragraph, Strong, Text
from trialbook.reports.pages.sections import config_text, data_facts, setup_facts, show_option
from trialbook.reports.plots.arms import Arms


def setup_blocks(arms: Arms) -> list[Block]:
    """Show what all arms share, what each changes, and the grid; the whole configuration of the first."""
    spec = arms.one.spec
    base = arms.runs[arms.comparison.arms[0]][0]
    facts: dict[str, Text] = {**setup_facts(base.spec.get("config") or {}), **data_facts(data_of(arms))}
    if seeds := spec.get("seeds"):
        facts["seeds"] = ", ".join(map(str, seeds))
    if baseline := spec.get("baseline"):
        facts["baseline"] = str(baseline)
    facts |= {f"grid, {key}": ", ".join(values) for key, values in _grid(arms).items()}
    told = f"Of arm {base.arm}:"
    changes = _changes(arms)
    blocks: list[Block] = [Paragraph(told), KeyValues(facts)]
    blocks += [Paragraph("What arms change in the file:"), Items(changes)] if changes else []
    config = config_text(base.directory)
    return blocks + (
        [Collapsible(f"The whole resolved configuration of {base.arm}", [CodeBlock(config)])] if config else []
    )


def data_of(arms: Arms) -> Mapping[str, Any]:
    """``data.json`` of one of the runs."""
    return arms.one.directory.read("data") or {}


def _grid(arms: Arms) -> dict[str, list[str]]:
    """Key of the grid to its values among the runs."""
    found: dict[str, dict[str, None]] = {}
    for own in arms.runs.values():
        for key, value in (own[0].spec.get("point") or {}).items():
            found.setdefault(key, {})[show_option(value)] = None
    return {key: list(values) for key, values in found.items()}


def _changes(arms: Arms) -> list[Text]:
    """Arm by arm, the keys that the file says for it and their values."""
    named: dict[str, Text] = {}
    for own in arms.runs.values():
        spec = own[0].spec
        base, keys = str(spec.get("base_arm", "")), (spec.get("changes") or {}).get(spec.get("base_arm")) or ()
        values = flatten(spec.get("config") or {}, named=False)
        said = [f"{key} = {show_option(values[key]) if key in values else 'not set'}" for key in keys]
        named.setdefault(base, [Strong(base), ": ", "; ".join(said) or "the file as it stands"])
    return list(named.values()) if len(named) > 1 else []
