"""Reading the evidence that a run left behind."""

from __future__ import annotations

from collections.abc import Iterable

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.records import Event, ModuleStats, Record
from trialbook.registry.run_directory import RunDirectory


def read_evidence(run: RunDirectory) -> RunEvidence:
    """The chart of a recorded run.

    Raises:
        UnreadableFile: one of its files cannot be read, or is not what a run writes.
    """
    spec = run.read("run") or {}
    return RunEvidence(
        config=spec.get("config", {}), data=run.read("data") or {},
        records=[Record(line["step"], line["values"]) for line in run.read_lines("metrics")],
        stats=newest_only(
            ModuleStats(line["step"], line["kind"], line["values"], line.get("split", ""))
            for line in run.read_lines("stats")
        ),
        events=[
            Event(line["step"], line["kind"], line["message"], line.get("data") or {}) for line in run.read_lines("events")
        ],
        finished=run.has("results"), error=run.read_error(),
    )  # fmt: skip


def newest_only(stats: Iterable[ModuleStats]) -> list[ModuleStats]:
    """Of stats that were measured twice (a killed run went through the step again) the later ones, ordered by step."""
    found = {(one.step, one.kind, one.split): one for one in stats}
    return sorted(found.values(), key=lambda one: one.step)
