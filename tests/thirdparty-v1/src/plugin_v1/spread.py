"""Task ``v1-spread``."""

from __future__ import annotations

from collections.abc import Iterator

from trialbook.contracts import Builder, Record


class Spread:
    """Standard deviation of the stored features of frozen encoders, a record for each encoder and split.

    Args:
        rows: features that are read at once.

    Source: none; it reads a table of features row by row.
    """

    takes = {"dataset": "one", "encoder": "modality"}
    provides = ()
    produces = ("*/{modality}/spread",)

    def __init__(self, builder: Builder, /, *, rows: int = 32) -> None:
        self.builder, self.rows, self.done = builder, rows, 0

    def setup(self) -> None:
        """Make data set and encoders."""
        self.dataset = self.builder.make("dataset")
        names = self.builder.names("encoder")
        self.encoders = {n: self.builder.make("encoder", n, modality=self.dataset.describe(n)) for n in names}

    def measured(self, done: int) -> None:
        """Start after ``done`` records."""
        self.done = done

    def measurements(self) -> Iterator[Record]:
        """The records, each by itself."""
        pairs = [(split, name) for split in self.dataset.splits() for name in self.encoders]
        for split, name in pairs[self.done :]:
            table = self.builder.features(name, self.encoders[name], self.dataset, split, name)
            total = squares = count = 0.0
            for at in range(0, len(table), self.rows):
                tokens = table.rows(slice(at, at + self.rows)).double()
                total, squares = total + float(tokens.sum()), squares + float(tokens.square().sum())
                count += tokens.numel()
            yield Record(0, {f"{split}/{name}/spread": (squares / count - (total / count) ** 2) ** 0.5})
