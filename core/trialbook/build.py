"""From a run's configuration to its parts: components made, seeded and wired, with errors that name file and line."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trialbook.contracts import Features, Task, to_device
from trialbook.data import Overlap, find_overlaps
from trialbook.engine.origin import Lineage, Origin, find_origin, start_part
from trialbook.errors import Problem, ProblemsError, TrialbookError
from trialbook.features import FeatureStore, Stored, weights_hash
from trialbook.options import EvaluateOptions, origin_of, stages_of
from trialbook.plan import RunSpec
from trialbook.schema import ComponentSchema, SchemaBook, construct
from trialbook.seeding import derive_seed, seed_numpy
from trialbook.toml import KeyPath

RESERVED = ("use", "frozen", "from", "weight", "name", "id")
_STARTED = ("encoder", "projector", "llm", "decoder", "loss")
"""Kinds whose parts may start from an earlier run."""
_ARRAYS = ("loss", "metric")


@dataclass
class Workshop:
    """What all runs of a process share: schemas, stored features, and data sets that were read already.

    Args:
        book: schemas of all components.
        store: outputs of frozen encoders.
        data_root: where relative data paths start.
        runs: directory of all runs, for parts that start from one.
        device: where frozen encoders compute.
    """

    book: SchemaBook
    store: FeatureStore
    data_root: Path | None
    runs: Path = field(default_factory=lambda: Path("runs"))
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    datasets: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """A part that was made, for the record."""

    name: str
    module: Any
    frozen: bool

    @property
    def parameters(self) -> int:
        """Number of parameters; 0 for what is no module."""
        return sum(p.numel() for p in self.module.parameters()) if isinstance(self.module, nn.Module) else 0


class RunBuilder:
    """Makes the parts of one run; implements ``trialbook.contracts.Builder``."""

    def __init__(self, spec: RunSpec, workshop: Workshop, inputs: Mapping[str, Path] | None = None) -> None:
        self.spec, self.workshop = spec, workshop
        self.seed, self.data_root = spec.seed, workshop.data_root
        self.inputs: Mapping[str, Path] = inputs or {}
        self.parts: list[Part] = []
        self.overlaps: list[Overlap] = []
        self.lineage: list[Lineage] = []
        self._origins: dict[str, Origin] = {}
        self.dataset: Any = None

    @property
    def batch_size(self) -> int:
        """Samples of one micro-batch of the last stage; losses of a split are taken at this size."""
        if not self.spec.config.get("train") and not self.spec.config.get("stage"):
            return self.eval_batch_size
        stage = stages_of(dict(self.spec.config))[-1]
        return stage.batch_size // stage.accumulate

    @property
    def eval_batch_size(self) -> int:
        """Rows encoded at once in evaluation."""
        return EvaluateOptions(**self.spec.config.get("evaluate", {})).batch_size

    @property
    def final_split(self) -> str:
        """The split of the answer."""
        return EvaluateOptions(**self.spec.config.get("evaluate", {})).final

    @property
    def mixtures(self) -> Mapping[str, Mapping[str, float]]:
        """Weights of sources by stage, for stages that give any."""
        if not self.spec.config.get("train") and not self.spec.config.get("stage"):
            return {}
        return {stage.name: stage.data for stage in stages_of(dict(self.spec.config)) if stage.data}

    def task(self) -> Task:
        """Make the task and let it set itself up."""
        task: Task = self.make("task", None, builder=self)
        with self._located("task", None, {}):
            task.setup()
        return task

    def names(self, kind: str) -> tuple[str, ...]:
        """Names of the tables of ``kind``."""
        tables = self.spec.config.get(kind, {})
        if kind in _ARRAYS:
            return tuple(table.get("name", table["use"]) for table in tables)
        return (kind,) if "use" in tables else tuple(tables)

    def option(self, kind: str, name: str | None, key: str, default: Any = None) -> Any:
        """A reserved key of a table."""
        return self._table(kind, name)[1].get(key, default)

    def make(self, kind: str, name: str | None = None, /, **wired: Any) -> Any:
        """Make the component of ``[kind]`` or ``[kind.name]``; its random numbers depend on the seed and its place alone."""
        path, table = self._table(kind, name)
        if kind == "dataset":
            return self._dataset(path, table)
        label = f"{kind}.{name}" if name and name != kind else kind
        seed = derive_seed(self.seed, "build", label)
        seed_numpy(seed)
        torch.manual_seed(seed)
        made = self._construct(kind, path, table, wired)
        if isinstance(made, nn.Module) and kind in _STARTED:
            self._start(label, path, table, made)
        frozen = bool(table.get("frozen", False))
        if isinstance(made, nn.Module) and frozen:
            made.requires_grad_(False).eval()
        if kind != "task":
            self.parts.append(Part(label, made, frozen))
        return made

    def _start(self, label: str, path: KeyPath, table: Mapping[str, Any], module: nn.Module) -> None:
        """Give a part the weights of the earlier run that it, or the whole run, starts from."""
        text = table.get("from") or origin_of(self.spec.config)
        if text is None:
            return
        with self._located_at(path, {"from": text}):
            if text not in self._origins:
                self._origins[text] = find_origin(text, self.workshop.runs, self.inputs, self.seed)
            self.lineage.append(start_part(label, module, self._origins[text], demanded="from" in table))

    def features(
        self, name: str, encoder: nn.Module, dataset: Any, split: str, modality: str
    ) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Stored tokens [R, N, D] and mask [R, N] of a frozen encoder for all rows of a split."""
        _, table = self._table("encoder", name)
        schema = self.workshop.book.get("encoder", table["use"])
        identity: Callable[[], Mapping[str, str]] = getattr(encoder, "identity", dict)
        made_of = {
            "encoder": schema.target, "source": schema.source, "options": _without(table, RESERVED),
            "identity": dict(identity()), "weights": weights_hash(encoder), "data": dataset.fingerprint,
            "split": split, "modality": modality, "dtype": str(next((p.dtype for p in encoder.parameters()), "none")),
            "device": self.workshop.device.type,
        }  # fmt: skip
        part = dataset.splits()[split]

        def encode(rows: NDArray[np.int64]) -> Features:
            return _encode(encoder, part.read(modality, rows), self.workshop.device)

        with self._located("encoder", name, {}):
            encoder.to(self.workshop.device).eval()
            stored: Stored = self.workshop.store.get(made_of, len(part.groups(modality)), encode)
        return stored.tokens, stored.mask

    def _table(self, kind: str, name: str | None) -> tuple[KeyPath, Mapping[str, Any]]:
        tables = self.spec.config.get(kind)
        if tables is None:
            raise TrialbookError(f"the experiment has no [{kind}]")
        if kind in _ARRAYS:
            for index, table in enumerate(tables):
                if name == table.get("name", table["use"]):
                    return (kind, index), table
        elif "use" in tables:
            return (kind,), tables
        elif name is not None and name in tables:
            return (kind, name), tables[name]
        raise TrialbookError(f"the experiment has no [{kind}.{name}]")

    def _construct(self, kind: str, path: KeyPath, table: Mapping[str, Any], wired: Mapping[str, Any]) -> Any:
        schema = self.workshop.book.get(kind, table["use"])
        options = _without(table, RESERVED)
        offered = {"data_root": self.data_root, "seed": self.seed, **wired}
        for name, nested_kind in schema.attributes.get("parts", {}).items():
            if name in options:
                nested = options.pop(name)
                nested = {"use": nested} if isinstance(nested, str) else nested
                offered[name] = self._construct(nested_kind, (*path, name), nested, wired)
        if missing := [name for name in schema.wired if name not in offered]:
            raise TrialbookError(
                f"{kind} '{schema.name}' wants '{missing[0]}', which the task does not offer (it offers {', '.join(wired)})"
            )
        handed = {name: offered[name] for name in (*schema.wired, *schema.wired_optional) if name in offered}
        with self._located_at(path, options):
            return construct(_import(schema), handed, options)

    def _dataset(self, path: KeyPath, table: Mapping[str, Any]) -> Any:
        key = json.dumps(table, sort_keys=True, default=str)
        memo = self.workshop.datasets
        if key not in memo:
            dataset = self._construct("dataset", path, table, {})
            with self._located_at(path, table):
                splits = dataset.splits()
                memo[key] = (dataset, find_overlaps(splits, modalities_of(dataset, table)))
        self.dataset, self.overlaps = memo[key]
        return self.dataset

    def _located(self, kind: str, name: str | None, options: Mapping[str, Any]) -> _Located:
        return self._located_at(self._table(kind, name)[0], options)

    def _located_at(self, path: KeyPath, options: Mapping[str, Any]) -> _Located:
        return _Located(self.spec, path, options)


class _Located:
    """Turns errors of a component into problems with file and line: those of the key that the message names."""

    def __init__(self, spec: RunSpec, path: KeyPath, options: Mapping[str, Any]) -> None:
        self.spec, self.path, self.options = spec, path, options

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, ProblemsError) or not isinstance(error, TrialbookError | ValueError):
            return
        if isinstance(error, ValueError) and kind is not ValueError:
            return  # a subclass (UnicodeDecodeError, …) is no value check: let its traceback be seen
        named = [key for key in self.options if re.search(rf"(?<![\w-]){re.escape(str(key))}(?![\w-])", str(error))]
        positions = self.spec.positions
        paths: list[KeyPath] = [*((*self.path, key) for key in (*named, "use")), self.path]
        place = next((positions[path] for path in paths if path in positions), None)
        file = str(place.file) if place and place.file else "--set" if place else self.spec.experiment
        table = ".".join(str(level) for level in self.path if not isinstance(level, int))
        raise ProblemsError([Problem(file, place.line if place else 0, table, str(error))]) from error


def _encode(encoder: nn.Module, raw: Any, device: torch.device) -> Features:
    with torch.no_grad():
        features: Features = encoder(to_device(encoder.prepare(raw), device))  # type: ignore[operator]
    return _pad(features, getattr(encoder, "max_length", 0))


def _pad(features: Features, length: int) -> Features:
    """Pad masked tokens to one length, so that rows from different batches fit one array."""
    if features.mask is None or features.mask.shape[1] >= length:
        return features
    extra = length - features.mask.shape[1]
    return Features(nn.functional.pad(features.tokens, (0, 0, 0, extra)), nn.functional.pad(features.mask, (0, extra)))


def _import(schema: ComponentSchema) -> type:
    module, _, name = schema.target.partition(":")
    found: type = getattr(importlib.import_module(module), name)
    return found


def modalities_of(dataset: Any, table: Mapping[str, Any]) -> list[str]:
    """Names of a dataset's modalities: its own, or the keys of the option that names them in its table."""
    declared = dataset.modalities
    return list(table.get(declared, {})) if isinstance(declared, str) else list(declared)


def _without(table: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in keys}
