"""Check ``frozen-moved``."""

from __future__ import annotations

from collections.abc import Iterable

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding


def check(chart: RunEvidence) -> Iterable[Finding]:
    """Parts that the file freezes and that the optimiser was given, or that are not at the end what they were at the start."""
    trained = set()
    for one in chart.of("wiring"):
        for part, facts in one.values.items():
            if facts["frozen"] and facts["optimized"] and part not in trained:
                trained.add(part)
                yield Finding(
                    "frozen-moved", "error", part,
                    f"the file freezes this part, and the optimiser was given {facts['optimized']} of its "
                    f"{facts['parameters']} parameters",
                    {key: facts[key] for key in ("parameters", "optimized")},
                    "look for requires_grad_(True) in the part and in the task; they may not undo frozen = true", one.step,
                )  # fmt: skip
    sums = chart.of("frozen")
    if len(sums) < 2:
        return
    for part, facts in sums[-1].values.items():
        before = sums[0].values.get(part)
        if before is None or before["sum"] == facts["sum"] or part in trained:
            continue
        frozen = part in chart.data.get("frozen", ())
        yield Finding(
            "frozen-moved", "error" if frozen else "note", part,
            f"{'this part is frozen' if frozen else 'no stage trains these parameters'}, and is not what it was at the start",
            {"sum at the start": before["sum"][:12], "sum at the end": facts["sum"][:12]},
            "running statistics of a batch norm move in training mode (eval() keeps them), and so does what after_step() or "
            "the forward pass writes into" + ("" if frozen else "; as it should be for a moving average of other weights"),
            sums[-1].step,
        )  # fmt: skip
