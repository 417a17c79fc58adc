"""Stopping a run in its middle, for tests of going on."""

from __future__ import annotations

from trialbook.config.runspec import RunSpec
from trialbook.contracts.records import Item, Record
from trialbook.execution.progress import PlainProgress


class Interrupts(PlainProgress):
    """Interrupts a run, as Ctrl-C does, at its first record from ``step`` on."""

    def __init__(self, step: int) -> None:
        super().__init__(lambda line: None)
        self.step = step

    def item(self, spec: RunSpec, item: Item) -> None:
        if isinstance(item, Record) and item.step >= self.step:
            raise KeyboardInterrupt
