"""Pictures in columns of the ``datasets`` library: one in each row, or a list of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trialbook_plugins.datasets._images import Pictures, look_at
from trialbook_plugins.datasets._splits import Column

if TYPE_CHECKING:
    import datasets


def inner_feature(feature: Any) -> Any:
    """The feature that a list is made of; None where it is no list."""
    return feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)


def with_pictures(data: datasets.Dataset, column: str, *, check: bool) -> list[bool]:
    """Return which rows have a picture, and with ``check`` none that cannot be read."""
    counts = picture_counts(data, column)
    full = [count > 0 for count in counts]
    if check:
        kept = data.select(np.flatnonzero(full))
        encoded, places = encoded_pictures(kept, column), _places([counts[row] for row in np.flatnonzero(full)])
        looks = look_at(lambda place: encoded(*places[place]), len(places))
        bad = {places[place][0] for place, look in enumerate(looks) if look.problem}
        for place, row in enumerate(np.flatnonzero(full).tolist()):
            full[row] = place not in bad
    return full


def picture_counts(data: datasets.Dataset, column: str) -> list[int]:
    """Return how many pictures each row of a column has: 0 or 1, or as many as its list; nothing is decoded."""
    chunks = data.select_columns([column]).with_format("arrow").iter(10_000)
    if inner_feature(data.features[column]) is None:
        return [int(valid) for chunk in chunks for valid in chunk[column].is_valid().to_pylist()]
    return [len(cell) if cell.is_valid else 0 for chunk in chunks for cell in chunk[column]]


def _places(counts: Sequence[int]) -> list[tuple[int, int]]:
    """Row, and number within the row, of every picture."""
    return [(row, number) for row, count in enumerate(counts) for number in range(count)]


def encoded_pictures(data: datasets.Dataset, column: str) -> Callable[..., bytes]:
    """The bytes of the picture in each row of a column; of lists of pictures those of one, by row and number."""
    import datasets

    feature, plain = data.features[column], datasets.Image(decode=False)
    several = inner_feature(feature) is not None
    whole = plain if not several else [plain] if isinstance(feature, list) else type(feature)(plain)
    stored = data.select_columns([column]).cast_column(column, whole)

    def encoded(row: int, number: int = 0) -> bytes:
        cell = stored[row][column][number] if several else stored[row][column]
        if cell is None:
            raise FileNotFoundError("there is no picture in this place")
        content: bytes | None = cell["bytes"]
        if content is None and cell["path"] is None:
            raise FileNotFoundError("the row has neither a picture nor its path")
        return Path(cell["path"]).read_bytes() if content is None else content

    return encoded


def image_column(data: datasets.Dataset, column: str, size: int, where: str) -> Column:
    """Pictures of a column, one or several a group."""
    encoded, places = encoded_pictures(data, column), _places(picture_counts(data, column))
    names = [f"{where}: column '{column}' row {row}" + f" picture {number}" * (number > 0) for row, number in places]
    advice = "; fix the data or set skip_missing = true"
    pictures = Pictures(lambda place: encoded(*places[place]), names, size, advice=advice)
    return Column(np.array([row for row, _ in places], dtype=np.int64), pictures.read, lambda: pictures.hashes)
