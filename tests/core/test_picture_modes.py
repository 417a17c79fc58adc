"""Pictures of all modes as 8 bits: scaled by the range that their values have, or refused."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trialbook.contracts.pictures import UNREADABLE, UnknownRangeError, check_picture, describe_unreadable, to_rgb
from trialbook.reports.thumbnails import shrink

RAMP = np.linspace(0, 1, 64).reshape(8, 8)


def encoded(values: Any, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, kind, **options)
    return stream.getvalue()


def deep_png(values: np.ndarray[Any, Any]) -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write: uint16 [H, W, C]."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, channels = values.shape
    head = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def read(data: bytes) -> np.ndarray[Any, Any]:
    with Image.open(io.BytesIO(data)) as opened:
        return np.asarray(to_rgb(opened))


@pytest.mark.parametrize(
    "data",
    [
        encoded((RAMP * 65535).astype(np.uint16)),
        encoded((RAMP * 65535).astype(np.uint16), "TIFF"),
        encoded((RAMP * 65535).astype(np.int32), "TIFF"),
        encoded((RAMP * 255).astype(np.int32), "TIFF"),
        encoded(RAMP.astype(np.float32), "TIFF"),
        encoded((RAMP * 255).astype(np.float32), "TIFF"),
        b"P5\n8 8\n4095\n" + (RAMP * 4095).astype(">u2").tobytes(),
        b"P5\n8 8\n65535\n" + (RAMP * 65535).astype(">u2").tobytes(),
        deep_png(np.repeat((RAMP * 65535).astype(np.uint16)[..., None], 3, axis=2)),
    ],
    ids=["16 bits", "16 bits, tiff", "32 bits", "8 in 32 bits", "floats to 1", "floats to 255", "pgm 4095", "pgm 65535", "rgb"],
)  # fmt: skip
def test_a_ramp_from_black_to_white_is_one_whatever_its_mode(data: bytes) -> None:
    grey = read(data)
    assert grey.shape == (8, 8, 3)
    for channel in range(3):
        np.testing.assert_allclose(grey[..., channel], RAMP * 255, atol=1.01)
    check_picture(data)
    assert shrink(Image.open(io.BytesIO(data)))[2] == (8, 8)


@pytest.mark.parametrize(
    "data",
    [
        encoded((RAMP * 4095).astype(np.uint16)),
        encoded((RAMP * 1023).astype(np.uint16), "TIFF"),
        encoded((RAMP * 16383).astype(np.uint16)),
        encoded((RAMP * 300).astype(np.int32), "TIFF"),
        encoded((RAMP * 100_000).astype(np.int32), "TIFF"),
        encoded((RAMP * 255 - 100).astype(np.int32), "TIFF"),
        encoded((RAMP * 8).astype(np.float32), "TIFF"),
        encoded((RAMP * 2 - 1).astype(np.float32), "TIFF"),
        encoded(np.where(RAMP > 0.5, np.nan, RAMP).astype(np.float32), "TIFF"),
        deep_png(np.repeat((RAMP * 4095).astype(np.uint16)[..., None], 3, axis=2)),
    ],
    ids=["12 bits", "10 bits", "14 bits", "dim", "17 bits", "negative", "metres", "signed floats", "nan", "rgb of 12 bits"],
)  # fmt: skip
def test_a_range_that_cannot_be_told_is_refused_before_training(data: bytes) -> None:
    with pytest.raises(UnknownRangeError):
        read(data)
    with pytest.raises(UnknownRangeError):
        check_picture(data)


def test_sixteen_bits_keep_their_upper_eight_and_black_stays_black() -> None:
    values = np.arange(0, 65536, 256, dtype=np.uint16).reshape(16, 16) + 255
    np.testing.assert_array_equal(read(encoded(values))[..., 0], values >> 8)
    assert not read(encoded(np.zeros((4, 4), np.uint16))).any()


def test_dark_writing_of_16_bits_on_nothing_is_read_on_white() -> None:
    values = np.zeros((4, 4, 4), np.uint16)
    values[1, 1] = (4000, 4000, 4000, 65535)
    assert read(deep_png(values))[0, 0].tolist() == [255] * 3


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_what_is_cut_off_is_found_without_training(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    whole = encoded(noise, kind)
    check_picture(whole)
    for share in (0, 0.01, 0.5, 0.95):
        with pytest.raises(UNREADABLE) as caught:
            check_picture(whole[: int(share * len(whole))])
        assert "object at" not in describe_unreadable(caught.value, whole)


@pytest.mark.parametrize(
    ("data", "word"),
    [(b"", "empty"), (b"\n<!DOCTYPE html><html>", "HTML"), (b"<html>", "HTML"), (b"Total: 3", "format")],
)
def test_what_is_no_picture_is_called_what_it_is(data: bytes, word: str) -> None:
    with pytest.raises(UNREADABLE) as caught:
        check_picture(data)
    assert word in describe_unreadable(caught.value, data)


def test_a_jpeg_with_something_behind_its_end_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(np.zeros((8, 8, 3), np.uint8), "JPEG") + b"\0" * 100
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    check_picture(data)
