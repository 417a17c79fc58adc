"""Task ``sample``: a dataset read once and kept for the runs that follow."""

from __future__ import annotations

from collections.abc import Iterator

from trialbook.contracts import Builder
from trialbook.contracts.records import Artifact, Event, Facts, Record
from trialbook_plugins.datasets.stored import keep, modalities_in

from ._dropped_rows import dropped_row_events


class Sample:
    """Read a data set, cut and normalise it as it is told to, and keep all rows with splits and annotations.

    What comes of it is read by dataset ``samples``. Metrics are the numbers of groups by split.

    Args:
        modalities: those that are kept; all if left out.
        labels: annotations that are kept, where the data set has them.

    Raises:
        TrialbookError: rows of a modality can not be kept.
    """

    takes = {"dataset": "one"}
    provides = ()
    produces = ("samples",)

    def __init__(
        self, builder: Builder, /, *, modalities: list[str] | None = None,
        labels: tuple[str, ...] = ("class", "label", "recording", "subject", "facts"),
    ) -> None:  # fmt: skip
        self._builder, self.labels, self._asked = builder, labels, modalities

    def setup(self) -> None:
        """Make the data set."""
        self.dataset = self._builder.make("dataset")

    def measured(self, done: int) -> None:
        """There is one metric; files that lie there already are written again."""

    def measurements(self) -> Iterator[Record | Event | Facts | Artifact]:
        """The files, then the number of samples."""
        kept = keep(self.dataset, self._asked or modalities_in(self.dataset), self.labels)
        yield from dropped_row_events(self.dataset)
        yield Facts(0, {"samples": dict(kept.splits), "labels": sorted(kept.labels)})
        yield from (Artifact(0, name, write) for name, write in kept.files())
        yield Record(0, {"samples": float(len(kept.keys))})
