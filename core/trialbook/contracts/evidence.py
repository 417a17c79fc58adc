"""A run as the doctor sees it: its configuration, its records, and what was measured inside its parts.

Kinds of stats that core measures. Those of training are taken at the first step, every ``[doctor] every`` steps and at the
last step of a stage:

- ``wiring`` (once a stage): part -> ``{"parameters", "frozen", "in_module", "optimized"}``: numbers of parameters it has, of
  those that the trained module holds, of those that the stage's optimiser was given; ``stage`` names the stage.
- ``parameters``: parameter -> ``{"size", "weight", "grad", "update"}``: count, norms of the weights, of the gradient (None
  where no gradient came) and of the change that the optimiser made; ``lr`` of its group.
- ``modules``: module without children -> ``{"type", "units", "dead", "spread", "largest"}``: units (last axis of its output),
  share of units that were exactly 0 over the whole batch, standard deviation over the batch (mean over units), largest
  absolute output.
- ``attention``: module -> ``{"entropy", "lowest", "highest", "keys"}``: entropy of the attention weights as a share of
  ln(keys) (mean, and of the extreme heads); 1 is uniform, 0 looks at one token.
- ``own`` (also after an evaluation, then with its split): module -> what its ``stats()`` says. Losses tell ``batch`` (rows),
  ``chance`` (their value when all embeddings are equal, or when nothing is known), ``random`` (their value for random
  embeddings at the present scale), ``scale``, ``scale_min``, ``scale_max``.
- ``embeddings`` (after an evaluation): modality -> ``{"rows", "dim", "rank", "cosine", "spread"}``: effective rank, mean cosine
  of different rows, mean standard deviation of normalised coordinates times sqrt(dim); and for each ordered pair of
  modalities, ``image>text`` -> ``{"gap", "matching", "other", "rows", "candidates", "expected@1", "ties", "tie_odds",
  "shift", "shift_gain"}``: distance of the centroids of normalised embeddings, mean cosine of positive and of negative pairs,
  recall@1 with ties broken at random and its chance level ``chance@1``, share of queries whose best own row is tied with
  another group's and the odds (their mean) that it comes first among those tied, the shift of groups (0 is none) at which
  the mean cosine is largest, and by how many standard errors it is larger than at 0.
- ``frozen`` (at the start of a run and at its end): part or parameter group -> ``{"sum"}``, a checksum of all its
  parameters and buffers.
- ``failure``: at most one: where a value first was not finite: ``{"value", "name", "module", "how", "step"}`` with ``how`` one
  of ``output``, ``gradient``, ``parameter``, ``input`` (then ``module`` is the key of the batch).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trialbook.contracts.records import Event, Item, ModuleStats, Record


@dataclass
class RunEvidence:
    """Everything that checks may look at.

    Args:
        config: the run's resolved tables.
        data: ``data.json``: ``parameters`` and ``frozen`` parts, ``dataset`` (``fingerprint``, ``splits``), ``overlaps`` (a list
            of ``{"modality", "first", "second", "count", "rows"}``), ``flops``.
        records, stats, events: in order.
        finished: it reached its end.
        error: why it failed, if it did.
    """

    config: Mapping[str, Any]
    data: Mapping[str, Any] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    stats: list[ModuleStats] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    finished: bool = False
    error: str | None = None

    def add(self, item: Item) -> None:
        """Take in what the engine yields; a step that is gone through again replaces what was there."""
        if isinstance(item, Record):
            self.records.append(item)
        elif isinstance(item, ModuleStats):
            self.stats.append(item)
        elif isinstance(item, Event):
            self.events.append(item)

    @property
    def step(self) -> int:
        """The last step that something was recorded at."""
        return max(self.records[-1].step if self.records else 0, self.stats[-1].step if self.stats else 0)

    @property
    def curve_split(self) -> str:
        """Name of the validation split, whose metrics are recorded during training."""
        return str(self.config.get("evaluate", {}).get("split", "val"))

    @property
    def final_split(self) -> str:
        """Name of the split of the final test metrics."""
        return str(self.config.get("evaluate", {}).get("final", "test"))

    def curve(self, name: str) -> list[tuple[int, float]]:
        """(step, value) of every record of ``name``."""
        return [(record.step, record.values[name]) for record in self.records if name in record.values]

    def last(self, name: str) -> float | None:
        """The last value of ``name``; None where it was never recorded."""
        return next((r.values[name] for r in reversed(self.records) if name in r.values), None)

    def of(self, kind: str, split: str | None = None) -> list[ModuleStats]:
        """Statistics of a kind, of one split (``""`` for training) or of all, in order."""
        return [one for one in self.stats if one.kind == kind and split in (None, one.split)]

    def newest(self, kind: str, split: str | None = None) -> ModuleStats | None:
        """The last stats of a kind."""
        found = self.of(kind, split)
        return found[-1] if found else None

    def each(self, kind: str, split: str | None = None) -> Iterator[tuple[str, list[tuple[int, Mapping[str, Any]]]]]:
        """Name by name, what was measured of it: [(step, facts)]."""
        found: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
        for one in self.of(kind, split):
            for name, facts in one.values.items():
                found.setdefault(name, []).append((one.step, facts))
        yield from found.items()


def component_of(name: str, parts: Sequence[str] = ()) -> str:
    """The part that a parameter or module stands in: its first two levels (``projector.image``), or its first."""
    levels = name.split(".")
    two = ".".join(levels[:2])
    return two if not parts or two in parts else levels[0] if levels[0] in parts else two
