"""Pictures with captions that a CSV or JSONL file lists."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trialbook import TrialbookError
from trialbook_plugins.datasets._captioned import CaptionedPhotos, Photo
from trialbook_plugins.datasets._paths import locate, read_text
from trialbook_plugins.datasets._splits import SPLITS, PoolSplit, deal_rest, refuse_overlap, split_name

_DELIMITERS = {".csv": ",", ".tsv": "\t"}


class ImageCaptions(CaptionedPhotos):
    """A table of pictures (``image``) and captions (``text``): a CSV, TSV or JSONL file beside an image folder.

    Rows of one picture are its captions; in JSONL the caption may also be a list. Without ``split_column`` the pictures
    are dealt into splits by the content of their files. Annotation of a split: ``file``, the names of those files.

    Args:
        data_root: folder that a relative ``file`` starts from.
        file: the table: ``.csv`` or ``.tsv`` with a header, or ``.jsonl``.
        images: folder that the pictures' paths start from; relative to the folder of ``file``.
        image_column: column (or key) of the picture's path.
        caption_column: column (or key) of the caption.
        split_column: column (or key) that says train, val (or validation, valid, dev) or test.
        val: share of the pictures that go to val, where there is no ``split_column``.
        test: share of the pictures that go to test, where there is no ``split_column``.
        seed: another seed deals the pictures differently.
        size: the shorter side is resized to this many pixels and the centre square cut out; 0 keeps the pictures as is.
        skip_missing: leave out pictures without file or caption, and count them in ``dropped``, instead of stopping.
        allow_overlap: accept a ``split_column`` that puts equal pictures into two splits.
    Raises:
        TrialbookError: an option is out of its range; on first reading: a row is broken (with file and line), a picture
            does not exist, or two splits share pictures.
    """

    def __init__(
        self,
        data_root: Path | None = None,
        /,
        *,
        file: str,
        images: str = ".",
        image_column: str = "image",
        caption_column: str = "caption",
        split_column: str | None = None,
        val: float = 0.1,
        test: float = 0.1,
        seed: int = 0,
        size: int = 64,
        skip_missing: bool = False,
        allow_overlap: bool = False,
    ) -> None:
        if Path(file).suffix.lower() not in (*_DELIMITERS, ".jsonl"):
            raise TrialbookError(f"file ({file}) must end in .csv, .tsv or .jsonl")
        super().__init__(data_root, val, test, seed, size, skip_missing, allow_overlap)
        self.file = file
        self.images = images
        self.columns = (image_column, caption_column, split_column)

    def _cut(self) -> dict[str, PoolSplit]:
        file = locate(self.data_root, self.file)
        entries = read_entries(file, *self.columns)
        folder = file.parent / self.images
        photos = [Photo(folder / name, entry.captions, f"{file}:{entry.line}") for name, entry in entries.items()]
        split_of = {photo.file: entry.split for photo, entry in zip(photos, entries.values(), strict=True)}
        kept = self.usable(photos)
        pool = self.pool(kept)
        if self.columns[2] is None:
            return deal_rest(pool, "image", self.shares, self.seed, {})
        places = np.array([split_of[photo.file] for photo in kept])
        splits = {name: pool.split(name, np.flatnonzero(places == name)) for name in SPLITS if name in places}
        if "train" not in splits:
            raise TrialbookError(f"{file}: no row has 'train' in column '{self.columns[2]}'")
        if not self.allow_overlap:
            refuse_overlap(splits, ("image", "text"), file)
        return splits


@dataclass
class Entry:
    """The entry of a table on one picture: its captions, its split ("" where there is no split column), its first line."""

    captions: list[str]
    split: str
    line: int


def read_entries(file: Path, image: str, caption: str, split: str | None) -> dict[str, Entry]:
    """Picture path, as written, to what the table says of it; in the order of first mention.

    Args:
        file: the table.
        image: column of the path.
        caption: column of the caption or the list of captions.
        split: column of the split, if there is one.
    Raises:
        TrialbookError: names file and line of the first bad row.
    """
    entries: dict[str, Entry] = {}
    rows = _csv_rows(file) if file.suffix.lower() in _DELIMITERS else _jsonl_rows(file)
    for line, row in rows:
        where = f"{file}:{line}"
        missing = [column for column in (image, caption, split) if column is not None and row.get(column) is None]
        if missing:
            raise TrialbookError(f"{where}: no '{missing[0]}' in this row, which has {', '.join(map(str, row))}")
        name = _text(row[image], image, where)
        if not name:
            raise TrialbookError(f"{where}: '{image}' is empty")
        said = row[caption] if isinstance(row[caption], list) else [row[caption]]
        place = "" if split is None else split_name(row[split], where)
        entry = entries.setdefault(name, Entry([], place, line))
        if entry.split != place:
            raise TrialbookError(f"{where}: {name} is in {place} here and in {entry.split} at line {entry.line}")
        entry.captions += [text for item in said if (text := _text(item, caption, where))]
    return entries


def _text(value: Any, column: str, where: str) -> str:
    if not isinstance(value, str):
        raise TrialbookError(f"{where}: '{column}' must be text, not {value!r}")
    return value.strip()


def _csv_rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every row with the line on which it begins."""
    text = io.StringIO(read_text(file), newline="")
    reader = csv.DictReader(text, delimiter=_DELIMITERS[file.suffix.lower()], strict=True)
    begins = 2
    try:
        for row in reader:
            if None in row:
                raise TrialbookError(
                    f"{file}:{begins}: more cells than the header has; quote cells that hold a delimiter"
                )
            yield begins, row
            begins = reader.line_num + 1
    except csv.Error as error:
        raise TrialbookError(f"{file}:{begins}: {error}") from error


def _jsonl_rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, text in enumerate(read_text(file).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except json.JSONDecodeError as error:
            raise TrialbookError(f"{file}:{line}: not JSON: {error.msg} at column {error.colno}") from error
        if not isinstance(row, dict):
            raise TrialbookError(f"{file}:{line}: a row must be an object, not {text.strip()[:40]}")
        yield line, row
