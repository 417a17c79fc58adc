"""Boxes as families of vision-language models write them, and how they are read again."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Family = Literal["qwen", "qwen2", "qwen3", "internvl", "cogvlm", "llava", "kosmos", "paligemma", "florence"]
Box = tuple[float, float, float, float]

_NUMBER = r"\s*(-?\d{1,6}(?:\.\d{1,6})?)\s*"
_LIST = re.compile(r"\[" + ",".join([_NUMBER] * 4) + r"\]")
_PAIRS = re.compile(r"\(" + _NUMBER + "," + _NUMBER + r"\)\s*,?\s*\(" + _NUMBER + "," + _NUMBER + r"\)")
_PATCHES = re.compile(r"<patch_index_(\d{4})>\s*<patch_index_(\d{4})>")
_PLACES = re.compile(r"\s*".join([r"<loc(\d{4})>"] * 4))
_LOCATIONS = re.compile(r"\s*".join([r"<loc_(\d{1,3})>"] * 4))
_SIDE = 32  # patches of Kosmos-2's grid
_BINS = 1024  # of PaliGemma
_THOUSAND = 1000  # parts of a side, and bins of Florence-2


@dataclass(frozen=True)
class BoxText:
    """A family's way to write a box.

    Args:
        write: box (x0, y0, x1, y1 as shares) and height and width of the picture in pixels to text.
        read: text to the first box in it, in the family's own unit; None where there is none.
    """

    write: Callable[[Sequence[float], tuple[int, int]], str]
    read: Callable[[str], Box | None]


def _pixels(box: Sequence[float], size: tuple[int, int]) -> str:
    height, width = size
    numbers = (round(edge * side) for edge, side in zip(box, (width, height, width, height), strict=True))
    return f"[{', '.join(map(str, numbers))}]"


def _thousandths(form: str) -> Callable[[Sequence[float], tuple[int, int]], str]:
    """Writes four numbers from 0 to 1000 into ``form``."""
    return lambda box, size: form.format(*(round(edge * _THOUSAND) for edge in box))


def _shares(box: Sequence[float], size: tuple[int, int]) -> str:
    return f"[{', '.join(f'{edge:.2f}' for edge in box)}]"


def _digits(box: Sequence[float], size: tuple[int, int]) -> str:
    return f"[[{','.join(f'{min(999, max(0, int(edge * 1000))):03d}' for edge in box)}]]"


def _patches(box: Sequence[float], size: tuple[int, int]) -> str:
    left, top = (min(_SIDE - 1, math.floor(edge * _SIDE)) for edge in box[:2])
    right, bottom = (max(low, math.ceil(edge * _SIDE - 1)) for edge, low in zip(box[2:], (left, top), strict=True))
    return f"<object><patch_index_{top * _SIDE + left:04d}><patch_index_{bottom * _SIDE + right:04d}></object>"


def _places(box: Sequence[float], size: tuple[int, int]) -> str:
    x0, y0, x1, y1 = (min(_BINS - 1, max(0, int(edge * _BINS))) for edge in box)
    return "".join(f"<loc{edge:04d}>" for edge in (y0, x0, y1, x1))


def _locations(box: Sequence[float], size: tuple[int, int]) -> str:
    return "".join(f"<loc_{min(_THOUSAND - 1, max(0, int(edge * _THOUSAND)))}>" for edge in box)


def _read_numbers(most: float, pattern: re.Pattern[str] = _LIST) -> Callable[[str], Box | None]:
    """Reads the first four numbers from 0 to ``most`` that stand as ``pattern`` says."""

    def read(text: str) -> Box | None:
        found = pattern.search(text)
        x0, y0, x1, y1 = map(float, found.groups()) if found else (-1.0,) * 4
        return (x0, y0, x1, y1) if found and all(0 <= edge <= most for edge in (x0, y0, x1, y1)) else None

    return read


def _read_patches(text: str) -> Box | None:
    """Corners of the patches where one row or column holds the box, else their centres, as Kosmos-2 reads them."""
    found = _PATCHES.search(text)
    if not found:
        return None
    first, last = int(found[1]), int(found[2])
    if max(first, last) >= _SIDE**2:
        return None
    (top, left), (bottom, right) = divmod(first, _SIDE), divmod(last, _SIDE)
    if top == bottom or left == right:
        return left, top, right + 1.0, bottom + 1.0
    return left + 0.5, top + 0.5, right + 0.5, bottom + 0.5


def _read_places(text: str) -> Box | None:
    found = _PLACES.search(text)
    y0, x0, y1, x1 = map(float, found.groups()) if found else (-1.0,) * 4
    return (x0, y0, x1, y1) if found and max(x0, y0, x1, y1) < _BINS else None


#: Family to how it writes boxes, x before y and as a list where nothing else is said: Qwen2.5-VL in pixels (bare or in JSON);
#: Qwen-VL and Qwen2-VL as two pairs in thousandths; Qwen3-VL as JSON in thousandths; InternVL in thousandths; CogVLM in three
#: digits; LLaVA in shares of the side; Kosmos-2 as patches of 32 × 32; PaliGemma as places in 1024 bins, y before x; Florence-2
#: as places in 1000 bins.
FAMILIES: dict[Family, BoxText] = {
    "qwen": BoxText(_pixels, _read_numbers(math.inf)),
    "qwen2": BoxText(_thousandths("({},{}),({},{})"), _read_numbers(_THOUSAND, _PAIRS)),
    "qwen3": BoxText(_thousandths('{{"bbox_2d": [{}, {}, {}, {}]}}'), _read_numbers(_THOUSAND)),
    "internvl": BoxText(_thousandths("<box>[[{}, {}, {}, {}]]</box>"), _read_numbers(_THOUSAND)),
    "cogvlm": BoxText(_digits, _read_numbers(_THOUSAND - 1)),
    "llava": BoxText(_shares, _read_numbers(1)),
    "kosmos": BoxText(_patches, _read_patches),
    "paligemma": BoxText(_places, _read_places),
    "florence": BoxText(_locations, _read_numbers(_THOUSAND - 1, _LOCATIONS)),
}
