"""Pictures with captions that a CSV or JSONL file lists."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from trialbook import TrialbookError
from trialbook_plugins.datasets._captioned import CaptionedPhotos, Dropped, Photo
from trialbook_plugins.datasets._paths import locate, read_jsonl
from trialbook_plugins.datasets._splits import SPLITS, PoolSplit, deal_rest, refuse_overlap, split_name
from trialbook_plugins.datasets._tables import USUAL, read_table

_LOG = logging.getLogger(__name__)
_SKIP = "; fix the data or set skip_missing = true"


class ImageCaptions(CaptionedPhotos):
    """A table of pictures (``image``) and captions (``text``): a CSV, TSV or JSONL file beside an image folder.

    Cells may also stand between semicolons or bars, as the header shows; between tabs a quote is a letter, but where a cell is
    quoted as a whole. Rows of one picture are its captions; in JSONL the caption may also be a list. Without ``split_column`` the
    pictures are dealt into splits by the content of their files. Annotation of a split: ``file``, the names of those files.

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
        skip_missing: leave out pictures without caption or readable file, and captions that are null, and count them in
            ``dropped``, instead of stopping.
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
        if Path(file).suffix.lower() not in (*USUAL, ".jsonl"):
            raise TrialbookError(f"file ({file}) must end in .csv, .tsv or .jsonl")
        super().__init__(data_root, val, test, seed, size, skip_missing, allow_overlap)
        self.file = file
        self.images = images
        self.columns = (image_column, caption_column, split_column)

    def _cut(self) -> dict[str, PoolSplit]:
        file = locate(self.data_root, self.file)
        entries = read_entries(file, *self.columns, self.dropped if self.skip_missing else None)
        if dropped := self.dropped.nulls + self.dropped.missing:
            _LOG.warning("%s: left out %d rows without a picture or caption", file, dropped)
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


def read_entries(
    file: Path, image: str, caption: str, split: str | None, dropped: Dropped | None = None
) -> dict[str, Entry]:
    """Picture path, as written, to what the table says of it; in the order of first mention.

    Args:
        file: the table.
        image: column of the path.
        caption: column of the caption or the list of captions.
        split: column of the split, if there is one.
        dropped: counts rows without a picture, and null captions; without it the reading stops there.
    Raises:
        TrialbookError: names file and line of the first bad row.
    """
    entries: dict[str, Entry] = {}
    is_table = file.suffix.lower() in USUAL
    rows = _table_rows(file, [image, caption, *filter(None, [split])]) if is_table else read_jsonl(file)
    for line, row in rows:
        where = f"{file}:{line}"
        for column in (image, caption, split):
            if column is not None and _is_null(row.get(column)) and (dropped is None or column == split):
                raise TrialbookError(_lacks(where, column, row))
        name = "" if _is_null(row.get(image)) else _text(row[image], image, where)
        if not name and dropped is None:
            raise TrialbookError(f"{where}: '{image}' is empty{_SKIP}")
        if not name:
            dropped.missing += 1
            dropped.examples.append(where)
            continue
        said = row.get(caption) if isinstance(row.get(caption), list) else [row.get(caption)]
        if dropped is None and any(map(_is_null, said)):
            raise TrialbookError(f"{where}: '{caption}' holds a null{_SKIP}")
        if dropped is not None:
            dropped.nulls += sum(map(_is_null, said))
            said = [item for item in said if not _is_null(item)]
        place = "" if split is None else split_name(row[split], where)
        entry = entries.setdefault(name, Entry([], place, line))
        if entry.split != place:
            raise TrialbookError(f"{where}: {name} is in {place} here and in {entry.split} at line {entry.line}")
        entry.captions += [text for item in said if (text := _text(item, caption, where))]
    return entries


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _lacks(where: str, column: str, row: Mapping[str, Any]) -> str:
    if column in row:
        return f"{where}: '{column}' is null or missing in this row{_SKIP}"
    return f"{where}: no '{column}' in this row, which has {', '.join(map(str, row))}"


def _text(value: Any, column: str, where: str) -> str:
    if not isinstance(value, str):
        raise TrialbookError(f"{where}: '{column}' must be text, not {value!r}")
    return value.strip()


def _table_rows(file: Path, needed: Collection[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every row with the line on which it begins; a cell that is not there is None."""
    table = read_table(file, needed)
    if not table.header:
        raise TrialbookError(f"{file}:1: there is no header; it must name {', '.join(needed)}")
    if missing := [column for column in needed if column not in table.header]:
        raise TrialbookError(_lacks(f"{file}:2", missing[0], dict.fromkeys(table.header)))
    for line, row in table.rows:
        if len(row) > len(table.header):
            raise TrialbookError(f"{file}:{line}: more cells than the header has; quote cells that hold a delimiter")
        yield line, dict(zip_longest(table.header, row))
