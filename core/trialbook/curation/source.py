"""The data set to be built: the ``[dataset]`` table of a file, or a component with options, checked and made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trialbook.config.experiment import Experiment
from trialbook.config.load import load_experiment
from trialbook.config.merge import assign
from trialbook.config.toml import Document, parse_key, parse_value
from trialbook.config.variants import ComponentTable
from trialbook.contracts.datasets import Dataset
from trialbook.errors import ErrorCollector, ExperimentErrors, Position, TrialbookError
from trialbook.planning.components import ComponentCheck, Judge, TableReport
from trialbook.plugins.construct import ComponentFactory
from trialbook.plugins.schema import SchemaBook

_MODALITIES = ("image", "conversation")


@dataclass(frozen=True)
class Source:
    """A dataset of conversations and the table that it was made from."""

    dataset: Dataset
    table: Mapping[str, Any]


def source_of_file(file: Path, profile: str | None, sets: Sequence[str]) -> Experiment:
    """The file, an experiment's or one with a ``[dataset]`` alone, under a profile and ``--set``."""
    return load_experiment(file, profile=profile, sets=sets)


def source_of_name(use: str, sets: Sequence[str]) -> Experiment:
    """A component by name, with ``--set KEY=VALUE`` for its options.

    Raises:
        TrialbookError: one of ``sets`` is not of that form.
    """
    name, here = Position(Path("--use"), 0), Position(None, 0)
    document = Document({"dataset": {"use": use}}, {("dataset",): name, ("dataset", "use"): name})
    for text in sets:
        key, mark, value = text.partition("=")
        try:
            if not mark:
                raise ValueError("write KEY=VALUE")
            path = parse_key(key.strip())
            path = path if path[0] == "dataset" else ("dataset", *path)
            document = assign(document, path, parse_value(value.strip()), here)
        except ValueError as error:
            raise TrialbookError(f"--set '{text}': {error}") from error
    return Experiment(Path("--use"), use, "", document)


def open_source(experiment: Experiment, book: SchemaBook, data_root: Path | None) -> Source:
    """Check the ``[dataset]`` table and make the dataset; its files are read.

    Raises:
        ExperimentErrors: the table has mistakes, with file and line.
        TrialbookError: there is no such table, or it is no dataset of conversations.
    """
    if experiment.problems:
        raise ExperimentErrors(experiment.problems)
    document = experiment.base
    if not document.data.get("dataset"):
        raise TrialbookError(f"{experiment.file} has no [dataset] that could be built")
    table = ComponentTable("dataset", ("dataset",), document.data["dataset"])
    problems = ErrorCollector(experiment.file)
    ComponentCheck(TableReport(experiment, document, problems), Judge(book)).component(table)
    if len(problems):
        raise ExperimentErrors(problems)
    wiring = ComponentFactory(book, str(experiment.file), document.positions, {"data_root": data_root, "seed": 0})
    dataset = wiring.construct(table, {})
    if not isinstance(dataset.modalities, Mapping) or set(dataset.modalities) != set(_MODALITIES):
        raise TrialbookError(
            f"dataset '{table.use}' holds no conversations; pictures with captions become some by 'caption-conversations'"
        )
    with wiring.located(table.path, table.content):
        dataset.splits()
    return Source(dataset, table.content)
