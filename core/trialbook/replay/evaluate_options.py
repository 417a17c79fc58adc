"""The options of a command line for data and metrics that are to take the place of a run's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trialbook.config.merge import assign, subtree
from trialbook.config.toml import Document, KeyPath, parse_key, parse_value, read_toml
from trialbook.errors import Position, TrialbookError
from trialbook.plugins.schema import SchemaBook

_HERE = Position(None, 0)


@dataclass(frozen=True)
class GivenData:
    """A ``[dataset]`` table, where its keys were written, and a short name for it."""

    table: Mapping[str, Any]
    positions: Mapping[KeyPath, Position] = field(default_factory=dict)
    label: str = ""


def given_data(text: str | None, sets: Sequence[str], own: Mapping[str, Any], book: SchemaBook) -> GivenData | None:
    """The data that ``--dataset`` and ``--set`` mean; None where they say nothing.

    Args:
        text: a TOML file with a ``[dataset]`` table; a folder: for the dataset component that reads what lies there, or, for
            a run whose dataset takes a ``root``, the same kind of data from there; or the name of a dataset component. That of
            the run itself keeps the run's options.
        sets: ``KEY=VALUE`` each, merged over the table.
        own: the run's own ``[dataset]`` table.
        book: schemas of components.
    Raises:
        TrialbookError: it means none of these.
    """
    if text is None and not sets:
        return None
    document, label = Document({"dataset": dict(own)}), "changed"
    if text is not None and text.endswith(".toml"):
        document, label = _of_file(Path(text)), Path(text).stem
    elif text is not None and Path(text).is_dir():
        document, label = _of_folder(Path(text), own, book), Path(text).absolute().name
    elif text is not None:
        same = own.get("use", "").rpartition(":")[2] == text.rpartition(":")[2]
        document, label = Document({"dataset": dict(own) if same else {"use": text}}), text
        _check_named(text, own, book)
    for one in sets:
        key, mark, value = one.partition("=")
        if not mark:
            raise TrialbookError(f"--set '{one}' has no '=': write KEY=VALUE")
        try:
            path = ("dataset", *parse_key(key.strip()))
            document = assign(document, path, parse_value(value.strip()), _HERE)
        except ValueError as error:
            raise TrialbookError(f"--set '{one}': {error}") from error
    return GivenData(document.data["dataset"], document.positions, label)


def given_metrics(names: Sequence[str], own: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
    """Tables of the metrics that ``--metric`` means: those of the run by name, others with their defaults.

    Args:
        names: of metrics of the run, or of components.
        own: the run's own ``[[metric]]`` tables.
    """
    if not names:
        return None
    mine = {str(table.get("name", table["use"])): dict(table) for table in own}
    return [mine.get(name, {"use": name}) for name in dict.fromkeys(names)]


def _of_file(file: Path) -> Document:
    whole = read_toml(file)
    table = subtree(whole, "dataset")
    if "use" not in table.data:
        raise TrialbookError(f"{file} has no [dataset] with a 'use' that could be evaluated")
    positions: dict[KeyPath, Position] = {("dataset", *path): place for path, place in table.positions.items()}
    return Document({"dataset": table.data}, positions)


def _of_folder(folder: Path, own: Mapping[str, Any], book: SchemaBook) -> Document:
    use, root = str(own.get("use", "")), {"root": str(folder.absolute())}
    if (reader := _reader_of(folder, use, book)) not in ("", use):
        known = book.get("dataset", reader).json_schema["properties"]
        shared = {key: value for key, value in own.items() if key in known}  # such as the size of pictures
        return Document({"dataset": {**shared, "use": reader, **root}})
    if "root" not in book.get("dataset", use).json_schema["properties"]:
        raise TrialbookError(
            f"dataset '{use}' of this run has no option 'root', so the folder '{folder}' cannot take its place; "
            "write '--dataset NAME --set KEY=VALUE' or a TOML file with a [dataset] table"
        )
    return Document({"dataset": {**own, **root}})


def _reader_of(folder: Path, own: str, book: SchemaBook) -> str:
    """The dataset component that knows the folder by a file in it (``reads``), the run's own before others; empty if none does.

    Raises:
        TrialbookError: several do.
    """
    found = []
    for one in book.host.components("dataset"):
        try:
            schema = book.get("dataset", one.name)
        except TrialbookError:
            continue  # one that cannot be loaded, or whose name two plugins offer, reads nothing here
        reads = schema.attributes.get("reads")
        if isinstance(reads, str) and (folder / reads).is_file() and "root" in schema.json_schema["properties"]:
            found.append(one.name)
    if own in found:
        return own
    if len(found) > 1:
        raise TrialbookError(
            f"the folder '{folder}' may be for {' or '.join(sorted(found))}; say '--dataset {found[0]} --set root=…'"
        )
    return found[0] if found else ""


def _check_named(text: str, own: Mapping[str, Any], book: SchemaBook) -> None:
    if "/" in text or text.startswith("."):
        raise TrialbookError(f"there is no folder '{text}'")
    book.get("dataset", text)
