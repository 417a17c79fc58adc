"""Asking all checks about a run, and a doctor that stands beside one while it continues."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding, by_severity
from trialbook.contracts.frozen import read_only
from trialbook.contracts.records import Item, ModuleStats, Record
from trialbook.errors import TrialbookError, suggest
from trialbook.plugins.isolation import PLUGIN_ERRORS, describe_failure
from trialbook.plugins.manager import PluginManager

#: A run is looked at again when it has grown by this factor, so that all looks together cost a few times the last one.
_GROWTH = 1.25


@dataclass(frozen=True)
class Check:
    """A check that was loaded: its name, the plugin that offers it, its summary, its function."""

    name: str
    plugin: str
    summary: str
    function: Callable[[RunEvidence], Iterable[Finding]]


def load_checks(host: PluginManager, leave_out: Sequence[str] = ()) -> tuple[list[Check], list[Finding]]:
    """All checks that plugins offer, but those named in ``leave_out``; and a note for each that cannot be loaded.

    Raises:
        TrialbookError: ``leave_out`` names a check that nobody offers.
    """
    checks, notes = [], []
    offered = host.checks()
    names = {one.name for one in offered}
    for name in leave_out:
        if name not in names:
            hint = suggest(name, names)
            raise TrialbookError(f"there is no check '{name}'" + (f"; did you mean '{hint}'?" if hint else ""))
    for one in offered:
        if one.name in leave_out:
            continue
        module, _, attribute = one.target.partition(":")
        try:
            function = getattr(import_module(module), attribute)
        except PLUGIN_ERRORS as fault:
            notes.append(_disabled(one.name, one.plugin.name, f"importing {one.target} {describe_failure(fault)}"))
        else:
            checks.append(Check(one.name, one.plugin.name, one.summary, function))
    return checks, notes


def diagnose(chart: RunEvidence, checks: Iterable[Check]) -> list[Finding]:
    """Return all checks' findings on a run, the worst first; a check that raises is named in a note and hurts nothing else."""
    findings: list[Finding] = []
    closed = _closed(chart)
    for check in checks:
        try:
            found = [_checked(finding) for finding in check.function(_own(closed))]
        except PLUGIN_ERRORS as fault:
            found = [_disabled(check.name, check.plugin, describe_failure(fault))]
        findings += found
    return by_severity(findings)


def _closed(chart: RunEvidence) -> RunEvidence:
    """The same evidence, what it holds read-only."""
    return replace(
        chart, records=[replace(one, values=read_only(one.values)) for one in chart.records],
        stats=[replace(one, values=read_only(one.values)) for one in chart.stats],
        events=[replace(one, data=read_only(one.data)) for one in chart.events],
    )  # fmt: skip


def _own(chart: RunEvidence) -> RunEvidence:
    """Evidence for one check, which cannot change that of the next: lists and tables of its own."""
    return replace(
        chart, config=deepcopy(dict(chart.config)), data=deepcopy(dict(chart.data)), records=list(chart.records),
        stats=list(chart.stats), events=list(chart.events),
    )  # fmt: skip


class Doctor:
    """Stands beside one run: collects what the engine yields, and looks at it now and then.

    Args:
        chart: what is known of the run so far.
        checks: what to look for.
        notes: findings about the checks themselves.
    """

    def __init__(self, chart: RunEvidence, checks: Sequence[Check], notes: Sequence[Finding] = ()) -> None:
        self.chart, self.checks, self.notes = chart, checks, list(notes)
        self.findings: list[Finding] = []
        self._due = 0.0
        self._told: set[tuple[str, str]] = set()

    def see(self, item: Item) -> bool:
        """Take in an item; whether it is time for a look."""
        self.chart.add(item)
        return isinstance(item, ModuleStats | Record) and self._weight() >= self._due

    def look(self) -> list[Finding]:
        """Look at the run as it stands; what is new since the last look."""
        self._due = self._weight() * _GROWTH + 1
        self.findings = [*diagnose(self.chart, self.checks), *self.notes]
        fresh = [finding for finding in self.findings if (finding.check, finding.component) not in self._told]
        self._told |= {(finding.check, finding.component) for finding in fresh}
        return fresh

    def _weight(self) -> int:
        """Return how much there is to look at; stats say most."""
        return len(self.chart.stats)


def format_finding(finding: Finding) -> str:
    """A finding in a line."""
    numbers = ", ".join(f"{name} {_short(value)}" for name, value in finding.evidence.items())
    part = f"{finding.component}: " if finding.component else ""
    return f"{finding.severity}: {part}{finding.message}" + (f" ({numbers})" if numbers else "") + f" [{finding.check}]"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _checked(finding: object) -> Finding:
    if not isinstance(finding, Finding):
        raise TrialbookError(f"a check yields Findings, not {finding!r}")
    if not isinstance(finding.evidence, Mapping):
        raise TrialbookError(f"the evidence of a finding is a mapping, not {finding.evidence!r}")
    return finding


def _disabled(check: str, plugin: str, why: str) -> Finding:
    what = f"the check '{check}' of plugin '{plugin}' could not be made: it {why}"
    return Finding("check-failed", "note", check, what, advice="report it to the plugin's authors")
