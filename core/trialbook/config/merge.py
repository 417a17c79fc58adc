"""Laying tables over tables. Positions travel with the values, and nothing is changed in place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

from trialbook.config.toml import Document, KeyPath
from trialbook.errors import Position, TrialbookError

#: Top-level tables that hold changes to the file rather than configuration.
VARIANTS = ("arm", "grid", "profile")


def overlay(base: Document, top: Document) -> Document:
    """``top`` merged over ``base``.

    A table merges into the one below it, unless both name a component after ``use`` and it is another: then it replaces
    the table whole. Any other value, and every array, replaces what was there.
    """
    positions = dict(base.positions)
    data = _merged(base.data, top.data, (), positions, top.positions)
    return Document(data, positions, top.comment or base.comment)


def decide(document: Document, layer: Document) -> Document:
    """``layer`` (a profile) merged over ``document`` so that its keys hold in every arm and at every point of the grid.

    Where an arm sets one of them, the layer's value takes its place; where it names another component than the layer
    does, the arm's whole table goes. Keys of the grid that the layer sets are no longer gone through.
    """
    general = {key: value for key, value in layer.data.items() if key not in VARIANTS}
    for path in leaves(general):
        document = _hold_in_variants(document, path, lookup(general, path), layer.positions[path])
    return overlay(document, layer)


def decide_key(document: Document, path: Sequence[str], value: Any, position: Position) -> Document:
    """``document`` with one key set (``--set``), in every arm and at every point of the grid; see ``decide``.

    Raises:
        TrialbookError: the path goes through a value that is no table, or to an element that an array does not have.
    """
    if path[0] not in VARIANTS:
        document = _hold_in_variants(document, tuple(path), value, position)
    return assign(document, path, value, position)


def assign(document: Document, path: Sequence[str], value: Any, position: Position) -> Document:
    """``document`` with the value at ``path`` set; numbers in the path count the elements of arrays.

    Raises:
        TrialbookError: the path goes through a value that is no table, or to an element that an array does not have.
    """
    data, positions = deepcopy(document.data), dict(document.positions)
    node: Any = data
    at: KeyPath = ()
    for part in path[:-1]:
        key = _key(node, part, at)
        at = (*at, key)
        if isinstance(node, dict) and key not in node:
            node[key] = {}
            positions[at] = position
        node = node[key]
    last = _key(node, path[-1], at)
    path_to_value = (*at, last)
    if last == "use" and node.get("use", value) != value:
        node.clear()
        _forget(positions, at)
        positions[at] = position
    node[last] = value
    _forget(positions, path_to_value)
    positions[path_to_value] = position
    return Document(data, positions, document.comment)


def subtree(document: Document, *path: str) -> Document:
    """The table at ``path`` as a document of its own; empty where there is none."""
    found = lookup(document.data, path)
    if not isinstance(found, dict):
        return Document()
    depth = len(path)
    positions = {
        at[depth:]: place for at, place in document.positions.items() if at[:depth] == path and len(at) > depth
    }
    return Document(found, positions)


def select(document: Document, keep: Mapping[str, Any]) -> Document:
    """The document with these top-level tables and keys only."""
    data = {key: value for key, value in document.data.items() if key in keep}
    positions = {at: place for at, place in document.positions.items() if at[0] in data}
    return Document(data, positions, document.comment)


def without(document: Document, path: KeyPath) -> Document:
    """The document without what stands at ``path``; tables that this leaves empty stay."""
    if lookup(document.data, path) is None:
        return document
    data, positions = deepcopy(document.data), dict(document.positions)
    del lookup(data, path[:-1])[path[-1]]
    _forget(positions, path)
    return Document(data, positions, document.comment)


def lookup(data: Any, path: Sequence[str | int]) -> Any:
    """Return what stands at ``path``; None where there is nothing."""
    for part in path:
        inside = part in data if isinstance(data, dict) else isinstance(data, list) and isinstance(part, int)
        if not inside:
            return None
        data = data[part]
    return data


def leaves(table: Mapping[str, Any], at: KeyPath = ()) -> Iterator[KeyPath]:
    """Paths of all values that are no tables."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, (*at, key))
        else:
            yield (*at, key)


def position_of(document: Document, path: KeyPath) -> Position | None:
    """Return where ``path`` was written, or the nearest table around it."""
    for depth in range(len(path), 0, -1):
        if path[:depth] in document.positions:
            return document.positions[path[:depth]]
    return None


def _merged(
    base: Mapping[str, Any],
    top: Mapping[str, Any],
    at: KeyPath,
    positions: dict[KeyPath, Position],
    own: Mapping[KeyPath, Position],
) -> dict[str, Any]:
    data = dict(base)
    for key, value in top.items():
        path = (*at, key)
        below = data.get(key)
        if (
            isinstance(below, dict)
            and isinstance(value, dict)
            and value.get("use", below.get("use")) == below.get("use")
        ):
            data[key] = _merged(below, value, path, positions, own)
            continue
        data[key] = value
        if key in base:
            _forget(positions, path)
        positions.update({p: place for p, place in own.items() if p[: len(path)] == path})
    return data


def _hold_in_variants(document: Document, path: KeyPath, value: Any, position: Position) -> Document:
    """Let ``value`` stand in every arm that sets ``path``, and drop it from the grid."""
    steps = [str(part) for part in path]
    array = next((path[:n] for n, part in enumerate(steps) if part.isdecimal()), path)
    for name in document.data.get("arm", {}):
        said = lookup(document.data, ("arm", name, *array))
        if said is None:
            continue
        if path[-1] == "use" and array == path:  # another component: what the arm says of it does not apply
            document = without(document, ("arm", name, *path[:-1])) if said != value else document
        elif len(path) == 1:  # an array of tables: that of the layer is seen through the arm
            document = without(document, ("arm", name, *path))
        else:
            document = assign(document, ("arm", name, *steps), value, position)
    return without(document, ("grid", ".".join(steps)))


def _key(node: Any, part: str, at: KeyPath) -> str | int:
    """``part`` as a key of a table or an index of an array."""
    place = ".".join(str(one) for one in at)
    if isinstance(node, dict):
        return part
    if not isinstance(node, list):
        raise TrialbookError(f"'{place}' is a value, not a table: '{part}' cannot be set in it")
    if not part.isdecimal():
        raise TrialbookError(f"'{place}' is an array: count its elements from 0, as in '{place}.0.{part}'")
    if int(part) >= len(node):
        raise TrialbookError(f"'{place}' has no element {part}; it has {len(node)}, counted from 0")
    return int(part)


def _forget(positions: dict[KeyPath, Position], path: KeyPath) -> None:
    """Drop the positions of ``path`` and of everything in it."""
    for at in [at for at in positions if at[: len(path)] == path]:
        del positions[at]
