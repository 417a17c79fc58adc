"""The outcome of a repetition of a recorded run, as data and in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialbook.replay.environment_diff import Change
from trialbook.replay.noise import FACTOR, Noise
from trialbook.replay.record_diff import Gap, RecordMatch
from trialbook.replay.recorded_run import RecordedRun
from trialbook.replay.trial import verdict_of

if TYPE_CHECKING:
    from trialbook.engine.weight_diff import WeightMatch


@dataclass(frozen=True, repr=False)
class Reproduction:
    """The outcome of a repetition.

    Args:
        recorded: the run that was repeated.
        records: its records beside those of the repetition.
        weights: its last weights beside those of the repetition; None where there are none to compare.
        tolerance: above which values are not equal.
        changes: what is other now than when the run was made.
        remarks: what else there is to say: of the record, and of how the repetition ended.
        noise: what several repetitions differ by; None where there was one only.
        kept: where the repetition lies, if it was kept.
    """

    recorded: RecordedRun
    records: RecordMatch
    weights: WeightMatch | None
    tolerance: float
    changes: tuple[Change, ...]
    remarks: tuple[str, ...]
    noise: Noise | None = None
    kept: Path | None = None

    @property
    def verdict(self) -> str:
        """``equal``, ``within tolerance``, ``within noise`` or ``not equal``."""
        return verdict_of(self.records, self.weights, self.noise)

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        return {
            "run": f"{self.recorded.spec.experiment}/{self.recorded.run.path.name}",
            "path": str(self.recorded.run.path), "status": self.recorded.status, "verdict": self.verdict,
            "tolerance": self.tolerance, "records": self.records.as_dict(),
            "weights": self.weights.as_dict() if self.weights else None,
            "noise": self.noise.as_dict() if self.noise else None,
            "changes": [vars(change) for change in self.changes], "remarks": list(self.remarks),
            "kept": None if self.kept is None else str(self.kept),
        }  # fmt: skip

    def text(self) -> str:
        """The verdict, and what it rests on."""
        records, weights = self.records, self.weights
        verdict = {
            "equal": "equal bit for bit", "within tolerance": f"within tolerance ({self.tolerance:g})",
            "within noise": "equal within the device's noise",
        }  # fmt: skip
        lines = [
            f"{self.recorded.spec.experiment}/{self.recorded.run.path.name}: {verdict.get(self.verdict, self.verdict)}"
        ]
        lines += [f"  {line}" for line in _record_lines(records)]
        if weights is not None:
            differ = f"differ by up to {weights.difference:.3g} of the largest ({weights.largest})"
            lines.append(
                f"  {weights.tensors} tensors of weights at step {weights.step}: "
                + ("equal bit for bit" if weights.verdict == "equal" else differ)
            )
        lines += [f"  {line}" for line in _noise_lines(self.noise)] if self.noise else []
        lines += [f"  {remark}" for remark in self.remarks]
        if self.kept:
            lines.append(
                f"  the repetition is kept in {self.kept}{_others(self.noise.repetitions if self.noise else 1)}"
            )
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.text()


def _record_lines(records: RecordMatch) -> Iterator[str]:
    compared = f"{records.compared} records up to step {records.last_step}"
    if records.parted is None:
        yield f"{compared}: equal bit for bit"
        return
    yield f"{compared} compared; they part at {_told(records.parted)}"
    if records.beyond not in (None, records.parted):
        yield f"beyond the tolerance at {_told(records.beyond)}"
    if records.largest not in (None, records.parted):
        yield f"largest difference at {_told(records.largest)}"


def _others(several: int) -> str:
    """Say where the other repetitions lie."""
    if several > 2:
        return f" and others beside it, -2 to -{several}"
    return " and another beside it, -2" * (several > 1)


def _noise_lines(noise: Noise) -> Iterator[str]:
    """Yield lines on what the repetitions say of each other, and of the run."""
    if noise.parted is None:
        yield f"the {noise.repetitions} repetitions are equal bit for bit: what the run differs by is no noise"
    else:
        first = noise.parted
        yield (
            f"the {noise.repetitions} repetitions part at step {first.step} in {first.name}: {first.recorded!r} and "
            f"{first.repeated!r}"
        )
        yield "noise, largest so far: " + ", ".join(f"{level:.2g} at step {step}" for step, level in noise.growth)
    if noise.beyond is not None:
        far = noise.beyond
        values = f"{far.recorded!r} recorded, {', '.join(map(repr, far.repeated))} now, " if far.repeated else ""
        yield (
            f"beyond the noise at step {far.step} in {far.name}: {values}{far.difference:.3g} apart, where the "
            f"repetitions are by {far.noise:.2g}"
        )
    elif noise.parted is not None:
        yield f"nowhere is the run further from the nearest repetition than {FACTOR:g} times the noise"


def _told(gap: Gap | None) -> str:
    """``step 20 in loss: 4.1 recorded, 4.2 now (2.4% apart)``."""
    if gap is None:
        return "nothing"
    if gap.name == "step":
        return f"step {gap.step}: the repetition has no such record there"
    if gap.recorded is None or gap.repeated is None:
        who = "the repetition" if gap.repeated is None else "the run"
        return f"step {gap.step} in {gap.name}: {who} has no such value"
    return f"step {gap.step} in {gap.name}: {gap.recorded!r} recorded, {gap.repeated!r} now, {gap.difference:.3g} apart"
