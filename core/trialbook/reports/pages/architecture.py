"""The architecture of an experiment: its parts from the data to the metrics, with their sizes, and what differs between arms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from trialbook.analysis.compare.metrics import trained_by_part
from trialbook.config.kinds import NAMED
from trialbook.config.variants import ComponentTable, component_tables
from trialbook.reports.comparison_tables import show_large
from trialbook.reports.document.blocks import Block, Diagram
from trialbook.reports.document.diagram import Box, Layers, draw_layers, layers_text
from trialbook.reports.plots.run_data import RunData

#: Boxes that stand side by side; a layer with more becomes one box.
_MOST_BOXES = 3
#: Variants of a part that are told, and arms that are named at each.
_MOST_VARIANTS, _MOST_ARMS = 4, 3
#: Kinds whose parts stand in one box together.
_TOGETHER = ("loss", "metric")

#: What is said of a part, line by line, and whether it is trained, frozen or neither.
_Said = tuple[tuple[str, ...], str]


def architecture(arms: Mapping[str, RunData]) -> list[Block]:
    """The diagram of an experiment; nothing where its runs tell of no parts.

    Args:
        arms: arm to one of its runs.
    """
    told = {arm: dict(_parts(run)) for arm, run in arms.items()}
    places = dict.fromkeys(key for parts in told.values() for key in parts)
    layers: dict[str, list[tuple[str, Box]]] = {}
    for kind, name in sorted(places, key=lambda key: _ORDER.index(key[0])):
        variants: dict[_Said, list[str]] = {}
        for arm, parts in told.items():
            if (kind, name) in parts:
                variants.setdefault(parts[kind, name], []).append(arm)
        layers.setdefault(kind, []).append((name, _box(kind, name, variants, len(told))))
    if not layers:
        return []
    joined = _joined([_narrow(kind, boxes) for kind, boxes in layers.items()])
    said = "Shapes are tokens × width of one row; of a page that is cut into tiles, of one tile."
    return [
        Diagram("Blue edge: trained; dashed: frozen.", said, draw_layers(joined), layers_text(joined), _alt(joined))
    ]


_ORDER = ("dataset", "captioner", "encoder", "projector", "llm", "decoder", "probe", "loss", "metric")


def _parts(run: RunData) -> Iterator[tuple[tuple[str, str], _Said]]:
    """Kind and name of each box, and what is said of it in this run."""
    data: Mapping[str, Any] = run.directory.read("data") or {}
    config: Mapping[str, Any] = run.spec.get("config") or {}
    trained = trained_by_part(data, config)
    together: dict[str, list[str]] = {}
    for table in component_tables(config):
        if table.kind in _TOGETHER:
            together.setdefault(table.kind, []).append(table.name)
        elif table.kind in _ORDER:
            name = table.name if table.kind in NAMED else ""
            yield (table.kind, name), _said(table, data, trained)
    for kind, names in together.items():
        yield (kind, ""), ((", ".join(names),), "")


def _said(table: ComponentTable, data: Mapping[str, Any], learning: Mapping[str, int]) -> _Said:
    """Return what there is to say of a part."""
    lines = [_named(table.content)]
    if table.kind == "dataset":
        splits = (data.get("dataset") or {}).get("splits") or {}
        return (*lines, *([", ".join(f"{name} {size:,}" for name, size in splits.items())] if splits else [])), ""
    size, tone = (data.get("parameters") or {}).get(table.part, 0), ""
    if size:
        trained = learning.get(table.part, 0)
        tone = "trained" if trained else "frozen"
        how = "frozen" if not trained else "trained" if trained >= size else f"{show_large(trained)} of them trained"
        lines.append(f"{show_large(size)} parameters, {how}")
    elif table.kind in NAMED or table.kind == "llm":
        lines.append("nothing to learn")
    if shape := _shape(table, data):
        lines.append(shape)
    return tuple(lines), tone


def _named(content: Mapping[str, Any]) -> str:
    """The component, what is nested in it, and the checkpoint that it reads."""
    inner = [one for one in content.values() if isinstance(one, Mapping)]
    nested = [str(one["use"]) for one in inner if "use" in one]
    nested += [
        f"{name}: {one['use']}" for group in inner if "use" not in group for name, one in group.items() if _is(one)
    ]
    said = f"{content.get('use')} ({', '.join(nested)})" if nested else str(content.get("use"))
    models = [one["model"] for one in (content, *inner) if isinstance(one.get("model"), str)]
    return f"{said}, {'/'.join(PurePath(models[0]).parts[-2:])}" if models else said


def _is(table: Any) -> bool:
    return isinstance(table, Mapping) and "use" in table


def _shape(table: ComponentTable, data: Mapping[str, Any]) -> str:
    """Say what goes in and comes out (a stored frozen encoder gives what its projector takes); empty where not recorded."""
    shapes = data.get("shapes") or {}
    own = shapes.get(table.part) or {}
    if table.kind == "llm":
        return f"width {own['in'][-1]:,}" if own.get("in") else ""
    if table.kind == "encoder":
        out = own.get("out") or (shapes.get(f"projector.{table.name}") or {}).get("in")
        return _sizes(out) if out else ""
    both = [_sizes(own[end]) for end in ("in", "out") if own.get(end)]
    return " → ".join(both)


def _sizes(shape: Sequence[int]) -> str:
    return " × ".join(f"{size:,}" for size in shape)


def _box(kind: str, name: str, variants: Mapping[_Said, Sequence[str]], arms: int) -> Box:
    heading = {"dataset": "data", "llm": "language model", "loss": "losses", "metric": "metrics"}.get(kind, kind)
    heading = f"{heading} {name}".strip()
    everywhere = len(variants) == 1 and sum(map(len, variants.values())) == arms
    lines: list[str] = []
    for (said, _), own in list(variants.items())[:_MOST_VARIANTS]:
        more = f" and {len(own) - _MOST_ARMS} more" if len(own) > _MOST_ARMS else ""
        whose = "" if everywhere else f"· {', '.join(own[:_MOST_ARMS])}{more}: "
        lines += [f"{whose}{said[0]}", *said[1:]]
    if len(variants) > _MOST_VARIANTS:
        lines.append(f"· {len(variants) - _MOST_VARIANTS} more variants, see Setup")
    tones = {tone for _, tone in variants}
    return Box(heading, lines, tones.pop() if len(tones) == 1 else "trained" if "trained" in tones else "")


def _narrow(kind: str, boxes: list[tuple[str, Box]]) -> list[tuple[str, Box]]:
    """Boxes of a layer; more than fit side by side become one."""
    if len(boxes) <= _MOST_BOXES:
        return boxes
    lines = [f"{name}: {'; '.join(box.lines)}" for name, box in boxes]
    return [("", Box(f"{kind}s", lines, "trained" if any(box.tone == "trained" for _, box in boxes) else ""))]


def _joined(layers: Sequence[Sequence[tuple[str, Box]]]) -> list[list[Box | None]]:
    """The boxes with their arrows: along their name where the next layer knows it, else to all of the layer that has no names.

    What has a name stands below what has the same one, as far as all of them fit side by side.
    """
    columns = list(dict.fromkeys(name for layer in layers for name, _ in layer if name))
    placed: list[list[tuple[str, Box | None]]] = []
    for layer in layers:
        own = dict(layer)
        aligned = "" not in own and len(columns) <= _MOST_BOXES
        placed.append([(name, own.get(name)) for name in columns] if aligned else [*layer])
    return [
        [box and Box(box.heading, box.lines, box.tone, _followers(placed, row, name)) for name, box in layer]
        for row, layer in enumerate(placed)
    ]


def _followers(layers: Sequence[Sequence[tuple[str, Box | None]]], row: int, name: str) -> list[tuple[int, int]]:
    for at in range(row + 1, len(layers)):
        there = [(other, number) for number, (other, box) in enumerate(layers[at]) if box is not None]
        if not name or "" in dict(there):
            return [(at, number) for _, number in there]
        if own := [(at, number) for other, number in there if other == name]:
            return own
    return []


def _alt(layers: Layers) -> str:
    said = [", ".join([box.heading, *box.lines]) for layer in layers for box in layer if box]
    return "From the data to the metrics: " + "; ".join(said)
