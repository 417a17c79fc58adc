"""Two or more modalities into one space."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trialbook import TrialbookError
from trialbook.contracts import Builder, Features, Step, as_float64, device_of, float64_device, to_device
from trialbook.contracts.distributed import spread
from trialbook.contracts.metric_values import per_sample_of
from trialbook.contracts.randomness import epoch_uniform
from trialbook.contracts.records import Event
from trialbook_plugins.tasks._blocks import project
from trialbook_plugins.tasks._dropped_rows import dropped_row_events
from trialbook_plugins.tasks._rows import Rows, Source
from trialbook_plugins.tasks._tags import TAGS, Classes, Known, handed, known_of_split, row_tags
from trialbook_plugins.tasks._values import compute

_PREPARED_AT_ONCE = ("text", "vector")
"""Kinds whose prepared rows are small: they are tokenised once and kept in memory."""


class Align(nn.Module):
    """Bring the modalities of a data set into one space, where matching rows lie close.

    Each modality goes through its encoder (frozen or trained) and its projector to tokens [B, M, dim]; their mean [B,
    dim] is
    the embedding. A modality without a projector is used as its encoder gives it and must have the width ``dim``.
    Outputs of
    frozen encoders are computed once and stored. In training every sample (group) gives one row of each modality, drawn
    again in each epoch; in evaluation all rows are embedded.

    Args:
        dim: width of the common space.

    Raises:
        TrialbookError: fewer than two modalities have an encoder, or a width does not fit.

    Source: Radford et al. 2021 (CLIP), section 2.3, for the two-tower form.
    """

    takes = {"dataset": "one", "encoder": "modality", "projector": "modality", "loss": "many", "metric": "many"}
    provides = ("embeddings", "groups", "classes", "content", "split", "train", "encoders", "prepared")
    produces = lower_is_better = ("loss", "{loss}/loss")

    def __init__(self, builder: Builder, /, *, dim: int = 128) -> None:
        super().__init__()
        if dim < 1:
            raise TrialbookError(f"dim ({dim}) must be at least 1")
        self._builder = builder
        self.dim = dim

    def setup(self) -> None:
        """Read the data, make encoders, projectors, losses and metrics, and store what frozen encoders give."""
        builder = self._builder
        self.dataset = builder.make("dataset")
        self.modalities = builder.names("encoder")
        if len(self.modalities) < 2:
            raise TrialbookError("task 'align' needs an [encoder.…] for at least two modalities")
        self.encoders = {name: self._encoder(name) for name in self.modalities}
        self.frozen = {name: bool(builder.option("encoder", name, "frozen", False)) for name in self.modalities}
        self.projectors = {name: self._projector(name) for name in self.modalities}
        self.described = {name: self.dataset.describe(name) for name in self.modalities}
        self.losses_by_name = {name: self._figure("loss", name) for name in builder.names("loss")}
        self.weights = {name: float(builder.option("loss", name, "weight", 1.0)) for name in self.losses_by_name}
        self.metrics = {name: self._figure("metric", name) for name in builder.names("metric")}
        self._ask_for_classes()
        self._shown: tuple[str, Mapping[str, Any]] = ("", {})
        self._sources: dict[str, dict[str, Source]] = {}
        self._uniform: dict[tuple[int, str], NDArray[np.float64]] = {}
        self.parts = nn.ModuleDict({
            "encoder": nn.ModuleDict(self._trained()),
            "projector": nn.ModuleDict({name: p for name, p in self.projectors.items() if p is not None}),
            "loss": nn.ModuleDict(self.losses_by_name),
        })  # fmt: skip

    def _encoder(self, name: str) -> nn.Module:
        encoder: nn.Module = self._builder.make("encoder", name, modality=self.dataset.describe(name))
        return encoder

    def _projector(self, name: str) -> nn.Module | None:
        width = int(self.encoders[name].dim)  # type: ignore[arg-type]
        if name in self._builder.names("projector"):
            projector: nn.Module = self._builder.make("projector", name, dim_in=width, dim_out=self.dim)
            return projector
        if width != self.dim:
            raise TrialbookError(
                f"modality '{name}' has no [projector.{name}], and its encoder's width ({width}) is not dim ({self.dim})"
            )
        return None

    def _figure(self, kind: str, name: str) -> Any:
        """A loss or a metric."""
        return self._builder.make(kind, name, dim=self.dim, modalities=self.described, encoders=self._trained())

    def _trained(self) -> dict[str, nn.Module]:
        """Encoders that take part in the forward pass, by modality."""
        return {name: encoder for name, encoder in self.encoders.items() if not self.frozen[name]}

    def _ask_for_classes(self) -> None:
        """Find the classes of the data where there are any.

        Raises:
            TrialbookError: a loss or a metric needs them, and there are none.
        """
        self.classes = Classes(self.dataset.splits())
        self._tags = {need for loss in self.losses_by_name.values() for need in loss.needs if need in TAGS}
        for name, loss in self.losses_by_name.items():
            if "classes" in loss.needs:
                self.classes.demand("train", f"loss '{name}'")
        for name, metric in self.metrics.items():
            if "classes" in metric.needs:
                for split in (self._builder.final_split, *(["train"] if "train" in metric.needs else [])):
                    if split in self.dataset.splits():
                        self.classes.demand(split, f"metric '{name}'")

    def notes(self) -> Iterator[Event]:
        """Yield what the data set had to leave out, where it says so."""
        yield from dropped_row_events(self.dataset)

    # --- training -----------------------------------------------------------------------------------------------

    def module(self) -> nn.Module:
        """All parts that take part in the forward pass; stored frozen encoders do not."""
        return self.parts

    def size(self, stage: str) -> int:
        """Number of groups in the train split."""
        return len(self.dataset.splits()["train"])

    def batch(self, samples: NDArray[np.int64], epoch: int, step: Step) -> dict[str, Rows]:
        """One row of each modality of the samples [B]."""
        rows = {}
        for name, source in self._split("train").items():
            key = (epoch, name)
            if key not in self._uniform:
                self._uniform = {k: v for k, v in self._uniform.items() if k[0] == epoch}
                self._uniform[key] = epoch_uniform(step.seed, epoch, name, len(source.split))
            rows[name] = source.read(source.draw(samples, self._uniform[key]))
        return rows

    def losses(self, batch: Mapping[str, Rows]) -> dict[str, Tensor]:
        """Weighted sum under ``loss``; each loss under ``<name>/loss``, what it reports under ``<name>/…``."""
        embeddings = {name: self.embed(name, rows) for name, rows in batch.items()}
        trained = self._trained()
        offered: dict[str, Any] = {
            "embeddings": embeddings, "encoders": trained, "prepared": {name: batch[name].prepared for name in trained},
        }  # fmt: skip
        offered |= {tag: {name: rows.tags[tag] for name, rows in batch.items()} for tag in self._tags}
        known = Known({name: partial(offered.get, name) for name in offered}, bits=False)
        values: dict[str, Tensor] = {}
        total: Tensor | float = 0.0
        for name, loss in self.losses_by_name.items():
            with known.to(f"loss '{name}'"):
                value = loss(**handed(known, loss.needs, f"loss '{name}'"))
            if not isinstance(value, Tensor) or value.ndim:
                what = f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"but {value!r}"
                raise TrialbookError(f"loss '{name}' must give a scalar tensor, not one {what}")
            total = total + self.weights[name] * value
            values[f"{name}/loss"] = value
            if hasattr(loss, "report"):
                values.update({f"{name}/{key}": torch.as_tensor(v).detach() for key, v in loss.report().items()})
        return {"loss": torch.as_tensor(total), **values}

    def after_step(self) -> None:
        """Let losses clamp their scales."""
        for loss in self.losses_by_name.values():
            if hasattr(loss, "after_step"):
                loss.after_step()

    def embed(self, name: str, rows: Rows) -> Tensor:
        """Rows of a modality to embeddings [B, dim], not normalised."""
        encoder, projector = self.encoders[name], self.projectors[name]
        features = Features(*(rows.stored if rows.stored is not None else encoder(rows.prepared)))
        if projector is not None:
            features = project(projector, encoder, to_device(features, device_of(projector)), rows.there).rows()
        return features.mean()

    # --- evaluation ---------------------------------------------------------------------------------------------

    def evaluate(self, split: str) -> dict[str, float]:
        """Loss and metrics of a split; empty where there is no such split."""
        if split not in self.dataset.splits():
            return {}
        figures = self._evaluate_losses(self._split(split))
        makers = self._makers(split)
        offered = Known({**makers, "train": lambda: Known(self._makers("train"))})
        per_sample: dict[str, NDArray[np.float64]] = {}
        self._shown = (
            split,
            {**{key: offered[key] for key in ("embeddings", "groups", "classes")}, "per_sample": per_sample},
        )
        for name, metric in self.metrics.items():
            if "classes" in metric.needs:
                self.classes.demand(split, f"metric '{name}'")
            values, found = compute(self._builder, name, metric, offered, self.modalities)
            per_sample |= per_sample_of(name, found)
            figures |= values
        return figures

    def _makers(self, split: str) -> dict[str, Callable[[], Any]]:
        """Return what makes what metrics may know of a split."""

        def embed() -> dict[str, Tensor]:
            return {name: self._embed_all(name, source) for name, source in self._split(split).items()}

        return known_of_split(self.dataset.splits()[split], self.modalities, embed, self.classes.of(split))

    def shown(self, split: str) -> Mapping[str, Any]:
        """Embeddings, groups, values of samples and classes, where there are any, of the last evaluation, if of ``split``."""
        return self._shown[1] if self._shown[0] == split else {}

    def _embed_all(self, name: str, source: Source) -> Tensor:
        """Embeddings [R, dim] of all rows, in float32, where metrics can continue with them in float64."""
        size, rows = self._builder.eval_batch_size, len(source.groups)

        def embed(at: int) -> Tensor:
            return self.embed(name, self._moved(source.read(np.arange(at, min(at + size, rows)))))

        embeddings = torch.cat(spread(embed, range(0, rows, size))).float()
        return embeddings.to(float64_device(device_of(self.parts)))

    def _evaluate_losses(self, sources: Mapping[str, Source]) -> dict[str, float]:
        """Mean over whole batches of the training size (a contrastive loss depends on it), first row of each group."""
        groups = len(next(iter(sources.values())).split)
        size = min(self._builder.batch_size, groups)
        sums: dict[str, Tensor] = {}
        starts = range(0, groups - size + 1, size)

        def losses(at: int) -> dict[str, Tensor]:
            samples, first = np.arange(at, at + size), np.zeros(groups)
            batch = {name: self._moved(source.read(source.draw(samples, first))) for name, source in sources.items()}
            found = self.losses(batch)
            return {name: as_float64(value) for name, value in found.items() if name.split("/")[-1] == "loss"}

        for found in spread(losses, starts):
            for name, value in found.items():
                sums[name] = sums.get(name, 0.0) + value
        return {name: float(value) / len(starts) for name, value in sums.items()}

    def _moved(self, rows: Any) -> Any:
        return to_device(rows, device_of(self.parts))

    def _split(self, split: str) -> dict[str, Source]:
        """Sources of all modalities in a split, made on first use."""
        if split not in self._sources:
            self._sources[split] = {name: self._source(split, name) for name in self.modalities}
        return self._sources[split]

    def _source(self, split: str, name: str) -> Source:
        part, encoder = self.dataset.splits()[split], self.encoders[name]
        asked = "classes" in self._tags
        classes = self.classes.demand(split, "a loss") if asked else self.classes.of(split)
        tags = row_tags(self._tags, part, name, classes)
        stored = prepared = None
        if self.frozen[name]:
            stored = self._builder.features(name, encoder, self.dataset, split, name)
        elif self.dataset.describe(name).kind in _PREPARED_AT_ONCE:
            prepared = encoder.prepare(part.read(name, np.arange(len(part.groups(name)))))  # type: ignore[operator]
        return Source(part, name, encoder, stored, prepared, tags)
