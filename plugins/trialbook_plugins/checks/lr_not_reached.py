"""Check ``lr-not-reached``."""

from __future__ import annotations

from collections.abc import Iterable

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding, Severity
from trialbook_plugins.checks._stages import Stage, stages

#: A peak below this share of ``lr`` is another learning rate than the file says; one from here to 1 is worth a note.
FAR = 0.5
NEAR = 0.95


def check(chart: RunEvidence) -> Iterable[Finding]:
    """A warm-up that is as long as its stage or longer: the learning rate of the file is never reached."""
    for stage in stages(chart):
        reached = _reached(chart, stage)
        if reached is None or reached >= NEAR * stage.options.lr:
            continue
        severity: Severity = "warning" if reached < FAR * stage.options.lr else "note"
        steps = stage.steps or stage.done
        yield Finding(
            "lr-not-reached", severity, f"stage.{stage.options.name}" if stage.start or not stage.last else "train",
            f"the learning rate comes to {reached:.3g} at most, not to lr = {stage.options.lr:g}: the warm-up "
            f"({stage.options.warmup:g}{' of all' if stage.options.warmup < 1 else ''} steps) does not end within {steps} steps",
            {"largest lr": reached, "lr": stage.options.lr, "warmup": stage.options.warmup, "steps": steps},
            "shorten 'warmup' (a number below 1 is a share of all steps) or train for more steps", stage.start + stage.done,
        )  # fmt: skip


def _reached(chart: RunEvidence, stage: Stage) -> float | None:
    """Largest learning rate of a stage by its options, or by its records where its length is not known."""
    warmup = stage.options.warmup
    if stage.steps is not None:
        ramp = int(warmup if warmup >= 1 else round(warmup * stage.steps))
        return stage.options.lr * min(1.0, stage.steps / ramp) if ramp else stage.options.lr
    rates = [rate for step, rate in chart.curve("lr") if stage.holds(step)]
    return max(rates) if rates and stage.over and stage.done < warmup else None
