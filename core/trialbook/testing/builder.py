"""A builder of ready-made parts, for tests of tasks."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from trialbook.contracts import Features, FeatureTable, device_of, to_device
from trialbook.errors import TrialbookError


class PartsBuilder:
    """Hands a task the parts that it was given; implements ``trialbook.contracts.Builder``.

    Args:
        parts: kind to the part, or to parts by name: ``{"dataset": data, "encoder": {"image": encoder}}``.
        options: ``(kind, name, key)`` to the value of a reserved key, e.g. ``{("encoder", "image", "frozen"): True}``.
        seed: of the run.
        inputs: directories of runs that this one needs, by arm.
        batch_size: samples of a training step, and rows encoded at once in evaluation.
        mixtures: weights of the data's sources, by stage.
    """

    def __init__(
        self,
        parts: Mapping[str, Any],
        *,
        options: Mapping[tuple[str, str | None, str], Any] | None = None,
        seed: int = 0,
        inputs: Mapping[str, Path] | None = None,
        batch_size: int = 64,
        mixtures: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        self._parts: dict[str, Any] = dict(parts)
        self._options = options or {}
        self.seed = seed
        self.batch_size = self.eval_batch_size = batch_size
        self.data_root: Path | None = None
        self.device = torch.device("cpu")  # of the run
        self._trains = True
        self.inputs: Mapping[str, Path] = inputs or {}
        self.mixtures: Mapping[str, Mapping[str, float]] = mixtures or {}
        self.final_split = "test"

    def copied(self, device: torch.device, memo: dict[int, Any], *, trains: bool = True) -> PartsBuilder:
        """Another builder, of copies of the parts, data sets excepted, for a run on a device whose task trains or does not."""
        builder = copy.copy(self)
        builder.device, builder._trains = device, trains
        kept = self._parts.get("dataset")
        builder._parts = copy.deepcopy({kind: one for kind, one in self._parts.items() if kind != "dataset"}, memo)
        if kept is not None:
            builder._parts["dataset"] = kept
        return builder

    def names(self, kind: str) -> tuple[str, ...]:
        """Names of the parts of ``kind``."""
        parts = self._parts.get(kind, {})
        return tuple(parts) if isinstance(parts, Mapping) else (kind,)

    def make(self, kind: str, name: str | None = None, /, **injected: Any) -> Any:
        """The part, ready-made: ``injected`` is not used. A module is put on the device, but for a frozen encoder."""
        part = self._parts.get(kind)
        if isinstance(part, Mapping):
            part = part.get(name)
        if part is None:
            raise TrialbookError(f"the experiment has no [{kind}{f'.{name}' if name else ''}]")
        frozen = self.option(kind, name, "frozen", False) or not getattr(part, "learns", True)
        if isinstance(part, nn.Module) and (kind != "encoder" or (self._trains and not frozen)):
            part.to(self.device)
        return part

    def option(self, kind: str, name: str | None, key: str, default: Any = None) -> Any:
        """A reserved key of a table."""
        return self._options.get((kind, name, key), default)

    @contextmanager
    def on_device(self, module: nn.Module) -> Iterator[torch.device]:
        """The module on the builder's device; it goes back afterwards."""
        home = device_of(module)
        try:
            with torch.no_grad():
                module.to(self.device)
                yield self.device
        finally:
            module.to(home)

    def layer_features(
        self, name: str, encoder: Any, dataset: Any, split: str, modality: str
    ) -> dict[str, FeatureTable]:
        """Tokens [R, H, W, D] of every point of the encoder for all rows of a split, computed when asked."""
        part = dataset.splits()[split]
        prepared = encoder.prepare(part.read(modality, np.arange(len(part.groups(modality)))))
        with self.on_device(encoder) as device:
            encoder.verify()
            found = encoder.encode_layers(to_device(prepared, device))
        return {point: FeatureTable.of(Features(tokens)) for point, tokens in found.items()}

    def features(self, name: str, encoder: nn.Module, dataset: Any, split: str, modality: str) -> FeatureTable:
        """Outputs of the encoder for all rows of a split, computed when asked."""
        part = dataset.splits()[split]
        prepared = encoder.prepare(part.read(modality, np.arange(len(part.groups(modality)))))  # type: ignore[operator]
        with self.on_device(encoder) as device:
            return FeatureTable.of(Features(*encoder(to_device(prepared, device))))
