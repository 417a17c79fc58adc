"""Checks of a stranger, one that works and two that do not."""

from __future__ import annotations

from collections.abc import Iterable

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding
from trialbook.plugins.hookspec import Component, hookimpl


@hookimpl
def mlrun_checks() -> Iterable[Component]:
    """Three checks."""
    yield Component("loud", "planted.checks:loud", "the loss is a number")
    yield Component("raises", "planted.checks:raises", "cannot be made")
    yield Component("missing", "planted.checks:nowhere", "is not there")


def loud(chart: RunEvidence) -> Iterable[Finding]:
    """Says what the last loss was."""
    if (loss := chart.last("loss")) is not None:
        yield Finding("loud", "warning", "loss", f"the loss is {loss:.1f}", {"loss": loss}, "turn it down", chart.step)


def raises(chart: RunEvidence) -> Iterable[Finding]:
    """Divides by 0."""
    yield from [1 / 0]
