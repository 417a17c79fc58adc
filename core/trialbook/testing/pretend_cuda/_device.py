"""The device and what it has counted."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from trialbook.testing.pretend_cuda._places import Occurrence, find_place, plugin_packages


def _off(*_: Any) -> Any:
    raise RuntimeError("the pretend CUDA device is off")


class PretendDevice:
    """A CUDA device that is not there.

    Args:
        packages: names of installed packages whose code is named as the place of a wait, besides trialbook's, those of
            installed plugins and everything that is not installed.

    Attributes:
        device: ``cuda:0``.
        waits: how often the host waited for the device, by ``Occurrence``.
        copies: how often something was copied to the device, by ``Occurrence``.
        compute: does an operation on the CPU, with tensors that claim to lie on the device.
        sync_debug_mode: as ``torch.cuda.set_sync_debug_mode`` set it: 0 nothing, 1 warn, 2 raise at every wait.
    """

    def __init__(self, packages: Sequence[str] = ()) -> None:
        self.device = torch.device("cuda", 0)
        self.waits: Counter[Occurrence] = Counter()
        self.copies: Counter[Occurrence] = Counter()
        self.sync_debug_mode = 0
        self.generator = torch.Generator()
        self.kept: list[Any] = []  # what must live as long as the device
        self.compute: Any = _off
        self._packages = plugin_packages() | set(packages)
        self._phases: list[str] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what happens in this block under a name of its own."""
        self._phases.append(name)
        try:
            yield
        finally:
            self._phases.pop()

    def initialize(self) -> None:
        """Note that CUDA has been used: only then it is seeded by some."""
        torch.cuda._initialized = True

    def count_wait(self, kind: str) -> None:
        """Note a wait for the device."""
        self.waits[self.occurrence(kind)] += 1
        self._debug_sync()

    def count_copy(self, kind: str) -> None:
        """Note a copy to the device; one that blocks is a wait in the eyes of torch's debugging of them."""
        self.copies[self.occurrence(kind)] += 1
        if kind != "non-blocking":
            self._debug_sync()

    def place(self) -> str:
        """``file:line function`` of the innermost first-party or plugin code that is running."""
        return find_place(self._packages)[1]

    def report(self) -> str:
        """All waits and copies, most frequent first."""
        lines = []
        for title, counted in (("waits for the device", self.waits), ("copies to the device", self.copies)):
            lines.append(f"{counted.total()} {title}")
            for one, times in counted.most_common():
                through = f" (in {one.library})" if one.library else ""
                lines.append(f"{times:>8}  {one.phase or '-':<9} {one.kind:<20} {one.place}{through}")
        return "\n".join(lines)

    def occurrence(self, kind: str) -> Occurrence:
        """Return the occurrence that is counted when something of this kind happens now."""
        phase, place, library = find_place(self._packages)
        return Occurrence(self._phases[-1] if self._phases else phase, kind, place, library)

    def _debug_sync(self) -> None:
        if self.sync_debug_mode == 1:
            warnings.warn(f"called a synchronizing CUDA operation at {self.place()}", stacklevel=2)
        elif self.sync_debug_mode:
            raise RuntimeError(f"called a synchronizing CUDA operation at {self.place()}")
