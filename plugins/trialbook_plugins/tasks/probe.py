"""Task ``probe``: what can be read out of each layer of a frozen encoder, beside what could be at best and by chance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trialbook import TrialbookError
from trialbook.contracts import Builder, FindsBoxes, Probe, Probed, TellsLimits, read_only
from trialbook.contracts.datasets import find_overlaps
from trialbook.contracts.distributed import spread, spread_in_turns
from trialbook.contracts.plots import declare_pictures, declare_plots
from trialbook.contracts.records import Artifact, Event, Facts, Record
from trialbook_plugins.probes.references import is_position_blind

from ._boxes_shown import boxes_shown
from ._dropped_rows import dropped_row_events
from ._layer_plots import probe_profiles
from ._layers import LayerFeatures, lazy_images
from ._references import REFERENCES, ReferenceMetrics
from ._values import declared, fit, watching

#: Metric on features that know everything from which a probe counts as reading all of it.
_CEILING = 0.99
#: Most pictures that one file shows.
_MOST_SHOWN = 48


class ProbeLayers:
    """Fit probes on the features of each layer of a frozen encoder, all layers from one forward pass, stored.

    Next to each metric stands the same probe's on other features of the same shape: ``oracle`` (everything that it looks for,
    written plainly: the ceiling), ``pixels`` (those under each token: a baseline without a model), ``shuffled`` (the same tokens
    in another order in every picture: the floor of what reads places), ``random`` (noise). Names are ``<layer>/<probe>/<figure>``
    and ``<layer>/<probe>/<figure>/<reference>``. ``best/…`` are the metrics of the layer that is best on ``val``, measured on
    the final split: choosing and reporting on the same pictures would flatter.

    Before anything is measured every layer's order of tokens is tried; splits that share a picture are refused. Features without
    places (one token, or all alike) are measured by spatial probes, and the run says what that is worth.

    Args:
        references: what the metrics stand beside.
        shown: pictures of the final split that are shown with their boxes, for each probe that finds boxes; 0 for none.

    Raises:
        TrialbookError: an option is out of its range, the encoder fails its self-test, splits share content, there are no
            pictures in ``val`` to choose a layer on, or an annotation that a probe needs is missing.

    Source: floors and ceilings: control tasks of Hewitt and Liang 2019, "Designing and Interpreting Probes with Control Tasks".
    """

    takes = {"dataset": "one", "encoder": "modality", "probe": "many"}
    provides = ()
    produces = (
        "best/{probe.figure}",
        "best/{probe.figure}/{references}",
        "*/{probe.figure}",
        "*/{probe.figure}/{references}",
    )

    def __init__(
        self, builder: Builder, /, *, references: list[str] = list(REFERENCES), shown: int = 8,  # noqa: B006 - copied
    ) -> None:  # fmt: skip
        if not 0 <= shown <= _MOST_SHOWN:
            raise TrialbookError(f"shown ({shown}) must be from 0 to {_MOST_SHOWN}")
        if strange := [name for name in references if name not in REFERENCES]:
            raise TrialbookError(f"references: there is no '{strange[0]}'; there are {', '.join(REFERENCES)}")
        self._builder, self.references = builder, [name for name in REFERENCES if name in references]
        self._references = ReferenceMetrics(self.references, builder.seed)
        self.shown, self._done = shown, 0

    def setup(self) -> None:
        """Make data, encoder and probes, and try the encoder's order of tokens."""
        builder = self._builder
        self.dataset = builder.make("dataset")
        names = builder.names("encoder")
        if len(names) != 1:
            raise TrialbookError(f"task 'probe' takes one encoder, not {len(names)}")
        self.modality = names[0]
        self.probes: dict[str, Probe] = {name: builder.make("probe", name) for name in builder.names("probe")}
        if not self.probes:
            raise TrialbookError("task 'probe' needs a [probe.NAME]")
        self._check_splits()
        encoder = builder.make("encoder", self.modality, modality=self.dataset.describe(self.modality))
        self.layers = LayerFeatures(builder, encoder, self.dataset, self.modality)
        self.layers.verify()

    def _check_splits(self) -> None:
        splits = self.dataset.splits()
        for needed in ("train", "val", final := self._builder.final_split):
            if needed not in splits:
                why = "to choose a layer on" if needed == "val" else "to measure on" if needed == final else "to fit on"
                raise TrialbookError(
                    f"task 'probe' needs a split '{needed}' {why}; the data set has {', '.join(splits)}"
                )
        if found := find_overlaps(splits, [self.modality]):
            one = found[0]
            raise TrialbookError(
                f"{one.count} of '{self.modality}' stand in both {one.first} and {one.second}: a probe that has seen what it is "
                "tried on measures nothing"
            )
        for name, probe in self.probes.items():
            for need in probe.labels:
                try:
                    splits["train"].labels(need)
                except KeyError:
                    raise TrialbookError(
                        f"probe '{name}' needs the annotation '{need}', which the data set does not have"
                    ) from None

    # --- measuring ------------------------------------------------------------------------------------------------------

    def measured(self, done: int) -> None:
        """So many records are there already."""
        self._done = done

    def measurements(self) -> Iterator[Record | Event | Facts | Artifact]:
        """A record for each layer and probe, and one for the best layers; then all is known that the plots need."""
        yield from dropped_row_events(self.dataset)
        pairs = [(layer, name) for layer in self.layers.names for name in self.probes]
        chosen: dict[tuple[str, str], float] = {}
        answers: dict[tuple[str, str], dict[str, float]] = {}
        yield Facts(0, {"layers": {name: self.layers.describe(name) for name in self.layers.names}})
        yield declare_plots(probe_profiles(self.layers.names, self.probes, self.references, self._builder))
        left = pairs[self._done :]
        for (layer, name), found in zip(left, spread_in_turns(self._measure, left), strict=True):
            yield from self._doubts(layer, name)
            chosen[layer, name], answers[layer, name] = found
            yield from self._ceiling(layer, name, answers[layer, name])
            yield Record(0, {f"{layer}/{name}/{figure}": value for figure, value in answers[layer, name].items()})
        if self._done <= len(pairs):
            before = [pair for pair in pairs if pair not in chosen]  # those that an interrupted run has measured
            for pair, (value, figures) in zip(before, spread(self._measure, before), strict=True):
                chosen[pair], answers[pair] = value, figures
            best = {
                name: max(self.layers.names, key=lambda layer, name=name: chosen[layer, name]) for name in self.probes
            }
            yield Facts(0, {"best_layers": best})
            yield from self._boxes(best)
            yield Record(0, {
                f"best/{name}/{figure}": value
                for name, layer in best.items() for figure, value in answers[layer, name].items()
            })  # fmt: skip

    def _measure(self, pair: tuple[str, str]) -> tuple[float, dict[str, float]]:
        """The main metric of a layer's probe on ``val``, and all metrics of the final split with their references."""
        layer, name = pair
        probe, final, seed = self.probes[name], self._builder.final_split, self._builder.seed
        data = self._data(layer, probe)
        names = declared(self._builder, "probe", name, probe)
        found = fit(name, probe, data["train"], {"val": data["val"], final: data[final]}, seed, names)
        figures = dict(found[final])
        figures |= self._references.measure(name, probe, data["train"], data[final])
        return found["val"][probe.main], figures

    def _data(self, layer: str, probe: Probe) -> dict[str, Probed]:
        """Return the data that a probe of a layer is fitted on, chosen by and evaluated on."""
        splits = ("train", "val", self._builder.final_split)
        return {split: self._probed(split, self.layers.read(split, layer), probe) for split in splits}

    def _boxes(self, best: dict[str, str]) -> Iterator[Artifact | Facts]:
        """Pictures with the boxes that were found in the best layers."""
        final, told = self._builder.final_split, []
        for name, layer in best.items():
            probe = self.probes[name]
            if not self.shown or not isinstance(probe, FindsBoxes):
                continue
            data = self._data(layer, probe)
            others = {"val": data["val"], final: data[final]}
            with watching(f"probe '{name}'", data["train"], *others.values()):
                found = probe.find(data["train"], others, self._builder.seed)[final]
            artifact, shown = boxes_shown(name, layer, data[final], found, self.shown)
            told.append(shown)
            yield artifact
        if told:
            yield declare_pictures(told)

    def _probed(self, split: str, features: Any, probe: Probe) -> Probed:
        part = self.dataset.splits()[split]
        rows = part.groups(self.modality)
        labels = {need: [part.labels(need)[group] for group in rows.tolist()] for need in probe.labels}
        return Probed(features, read_only(labels), lazy_images(part, self.modality))

    def _ceiling(self, layer: str, name: str, figures: dict[str, float]) -> Iterator[Event]:
        """Yield how much a probe misses of what is written plainly, told once for layers of one grid, and why."""
        probe, ceiling = self.probes[name], figures.get(f"{self.probes[name].main}/oracle", 1.0)
        rows, columns = grid = self._grid(layer)
        if ceiling >= _CEILING or layer != next(one for one in self.layers.names if self._grid(one) == grid):
            return
        data = self._data(layer, probe)[self._builder.final_split]
        why = probe.limits(data) if isinstance(probe, TellsLimits) else ""
        message = (
            f"probe '{name}' reaches {probe.main} {ceiling:.2f} on a grid of {rows} x {columns} where everything is told"
            f"{f' ({why})' if why else ''}: hold its metrics against that, not against 1"
        )
        yield Event(0, "low-ceiling", message, {"layer": layer, "probe": name, "oracle": ceiling})

    def _grid(self, layer: str) -> tuple[int, int]:
        """Rows and columns of a layer's tokens."""
        rows, columns = self.layers.read("train", layer).shape[1:3]
        return rows, columns

    def _doubts(self, layer: str, name: str) -> Iterator[Event]:
        """Yield what must be known of a metric before it is believed."""
        probe = self.probes[name]
        if not probe.spatial:
            return
        averaged = getattr(probe, "blind", False)
        placeless = self.layers.describe(layer).get("spatial") is False
        if averaged or placeless or is_position_blind(self.layers.read("train", layer)):
            alike = (
                "gets latents that have no places"
                if placeless
                else "gets tokens that are alike everywhere in a picture"
            )
            what = "averages the tokens" if averaged else alike
            message = f"probe '{name}' on '{layer}' {what}: its metrics say nothing of whether the model knows where things are"
            yield Event(0, "position-blind", message, {"layer": layer, "probe": name})
