"""Recordings of several channels from folders of text files, ``.ts``, CSV and NPZ files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trialbook import TrialbookError
from trialbook.contracts.data_files import find_files
from trialbook_plugins.datasets._arrays import as_float32
from trialbook_plugins.datasets._paths import read_text
from trialbook_plugins.datasets._sensor_windows import Sieve
from trialbook_plugins.datasets._series_recording import Fields, Recording
from trialbook_plugins.datasets._tables import SplitNumberError, may_be_decimals, parted_numbers

_TEXTS = (".txt", ".csv", ".tsv", ".dat")


def find_reader(root: Path) -> Callable[[Path, Fields, Sieve], list[Recording]]:
    """Find how recordings at ``root`` are read.

    Raises:
        TrialbookError: there is nothing, or nothing that is understood.
    """
    from trialbook_plugins.datasets._series_tables import read_csv, read_npz

    if root.is_dir():
        return read_ts if _ts_files(root) else read_folders
    if not root.is_file():
        raise TrialbookError(f"there is no file or folder {root}")
    readers = {".ts": read_ts, ".csv": read_csv, ".tsv": read_csv, ".npz": read_npz}
    if root.suffix.lower() not in readers:
        raise TrialbookError(f"root ({root}) must be a folder, or end in {', '.join(readers)}")
    return readers[root.suffix.lower()]


def read_folders(root: Path, fields: Fields, sieve: Sieve) -> list[Recording]:
    """A folder of text files for each activity; a row a sample, a column a channel, whatever stands between numbers."""
    found: list[Recording] = []
    width = 0
    for file in (path for path in find_files(root, "*/*") if path.suffix.lower() in _TEXTS):
        name = file.relative_to(root).as_posix()
        try:
            values = _numbers(file)
        except _BadLineError as error:
            sieve.bad(f"{file}:{error.line}", str(error))
            continue
        if width and values.shape[1] != width:
            sieve.bad(f"{file}:1", f"{values.shape[1]} channels, where the files before have {width}")
            continue
        width = values.shape[1]
        subject, time = (
            _search(option, key, file) for option, key in ((fields.subject, "subject"), (fields.time, "time"))
        )
        found.append(Recording(values, file.parent.name, name, name, subject, time))
    return found


def _ts_files(folder: Path) -> list[Path]:
    return find_files(folder, "*.[tT][sS]")


def read_ts(root: Path, fields: Fields, sieve: Sieve) -> list[Recording]:
    """Series in the format of aeon and sktime; files that end in ``_TRAIN.ts`` and ``_TEST.ts`` are splits."""
    files = _ts_files(root) if root.is_dir() else [root]
    return [one for file in files for one in _series_of(file, sieve)]


def _series_of(file: Path, sieve: Sieve) -> Iterator[Recording]:
    header: dict[str, str] = {}
    split = next((name.lower() for name in ("TRAIN", "TEST") if file.stem.upper().endswith(f"_{name}")), "")
    in_data = False
    for number, line in enumerate(read_text(file).splitlines(), 1):
        text, where = line.strip(), f"{file}:{number}"
        if not text or text.startswith("#"):
            continue
        if text.startswith("@"):
            key, _, value = text[1:].partition(" ")
            header[key.lower()] = value.strip()
            in_data = key.lower() == "data"
            if header.get("timestamps", "").lower() == "true":
                raise TrialbookError(f"{where}: series with time stamps of their own are not read; write them as CSV")
        elif not in_data:
            sieve.bad(where, "neither '@key value' nor behind @data")
        else:
            try:
                values, label = _ts_line(text, header)
            except ValueError as error:
                sieve.bad(where, str(error))
                continue
            yield Recording(values, label, f"{file.name}:{number}", where, split=split)


def _ts_line(text: str, header: dict[str, str]) -> tuple[NDArray[np.float32], str]:
    """Values [T, C] and label of a line: channels between colons, the label last."""
    *channels, label = text.split(":")
    rows = [channel.split(",") for channel in channels]
    if "." not in text and any(may_be_decimals(row) for row in rows):
        raise ValueError(
            "commas separate values, and seem to separate their decimals, too; write decimals with a point"
        )
    if "dimensions" in header and len(rows) != int(header["dimensions"]):
        raise ValueError(f"{len(rows)} channels and a label, where @dimensions says {header['dimensions']}")
    if len({len(row) for row in rows}) != 1:
        raise ValueError(f"channels of {', '.join(str(len(row)) for row in rows)} samples; they must be of one length")
    known = header.get("classlabel", "").split()[1:]
    if known and label.strip() not in known:
        raise ValueError(f"label '{label.strip()}' is not among those of @classLabel ({', '.join(known)})")
    values = np.array([["nan" if one.strip() == "?" else one for one in row] for row in rows], dtype=np.float64)
    values = as_float32(values.T)
    if not np.isfinite(values).all():
        raise ValueError(
            f"{int((~np.isfinite(values)).sum())} values are missing, NaN, infinite or too large for float32"
        )
    return values, label.strip()


class _BadLineError(Exception):
    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line


def _numbers(file: Path) -> NDArray[np.float32]:
    """Numbers of a text file, [T, C]; a first line of names is passed over.

    Raises:
        _BadLineError: a line is torn or holds something else; the line is named.
    """
    lines = read_text(file).rstrip().split("\n")
    if (
        len(lines) > 1
        and re.search(r"[A-Za-z_]{2,}", lines[0])
        and not re.search(r"\bnan\b|\binf\b", lines[0], re.IGNORECASE)
    ):
        lines[0] = ""
    if not any(lines):
        raise _BadLineError(1, "no samples")
    try:
        lines = parted_numbers(lines)
    except SplitNumberError as error:
        raise _BadLineError(error.line, str(error)) from None
    try:
        values: NDArray[np.float32] = np.loadtxt(lines, dtype=np.float32, ndmin=2, comments=None)
    except ValueError:
        raise _bad_line(lines) from None
    if not np.isfinite(values).all():
        raise _bad_line(lines)
    return values


def _bad_line(lines: Sequence[str]) -> _BadLineError:
    """Find what is wrong with lines that are not all rows of as many numbers."""
    width = 0
    for number, row in enumerate((line.split() for line in lines), 1):
        width = width or len(row)
        if row and len(row) != width:
            return _BadLineError(number, f"{len(row)} numbers, where the lines before have {width}")
        try:
            if not np.isfinite(as_float32([float(one) for one in row])).all():
                return _BadLineError(number, "NaN, infinity or a number too large for float32")
            np.loadtxt([" ".join(row)] if row else ["0"], dtype=np.float32, comments=None)  # knows no 1_000
        except ValueError as error:
            return _BadLineError(number, f"{error}: a sample is numbers alone")
    return _BadLineError(1, "the lines are no table of numbers")


def _search(pattern: str | None, option: str, file: Path) -> str:
    """The first group of a pattern in a file's name, or all that it matches; empty without a pattern.

    Raises:
        TrialbookError: the pattern is none, or the name does not match it.
    """
    if pattern is None:
        return ""
    try:
        found = re.search(pattern, file.name)
    except re.error as error:
        raise TrialbookError(f"{option} ({pattern!r}) is no regular expression: {error}") from error
    if found is None:
        raise TrialbookError(f"{option} ({pattern!r}) does not match the name of {file}")
    return found.group(1) if found.re.groups else found.group()
