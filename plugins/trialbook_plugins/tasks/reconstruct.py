"""Task ``reconstruct``: pictures back from the tokens of a frozen encoder, through the decoder of another model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trialbook import TrialbookError
from trialbook.contracts import Builder, Decodes, Step, as_float64, device_of, to_device
from trialbook.contracts.datasets import find_overlaps
from trialbook.contracts.plots import declare_pictures
from trialbook.contracts.records import Arrays, Artifact, Event, Facts
from trialbook_plugins.probes.rows import MadeRows, Rows, chunks, read_part

from ._clips import Annotations, clips_of, mean_clip, to_bytes
from ._dropped_rows import dropped_row_events
from ._layers import LayerFeatures
from ._side_by_side import about_lines, shown_by, write_side_by_side
from ._tags import Known, handed
from ._values import compute

Reference = Literal["true", "latents", "mean"]
#: Name of the arrays and of the picture that a run leaves.
SHOWN = "reconstructions"


class Reconstruct(nn.Module):
    """Teach an adapter to turn a frozen encoder's tokens into the latents of a decoder, and look at the pictures.

    Only the adapter learns: tokens are stored once, and the decoder passes the gradient on. Next to each metric of a metric
    stands the same metric's for other pictures: ``<metric>/<figure>/true`` (the true pictures: what perfect work would get),
    ``…/latents`` (what the decoder makes of the true latents: the ceiling of any adapter) and ``…/mean`` (the mean training
    picture for each: the floor). Pictures are compared with 8 bits a channel, as a file would hold them. Rows of original,
    baseline and reconstruction are left as ``artifacts/reconstructions.png`` and, as arrays, for runs that name this one as
    their ``baseline``.

    Args:
        layer: which of the encoder's layers is read; may be left out where it gives one.
        references: what metrics stand beside.
        shown: how many rows of the final split are shown.
        baseline: an arm in ``needs`` whose reconstructions are shown beside these.

    Raises:
        TrialbookError: there is not one encoder with one adapter, it fails its self-test, splits share pictures, the
            layer does not
            exist, or the adapter does not give the decoder's latents.
    """

    takes = {
        "dataset": "one", "encoder": "modality", "projector": "modality", "decoder": "modality", "loss": "many", "metric": "many",
    }  # fmt: skip
    provides = ("pictures", "targets", "latents", "target_latents", "labels", "train")
    produces = ("loss", "{loss}/loss", "*/{references}")
    lower_is_better = ("loss", "{loss}/loss", "*/distance/{references}")

    def __init__(
        self, builder: Builder, /, *, layer: str | None = None,
        references: list[Reference] = ["true", "latents", "mean"],  # noqa: B006 - copied
        shown: int = 6, baseline: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if shown < 1:
            raise TrialbookError(f"shown ({shown}) must be at least 1")
        self._builder, self._wanted = builder, layer
        self.references, self.rows_shown, self.baseline = list(references), shown, baseline

    def setup(self) -> None:
        """Make the parts, try the encoder's order of tokens, and store them."""
        builder = self._builder
        self.dataset = builder.make("dataset")
        names = builder.names("encoder")
        if len(names) != 1 or any(builder.names(kind) != names for kind in ("projector", "decoder")):
            raise TrialbookError(
                "task 'reconstruct' needs one [encoder.…], and a [projector.…] (the adapter) and a [decoder.…] of the same name"
            )
        self.modality = names[0]
        self._refuse_overlap()
        described = self.dataset.describe(self.modality)
        decoder = builder.make("decoder", self.modality, modality=described)
        if not isinstance(decoder, Decodes):
            raise TrialbookError(
                f"[decoder.{self.modality}] must give pictures from latents and latents from pictures; "
                f"{type(decoder).__name__} does not"
            )
        self.decoder: Any = decoder
        encoder = builder.make("encoder", self.modality, modality=described)
        self.layers = LayerFeatures(builder, encoder, self.dataset, self.modality)
        self.layer = self._chosen_layer(self._wanted)
        self.layers.verify()
        self.adapter = self._adapter()
        self.losses_by_name = {name: builder.make("loss", name) for name in builder.names("loss")}
        self.weights = {name: float(builder.option("loss", name, "weight", 1.0)) for name in self.losses_by_name}
        self.metrics = {name: builder.make("metric", name) for name in builder.names("metric")}
        self.parts = nn.ModuleDict({
            "projector": nn.ModuleDict({self.modality: self.adapter}),
            "decoder": nn.ModuleDict({self.modality: decoder}),
            "loss": nn.ModuleDict(self.losses_by_name),
        })  # fmt: skip
        self._clips: dict[str, MadeRows] = {}
        self._reference_values: dict[str, dict[str, float]] = {}
        self._train = Known({"targets": lambda: self._targets("train"), "labels": lambda: self._labels("train")})

    def _refuse_overlap(self) -> None:
        if found := find_overlaps(self.dataset.splits(), [self.modality]):
            one = found[0]
            raise TrialbookError(
                f"{one.count} of '{self.modality}' stand in both {one.first} and {one.second}: what was learned is no test"
            )

    def _chosen_layer(self, layer: str | None) -> str:
        names = self.layers.names
        if layer is None and len(names) == 1:
            return names[0]
        if layer not in names:
            raise TrialbookError(
                f"layer ('{layer or ''}') must be one of those that the encoder gives: {', '.join(names)}"
            )
        return layer

    def _adapter(self) -> nn.Module:
        """The adapter, which must give as many tokens as there are latents."""
        rows, columns, width = self.layers.read("train", self.layer).shape[1:]
        times = int(self.layers.describe(self.layer).get("times", 1))
        self.grid_in = (times, rows // times, columns)
        self.shape = self.decoder.latents
        adapter: nn.Module = self._builder.make(
            "projector",
            self.modality,
            dim_in=width,
            dim_out=self.shape.channels,
            grid_in=self.grid_in,
            grid_out=self.shape[:3],
        )
        with torch.no_grad():
            found = adapter(torch.zeros(1, rows * columns, width, device=device_of(adapter)))
        wanted = int(np.prod(self.shape[:3]))
        if found.shape[1] != wanted:
            raise TrialbookError(
                f"[projector.{self.modality}] gives {found.shape[1]} tokens for {wanted} latents; take 'mlp-adapter' or "
                "'cross-attention-adapter'"
            )
        return adapter

    def notes(self) -> Iterator[Event | Facts]:
        """Yield what was left out, and between which grids the adapter stands."""
        yield from dropped_row_events(self.dataset)
        size = sum(one.numel() for one in self.adapter.parameters())
        about = {
            "parameters": size,
            "grid_in": list(self.grid_in),
            "grid_out": list(self.shape[:3]),
            "layer": self.layer,
        }
        yield Facts(0, {"adapter": about, "layers": {self.layer: self.layers.describe(self.layer)}})

    # --- training ---------------------------------------------------------------------------------------------------

    def module(self) -> nn.Module:
        """Adapter, decoder and losses."""
        return self.parts

    def size(self, stage: str) -> int:
        """Number of training pictures."""
        return len(self._targets("train"))

    def batch(self, samples: NDArray[np.int64], epoch: int, step: Step) -> dict[str, Tensor]:
        """Tokens [B, N, D] and pictures uint8 [B, T, 3, H, W] of the samples."""
        return self._rows("train", samples)

    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weighted sum under ``loss``; each loss under ``<name>/loss``."""
        return self._losses(self._known(batch))

    def after_step(self) -> None:
        """Nothing is clamped."""

    def _rows(self, split: str, rows: slice | NDArray[np.int64]) -> dict[str, Tensor]:
        tokens = read_part(self.layers.read(split, self.layer), rows)
        return {"tokens": tokens.flatten(1, 2), "targets": read_part(self._targets(split), rows)}

    def _known(self, batch: Mapping[str, Tensor]) -> Known:
        """Return what losses may ask for; made when asked for."""
        targets = batch["targets"].float() / 255
        latents = self.adapter(batch["tokens"].float()).unflatten(1, tuple(self.shape[:3]))
        return Known({
            "latents": lambda: latents, "pictures": lambda: self.decoder.decode(latents), "targets": lambda: targets,
            "target_latents": lambda: self._encode(targets),
        }, bits=False)  # fmt: skip

    @torch.no_grad()
    def _encode(self, pictures: Tensor) -> Tensor:
        latents: Tensor = self.decoder.encode(pictures)
        return latents

    def _losses(self, known: Known) -> dict[str, Tensor]:
        values = {}
        for name, loss in self.losses_by_name.items():
            with known.to(f"loss '{name}'"):
                values[name] = loss(**handed(known, loss.needs, f"loss '{name}'"))
        total = sum((self.weights[name] * value for name, value in values.items()), torch.zeros(()))
        return {"loss": torch.as_tensor(total), **{f"{name}/loss": value for name, value in values.items()}}

    # --- evaluation -------------------------------------------------------------------------------------------------

    def evaluate(self, split: str) -> dict[str, float]:
        """Losses and metrics of a split, with those of its references; empty where there is no such split."""
        if split not in self.dataset.splits():
            return {}
        made, figures = self._made(split)
        if self.metrics:
            figures |= self._judged(split, made) | self._references(split)
        return figures

    def _made(self, split: str) -> tuple[Tensor, dict[str, float]]:
        """Pictures uint8 [n, T, 3, H, W] of all rows, and the mean losses."""
        n, home = len(self._targets(split)), device_of(self.adapter)
        made, sums = [], dict[str, Tensor]()
        for part in chunks(n, self._builder.eval_batch_size):
            known = self._known(to_device(self._rows(split, part), home))
            for name, value in self._losses(known).items():
                sums[name] = sums.get(name, 0.0) + as_float64(value) * len(known["targets"])
            if self.metrics:
                made.append(to_bytes(known["pictures"]).cpu())
        return torch.cat(made) if made else torch.empty(0), {name: float(value) / n for name, value in sums.items()}

    def _judged(self, split: str, pictures: Rows) -> dict[str, float]:
        """All metrics of pictures uint8 [n, T, 3, H, W] that should be those of the split."""
        known = Known({
            "pictures": lambda: pictures, "targets": lambda: self._targets(split), "labels": lambda: self._labels(split),
            "train": lambda: self._train,
        })  # fmt: skip
        figures: dict[str, float] = {}
        for name, metric in self.metrics.items():
            figures |= compute(self._builder, name, metric, known, [self.modality])[0]
        return figures

    def _references(self, split: str) -> dict[str, float]:
        """The same of other pictures; they do not change while the adapter learns."""
        if split not in self._reference_values:
            figures = {
                f"{key}/{name}": value
                for name in self.references
                for key, value in self._judged(split, self._reference(split, name)).items()
                if not key.endswith(("/low", "/high"))
            }
            self._reference_values[split] = figures
        return self._reference_values[split]

    def _reference(self, split: str, name: str) -> Rows:
        targets = self._targets(split)
        if name == "true":
            return targets
        if name == "mean":
            return mean_clip(self._targets("train")).expand(targets.shape)
        parts = (
            self._through(read_part(targets, part)) for part in chunks(len(targets), self._builder.eval_batch_size)
        )
        return torch.cat(list(parts))

    def _through(self, targets: Tensor) -> Tensor:
        """Return what the decoder makes of the true latents, uint8."""
        pictures = targets.to(device_of(self.adapter)).float() / 255
        return to_bytes(self.decoder.decode(self.decoder.encode(pictures))).cpu()

    def _targets(self, split: str) -> MadeRows:
        if split not in self._clips:
            self._clips[split] = clips_of(self.dataset.splits()[split], self.modality)
        return self._clips[split]

    def _labels(self, split: str) -> Annotations:
        return Annotations(self.dataset.splits()[split], self.modality)

    # --- what is shown ----------------------------------------------------------------------------------------------

    def measured(self, done: int) -> None:
        """Nothing is measured beside training."""

    def measurements(self) -> Iterator[Arrays | Artifact | Facts]:
        """Some rows of the final split: the true ones, those of the baseline, those through the decoder alone, and these."""
        self.parts.eval()
        rows = slice(0, min(self.rows_shown, len(self._targets(self._builder.final_split))))
        batch = to_device(self._rows(self._builder.final_split, rows), device_of(self.adapter))
        targets = batch["targets"].cpu()
        lines = {
            "original": targets.numpy(), "latents": self._through(targets).numpy(),
            "made": to_bytes(self._known(batch)["pictures"]).cpu().numpy(),
        }  # fmt: skip
        yield Arrays(0, SHOWN, lines)
        if self.baseline is not None:
            beside = shown_by(self.baseline, self._builder.inputs.get(self.baseline), SHOWN, lines["original"])
            lines = {"original": lines["original"], self.baseline: beside, **lines}
        yield Artifact(0, f"{SHOWN}.png", partial(write_side_by_side, lines=lines))
        yield declare_pictures([about_lines(f"{SHOWN}.png", list(lines), self.layer)])
