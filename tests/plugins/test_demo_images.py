"""Pictures from outside: what is refused, with which words, and what models get of odd but sound files."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from trialbook_plugins.demo.images import FORMATS, BadPicture, Limits, read_picture

pytestmark = pytest.mark.filterwarnings("ignore:Image size", "ignore:Corrupt EXIF")


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """Writes a picture, or bytes, into a file."""

    def write(what: Image.Image | bytes, name: str = "picture.png", **options: Any) -> Path:
        file = tmp_path / name
        if isinstance(what, bytes):
            file.write_bytes(what)
        else:
            what.save(file, **options)
        return file

    return write


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *, bits: int = 8, colour: int = 0, data: bytes = b"") -> bytes:
    """A PNG file that says it is that large, whatever its data hold."""
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def noise(height: int = 6, width: int = 9) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (b"Total: 12.50 EUR\n", "no picture that can be read"),
        (b"", "the file is empty"),
        (b"%PDF-1.7\n%\xe2\xe3\n", "no picture that can be read"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no picture that can be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "no picture that can be read"),
        (png(20_000, 10_000), "more than 178 megapixels; at most 50"),
        (png(10_000, 9_000), "10000 × 9000 pixels, 90 megapixels; at most 50 are taken"),
        (png(2**31 - 1, 2**31 - 1), "more than 178 megapixels"),
        (png(100, 100, data=b"\0" * 300), "broken or cut off"),
    ],
    ids=["text", "empty", "pdf", "svg", "postscript", "200 megapixels", "90 megapixels", "huge", "too few data"],
)  # fmt: skip
def test_what_is_no_picture_or_too_large_is_refused_with_a_reason(
    put: Callable[..., Path], what: bytes, said: str
) -> None:
    with pytest.raises(BadPicture, match=said):
        read_picture(put(what))


def test_a_real_picture_of_200_megapixels_is_refused_before_it_is_decoded(
    put: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = put(Image.new("1", (20_000, 10_000)))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    assert file.stat().st_size < 1_000_000
    with pytest.raises(BadPicture, match="megapixels"):
        read_picture(file)


def test_the_limit_of_pixels_is_exact_and_can_be_set(put: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    file = put(Image.new("L", (1000, 1000)))
    assert read_picture(file, Limits(megapixels=1)).pixels.shape == (3, 1000, 1000)
    file = put(Image.new("L", (1001, 1000)))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(BadPicture, match=r"1001 × 1000 pixels, 1\.001 megapixels; at most 1 are taken"):
        read_picture(file, Limits(megapixels=1))


def test_a_file_of_too_many_bytes_is_not_opened(put: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    file = put(png(4, 4, data=b"\0" * 20) + b"\0" * 3_000_000)
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("it was opened"))
    with pytest.raises(BadPicture, match=r"3\.0 MB; at most 2\.5 MB"):
        read_picture(file, Limits(size=2_500_000))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_was_cut_off_is_refused(put: Callable[..., Path], kind: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(noise(200, 300)).save(stream, kind)
    whole = stream.getvalue()
    assert read_picture(put(whole)).pixels.shape == (3, 200, 300)
    for share in (0.02, 0.5, 0.9):
        with pytest.raises(BadPicture):
            read_picture(put(whole[: int(len(whole) * share)]))


@given(
    st.binary(max_size=400),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff\xe0", b"BM", b"RIFF"]),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_sent_is_read_or_refused(put: Callable[..., Path], rest: bytes, start: bytes) -> None:
    with contextlib.suppress(BadPicture):
        assert read_picture(put(start + rest)).pixels.dtype == np.uint8


def test_bytes_that_were_changed_on_the_way_are_read_or_refused(put: Callable[..., Path]) -> None:
    """A flipped byte in any place of every format raises nothing else."""
    random = np.random.default_rng(0)
    for kind in FORMATS:
        stream = io.BytesIO()
        Image.fromarray(noise(16, 16)).save(stream, kind)
        whole = np.frombuffer(stream.getvalue(), np.uint8)
        for _ in range(60):
            changed = whole.copy()
            changed[random.integers(0, len(changed), 3)] = random.integers(0, 256, 3)
            with contextlib.suppress(BadPicture):
                assert read_picture(put(changed.tobytes())).pixels.shape[0] == 3


# --- odd but sound ------------------------------------------------------------------------------------------------


def test_a_plain_picture_comes_as_it_is(put: Callable[..., Path]) -> None:
    pixels = noise()
    read = read_picture(put(Image.fromarray(pixels)))
    assert read.remarks == ()
    assert read.pixels.flags.c_contiguous
    np.testing.assert_array_equal(read.pixels, pixels.transpose(2, 0, 1))


def test_sixteen_bits_keep_their_upper_eight(put: Callable[..., Path]) -> None:
    values = np.arange(0, 65536, 700, dtype=np.uint16).reshape(2, 47)
    file = put(Image.fromarray(values))
    with Image.open(file) as opened:
        assert opened.mode == "I;16"
    read = read_picture(file).pixels
    for channel in read:
        np.testing.assert_array_equal(channel, values // 256)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_stands_on_white(put: Callable[..., Path], mode: str) -> None:
    """Black writing on nothing, as programs export it, would be black on black without it."""
    whole = np.zeros((4, 6, 4), np.uint8)
    whole[1:3, 1:5, 3] = 255
    image = Image.fromarray(whole)
    image = image.quantize(2) if mode == "P" else image.convert(mode)
    read = read_picture(put(image)).pixels
    expected = np.where(whole[..., 3] > 0, 0, 255)
    for channel in read:
        np.testing.assert_array_equal(channel, expected)


def test_a_palette_with_one_transparent_colour_stands_on_white(put: Callable[..., Path]) -> None:
    image = Image.new("P", (4, 2))
    image.putpalette([0, 0, 0, 200, 10, 10])
    image.putdata([0, 1] * 4)
    read = read_picture(put(image, "picture.gif", transparency=0)).pixels
    np.testing.assert_array_equal(read[:, 0, :2].T, [[255, 255, 255], [200, 10, 10]])


def test_half_transparent_is_mixed_with_white(put: Callable[..., Path]) -> None:
    read = read_picture(put(Image.new("RGBA", (2, 2), (0, 100, 200, 128)))).pixels[:, 0, 0]
    np.testing.assert_allclose(read, 255 - (255 - np.array([0, 100, 200])) * 128 / 255, atol=1)  # it rounds


def test_cmyk_becomes_the_colours_that_are_printed(put: Callable[..., Path]) -> None:
    file = put(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "picture.jpg", quality=95)
    red = read_picture(file).pixels.mean((1, 2))
    np.testing.assert_allclose(red, [255, 0, 0], atol=4)  # JPEG is lossy


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_as_their_exif_data_say(put: Callable[..., Path], orientation: int) -> None:
    """The camera's matrix of numbers, as the standard numbers its rows and columns, gives the upright picture again."""
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :8] = (255, 0, 0)
    upright[8:, 24:] = (0, 0, 255)
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1), 7: np.rot90(upright, 2).transpose(1, 0, 2), 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = put(Image.fromarray(np.ascontiguousarray(stored)), "photo.jpg", exif=exif, quality=100, subsampling=0)
    read = read_picture(file).pixels.transpose(1, 2, 0)
    np.testing.assert_allclose(read.astype(int), upright.astype(int), atol=12)  # JPEG is lossy


def test_broken_exif_data_do_not_keep_a_picture_out(put: Callable[..., Path]) -> None:
    file = put(Image.fromarray(noise(16, 24)), "photo.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff\0\0")
    assert read_picture(file).pixels.shape == (3, 16, 24)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_of_an_animation_the_first_picture_is_read_and_that_is_said(put: Callable[..., Path], kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    file = put(frames[0], f"moving.{kind.lower()}", save_all=True, append_images=frames[1:], duration=50, **options)
    read = read_picture(file)
    assert read.remarks == ("the file is animated: only its first picture is read",)
    np.testing.assert_array_equal(read.pixels[:, 4, 4], [255, 0, 0])


def test_the_name_of_a_file_says_nothing(put: Callable[..., Path]) -> None:
    stream = io.BytesIO()
    Image.fromarray(noise()).save(stream, "PNG")
    np.testing.assert_array_equal(read_picture(put(stream.getvalue(), "x.txt")).pixels, noise().transpose(2, 0, 1))
