"""Sentences about scenes: the same objects in different words and orders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np

from trialbook_plugins.datasets._scene_shapes import COLOURS, SHAPES, SIZES, Layout

_SIZE_WORDS = {"small": ("small", "little"), "large": ("large", "big")}
_ROWS = {2: (("top", "upper"), ("bottom", "lower")), 3: (("top", "upper"), ("middle", "middle"), ("bottom", "lower"))}
_COLUMNS = {2: ("left", "right"), 3: ("left", "centre", "right")}
_COUNTS = {1: "one object", 2: "two objects", 3: "three objects"}

#: Cells a side for which there are words.
GRIDS = tuple(_ROWS)

Draw = Callable[[], int]  # 0 or 1: which of two synonyms


class Object(NamedTuple):
    """An object in words: two ways to say what it is, two to say where, and its cell's row and column."""

    things: tuple[str, str]
    places: tuple[str, str]
    row: int
    column: int


def _listed(items: Sequence[Object], draw: Draw) -> str:
    return _series([f"a {item.things[draw()]} at the {item.places[draw()]}" for item in items])


def _there_is(items: Sequence[Object], draw: Draw) -> str:
    return _series([f"in the {item.places[draw()]} there is a {item.things[draw()]}" for item in items])


def _counted(items: Sequence[Object], draw: Draw) -> str:
    parts = [f"{item.things[draw()]} {item.places[draw()]}" for item in items]
    return f"{_COUNTS[len(items)]}: {', '.join(parts)}"


def _related(items: Sequence[Object], draw: Draw) -> str:
    """Each object to the one before it; a single one to the picture."""
    first = items[0]
    said = f"the {first.things[draw()]} in the {first.places[draw()]}"
    if len(items) == 1:
        return f"{said} is alone"
    for before, item in pairwise(items):
        link = "is" if before is first else "which is"
        said += f" {link} {_relation(before, item, draw)} a {item.things[draw()]} in the {item.places[draw()]}"
    return said


def _relation(first: Object, second: Object, draw: Draw) -> str:
    """Say how ``first`` lies to ``second``, along the axis on which they are further apart."""
    down, right = first.row - second.row, first.column - second.column
    if abs(down) >= abs(right):
        return (("above", "over"), ("below", "under"))[down > 0][draw()]
    return (("left of", "to the left of"), ("right of", "to the right of"))[right > 0][draw()]


def _series(parts: Sequence[str]) -> str:
    """Parts as a list in words: "a, b and c"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


TEMPLATES: tuple[Callable[[Sequence[Object], Draw], str], ...] = (_listed, _there_is, _related, _counted)


def write_captions(rng: np.random.Generator, layout: Layout, each: int) -> list[list[str]]:
    """``each`` sentences about every scene, each from another template (``each`` is at most their number).

    Every sentence names size, colour, shape and place of every object, in an order and in words of its own.
    """
    scenes, most = layout.shape.shape
    things, places = _things(), _places(layout.grid)
    kinds = (layout.size * len(COLOURS) + layout.colour) * len(SHAPES) + layout.shape
    orders: list[list[list[int]]] = np.argsort(rng.random((scenes, each, most)), axis=2).tolist()
    words: list[list[int]] = rng.integers(1 << 62, size=(scenes, each)).tolist()
    start: list[int] = rng.integers(len(TEMPLATES), size=(scenes,)).tolist()
    captions = []
    for scene in range(scenes):
        count = int(layout.count[scene])
        rows = zip(kinds[scene].tolist(), layout.cell[scene].tolist(), strict=True)
        objects = [Object(things[kind], places[cell], *divmod(cell, layout.grid)) for kind, cell in rows]
        said = []
        for number, order in enumerate(orders[scene]):
            template = TEMPLATES[(start[scene] + number) % len(TEMPLATES)]
            said.append(template([objects[i] for i in order if i < count], _draws(words[scene][number])))
        captions.append(said)
    return captions


def _things() -> list[tuple[str, str]]:
    """Both ways to say what an object is, "small red circle", by size, colour and shape."""
    named = ((*_SIZE_WORDS[size], f"{colour} {shape}") for size, colour, shape in product(SIZES, COLOURS, SHAPES))
    return [(f"{small} {name}", f"{little} {name}") for small, little, name in named]


def _places(grid: int) -> list[tuple[str, str]]:
    """Both ways to say where a cell is, "top left", row by row."""
    return [(f"{top} {side}", f"{upper} {side}") for top, upper in _ROWS[grid] for side in _COLUMNS[grid]]


def _draws(bits: int) -> Draw:
    """Zeros and ones, taken bit by bit from one random integer."""

    def draw() -> int:
        nonlocal bits
        bits, bit = divmod(bits, 2)
        return bit

    return draw
