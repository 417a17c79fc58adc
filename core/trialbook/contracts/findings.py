"""What a check of the doctor says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

#: From the worst down. An error means that the run's figures say nothing, or not what they seem to; a warning that they
#: may; a note is worth knowing and no alarm.
SEVERITIES = ("error", "warning", "note")
Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """Something that looks broken.

    Args:
        check: name of the check that found it, in kebab-case.
        severity: ``error``, ``warning`` or ``note``.
        part: what it is about: ``projector.image``, ``loss.info-nce``, a module, a split; empty for the run as a whole.
        what: one sentence that says what is wrong.
        evidence: the numbers that it rests on, by name.
        advice: what to try.
        step: optimiser step at which it holds.
    """

    check: str
    severity: Severity
    part: str
    what: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    advice: str = ""
    step: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Finding:
        """What ``as_dict`` gave."""
        return cls(**{key: data[key] for key in cls.__dataclass_fields__ if key in data})


def by_severity(findings: list[Finding]) -> list[Finding]:
    """The worst first, otherwise in their order."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))
