"""Small files that are read and written whole, and lines of JSON."""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from trialbook.errors import TrialbookError

#: Most bytes of a file that is read whole, and of one line of JSON.
MOST_BYTES, MOST_OF_LINE = 1 << 28, 1 << 26
#: Most tables and arrays that stand inside one another.
DEEPEST = 100
#: Digits behind which a number may be a whole one that is too large for a float.
_LONG_NUMBER = re.compile(r"\d{300}")
_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


class UnreadableFile(TrialbookError):
    """A file that is there and cannot be read, or is not what the program writes.

    Args:
        file: it.
        reason: in a clause: ``is no JSON (…)``.
        line: of a file of lines, from 1.
    """

    def __init__(self, file: Path, reason: str, line: int | None = None) -> None:
        self.file, self.reason, self.line = file, reason, line
        place = f"{file}:{line}" if line is not None else str(file)
        super().__init__(f"{place} {reason}; restore it, or delete the run with 'mlrun rm'")


def check_regular(file: Path) -> None:
    """Refuse what is no file, without opening it: a folder, or a pipe or device, which might block.

    Raises:
        UnreadableFile: it is one, or the system does not say.
    """
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise UnreadableFile(file, f"cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(mode):
        raise UnreadableFile(file, f"is {_KINDS.get(stat.S_IFMT(mode), 'a device')}, not a file")


def open_regular(file: Path) -> BinaryIO:
    """Open a file for reading.

    Raises:
        FileNotFoundError: there is none.
        UnreadableFile: it is no file, or the system refuses.
    """
    check_regular(file)
    try:
        return file.open("rb")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnreadableFile(file, f"cannot be read ({error.strerror})") from error


def read_bytes(file: Path) -> bytes:
    """Content of a file.

    Raises:
        FileNotFoundError: there is none.
        UnreadableFile: it is no file, larger than ``MOST_BYTES``, or the system refuses.
    """
    with open_regular(file) as stream:
        try:
            data = stream.read(MOST_BYTES + 1)
        except OSError as error:
            raise UnreadableFile(file, f"cannot be read ({error.strerror})") from error
    if len(data) > MOST_BYTES:
        raise UnreadableFile(file, f"is larger than {MOST_BYTES >> 20} MiB")
    return data


def read_text(file: Path, *, errors: str = "strict") -> str | None:
    """Text of a file in UTF-8, or None where there is no such file.

    Args:
        file: it.
        errors: ``replace`` for text that is only shown.
    Raises:
        UnreadableFile: it is no text in UTF-8, or cannot be read.
    """
    try:
        return read_bytes(file).decode("utf-8", errors)
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise UnreadableFile(file, f"is no text in UTF-8 ({error.reason} at byte {error.start})") from error


def parse_json(data: bytes) -> Any:
    """A JSON value that every part of the program can work with.

    Raises:
        ValueError: it is none in UTF-8, is nested deeper than ``DEEPEST``, or has a whole number that is no float.
    """
    text = data.decode("utf-8-sig")
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair cannot be written anywhere
    if text.count("[") + text.count("{") > DEEPEST or _LONG_NUMBER.search(text):
        _check_extent(value)
    return value


def _check_extent(value: Any) -> None:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise ValueError("nested too deeply")
        if any(isinstance(one, int) and abs(one) >= 1 << 1023 for one in level):
            raise ValueError("a whole number is too large")
        inner = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list))
        level = [one for several in inner for one in several]


def load_json(file: Path, shape: Callable[[Any], Any] = lambda value: value) -> Any:
    """Content of a JSON file.

    Args:
        file: it.
        shape: returns the content where it is as it should be, and raises ValueError where it is not.
    Raises:
        FileNotFoundError: there is none.
        UnreadableFile: it cannot be read, is no JSON, or has another shape.
    """
    data = read_bytes(file)
    try:
        value = parse_json(data)
    except ValueError as error:
        raise UnreadableFile(file, f"is not valid JSON ({error})") from error
    try:
        return shape(value)
    except ValueError as error:
        raise UnreadableFile(file, f"is not what a run writes ({error})") from error


def read_json(file: Path, shape: Callable[[Any], Any] = lambda value: value) -> Any:
    """The same, or None where there is no such file."""
    try:
        return load_json(file, shape)
    except FileNotFoundError:
        return None


def to_json(value: Any, *, indent: int | None = 2) -> str:
    """Strict JSON: a float that is not finite becomes null, since JSON has no word for it."""
    return json.dumps(_finite(value), indent=indent, ensure_ascii=False, allow_nan=False, default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def write_whole(file: Path, text: str) -> None:
    """Replace ``file`` so that a reader, and whoever comes after a crash, finds the old text or the new one, never half."""
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    with aside.open("w", encoding="utf-8", newline="") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(file)
    sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` durable, where the system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_lines(file: Path, shape: Callable[[Any], Any] = lambda value: value) -> Iterator[dict[str, Any]]:
    """Lines of a JSON Lines file; a torn last line is left out.

    Args:
        file: it; none where there is no such file.
        shape: returns a line's value where it is as it should be, and raises ValueError where it is not.
    Raises:
        UnreadableFile: it cannot be read, or a line is no JSON, longer than ``MOST_OF_LINE``, or of another shape.
    """
    try:
        stream = open_regular(file)
    except FileNotFoundError:
        return
    with stream:
        for number, line in enumerate(iter(lambda: stream.readline(MOST_OF_LINE), b""), 1):
            if not line.endswith(b"\n") and len(line) < MOST_OF_LINE:
                return
            yield read_line(line, file, number, shape)


def read_line(data: bytes, file: Path, number: int, shape: Callable[[Any], Any] = lambda value: value) -> Any:
    """Value of one line of a JSON Lines file; ``file`` and ``number`` are for the message.

    Raises:
        UnreadableFile: it is no JSON, longer than ``MOST_OF_LINE``, or of another shape.
    """
    if len(data) >= MOST_OF_LINE:
        raise UnreadableFile(file, f"has a line of more than {MOST_OF_LINE >> 20} MiB", number)
    try:
        return shape(parse_json(data))
    except ValueError as error:
        raise UnreadableFile(file, f"is not what a run writes ({error})", number) from error
