"""A picture to draw generated documents on: themes, fonts that fit, boxes, switches, values that cannot be read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Colour = tuple[int, int, int]


class Box(NamedTuple):
    """A rectangle in pixels: left and top belong to it, right and bottom do not."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """From left to right."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """From top to bottom."""
        return self.bottom - self.top

    def inset(self, x: float, y: float | None = None) -> Box:
        """The box without a margin of ``x`` pixels left and right and ``y`` (or ``x``) above and below."""
        y = x if y is None else y
        return Box(self.left + x, self.top + y, self.right - x, self.bottom - y)

    def rows(self, number: int) -> list[Box]:
        """Equal boxes below each other."""
        step = self.height / number
        return [self._replace(top=self.top + i * step, bottom=self.top + (i + 1) * step) for i in range(number)]

    def columns(self, number: int) -> list[Box]:
        """Equal boxes beside each other."""
        return self.shares([1] * number)

    def shares(self, shares: Iterable[float]) -> list[Box]:
        """Boxes beside each other, as wide as their shares."""
        shares = list(shares)
        edges = [self.left + self.width * sum(shares[:i]) / sum(shares) for i in range(len(shares) + 1)]
        return [self._replace(left=a, right=b) for a, b in pairwise(edges)]

    def below(self, height: float) -> Box:
        """Return what is left without so many pixels at the top."""
        return self._replace(top=self.top + height)

    def upper(self, height: float) -> Box:
        """So many pixels at the top."""
        return self._replace(bottom=self.top + height)


@dataclass(frozen=True)
class Theme:
    """Colours of a document, and the fonts that it is set in."""

    page: Colour
    panel: Colour
    ink: Colour
    muted: Colour
    line: Colour
    accent: Colour
    on_accent: Colour
    font: str = "sans"


THEMES = (
    Theme((255, 255, 255), (244, 246, 249), (24, 28, 36), (96, 104, 118), (206, 211, 220), (36, 90, 180), (255, 255, 255)),
    Theme((250, 247, 239), (255, 253, 247), (48, 40, 32), (120, 108, 92), (214, 204, 186), (140, 70, 30), (255, 250, 240),
        "serif"),
    Theme((30, 33, 40), (42, 46, 56), (236, 238, 242), (160, 166, 178), (74, 80, 94), (92, 150, 250), (16, 20, 28)),
    Theme((238, 243, 240), (255, 255, 255), (20, 44, 36), (92, 116, 106), (196, 212, 204), (20, 120, 92), (255, 255, 255)),
    Theme((255, 255, 255), (248, 248, 248), (0, 0, 0), (90, 90, 90), (170, 170, 170), (60, 60, 60), (255, 255, 255), "mono"),
    Theme((243, 240, 250), (255, 255, 255), (40, 30, 66), (112, 102, 138), (210, 202, 228), (104, 66, 178), (255, 255, 255),
        "times"),
)  # fmt: skip

_FILES = {
    "sans": ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf"),
    "serif": ("DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf"),
    "mono": ("DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf"),
    "times": ("STIXGeneral.ttf", "STIXGeneralBol.ttf"),
}
_MEASURE = 64  # size at which texts are measured
_COVERS = {"patch": (124, 124, 124), "stain": (150, 110, 70)}


class Canvas:
    """A square picture and the pen for it.

    Args:
        size: its side in pixels.
        theme: colours and fonts.
    """

    def __init__(self, size: int, theme: Theme) -> None:
        self.theme = theme
        self.image = Image.new("RGB", (size, size), theme.page)
        self.draw = ImageDraw.Draw(self.image)
        self.box = Box(0, 0, size, size)
        self.line = max(1, round(size / 320))  # width of lines

    def pixels(self) -> NDArray[np.uint8]:
        """The picture, uint8 [3, S, S]."""
        return np.ascontiguousarray(np.asarray(self.image).transpose(2, 0, 1))

    def fill(self, box: Box, colour: Colour, outline: Colour | None = None, radius: float = 0) -> None:
        """A filled rectangle, with round corners where ``radius`` is above 0."""
        corners = [round(box.left), round(box.top), round(box.right) - 1, round(box.bottom) - 1]
        if radius >= 1:
            self.draw.rounded_rectangle(corners, radius, colour, outline, self.line)
        else:
            self.draw.rectangle(corners, colour, outline, self.line)

    def rule(self, box: Box, colour: Colour | None = None) -> None:
        """A line along the lower edge of a box."""
        y = round(box.bottom) - 1
        self.draw.line([round(box.left), y, round(box.right) - 1, y], colour or self.theme.line, self.line)

    def fit(self, texts: Iterable[str], box: Box, *, bold: bool = False, tall: float = 0.68) -> int:
        """The largest font size at which each of the texts fits into the box; at most ``tall`` of its height."""
        return self.fit_of(self.theme.font, texts, box, bold=bold, tall=tall)

    @staticmethod
    def fit_of(font: str, texts: Iterable[str], box: Box, *, bold: bool, tall: float) -> int:
        """The same for a font by name."""
        widest = max((_width(font, bold, text) for text in texts), default=0)
        return max(6, int(min(box.height * tall, box.width * _MEASURE / widest if widest else box.height)))

    def text(
        self, box: Box, text: str, size: int, *, bold: bool = False, colour: Colour | None = None, align: str = "l"
    ) -> Box:
        """Text in the middle of the box's height, at its left, middle or right (``l``, ``m``, ``r``); where it is."""
        x = {"l": box.left, "m": (box.left + box.right) / 2, "r": box.right}[align]
        y = (box.top + box.bottom) / 2
        font = _font(self.theme.font, bold, size)
        self.draw.text((x, y), text, colour or self.theme.ink, font, f"{align}m")
        width = font.getlength(text)
        left = x - {"l": 0, "m": width / 2, "r": width}[align]
        return Box(left, y - size * 0.6, left + width, y + size * 0.6)

    def cross(self, bar: Box, colour: Colour) -> None:
        """A cross at the right end of a bar, as windows are closed with."""
        box = bar._replace(left=bar.right - bar.height).inset(bar.height * 0.32)
        self.draw.line([box.left, box.top, box.right, box.bottom], colour, self.line)
        self.draw.line([box.left, box.bottom, box.right, box.top], colour, self.line)

    def switch(self, box: Box, on: bool) -> Box:
        """A switch at the right of the box; where it is."""
        height = min(box.height * 0.62, box.width / 1.8)
        place = self._right_of(box, height * 1.8, height)
        self.fill(place, (46, 160, 67) if on else (150, 154, 162), radius=height / 2)
        knob = height * 0.34
        x, y = (place.right if on else place.left) + (-1 if on else 1) * height / 2, (place.top + place.bottom) / 2
        self.draw.ellipse([x - knob, y - knob, x + knob, y + knob], (255, 255, 255))
        return place

    def tick(self, box: Box, on: bool) -> Box:
        """A box to tick at the right of the box; where it is."""
        side = min(box.height * 0.7, box.width)
        place = self._right_of(box, side, side)
        self.fill(place, self.theme.panel, self.theme.ink, radius=side / 8)
        if on:
            points = [(0.2, 0.52), (0.42, 0.76), (0.82, 0.26)]
            width = max(2, round(side / 7))
            ends = [(place.left + x * side, place.top + y * side) for x, y in points]
            self.draw.line(ends, self.theme.accent, width, joint="curve")
        return place

    def swatch(self, box: Box, colour: Colour) -> Box:
        """A patch of colour at the right of the box; where it is."""
        height = box.height * 0.74
        place = self._right_of(box, min(box.width, height * 1.5), height)
        self.fill(place, colour, self.theme.ink)
        return place

    def hide(self, box: Box, how: str) -> None:
        """Make what is in the box unreadable: ``blur`` it, or cover it with a ``patch`` or a ``stain``."""
        place = Box(*(round(edge) for edge in box.inset(-2, -1)))
        if how == "blur":
            area = (max(0, int(place.left)), max(0, int(place.top)), int(place.right), int(place.bottom))
            part = self.image.crop(area)
            coarse = part.resize((max(2, part.width * 2 // max(3, part.height)), 2), Image.Resampling.BOX)
            smooth = coarse.resize(part.size, Image.Resampling.BILINEAR)
            self.image.paste(smooth.filter(ImageFilter.GaussianBlur(max(1, part.height / 8))), area[:2])
            return
        self.fill(place, _COVERS[how], radius=place.height / 3 if how == "stain" else 0)
        step = max(3, place.height / 4)
        dark = tuple(channel // 2 for channel in _COVERS[how])
        for n in range(1, int((place.width + place.height) / step) + 1):
            start = place.left + n * step
            a = (min(start, place.right - 1), place.top + max(0, start - place.right + 1))
            b = (max(place.left, start - place.height), min(place.bottom - 1, place.top + start - place.left))
            self.draw.line([a, b], dark, self.line)

    def _right_of(self, box: Box, width: float, height: float) -> Box:
        middle = (box.top + box.bottom) / 2
        return Box(*(round(v) for v in (box.right - width, middle - height / 2, box.right, middle + height / 2)))


@lru_cache(maxsize=512)
def _font(family: str, bold: bool, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """A font that comes with matplotlib, or PIL's own where it is not there; no font of the system, which others lack."""
    folder = _font_folder()
    if folder is not None:
        return ImageFont.truetype(str(folder / _FILES[family][bold]), size, layout_engine=ImageFont.Layout.BASIC)
    return ImageFont.load_default(size)


@lru_cache(maxsize=1)
def _font_folder() -> Path | None:
    """Return where matplotlib's fonts lie; found without importing it, which is slow."""
    from importlib.util import find_spec

    found = find_spec("matplotlib")
    folder = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" if found and found.origin else None
    return folder if folder and all((folder / file).is_file() for pair in _FILES.values() for file in pair) else None


@lru_cache(maxsize=1 << 14)
def _width(family: str, bold: bool, text: str) -> float:
    return _font(family, bold, _MEASURE).getlength(text)
