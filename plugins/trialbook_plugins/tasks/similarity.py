"""Task ``similarity``: how alike two sets of representations of the same inputs are, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from trialbook import TrialbookError
from trialbook.contracts import CPU, Builder
from trialbook.contracts.distributed import spread, spread_in_turns
from trialbook.contracts.plots import declare_plots
from trialbook.contracts.records import Arrays, Event, Facts, Record
from trialbook_plugins.probes.cka import LinearSimilarity
from trialbook_plugins.probes.regression import r2_interval, ridge_r2
from trialbook_plugins.probes.resampling import Interval
from trialbook_plugins.probes.rows import MadeRows, chunks, read_part, width_of
from trialbook_plugins.probes.similarity import PairedSets

from ._dropped_rows import dropped_row_events
from ._layer_plots import similarity_plots
from ._layers import LayerFeatures

MeasureName = Literal["cka", "cka_biased", "procrustes", "rsa", "overlap", "r2"]
Pool = Literal["cells", "mean", "flatten"]
#: Samples that are summed up at once.
_CHUNK = 64
#: What gives an interval and a null.
_INTERVALS = ("cka", "rsa", "overlap")


class Similarity:
    """Compare every layer of one frozen encoder with every layer of another, on the same inputs.

    Metrics are ``<layer>/<other layer>/<figure>``: ``cka`` is the unbiased one, ``<figure>/low`` and ``/high`` its 95% interval
    over samples, ``/null`` the 95% quantile of random pairings and ``/p`` the share of them that do as well. ``r2`` is that of
    predicting the second from the first by ridge regression, in folds. ``best/…`` are the metrics of the pair of the highest CKA
    on ``val``, measured on the final split. With ``channels`` each channel of the second encoder is a set of its own, for a map
    of layers × channels.

    Sums are taken in one pass without matrices of samples × samples: any number of samples, memory of width². Intervals, nulls
    and what needs pairs look at ``samples`` of them.

    Args:
        device: where sets are compared; metrics differ between devices by the rounding of float64.
        modality: what both encoders read.
        measures: which metrics. ``cka_biased`` is near 1 for independent noise that is wide; no gate may stand on it.
        pool: what a sample is: ``cells`` (a place in an input: both grids are averaged to the coarser one, and places of one
            input are drawn together), ``mean`` of an input's tokens, which no gate may stand on, or all of them side by side
            (``flatten``).
        neighbours: k of ``overlap``.
        samples: samples that intervals, nulls, ``rsa``, ``overlap`` and ``r2`` look at.
        permutations: random pairings of a null.
        channels: also compare with each channel of the second encoder.

    Raises:
        TrialbookError: there are not two encoders, an encoder fails its self-test, or grids have no common one.

    Source: see ``docs/probes.md``; unbiased CKA as in Nguyen et al. 2021.
    """

    takes = {"dataset": "one", "encoder": "many"}
    provides = ()
    produces = (
        "best/{measures}", "best/{measures}/low", "best/{measures}/high", "best/{measures}/*", "best/effective_rank",
        "*/*/{measures}", "*/*/{measures}/*", "*/*/effective_rank",
    )  # fmt: skip
    lower_is_better = ("best/procrustes", "*/*/procrustes")
    doubtful_when = {
        "pool": {"mean": "pool = 'mean' averages over places and says nothing of them; gate on pool = 'cells' or 'flatten'"},
    }  # fmt: skip
    doubtful = {
        "*/cka_biased": "biased: near 1 between independent noise that is wider than there are samples; gate on 'cka'",
    }

    def __init__(
        self, builder: Builder, device: torch.device = CPU, /, *, modality: str = "image",
        measures: list[MeasureName] = ["cka", "rsa", "overlap", "r2"],  # noqa: B006 - copied
        pool: Pool = "cells", neighbours: int = 10, samples: int = 1000, permutations: int = 199, channels: bool = False,
    ) -> None:  # fmt: skip
        for name, value, least in (
            ("neighbours", neighbours, 1),
            ("samples", samples, 16),
            ("permutations", permutations, 19),
        ):
            if value < least:
                raise TrialbookError(f"{name} ({value}) must be at least {least}")
        self._builder, self.modality, self.measures, self.pool = builder, modality, list(measures), pool
        self.neighbours, self.samples, self.permutations, self.channels = neighbours, samples, permutations, channels
        self.device, self._done = device, 0

    def setup(self) -> None:
        """Make data and encoders, and try their order of tokens."""
        builder = self._builder
        self.dataset = builder.make("dataset")
        names = builder.names("encoder")
        if len(names) != 2:
            raise TrialbookError(
                f"task 'similarity' compares two encoders, not {len(names)}: write [encoder.A] and [encoder.B]"
            )
        self.names = (names[0], names[1])
        self.sides: list[LayerFeatures] = []
        for name in names:
            encoder = builder.make("encoder", name, modality=self.dataset.describe(self.modality))
            self.sides.append(LayerFeatures(builder, encoder, self.dataset, self.modality, name))
        splits = self.dataset.splits()
        for split, why in (("val", "to choose a pair of layers on"), (builder.final_split, "to measure on")):
            if split not in splits:
                raise TrialbookError(
                    f"task 'similarity' needs a split '{split}' {why}; the data set has {', '.join(splits)}"
                )
        for side in self.sides:
            side.verify()

    def measured(self, done: int) -> None:
        """So many records are there already."""
        self._done = done

    def measurements(self) -> Iterator[Record | Event | Facts | Arrays]:
        """A record for each pair of layers, one for the best pair."""
        yield from dropped_row_events(self.dataset)
        first, second = self.sides
        yield Facts(0, {"layers": {name: side.describe(name) for side in self.sides for name in side.names}})
        yield declare_plots(
            similarity_plots(first.names, second.names, self.names, self.measures, channels=self.channels)
        )
        pairs = [(a, b) for a in first.names for b in second.names]
        found: dict[tuple[str, str], dict[str, float]] = {}
        left = pairs[self._done :]
        for (a, b), (figures, channels) in zip(left, spread_in_turns(self._compared, left), strict=True):
            found[a, b] = figures
            if channels is not None:
                yield Arrays(0, f"channels-{a}-{b}", {"cka": channels})
            yield Record(0, {f"{a}/{b}/{figure}": value for figure, value in figures.items()})
        if self._done <= len(pairs):
            chosen = dict(zip(pairs, spread(lambda pair: self._sets("val", *pair).cka, pairs), strict=True))
            best = max(pairs, key=lambda pair: (not math.isnan(chosen[pair]), chosen[pair]))
            if best not in found:
                found[best] = self._figures(self._sets(self._builder.final_split, *best))
            yield Facts(0, {"best_layers": list(best), "best_pair": dict(zip(self.names, best, strict=True))})
            yield Record(0, {f"best/{figure}": value for figure, value in found[best].items()})

    # --- one pair of layers -----------------------------------------------------------------------------------------

    def _compared(self, pair: tuple[str, str]) -> tuple[dict[str, float], NDArray[np.float32] | None]:
        """Metrics of a pair on the final split, and its CKA by channel where that is asked for."""
        sets = self._sets(self._builder.final_split, *pair)
        return self._figures(sets), self._by_channel(sets) if self.channels else None

    def _sets(self, split: str, a: str, b: str) -> _Sets:
        x, y = self.sides[0].read(split, a), self.sides[1].read(split, b)
        return _Sets(*_pooled(x, y, self.pool), self)

    def _figures(self, sets: _Sets) -> dict[str, float]:
        values: dict[str, float] = {}
        for name in self.measures:
            values |= _named(name, *sets.paired(name)) if name in _INTERVALS else sets.plain(name)
        if "cka" in values:  # the sums of all samples; interval and null are those of some, around it
            shift = sets.cka - values["cka"]
            values |= {"cka": sets.cka, "cka/low": values["cka/low"] + shift, "cka/high": values["cka/high"] + shift}
        left, right = sets.sums.effective_rank()
        return {**values, "effective_rank": left["x"], "effective_rank/other": right["y"]}

    def _by_channel(self, sets: _Sets) -> NDArray[np.float32]:
        """CKA of the first set with each channel of the second: [C]."""
        width = width_of(sets.y)
        sums = LinearSimilarity({"x": width_of(sets.x)}, {str(c): 1 for c in range(width)}, self.device)
        for part in chunks(len(sets.x), _CHUNK):
            right = read_part(sets.y, part).reshape(-1, width)
            sums.add({"x": read_part(sets.x, part)}, {str(c): right[:, c : c + 1] for c in range(width)})
        return np.array(list(sums.cka().values()), dtype=np.float32)


class _Sets:
    """Two sets of samples, and where each sample comes from."""

    def __init__(self, x: Any, y: Any, clusters: list[int] | None, task: Similarity) -> None:
        self.x, self.y, self.clusters, self._task = x, y, clusters, task

    @cached_property
    def sums(self) -> LinearSimilarity:
        """One pass over all samples."""
        sums = LinearSimilarity({"x": width_of(self.x)}, {"y": width_of(self.y)}, self._task.device)
        for part in chunks(len(self.x), _CHUNK):
            sums.add({"x": read_part(self.x, part)}, {"y": read_part(self.y, part)})
        return sums

    @property
    def cka(self) -> float:
        """Unbiased CKA of all samples."""
        return self.sums.cka()["x", "y"]

    @cached_property
    def _pairs(self) -> PairedSets:
        return PairedSets(
            self.x, self.y, samples=self._task.samples, clusters=self.clusters, seed=self._task._builder.seed,
            device=self._task.device,
        )  # fmt: skip

    def paired(self, name: str) -> tuple[Interval, Any]:
        """A metric with its interval and its null."""
        task = self._task
        if name == "overlap":
            return self._pairs.overlap(task.neighbours, task.permutations)
        return self._pairs.cka(task.permutations) if name == "cka" else self._pairs.rsa(task.permutations)

    def plain(self, name: str) -> dict[str, float]:
        """A metric without a null."""
        if name == "cka_biased":
            return {name: self.sums.biased_cka()["x", "y"]}
        if name == "procrustes":
            return {name: self.sums.procrustes()["x", "y"]}
        chosen, clusters = self._pairs.chosen, self._pairs.clusters
        folded = ridge_r2(
            read_part(self.x, chosen), read_part(self.y, chosen), clusters=clusters, seed=self._task._builder.seed,
            device=self._task.device,
        )  # fmt: skip
        one = r2_interval(folded, clusters)["variance_weighted"]
        return {name: one.value, f"{name}/low": one.low, f"{name}/high": one.high, f"{name}/uniform": folded.uniform}


def _named(name: str, interval: Interval, null: Any) -> dict[str, float]:
    return {
        name: interval.value, f"{name}/low": interval.low, f"{name}/high": interval.high, f"{name}/null": null.upper,
        f"{name}/p": null.p,
    }  # fmt: skip


class _Grid(NamedTuple):
    rows: int
    columns: int


def _pooled(x: Any, y: Any, pool: Pool) -> tuple[Any, Any, list[int] | None]:
    """Features [n, H, W, D] of both as samples, made when read, and the input that each sample comes from."""
    if pool == "flatten":
        return x, y, None
    if pool == "mean":
        return (*(MadeRows((len(one), one.shape[-1]), _mean(one)) for one in (x, y)), None)
    grids = [_Grid(*one.shape[1:3]) for one in (x, y)]
    common = _Grid(min(grid.rows for grid in grids), min(grid.columns for grid in grids))
    if common.rows * common.columns == 1 and max(grid.rows * grid.columns for grid in grids) > 1:
        raise TrialbookError(
            "pool = 'cells' needs grids of tokens on both sides; one of them has one token an input: use 'mean'"
        )
    cells = common.rows * common.columns
    made = [MadeRows((len(one) * cells, one.shape[-1]), _cell(one, common)) for one in (x, y)]
    return made[0], made[1], [sample for sample in range(len(x)) for _ in range(cells)]


def _mean(features: Any) -> Any:
    return lambda i: read_part(features, slice(i, i + 1)).float().mean((0, 1, 2))


def _cell(features: Any, common: _Grid) -> Any:
    """One cell of the common grid: the mean of the tokens in it. The last input is kept, as cells are read in order."""
    cells = common.rows * common.columns
    kept: dict[int, torch.Tensor] = {}

    def make(i: int) -> torch.Tensor:
        sample, cell = divmod(i, cells)
        if sample not in kept:
            kept.clear()
            grid = read_part(features, slice(sample, sample + 1)).float().permute(0, 3, 1, 2)
            kept[sample] = torch.nn.functional.adaptive_avg_pool2d(grid, tuple(common))[0].flatten(1).T  # [cells, D]
        return kept[sample][cell]

    return make
