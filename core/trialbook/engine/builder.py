"""From a run's configuration to its parts: components made, seeded and injected, with errors that name file and line."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trialbook.config.options import EvaluateOptions, origin_of, stages_of
from trialbook.config.runspec import RunSpec
from trialbook.config.settings import Settings
from trialbook.config.toml import KeyPath
from trialbook.config.variants import ComponentTable
from trialbook.contracts import Features, FeatureTable, LayerEncoder, Task, Trainable, device_of, to_device
from trialbook.contracts.data_files import NotedFiles, noting_files
from trialbook.contracts.datasets import Overlap, find_overlaps, modalities_of
from trialbook.contracts.metric_names import expand_produces
from trialbook.contracts.randomness import derive_seed
from trialbook.engine.feature_store import FeatureStore, weights_hash
from trialbook.engine.seeding import seed_numpy
from trialbook.engine.warm_start import Lineage, Origin, find_origin, start_part
from trialbook.errors import TrialbookError
from trialbook.plugins.construct import ComponentFactory, Located, component_options
from trialbook.plugins.schema import SchemaBook
from trialbook.registry.ranks import world_size

_STARTED = ("encoder", "projector", "llm", "decoder", "loss")
"""Kinds whose parts may start from an earlier run."""
_ARRAYS = ("loss", "metric")


@dataclass
class BuildContext:
    """The context that all runs of a process share: schemas, stored features, and data sets that were read already.

    Args:
        book: schemas of all components.
        store: outputs of frozen encoders.
        data_root: where relative data paths start.
        runs: directory of all runs, for parts that start from one.
        device: where modules compute.
        files: paths that components ask for by name, as ``runner.toml`` has them.
        processes: how many do a run together.
    """

    book: SchemaBook
    store: FeatureStore
    data_root: Path | None
    runs: Path = field(default_factory=lambda: Path("runs"))
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    datasets: dict[str, Any] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    processes: int = field(default_factory=world_size)

    @classmethod
    def of(cls, settings: Settings, book: SchemaBook) -> BuildContext:
        """That of a workplace, with the features that it has stored."""
        store = FeatureStore(settings.runs / ".features")
        return cls(book, store, settings.data_root, settings.runs, files=settings.files)


@dataclass(frozen=True)
class Part:
    """A part that was made, for the record."""

    name: str
    module: Any
    frozen: bool

    @property
    def parameters(self) -> int:
        """Number of parameters, two to a byte where they are quantised so; 0 for what is no module."""
        return sum(parameter_count(p) for p in self.module.parameters()) if isinstance(self.module, nn.Module) else 0


def parameter_count(parameter: nn.Parameter) -> int:
    """Numbers of a parameter; one that bitsandbytes quantised says of how many it was made."""
    shape = getattr(getattr(parameter, "quant_state", None), "shape", None)
    return parameter.numel() if shape is None else math.prod(shape)


class RunBuilder:
    """Makes the parts of one run; implements ``trialbook.contracts.Builder``."""

    def __init__(self, spec: RunSpec, workshop: BuildContext, inputs: Mapping[str, Path] | None = None) -> None:
        self.spec, self.workshop = spec, workshop
        self.seed, self.data_root = spec.seed, workshop.data_root
        self.inputs: Mapping[str, Path] = inputs or {}
        self.parts: list[Part] = []
        self.overlaps: list[Overlap] = []
        self.lineage: list[Lineage] = []
        self.files = NotedFiles()
        self._origins: dict[str, Origin] = {}
        self._hashes: WeakKeyDictionary[nn.Module, tuple[tuple[int, ...], str]] = WeakKeyDictionary()
        self._trains = False
        self.dataset: Any = None

    @property
    def batch_size(self) -> int:
        """Samples of one micro-batch of the last stage over all processes; losses of a split are taken at this size."""
        if not self.spec.config.get("train") and not self.spec.config.get("stage"):
            return self.eval_batch_size
        stage = stages_of(dict(self.spec.config))[-1]
        return stage.batch_size // stage.accumulate * self.workshop.processes

    @property
    def eval_batch_size(self) -> int:
        """Rows encoded at once in evaluation."""
        return EvaluateOptions(**self.spec.config.get("evaluate", {})).batch_size

    @property
    def final_split(self) -> str:
        """The test split."""
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
        self._trains = isinstance(task, Trainable)
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

    def declared(self, kind: str, name: str, modalities: Sequence[str] = ()) -> list[str]:
        """Names of the values that a metric or probe declares with its options; see the contract."""
        _, table = self._table(kind, name)
        schema = self.workshop.book.get(kind, table["use"])
        options = {**schema.defaults(), **component_options(table)}
        return expand_produces(schema.attributes.get("produces", []), options, modalities)

    def make(self, kind: str, name: str | None = None, /, **injected: Any) -> Any:
        """Make a component, and note the files that it reads; see ``_make``."""
        with noting_files() as noted:
            made = self._make(kind, name, injected)
        self.files.add(noted)
        return made

    def _make(self, kind: str, name: str | None, injected: Mapping[str, Any]) -> Any:
        """Make the component of ``[kind]`` or ``[kind.name]``; its random numbers depend on the seed and its place alone.

        A module is put on the device. A frozen encoder is not: it goes there while its features are made (``on_device``).
        """
        path, table = self._table(kind, name)
        if kind == "dataset":
            return self._dataset(path, table)
        label = f"{kind}.{name}" if name and name != kind else kind
        seed = derive_seed(self.seed, "build", label)
        seed_numpy(seed)
        torch.manual_seed(seed)
        made = self._construct(kind, path, table, injected)
        if isinstance(made, nn.Module) and kind in _STARTED:
            self._start(label, path, table, made)
        frozen = bool(table.get("frozen", False)) or not getattr(made, "learns", True)
        if isinstance(made, nn.Module) and frozen:
            made.requires_grad_(False).eval()
        if isinstance(made, nn.Module) and (kind != "encoder" or (self._trains and not frozen)):
            made.to(self.workshop.device)
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

    def place_all(self) -> None:
        """Put all parts on the device to be used, those that the task's module does not hold (frozen encoders) as well."""
        for part in self.parts:
            if isinstance(part.module, nn.Module):
                part.module.to(self.workshop.device).eval()

    @contextmanager
    def on_device(self, module: nn.Module) -> Iterator[torch.device]:
        """Have a frozen module on the device, without gradients and outside of mixed precision; then put it back."""
        home, device = device_of(module), self.workshop.device
        module.to(device).eval()
        try:
            with torch.no_grad(), torch.autocast(device.type, enabled=False):
                yield device
        finally:
            module.to(home)

    def features(self, name: str, encoder: nn.Module, dataset: Any, split: str, modality: str) -> FeatureTable:
        """Stored tokens [R, N, D] of a frozen encoder for all rows of a split."""
        part = dataset.splits()[split]
        with self._located("encoder", name, {}):

            def encode(rows: NDArray[np.int64]) -> Features:
                return encode_rows(encoder, part.read(modality, rows), self.workshop.device)

            made_of = self._made_of(name, encoder, dataset, split, modality)
            rows = len(part.groups(modality))
            return self.workshop.store.get(made_of, rows, encode, partial(self.on_device, encoder))

    def layer_features(
        self, name: str, encoder: nn.Module, dataset: Any, split: str, modality: str
    ) -> dict[str, FeatureTable]:
        """Stored tokens [R, H, W, D] of every point of an encoder for all rows of a split; see the contract."""
        if not isinstance(encoder, LayerEncoder):
            raise TrialbookError(f"[encoder.{name}] has no points whose layers can be read (no 'encode_layers')")
        part = dataset.splits()[split]
        with self._located("encoder", name, {}):
            whole = self._made_of(name, encoder, dataset, split, modality)
            options = {key: value for key, value in whole["options"].items() if key not in encoder.tap_choices}
            made_of = {
                point: {**whole, "options": options, "point": place.where, "rows": encoder.tap_rows}
                for point, place in encoder.points().items()
            }

            def begin(_: tuple[str, ...]) -> Callable[[NDArray[np.int64]], Mapping[str, torch.Tensor]]:
                encoder.verify()  # only where something is to be made: what is there was made by code that passed
                device = self.workshop.device
                return lambda rows: encoder.encode_layers(to_device(encoder.prepare(part.read(modality, rows)), device))

            rows, context = len(part.groups(modality)), partial(self.on_device, encoder)
            return self.workshop.store.get_many(made_of, rows, encoder.tap_rows, begin, context)

    def _made_of(self, name: str, encoder: nn.Module, dataset: Any, split: str, modality: str) -> dict[str, Any]:
        """Everything that the features of a split depend on."""
        _, table = self._table("encoder", name)
        schema = self.workshop.book.get("encoder", table["use"])
        identity: Callable[[], Mapping[str, str]] = getattr(encoder, "identity", dict)
        label = "encoder" if name == "encoder" else f"encoder.{name}"
        return {
            "encoder": schema.target, "source": self.spec.sources[label], "options": component_options(table),
            "identity": dict(identity()), "weights": self._weights_hash(encoder), "data": dataset.fingerprint,
            "split": split, "modality": modality, "dtype": str(next((p.dtype for p in encoder.parameters()), "none")),
            "device": self.workshop.device.type, "matmul_precision": torch.get_float32_matmul_precision(),
            **self._deterministic(),
        }  # fmt: skip

    def _deterministic(self) -> dict[str, bool]:
        """Return whether features are made by deterministic algorithms, where others may give other bits."""
        chosen = self.workshop.device.type != "cpu" and torch.are_deterministic_algorithms_enabled()
        return {"deterministic": True} if chosen else {}

    def _weights_hash(self, module: nn.Module) -> str:
        """Hash of a module's weights, computed once as long as nothing writes to them."""
        versions = tuple(tensor._version for tensor in (*module.parameters(), *module.buffers()))
        known = self._hashes.get(module)
        if known is None or known[0] != versions:
            known = self._hashes[module] = (versions, weights_hash(module))
        return known[1]

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

    def _construct(self, kind: str, path: KeyPath, table: Mapping[str, Any], injected: Mapping[str, Any]) -> Any:
        return self._wiring.construct(ComponentTable(kind, path, table), injected)

    @property
    def _wiring(self) -> ComponentFactory:
        offered = {
            "data_root": self.data_root, "seed": self.seed, "inputs": self.inputs, "records": self.workshop.book.host.records,
            "files": self.workshop.files, "device": self.workshop.device,
        }  # fmt: skip
        return ComponentFactory(self.workshop.book, self.spec.experiment, self.spec.positions, offered)

    def _dataset(self, path: KeyPath, table: Mapping[str, Any]) -> Any:
        key = json.dumps([table, dict(self.inputs)], sort_keys=True, default=str)
        memo = self.workshop.datasets
        if key not in memo:
            with noting_files() as noted:
                dataset = self._construct("dataset", path, table, {})
                with self._located_at(path, table):
                    splits = dataset.splits()
                    memo[key] = (dataset, find_overlaps(splits, modalities_of(dataset, table)), noted)
        self.dataset, self.overlaps, noted = memo[key]
        self.files.add(noted)
        return self.dataset

    def _located(self, kind: str, name: str | None, options: Mapping[str, Any]) -> Located:
        return self._located_at(self._table(kind, name)[0], options)

    def _located_at(self, path: KeyPath, options: Mapping[str, Any]) -> Located:
        return self._wiring.located(path, options)


def encode_rows(encoder: nn.Module, raw: Any, device: torch.device) -> Features:
    """Tokens of raw rows; masked ones are padded to one length, so that rows from different batches fit one array."""
    features: Features = encoder(to_device(encoder.prepare(raw), device))  # type: ignore[operator]
    length = getattr(encoder, "max_length", 0)
    if features.mask is None or features.mask.shape[1] >= length:
        return features
    extra = length - features.mask.shape[1]
    return Features(nn.functional.pad(features.tokens, (0, 0, 0, extra)), nn.functional.pad(features.mask, (0, extra)))
