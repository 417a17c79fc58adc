"""Pictures of any mode as 8 bits of red, green and blue: the one decoder of training, the demo and pages."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

#: What Pillow's decoders raise at broken pictures.
UNREADABLE = (
    OSError, ValueError, SyntaxError, LookupError, TypeError, AttributeError, ArithmeticError, EOFError, struct.error, zlib.error,
    Image.DecompressionBombError,
)  # fmt: skip
#: A picture whose brightest value lies below this share of its range is read with the wrong range, or nearly black.
_DIM = 0.25
_ORIENTATION = 0x0112
_BITS_PER_SAMPLE = 258
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip


class UnknownRangeError(ValueError):
    """A picture does not say which of its values is white, and its values leave that open."""


def to_rgb(picture: Image.Image) -> Image.Image:
    """An opened picture as RGB: upright by its EXIF orientation, on white where it is transparent.

    Values of more than 8 bits are scaled by the range that the file has: the bits of a sample in TIFF, the largest value in
    PGM, else 16 bits. Whole numbers of 32 bits are taken for 8 or 16 bits where they fit, floats for shares (0 to 1) or 8
    bits.

    Raises:
        UnknownRangeError: the range of the values cannot be told, as of 12 bits in a container of 16.
        OSError: the picture is broken or cut off.
    """
    raw = " ".join(str(tile[3]) for tile in getattr(picture, "tile", ()))  # gone once the pixels are loaded
    bits = _bits(picture)
    turn = _TURNS.get(orientation(picture))
    upright = picture if turn is None else picture.transpose(turn)
    if upright.mode == "F":
        return _from_floats(np.asarray(upright))
    if upright.mode.startswith("I"):
        return _from_integers(np.asarray(upright), upright.mode, raw, bits, declared=picture.format == "PPM")
    coloured = _on_white(upright)
    if ";16" in raw and upright.mode != "CMYK":  # Pillow keeps the upper 8 of 16 bits
        _refuse_dim(np.asarray(coloured), 255, "16-bit")
    return coloured


def orientation(picture: Image.Image) -> int:
    """Return how a picture is turned, 1 to 8 as in EXIF; 1 where its EXIF data are missing or broken."""
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except UNREADABLE:  # broken EXIF data; a picture is worth more than these
        return 1


def check_picture(data: bytes) -> None:
    """Check that an encoded picture is whole and can be decoded; pixels are decoded only where a look at the bytes leaves doubt.

    Raises:
        One of ``UNREADABLE``: it cannot.
    """
    with Image.open(io.BytesIO(data)) as opened:
        deep = opened.mode[0] in "IF" or any(";16" in str(tile[3]) for tile in getattr(opened, "tile", ()))
        if not deep and _looks_whole(opened, data):
            return
    with Image.open(io.BytesIO(data)) as opened:
        to_rgb(opened)


def describe_unreadable(error: BaseException, data: bytes | None = None) -> str:
    """Return why a picture cannot be read, in words.

    Args:
        error: what was raised.
        data: the bytes of the file, where there are some.
    """
    start = data[:512].lstrip().lower() if data is not None else None
    if start == b"" and not data:
        return "the file is empty"
    if start is not None and start.startswith((b"<!doctype html", b"<html")):
        return "the file holds a web page (HTML) and no picture"
    if isinstance(error, UnidentifiedImageError):
        return "the file is no picture of a known format, or is cut off at its begin"
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _looks_whole(picture: Image.Image, data: bytes) -> bool:
    """Return whether the checksums or the end of a file say that it is whole; False where they leave that open."""
    if picture.format == "PNG":
        try:
            picture.verify()
        except UNREADABLE:
            return False
        return True
    return picture.format == "JPEG" and data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")


def _on_white(picture: Image.Image) -> Image.Image:
    if "A" in picture.getbands() or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return picture.convert("RGB")


def _bits(picture: Image.Image) -> int:
    """Bits of a sample as a TIFF file has them; 16 for others."""
    tags = getattr(picture, "tag_v2", None)
    bits = tags.get(_BITS_PER_SAMPLE, (16,)) if tags is not None else (16,)
    return int(bits[0] if isinstance(bits, tuple) else bits)


def _from_integers(values: NDArray[np.integer], mode: str, raw: str, bits: int, *, declared: bool) -> Image.Image:
    """Grey of whole numbers [H, W] by their range."""
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    top = (1 << 15) - 1 if "16S" in raw else (1 << min(bits, 16)) - 1
    if mode == "I" and not declared and ";16" not in raw and high <= 255:
        top = 255
    if low < 0 or high > top:
        raise UnknownRangeError(f"its values go from {low} to {high}, and nothing says which is black and which white")
    if not declared and top in (255, (1 << 15) - 1, (1 << 16) - 1):
        _refuse_dim(values, top, f"{(top + 1).bit_length() - 1}-bit")
    grey = values.astype(np.int64)
    grey = grey >> 8 if top == (1 << 16) - 1 else (grey * 255 + top // 2) // top
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


def _from_floats(values: NDArray[np.floating]) -> Image.Image:
    """Grey of floats [H, W], which are shares or stand for 8 bits."""
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if not (low >= 0 and high <= 255):  # NaN fails, too
        raise UnknownRangeError(
            f"its values go from {low:g} to {high:g}, where floats from 0 to 1, or to 255, can be read"
        )
    if high > 1:
        _refuse_dim(values, 255, "float")
    grey = np.rint(values * 255) if high <= 1 else values
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


def _refuse_dim(values: NDArray[np.number], top: int, kind: str) -> None:
    """Refuse values of which the brightest is above 0 and far below the top of the range."""
    high = values.max(initial=0)
    if 0 < high < _DIM * top:
        raise UnknownRangeError(
            f"its {kind} values end at {high:g} where white is {top}, as those of fewer bits do; "
            "scale them to the whole range, or save the picture with 8 bits"
        )
