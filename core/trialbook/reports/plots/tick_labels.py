"""Names along an axis, short enough to stand there: ``out:model.layers.7`` becomes ``7`` where that is enough to tell it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from trialbook.reports.plots.canvas import clipped

#: Inches: of a letter at ticks, of a line of them, and most letters of a label.
_LETTER, _LINE, _MOST = 0.066, 0.14, 18
#: Numbers are left out rather than turned: who sees 0, 2, 4 knows what is between.
_SHORT = 3


@dataclass(frozen=True)
class Ticks:
    """Labels of places 0, 1, … of an axis.

    Args:
        names: of all places.
        room: length of the axis in inches.
        across: whether they stand below one another, as on a vertical axis.
    """

    names: Sequence[str]
    room: float
    across: bool = False

    @cached_property
    def short(self) -> list[str]:
        """All names, shortened."""
        return [clipped(name, _MOST) for name in shorten(self.names)]

    @cached_property
    def widest(self) -> float:
        """Inches of the longest label."""
        return max((len(one) for one in self.short), default=1) * _LETTER

    @property
    def turned(self) -> bool:
        """True if labels are written upwards, as they are too long to stand side by side."""
        each = self.room / max(len(self.names), 1)
        return not self.across and self.widest > _SHORT * _LETTER and self.widest + 0.06 > each

    @property
    def every(self) -> int:
        """Every how manieth place has its label: a step that people count in."""
        needed = _LINE if self.across or self.turned else self.widest + 0.08
        least: int = math.ceil(len(self.names) * needed / max(self.room, needed))
        power = int(10 ** (len(str(least)) - 1))
        return next((step * power for step in (1, 2, 5) if step * power >= least), 10 * power)

    @property
    def shown(self) -> tuple[list[int], list[str]]:
        """Places and labels of the ticks."""
        places = list(range(0, len(self.names), self.every))
        return places, [self.short[place] for place in places]

    @property
    def depth(self) -> float:
        """Inches between the axis and the end of its labels."""
        return 0.1 + (self.widest if self.across or self.turned else _LINE)


def shorten(names: Sequence[str]) -> list[str]:
    """For each name its shortest end that no other one has, cut where words of a path meet; numbers stay whole."""
    paths = {name: re.split(r"(?<=[/:])|(?<=\D\.)|(?<=\.)(?=\D)", name) for name in names}

    def short(name: str) -> str:
        path, others = paths[name], [other for key, other in paths.items() if key != name]
        own = (
            length for length in range(1, len(path)) if not any(other[-length:] == path[-length:] for other in others)
        )
        return "".join(path[-next(own, len(path)) :])

    return [short(name) for name in names]
