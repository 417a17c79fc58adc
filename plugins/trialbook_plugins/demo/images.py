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
from trialbook.contracts.pictures import UnknownRangeError, to_rgb

Made = TypeVar("Made")

#: The only decoders that are tried; what some phones write as MPO is read by that of JPEG.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
#: Most megapixels that Pillow opens, whatever else is allowed.
MOST_MEGAPIXELS = 178.0
_MILLION = 1_000_000


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
    except UnknownRangeError as error:
        raise BadPicture(f"the picture cannot be read: {error}") from error
    except MemoryError as error:
        raise BadPicture("there is not enough memory for this picture; scale it down") from error
    except Exception as error:  # decoders raise nearly anything at broken data: struct.error, SyntaxError, IndexError …
        raise BadPicture(f"the picture is broken or cut off ({str(error)[:80] or type(error).__name__})") from error


def _decode(image: Image.Image) -> ReadPicture:
    animated = image.format != "MPO" and getattr(image, "is_animated", False)
    pixels = np.ascontiguousarray(np.asarray(to_rgb(image)).transpose(2, 0, 1))
    return ReadPicture(pixels, ("the file is animated: only its first picture is read",) if animated else ())
