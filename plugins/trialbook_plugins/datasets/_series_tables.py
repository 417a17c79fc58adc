"""Recordings of several channels from CSV and NPZ files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trialbook import TrialbookError
from trialbook_plugins.datasets._arrays import Arrays, as_float32
from trialbook_plugins.datasets._sensor_windows import Sieve
from trialbook_plugins.datasets._series_recording import Fields, Recording
from trialbook_plugins.datasets._tables import Table, read_table

_LARGEST = float(np.finfo(np.float32).max)


class _Sample(NamedTuple):
    line: int
    unit: str
    label: str
    subject: str
    split: str
    time: float
    values: list[float]


def read_csv(file: Path, fields: Fields, sieve: Sieve) -> list[Recording]:
    """A row a sample, in order of time; a recording is cut where its label changes, and where a bad row is left out."""
    named = [fields.label, *filter(None, (fields.recording, fields.subject, fields.time, fields.split))]
    table = read_table(file, [*named, *(fields.channels or ())])
    header = table.header
    channels = list(fields.channels or [name for name in header if name not in named])
    if missing := [name for name in (*named, *channels) if name not in header]:
        raise TrialbookError(
            f"{file}:1: there is no column '{missing[0]}'; the columns are {', '.join(header) or 'none'}"
        )
    if not channels:
        raise TrialbookError(f"{file}:1: there is no column of a channel beside {', '.join(named)}")
    units: dict[str, list[_Sample | None]] = {}
    last: dict[str, tuple[float, str]] = {}
    for line, row in table.rows:
        where = f"{file}:{line}"
        unit = dict(zip(header, row, strict=False)).get(fields.recording or "", file.name)
        try:
            sample = _sample(line, table, row, unit, fields, channels)
            time, written = last.get(unit, (-math.inf, ""))
            if sample.time <= time:
                own = row[header.index(fields.time or "")]
                raise ValueError(f"its time ({own}) is not after that of the sample before ({written})")
        except ValueError as error:
            sieve.bad(where, str(error))
            units.setdefault(unit, []).append(None)
            continue
        if fields.time:
            last[unit] = (sample.time, row[header.index(fields.time)])
        units.setdefault(unit, []).append(sample)
    return [one for unit, samples in units.items() for one in _pieces(file, unit, samples)]


def _sample(line: int, table: Table, row: Sequence[str], unit: str, fields: Fields, channels: Sequence[str]) -> _Sample:
    if len(row) != len(table.header):
        raise ValueError(f"{len(row)} cells, where the header has {len(table.header)}")
    cells: Mapping[str, str] = dict(zip(table.header, row, strict=True))
    values = [table.number(cells[name]) for name in channels]
    if wrong := [name for name, value in zip(channels, values, strict=True) if not abs(value) <= _LARGEST]:
        raise ValueError(f"'{wrong[0]}' is {cells[wrong[0]]}")
    label, subject, split = (cells[name] if name else "" for name in (fields.label, fields.subject, fields.split))
    if is_no_label(label):
        raise ValueError(f"'{fields.label}' is empty")
    time = _moment(cells[fields.time], table, fields.zone) if fields.time else math.inf
    return _Sample(line, unit, label, subject, split, time, values)


def is_no_label(label: str) -> bool:
    """Return whether a label says that there is none."""
    return not label.strip() or label.strip().lower() == "nan"


def _moment(cell: str, table: Table, zone: tzinfo) -> float:
    """A number, or a date and time in ISO format in seconds since 1970; without an offset it is of ``zone``."""
    try:
        return table.number(cell)
    except ValueError:
        moment = datetime.fromisoformat(f"{cell[:-1]}+00:00" if cell.endswith("Z") else cell)  # Python 3.10 knows no Z
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()


def _pieces(file: Path, unit: str, samples: Sequence[_Sample | None]) -> Iterator[Recording]:
    """Runs of samples of one label, without a gap."""
    place = 0
    for kind, run in groupby(samples, key=lambda one: None if one is None else (one.label, one.subject, one.split)):
        piece = [one for one in run if one is not None]
        if kind is not None:
            label, subject, split = kind
            values = np.array([one.values for one in piece], dtype=np.float32)
            time = f"{piece[0].time:032.6f}" if math.isfinite(piece[0].time) else ""
            yield Recording(values, label, unit, f"{file}:{piece[0].line}", subject, time, split, place)
        place += max(len(piece), 1)


def read_npz(file: Path, fields: Fields, sieve: Sieve) -> list[Recording]:
    """Series [R, T, C] with a label for each, and where named recording, subject, time and split."""
    arrays = Arrays(None, str(file.resolve()))
    values = arrays.get(fields.values)
    if values.ndim != 3 or values.dtype.kind not in "fiu":
        raise TrialbookError(
            f"{file}: '{fields.values}' is {values.dtype} {list(values.shape)}; it must be numbers [R, T, C]"
        )
    columns = {
        key: _column(arrays, file, fields, key, len(values))
        for key in ("label", "recording", "subject", "time", "split")
    }
    found = []
    for row, series in enumerate(values):
        where = f"{file}: row {row} of '{fields.values}'"
        series = as_float32(series)
        if not np.isfinite(series).all():
            wrong = int((~np.isfinite(series)).sum())
            sieve.bad(where, f"{wrong} values are NaN or infinite, or too large for float32")
            continue
        label, unit, subject, time, split = (columns[key][row] for key in columns)
        if is_no_label(label):
            sieve.bad(where, f"'{fields.label}' is empty")
            continue
        found.append(Recording(series, label, unit or str(row), where, subject, time, split))
    return found


def _column(arrays: Arrays, file: Path, fields: Fields, key: str, rows: int) -> Sequence[str]:
    name = getattr(fields, key)
    if name is None:
        return [""] * rows
    given: NDArray[Any] = arrays.get(name)
    if given.shape != (rows,):
        raise TrialbookError(f"{file}: '{name}' has shape {list(given.shape)} for {rows} rows of '{fields.values}'")
    numbers = given.dtype.kind in "iuf"
    return [f"{one:032.6f}" if key == "time" and numbers else str(one) for one in given.tolist()]
