"""Pictures from outside, read with care: no pixel is decoded before format and size are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from trialbook import TrialbookError

Made = TypeVar("Made")

#: The only decoders that are tried; what some phones write as MPO is read by that of JPEG.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
#: Most megapixels that Pillow opens, whatever else is allowed.
MOST_MEGAPIXELS = 178.0
_MILLION = 1_000_000
#: Number of the orientation in EXIF data.
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip


class BadPicture(TrialbookError):
    """A file that is not taken as a picture; the message says why, to whoever sent it."""


@dataclass(frozen=True)
class Limits:
    """The limits of what is taken.

    Args:
        megapixels: most pixels of a picture, in millions; at most ``MOST_MEGAPIXELS``.
        size: most bytes of its file.
    """

    megapixels: float = 50.0
    size: int = 20 * _MILLION


@dataclass(frozen=True)
class ReadPicture:
    """A picture as models take it.

    Args:
        pixels: uint8 [3, H, W], upright, on white where it was transparent.
        remarks: what was done to it that whoever sent it should know.
    """

    pixels: NDArray[np.uint8]
    remarks: tuple[str, ...] = ()


def read_picture(file: Path, limits: Limits | None = None) -> ReadPicture:
    """Read a file that may hold anything.

    Raises:
        BadPicture: it is too large in bytes or pixels, no picture of a known format, or broken.
    """
    limits = limits or Limits()
    size = file.stat().st_size
    if size > limits.size:
        raise BadPicture(f"the file has {size / _MILLION:.1f} MB; at most {limits.size / _MILLION:g} MB are taken")
    if not size:
        raise BadPicture("the file is empty")
    with _guarded(lambda: Image.open(file, formats=FORMATS), limits) as image:
        pixels = image.width * image.height
        if pixels > limits.megapixels * _MILLION:
            raise BadPicture(
                f"the picture has {image.width} × {image.height} pixels, {pixels / _MILLION:.4g} megapixels; "
                f"at most {limits.megapixels:g} are taken"
            )
        return _guarded(lambda: _decode(image), limits)


def _guarded(make: Callable[[], Made], limits: Limits) -> Made:
    """Return what ``make`` gives; whatever a decoder raises at a hostile file becomes a sentence."""
    try:
        return make()
    except UnidentifiedImageError as error:
        raise BadPicture("the file is no picture that can be read: PNG, JPEG, WebP, GIF or BMP") from error
    except Image.DecompressionBombError as error:
        raise BadPicture(
            f"the picture has more than {MOST_MEGAPIXELS:g} megapixels; at most {limits.megapixels:g} are taken"
        ) from error
    except MemoryError as error:
        raise BadPicture("there is not enough memory for this picture; scale it down") from error
    except Exception as error:  # decoders raise nearly anything at broken data: struct.error, SyntaxError, IndexError …
        raise BadPicture(f"the picture is broken or cut off ({str(error)[:80] or type(error).__name__})") from error


def _decode(image: Image.Image) -> ReadPicture:
    animated = image.format != "MPO" and getattr(image, "is_animated", False)
    image.load()
    turn = _TURNS.get(_orientation(image))
    upright = _rgb(image if turn is None else image.transpose(turn))
    pixels = np.ascontiguousarray(np.asarray(upright).transpose(2, 0, 1))
    return ReadPicture(pixels, ("the file is animated: only its first picture is read",) if animated else ())


def _orientation(image: Image.Image) -> int:
    """1 to 8 as EXIF has it; 1 where the data are missing or broken."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a picture is worth more than its EXIF data
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    """8 bits for each of three colours; on white, as paper is, where it is transparent."""
    if image.mode.startswith("I;16") or image.mode == "I":
        values = np.asarray(image).astype(np.int64)  # Pillow's own conversion cuts everything above 255 off
        return Image.fromarray(np.clip(values >> 8, 0, 255).astype(np.uint8)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        whole = image.convert("RGBA")
        paper = Image.new("RGB", whole.size, "white")
        paper.paste(whole, mask=whole)
        return paper
    return image.convert("RGB")
