"""From the names of points to the modules of a model that are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from trialbook import TrialbookError, suggest
from trialbook_plugins.vlms.architecture import Architecture, Area
from trialbook_plugins.vlms.layer_hooks import LayerHook
from trialbook_plugins.vlms.module_paths import Paths


def resolve(model: nn.Module, architecture: Architecture, layers: Sequence[str]) -> list[LayerHook]:
    """The hooks that ``layers`` names: points of the architecture, ``in:`` or ``out:`` and a path, or ``all``.

    Raises:
        TrialbookError: a point or module does not exist, holds no image tokens, or is named twice.
    """
    paths = Paths(model, architecture.aliases)
    areas = _areas(architecture, paths)
    hooks: list[LayerHook] = []
    for layer in layers:
        hooks += _all(areas, paths) if layer == "all" else [_layer_hook(layer, architecture, areas, paths)]
    if not hooks:
        raise TrialbookError('layers is empty: name points of the model, or "all"')
    names = [hook.name for hook in hooks]
    if twice := [name for name in names if names.count(name) > 1]:
        raise TrialbookError(f"layers names '{twice[0]}' twice")
    return hooks


def connector(model: nn.Module, architecture: Architecture) -> LayerHook | None:
    """The output of the module whose tokens enter the language model; None for a plain vision encoder."""
    if not architecture.connector:
        return None
    paths = Paths(model, architecture.aliases)
    path = paths.find(architecture.connector)
    return LayerHook("connector", "out", path, _area(path, _areas(architecture, paths)))


def _areas(architecture: Architecture, paths: Paths) -> list[Area]:
    """The areas with paths of this model."""
    found = [(area, paths.look_up(area.path)) for area in architecture.areas]
    if lacking := [area.path for area, path in found if path is None]:
        paths.find(lacking[0])
    return [replace(area, path=path or "") for area, path in found]


def _area(path: str, areas: Sequence[Area]) -> Area:
    fitting = [one for one in areas if not one.path or path == one.path or path.startswith(f"{one.path}.")]
    if not fitting:
        known = ", ".join(f"'{area.path}'" for area in areas)
        raise TrialbookError(f"'{path}' holds no image tokens; they pass through {known}")
    return max(fitting, key=lambda one: len(one.path))


def _layer_hook(layer: str, architecture: Architecture, areas: Sequence[Area], paths: Paths) -> LayerHook:
    side, colon, path = architecture.points.get(layer, layer).partition(":")
    if not colon or side not in ("in", "out"):
        near = suggest(layer, architecture.points)
        hint = f"; did you mean '{near}'?" if near else ""
        raise TrialbookError(
            f"layers: '{layer}' is no point of {architecture.name} ({', '.join(architecture.points)}), nor 'in:' or "
            f"'out:' with a module{hint}"
        )
    found = paths.at_depth(path)
    area = _area(found, areas)
    return LayerHook(layer, side, found, area, _block(found, area, paths))


def _all(areas: Sequence[Area], paths: Paths) -> list[LayerHook]:
    """Every block of every area, named by its path."""
    hooks = []
    for area in areas:
        for pattern in area.blocks:
            for path in paths.matching(_joined(area.path, pattern)):
                hooks.append(LayerHook(f"out:{path}", "out", path, area, _block(path, area, paths)))
    return hooks


def block_lists(area: Area, paths: Paths) -> list[list[str]]:
    """The blocks of an area, each list in the order in which they run."""
    return [paths.matching(_joined(area.path, pattern)) for pattern in area.blocks if "*" in pattern]


def _block(path: str, area: Area, paths: Paths) -> int:
    """Number of a block, from 1, among those of its area; 0 if it is none."""
    return next((all_of.index(path) + 1 for all_of in block_lists(area, paths) if path in all_of), 0)


def _joined(path: str, pattern: str) -> str:
    return f"{path}.{pattern}" if path and pattern else path or pattern
