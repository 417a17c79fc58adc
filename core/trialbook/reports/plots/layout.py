"""The colour and the panel of each arm, the same in all plots of a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Most lines that one panel can hold and still be read.
MOST_LINES = 6
#: Most panels of a plot.
MOST_PANELS = 16


@dataclass(frozen=True)
class Arm:
    """An arm as plots know it: its label, the arm in the file, and its place in the grid."""

    label: str
    base: str
    point: Mapping[str, Any]


@dataclass(frozen=True)
class Member:
    """An arm in a panel: the name that it has there and the number of its colour and marker; -1 is the reference's grey."""

    arm: str
    name: str
    colour: int


@dataclass(frozen=True)
class Panel:
    """Arms that share axes; ``title`` says what they have in common."""

    title: str
    members: tuple[Member, ...]


@dataclass(frozen=True)
class Layout:
    """Panels of a plot, and how many did not fit."""

    panels: tuple[Panel, ...]
    left_out: int = 0

    @property
    def names(self) -> dict[str, int]:
        """Name to colour, over all panels: the legend."""
        return {member.name: member.colour for panel in self.panels for member in panel.members}

    @property
    def arms(self) -> tuple[str, ...]:
        """Labels of all arms that are shown."""
        return tuple(dict.fromkeys(member.arm for panel in self.panels for member in panel.members))


def make_layout(arms: Sequence[Arm], baseline: str | None = None) -> Layout:
    """All arms in one panel where they are few; else a colour for each level of one factor, a panel for each of the rest.

    Args:
        arms: in the order of the tables.
        baseline: label of the arm to stand in grey in every panel, where arms differ in one factor alone.
    """
    if len(arms) <= MOST_LINES:
        return Layout((Panel("", tuple(Member(arm.label, arm.label, i) for i, arm in enumerate(arms))),))
    factors = varying_factors(arms)
    chosen = next((name for name, levels in factors.items() if len(levels) <= MOST_LINES), None)
    panels = _by_reference(arms, baseline) if chosen is None or len(factors) < 2 else _by_factor(arms, chosen, factors)
    return Layout(tuple(panels[:MOST_PANELS]), max(0, len(panels) - MOST_PANELS))


def varying_factors(arms: Sequence[Arm]) -> dict[str, list[str]]:
    """Factor to its levels, as texts, for those that have several: ``arm`` and the keys of the grid."""
    found: dict[str, dict[str, None]] = {}
    for arm in arms:
        for name, level in _levels(arm).items():
            found.setdefault(name, {})[level] = None
    return {name: list(levels) for name, levels in found.items() if len(levels) > 1}


def _levels(arm: Arm) -> dict[str, str]:
    values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in arm.point.items()}
    return {"arm": arm.base, **values}


def _by_factor(arms: Sequence[Arm], chosen: str, factors: Mapping[str, Sequence[str]]) -> list[Panel]:
    panels: dict[str, list[Member]] = {}
    for arm in arms:
        levels = _levels(arm)
        rest = ", ".join(_said(name, levels[name]) for name in factors if name != chosen and name in levels)
        level = levels.get(chosen, "not set")
        colour = factors[chosen].index(level) if level in factors[chosen] else -1
        panels.setdefault(rest, []).append(Member(arm.label, _said(chosen, level), colour))
    return [Panel(title, tuple(members)) for title, members in panels.items()]


def _said(factor: str, level: str) -> str:
    return level if factor == "arm" else f"{factor.rpartition('.')[2]}={level}"


def _by_reference(arms: Sequence[Arm], baseline: str | None) -> list[Panel]:
    """A panel for each arm, with the baseline (or the first arm) behind it."""
    base = next((arm for arm in arms if arm.label == baseline), arms[0])
    reference = Member(base.label, base.label, -1)
    return [Panel(a.label, (reference, Member(a.label, "the arm named above", 0))) for a in arms if a is not base]
