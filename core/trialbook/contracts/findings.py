"""Findings: the results of the doctor's checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

#: From the worst down. An error means that the run's metrics say nothing, or not what they seem to; a warning that they
#: may; a note is worth knowing and no alarm.
SEVERITIES = ("error", "warning", "note")
Severity = Literal["error", "warning", "note"]

#: Names of fields in ``findings.json`` of format 1.
_OLD_FIELDS = {"part": "component", "what": "message"}


@dataclass(frozen=True)
class Finding:
    """Something that looks broken.

    Args:
        check: name of the check that found it, in kebab-case.
        severity: ``error``, ``warning`` or ``note``.
        component: what it is about: ``projector.image``, ``loss.info-nce``, a module, a split; empty for the run as a whole.
        message: one sentence that says what is wrong.
        evidence: the numbers that it rests on, by name.
        advice: what to try.
        step: optimiser step at which it holds.
    """

    check: str
    severity: Severity
    component: str
    message: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    advice: str = ""
    step: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Finding:
        """The finding that ``as_dict`` gave, of this version or of one that named its fields otherwise."""
        named = {_OLD_FIELDS.get(key, key): value for key, value in data.items()}
        return cls(**{key: named[key] for key in cls.__dataclass_fields__ if key in named})


@dataclass(frozen=True)
class Span:
    """The lowest and the highest of the numbers that several runs gave."""

    low: float
    high: float


def by_severity(findings: list[Finding]) -> list[Finding]:
    """The worst first, otherwise in their order."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))
