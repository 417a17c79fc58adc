"""Data of the ``datasets`` library: found on disk, in its cache or on the hub; its columns as rows of modalities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trialbook import TrialbookError
from trialbook.contracts.data_files import find_files, note_files
from trialbook.contracts.datasets import Rows
from trialbook_plugins.datasets._hub_pictures import inner_feature, with_pictures
from trialbook_plugins.datasets._splits import SPLITS, Column, array_column, text_column
from trialbook_plugins.datasets._tables import read_table

if TYPE_CHECKING:
    import datasets

_BUILDERS = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "json", ".arrow": "arrow"}
_OFFERED = {"train": ("train",), "val": ("validation", "val", "valid", "dev"), "test": ("test",)}
_NUMBERS = ("int", "uint", "float")
_PATIENCE = 3.0  # seconds that the hub has to answer


def load(path: str, data_root: Path | None, config: str | None, revision: str | None) -> dict[str, datasets.Dataset]:
    """The splits of a data set: a saved one, a folder or file of data, or a name in the cache or on the hub.

    Raises:
        TrialbookError: the library is not installed, or the data set is not found or cannot be read.
    """
    try:
        import datasets
    except ImportError as error:
        raise TrialbookError("the 'datasets' library is not installed; pip install 'trialbook[hf]'") from error
    local = Path(path).expanduser()
    local = local if local.is_absolute() or data_root is None else data_root / local
    note_files([local] if local.is_file() else (file for file in find_files(local, "**/*") if file.is_file()))
    try:
        if not local.exists():
            loaded = _from_hub(path, local, config, revision)
        elif local.is_file():
            separator = {} if local.suffix.lower() != ".csv" else _other_separator(local)
            loaded = datasets.load_dataset(_builder(local), data_files=str(local), **separator)
        elif (local / "dataset_dict.json").is_file() or (local / "state.json").is_file():
            loaded = datasets.load_from_disk(str(local))
        else:
            loaded = datasets.load_dataset(str(local), config)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise TrialbookError(f"'{path}' cannot be loaded: {' '.join(str(error).split())}") from error
    return dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {"train": loaded}


def named_splits(
    path: str, data_root: Path | None, config: str | None, revision: str | None, given: Mapping[str, str] | None
) -> dict[str, datasets.Dataset]:
    """The splits of a data set under our names: as ``given``, or those of a name that means one.

    Raises:
        TrialbookError: as ``load``, or it is not clear which split is train.
    """
    loaded = load(path, data_root, config, revision)
    names = given or {ours: name for ours, known in _OFFERED.items() for name in known if name in loaded}
    if not names and len(loaded) == 1:
        names = {"train": next(iter(loaded))}
    if "train" not in names or set(names.values()) - set(loaded):
        raise TrialbookError(
            f"'{path}' has the splits {', '.join(loaded)}; say which is which: splits = {{ train = '…' }}"
        )
    return {name: loaded[names[name]] for name in SPLITS if name in names}


def _builder(file: Path) -> str:
    if file.suffix.lower() not in _BUILDERS:
        raise TrialbookError(f"{file}: known endings are {', '.join(_BUILDERS)}")
    return _BUILDERS[file.suffix.lower()]


def _other_separator(file: Path) -> dict[str, str]:
    """The option that names what separates a CSV file's cells, where it is no comma; cells that span lines are logged."""
    table = read_table(file, ())
    with suppress(TrialbookError):  # quoting that pandas may read after all
        for _ in table.rows:
            pass
    return {} if table.separator == "," else {"sep": table.separator}


def _from_hub(path: str, local: Path, config: str | None, revision: str | None) -> Any:
    """From the hub if it answers, else from the library's cache, without waiting for its retries."""
    import datasets

    if local.is_absolute() and Path(path).is_absolute():
        raise TrialbookError(f"there is no {path}")
    if _hub_answers():
        return datasets.load_dataset(path, config, revision=revision)
    with _offline():
        try:
            return datasets.load_dataset(path, config, revision=revision)
        except (OSError, ValueError) as error:
            raise TrialbookError(
                f"'{path}' was not found locally ({local} and the cache of the datasets library) and the hub cannot be "
                "reached; check the name and the network, or save the data set to a folder and give its path"
            ) from error


def _hub_answers() -> bool:
    """Return whether the hub answers at all, within seconds."""
    import datasets
    import huggingface_hub

    if datasets.config.HF_HUB_OFFLINE:
        return False
    try:
        huggingface_hub.get_session().head(datasets.config.HF_ENDPOINT, timeout=_PATIENCE)
    except Exception:  # the session is of requests or httpx, by the library's release, and their errors share no base
        return False
    return True


@contextmanager
def _offline() -> Iterator[None]:
    """Keep the datasets library from the network for a while."""
    import datasets

    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def kind_of(feature: Any) -> str | None:
    """Modality kind of a column: image (or lists of them), text (strings, lists of them, class names), vector or series; None if
    none."""
    import datasets

    if isinstance(feature, datasets.Image):
        return "image"
    if isinstance(feature, datasets.ClassLabel):
        return "text"
    if isinstance(feature, datasets.Value):
        return "text" if "string" in feature.dtype else None
    if isinstance(feature, datasets.Array2D):
        return "series"
    inner = inner_feature(feature)
    if isinstance(inner, datasets.Image):
        return "image"
    if isinstance(inner, datasets.Value):
        return "text" if "string" in inner.dtype else "vector" if inner.dtype.startswith(_NUMBERS) else None
    return "series" if inner is not None and not isinstance(inner, dict) and kind_of(inner) == "vector" else None


def complete(data: datasets.Dataset, columns: Mapping[str, str], where: str, skip: bool) -> datasets.Dataset:
    """The rows of ``data`` that have a value in each of ``columns``: a text that is not blank, a class, a picture.

    The number of a class that the feature does not name, such as -1 for "no label", is no value.

    Args:
        data: all rows.
        columns: column name to modality kind.
        where: what the data is called in errors.
        skip: leave rows without a value out instead of stopping, also those whose picture cannot be read.
    Raises:
        TrialbookError: a row has no value and ``skip`` is false, or no row is left; names the row.
    """
    has = np.ones(len(data), dtype=bool)
    for column, kind in columns.items():
        feature = data.features[column]
        is_class = hasattr(feature, "names")
        if is_class:
            full = [class_name(feature, value) is not None for value in data[column]]
        elif kind == "image":
            full = with_pictures(data, column, check=skip)
        elif kind == "text":
            full = [bool(texts_of(value)) for value in data[column]]
        else:
            chunks = data.select_columns([column]).with_format("arrow").iter(10_000)
            full = [valid for chunk in chunks for valid in chunk[column].is_valid().to_pylist()]
        missing = np.flatnonzero(~np.array(full, dtype=bool))
        if len(missing) and not skip:
            lacks = "has no label, or one without a name," if is_class else "is empty"
            raise TrialbookError(
                f"{where}: column '{column}' {lacks} in {len(missing)} rows, the first is row {missing[0]}; "
                "fix the data or set skip_missing = true"
            )
        has[missing] = False
    if not has.any():
        raise TrialbookError(f"{where}: no row has a value in each of {', '.join(columns)}")
    return data if has.all() else data.select(np.flatnonzero(has))


def class_name(feature: Any, value: int | None) -> str | None:
    """Name of a class by its number; None where it has none, as -1 for "no label"."""
    return feature.names[value] if value is not None and 0 <= value < len(feature.names) else None


def texts_of(value: str | list[str | None] | None) -> list[str]:
    """The texts of a cell that are not blank."""
    given = value if isinstance(value, list) else [value]
    return [text.strip() for text in given if text and text.strip()]


def values_of(data: datasets.Dataset, column: str) -> list[Any]:
    """The cells of a column, of classes the names; None where a class has none."""
    feature = data.features[column]
    cells = list(data[column])
    return [class_name(feature, cell) for cell in cells] if hasattr(feature, "names") else cells


def texts_column(data: datasets.Dataset, column: str) -> Column:
    """Texts of a column, one or several a group; of classes the names."""
    feature = data.features[column]
    if hasattr(feature, "names"):
        cells = [[feature.int2str(value)] for value in data[column]]
    else:
        cells = [texts_of(value) for value in data[column]]
    owner: Rows = np.repeat(np.arange(len(cells)), [len(cell) for cell in cells])
    return text_column([text for cell in cells for text in cell], owner)


def numbers_column(data: datasets.Dataset, column: str, where: str) -> Column:
    """Vectors or series of a column, a group each.

    Raises:
        TrialbookError: the rows differ in shape, or a value is not finite.
    """
    try:
        rows = np.asarray([np.asarray(cell, dtype=np.float32) for cell in data[column]])
    except ValueError as error:
        raise TrialbookError(f"{where}: rows of column '{column}' differ in shape") from error
    bad = np.flatnonzero(~np.isfinite(rows).reshape(len(rows), -1).all(axis=1))
    if len(bad):
        raise TrialbookError(f"{where}: column '{column}' has NaN or infinity in {len(bad)} rows, e.g. row {bad[0]}")
    return array_column(rows)
