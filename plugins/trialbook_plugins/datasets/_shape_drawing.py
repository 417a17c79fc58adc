"""Pictures of a few hard-edged shapes whose boxes and masks are exact to the pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (235, 60, 60), "orange": (250, 145, 20), "yellow": (245, 225, 50), "green": (50, 190, 80),
    "cyan": (60, 215, 225), "blue": (80, 110, 240), "purple": (180, 80, 225), "white": (245, 245, 245),
}  # fmt: skip
_GREY = (
    10,
    61,
)  # shades of the background: every colour is brighter, so that brightness alone tells what is foreground
_CLUTTER = (4, 13)  # strokes behind the objects where there is clutter


Floats = NDArray[np.float64]
_ROUNDING = 1e-9


def _circle(x: Floats, y: Floats, half: float) -> Mask:
    return x * x + y * y <= 1 + half * half + _ROUNDING


def _square(x: Floats, y: Floats, half: float) -> Mask:
    return np.maximum(np.abs(x), np.abs(y)) <= 1 + half


def _triangle(x: Floats, y: Floats, half: float) -> Mask:
    return 2 * np.abs(x) <= y + 1 + 2 * half + _ROUNDING


def _diamond(x: Floats, y: Floats, half: float) -> Mask:
    return np.abs(x) + np.abs(y) <= 1 + half + _ROUNDING


def _cross(x: Floats, y: Floats, half: float) -> Mask:
    return np.minimum(np.abs(x), np.abs(y)) <= 0.4


#: Name to what is inside: offsets from the centre to pixels' centres, -1 to 1, and half a pixel, by which tips of an even width
#: are widened, so that all touch all four sides of their box.
SHAPES: dict[str, Callable[[Floats, Floats, float], Mask]] = {
    "circle": _circle, "square": _square, "triangle": _triangle, "diamond": _diamond, "cross": _cross,
}  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """One object: which shape and colour (indices), its left and upper edge and its width and height in pixels."""

    kind: int
    colour: int
    left: int
    top: int
    width: int
    height: int

    def stencil(self) -> Mask:
        """Its pixels within its box [height, width]."""
        x, y = (np.linspace(-1, 1, side) for side in (self.width, self.height))
        half = 1 / max(self.width - 1, 1)
        inside: Mask = list(SHAPES.values())[self.kind](x[None, :], y[:, None], half)
        return inside

    def moved(self, right: int, down: int) -> Shape:
        """The same object elsewhere."""
        return Shape(self.kind, self.colour, self.left + right, self.top + down, self.width, self.height)

    def mask(self, size: int) -> Mask:
        """Its pixels within a picture [size, size]."""
        mask = np.zeros((size, size), dtype=bool)
        mask[self.top : self.top + self.height, self.left : self.left + self.width] = self.stencil()
        return mask


@dataclass(frozen=True)
class Scene:
    """Objects that do not touch on a grey background; ``clutter`` seeds the strokes behind them, None leaves them out."""

    objects: tuple[Shape, ...]
    grey: int
    clutter: int | None = None

    def draw(self, size: int) -> NDArray[np.uint8]:
        """RGB picture [3, size, size]."""
        picture = np.full((3, size, size), self.grey, dtype=np.uint8)
        if self.clutter is not None:
            _draw_strokes(picture, self.clutter)
        palette = list(COLOURS.values())
        for one in self.objects:
            region = picture[:, one.top : one.top + one.height, one.left : one.left + one.width]
            region[:, one.stencil()] = np.array(palette[one.colour], dtype=np.uint8)[:, None]
        return picture

    def boxes(self, size: int) -> NDArray[np.float64]:
        """Boxes [n, 4]: x0, y0, x1, y1 as shares of the picture's side."""
        edges = [(o.left, o.top, o.left + o.width, o.top + o.height) for o in self.objects]
        return np.array(edges, dtype=np.float64).reshape(-1, 4) / size


def draw_scene(
    rng: np.random.Generator, size: int, count: int, sides: tuple[int, int], gap: int, clutter: bool, margin: int = 0
) -> Scene | None:
    """A random scene, or None where the objects that were drawn found no room.

    Args:
        rng: source of all draws.
        size: side of the picture in pixels.
        count: number of objects.
        sides: smallest and largest side of an object in pixels.
        gap: least distance of two objects in pixels.
        clutter: strokes behind the objects.
        margin: pixels that are kept free between objects and the edges of the picture.
    """
    placed: list[Shape] = []
    for side in sorted(rng.integers(sides[0], sides[1] + 1, size=count).tolist(), reverse=True):
        kind, colour = int(rng.integers(len(SHAPES))), int(rng.integers(len(COLOURS)))
        for _ in range(50):
            left, top = (int(v) for v in rng.integers(margin, size - side - margin + 1, size=2))
            shape = Shape(kind, colour, left, top, side, side)
            if not any(_touch(shape, other, gap) for other in placed):
                placed.append(shape)
                break
        else:
            return None
    order = rng.permutation(count)
    seed = int(rng.integers(1 << 31))
    return Scene(tuple(placed[i] for i in order), int(rng.integers(*_GREY)), seed if clutter else None)


def _touch(a: Shape, b: Shape, gap: int) -> bool:
    return (
        a.left < b.left + b.width + gap
        and b.left < a.left + a.width + gap
        and a.top < b.top + b.height + gap
        and b.top < a.top + a.height + gap
    )


def _draw_strokes(picture: NDArray[np.uint8], seed: int) -> None:
    """Dim bars of muted colours, darker than any object."""
    rng = np.random.default_rng(seed)
    size = picture.shape[1]
    for _ in range(int(rng.integers(*_CLUTTER))):
        long, thin = int(rng.integers(size // 8, size // 2)), int(rng.integers(1, max(2, size // 24)))
        width, height = (long, thin) if rng.random() < 0.5 else (thin, long)
        left, top = int(rng.integers(size - width + 1)), int(rng.integers(size - height + 1))
        colour = rng.integers(20, 100, size=3, dtype=np.uint8)
        picture[:, top : top + height, left : left + width] = colour[:, None, None]
