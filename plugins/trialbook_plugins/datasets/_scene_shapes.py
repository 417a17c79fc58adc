"""Drawing of scenes: which objects there are, and their pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (225, 40, 40),
    "orange": (250, 145, 20),
    "yellow": (245, 225, 50),
    "green": (40, 165, 60),
    "cyan": (60, 215, 225),
    "blue": (50, 80, 225),
    "purple": (145, 50, 185),
    "white": (245, 245, 245),
}
SIZES: dict[str, float] = {"small": 0.60, "large": 0.88}  # radius as a share of half a grid cell
_GREY = (20, 110)  # shades of the background
_CHUNK = 1024  # scenes drawn at once: bounds the memory of the distance fields


def _length(x: Floats, y: Floats) -> Floats:
    length: Floats = np.sqrt(x * x + y * y)  # correctly rounded operations only: the same bits on every machine
    return length


def _circle(x: Floats, y: Floats, r: Floats) -> Floats:
    return _length(x, y) - r


def _square(x: Floats, y: Floats, r: Floats) -> Floats:
    distance: Floats = _larger(np.abs(x), np.abs(y)) - np.float32(0.85) * r
    return distance


def _triangle(x: Floats, y: Floats, r: Floats) -> Floats:
    side = (2 * np.abs(x) - y - r) / np.float32(np.sqrt(5))  # from the tip (0, -r) to the corners (±r, r)
    return _larger(side, y - r)


def _diamond(x: Floats, y: Floats, r: Floats) -> Floats:
    distance: Floats = (np.abs(x) + np.abs(y) - r) / np.float32(np.sqrt(2))
    return distance


def _cross(x: Floats, y: Floats, r: Floats) -> Floats:
    x, y, bar = np.abs(x), np.abs(y), np.float32(0.34) * r
    return -_larger(-_larger(x - bar, y - r), -_larger(x - r, y - bar))


def _ring(x: Floats, y: Floats, r: Floats) -> Floats:
    distance: Floats = np.abs(_circle(x, y, np.float32(0.75) * r)) - np.float32(0.25) * r
    return distance


def _larger(a: Floats, b: Floats) -> Floats:
    return np.asarray(np.maximum(a, b), dtype=np.float32)


#: Name to signed distance (negative inside) of offsets x, y in pixels from the centre, y downwards, for radius r.
SHAPES: dict[str, Callable[[Floats, Floats, Floats], Floats]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "diamond": _diamond,
    "cross": _cross,
    "ring": _ring,
}
_EXTENT = {"square": 0.85}  # half the side of the bounding box as a share of r, where it is not 1


@dataclass(frozen=True)
class Layout:
    """The layout of G scenes with up to K objects; rows [G, K], of which the first ``count`` are there.

    Args:
        count: objects of every scene [G].
        shape: index into ``SHAPES``.
        colour: index into ``COLOURS``.
        size: index into ``SIZES``.
        cell: grid cell, row by row from the top left.
        centre: x and y in pixels [G, K, 2].
        radius: in pixels.
        grey: background shade of every scene [G].
        grid: cells a side.
    """

    count: Ints
    shape: Ints
    colour: Ints
    size: Ints
    cell: Ints
    centre: Floats
    radius: Floats
    grey: Ints
    grid: int

    def replace(self, scenes: list[int], others: Layout) -> None:
        """Put ``others`` in the place of ``scenes``."""
        for part in fields(self):
            if part.name != "grid":
                getattr(self, part.name)[scenes] = getattr(others, part.name)

    def boxes(self, scene: int) -> Floats:
        """Bounding boxes of one scene's objects: x0, y0, x1, y1 in pixels [n, 4]."""
        n = self.count[scene]
        names = list(SHAPES)
        extent = np.array([_EXTENT.get(names[shape], 1.0) for shape in self.shape[scene, :n]], dtype=np.float32)
        half = (self.radius[scene, :n] * extent)[:, None]
        return np.concatenate([self.centre[scene, :n] - half, self.centre[scene, :n] + half], axis=1)


def draw_layouts(
    rng: np.random.Generator, scenes: int, side: int, grid: int, objects: tuple[int, int], jitter: float
) -> Layout:
    """Random layouts: objects in different cells, their attributes independent and uniform.

    Args:
        rng: source of all draws.
        scenes: how many.
        side: width and height of a picture in pixels.
        grid: cells a side.
        objects: fewest and most objects; a count of n is n times as likely as a count of 1.
        jitter: largest offset of a centre from its cell's, as a share of the room that the object leaves in its cell.
    """
    fewest, most = objects
    counts = np.arange(fewest, most + 1)
    shape = (scenes, most)
    cell = np.argsort(rng.random((scenes, grid * grid)), axis=1)[:, :most]
    size = rng.integers(len(SIZES), size=shape)
    half_cell = side / grid / 2
    radius = np.array(list(SIZES.values()))[size] * half_cell
    slack = (half_cell - radius)[..., None] * jitter
    middle = np.stack([cell % grid, cell // grid], axis=-1) * 2 * half_cell + half_cell
    return Layout(
        count=rng.choice(counts, size=scenes, p=counts / counts.sum()),
        shape=rng.integers(len(SHAPES), size=shape),
        colour=rng.integers(len(COLOURS), size=shape),
        size=size,
        cell=cell,
        centre=(middle + slack * rng.uniform(-1, 1, (*shape, 2))).astype(np.float32),
        radius=radius.astype(np.float32),
        grey=rng.integers(*_GREY, size=scenes),
        grid=grid,
    )


def draw_pictures(layout: Layout, side: int) -> NDArray[np.uint8]:
    """Pictures [G, 3, side, side] of the layouts; edges are antialiased by the distance of a pixel's centre."""
    pictures = np.empty((len(layout.count), 3, side, side), dtype=np.uint8)
    for start in range(0, len(pictures), _CHUNK):
        _draw_chunk(layout, slice(start, start + _CHUNK), pictures[start : start + _CHUNK])
    return pictures


def _draw_chunk(layout: Layout, chunk: slice, out: NDArray[np.uint8]) -> None:
    pixels = np.arange(out.shape[-1], dtype=np.float32) + np.float32(0.5)
    canvas = np.broadcast_to(layout.grey[chunk, None, None, None], out.shape).astype(np.float32)
    palette = np.array(list(COLOURS.values()), dtype=np.float32)
    for place in range(layout.shape.shape[1]):
        there = layout.count[chunk] > place
        for index, distance in enumerate(SHAPES.values()):
            scenes = np.flatnonzero(there & (layout.shape[chunk, place] == index))
            centre = layout.centre[chunk][scenes, place, :, None]
            x, y = pixels - centre[:, 0], pixels - centre[:, 1]
            radius = layout.radius[chunk][scenes, place, None, None]
            cover = np.clip(0.5 - distance(x[:, None, :], y[:, :, None], radius), 0, 1)[:, None]
            paint = palette[layout.colour[chunk][scenes, place]][:, :, None, None]
            canvas[scenes] += cover * (paint - canvas[scenes])
    out[:] = np.rint(canvas)
