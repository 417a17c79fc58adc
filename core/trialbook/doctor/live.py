"""The doctor beside a run under way: findings are written down as they come, and may stop it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding
from trialbook.contracts.records import Item
from trialbook.doctor.doctor import Check, Doctor
from trialbook.doctor.evidence import read_evidence
from trialbook.errors import TrialbookError
from trialbook.plugins.isolation import PLUGIN_ERRORS

if TYPE_CHECKING:
    from trialbook.config.runspec import RunSpec
    from trialbook.registry.recorder import NullRecorder, Recorder


class LiveDoctor:
    """A context manager around the work of a run; on leaving it has looked at the whole run, however that ended.

    Args:
        spec: the run.
        recorder: takes the findings.
        checks: what to look for.
        notes: findings about the checks themselves.
        strict: stop the run at the first error.
        tell: told of every new finding but notes.
    """

    def __init__(
        self, spec: RunSpec, recorder: Recorder | NullRecorder, checks: Sequence[Check], notes: Sequence[Finding], *,
        strict: bool, tell: Callable[[Finding], None],
    ) -> None:  # fmt: skip
        self.recorder, self.strict, self.tell = recorder, strict, tell
        self.doctor = Doctor(RunEvidence(dict(spec.config)), checks, notes)

    def begin(self, records: int, step: int) -> None:
        """The run continues behind so many records, at this step; what it recorded before is taken in."""
        chart = read_evidence(self.recorder.run)
        chart.records = chart.records[:records]
        chart.stats = [one for one in chart.stats if one.step < step or (one.step == step and not one.split)]
        chart.config, chart.finished, chart.error = self.doctor.chart.config, False, None
        self.doctor.chart = chart

    def see(self, item: Item) -> None:
        """Take in an item, and look at the run where it is time.

        Raises:
            TrialbookError: there is an error, and the run is to stop at one.
        """
        if self.doctor.see(item):
            self._look()
            self._stop_at_errors()

    def __enter__(self) -> LiveDoctor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, PLUGIN_ERRORS):
            return  # interrupted: it can be resumed
        self.doctor.chart.finished = error is None
        self.doctor.chart.error = None if error is None else str(error)
        self._look()
        if error is None:
            self._stop_at_errors()

    def _look(self) -> None:
        before = self.doctor.findings
        for finding in self.doctor.look():
            if finding.severity != "note":
                self.tell(finding)
        if before != self.doctor.findings or not self.recorder.run.has("findings"):
            self.recorder.diagnosed(self.doctor.findings)

    def _stop_at_errors(self) -> None:
        if self.strict and (found := next((f for f in self.doctor.findings if f.severity == "error"), None)):
            raise TrialbookError(
                f"stopped by the doctor: {found.component + ': ' if found.component else ''}{found.message}"
            )


class NullDoctor:
    """Looks at nothing; the doctor of the first process may stop a run, and then stops all processes."""

    def __enter__(self) -> NullDoctor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def begin(self, records: int, step: int) -> None:
        """Seen by the first process."""

    def see(self, item: Item) -> None:
        """Seen by the first process."""
