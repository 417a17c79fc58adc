"""Losses that tell what they would be for embeddings that know nothing, with their curves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from trialbook.contracts.evidence import RunEvidence
from trialbook_plugins.checks._curves import Points, finite
from trialbook_plugins.checks._stages import Stage, stages


@dataclass(frozen=True)
class LossCurve:
    """A loss in a stage of training.

    Args:
        part: the module: ``loss.info-nce``.
        stage: the stage.
        points: its recorded values on training batches, at least one.
        facts: what the module said last of itself: ``batch``, ``chance`` …
        step: when it said so.
    """

    part: str
    stage: Stage
    points: Points
    facts: Mapping[str, float]
    step: int

    @property
    def chance(self) -> float:
        """Its value where nothing is known."""
        return self.facts["chance"]

    @property
    def of_stage(self) -> str:
        """`` of stage NAME`` where there are several."""
        return "" if self.stage.last and not self.stage.start else f" of stage '{self.stage.options.name}'"


def loss_curves(chart: RunEvidence) -> Iterator[LossCurve]:
    """Every loss that knows its chance level, stage by stage."""
    for stage in stages(chart):
        said = [one for one in chart.of("own", "") if stage.holds(one.step)]
        if not said:
            continue
        losses = {name: facts for name, facts in outermost(said[-1].values).items() if "chance" in facts}
        for part, facts in losses.items():
            points = finite((step, value) for step, value in chart.curve(_curve(chart, part, len(losses))))
            points = [(step, value) for step, value in points if stage.holds(step)]
            if points:
                yield LossCurve(part, stage, points, facts, said[-1].step)


def outermost(values: Mapping[str, Mapping[str, float]]) -> dict[str, Mapping[str, float]]:
    """Modules that do not stand in another that speaks for them (the loss that a Matryoshka loss applies)."""
    return {n: facts for n, facts in values.items() if not any(n.startswith(f"{other}.") for other in values)}


def chance_in_words(facts: Mapping[str, float]) -> str:
    """``ln 64 = 4.159 at batch 64`` where that is what it is, else the number."""
    batch, chance = facts.get("batch"), facts["chance"]
    if batch and batch > 1 and math.isclose(chance, math.log(batch), rel_tol=1e-6):
        return f"ln {batch:.0f} = {chance:.3f} at batch {batch:.0f}"
    return f"{chance:.3f}" + (f" at batch {batch:.0f}" if batch else "")


def _curve(chart: RunEvidence, part: str, losses: int) -> str:
    """Name under which a loss is recorded: its own, or ``loss`` where it is the only one."""
    own = f"{part.partition('.')[2]}/loss"
    return "loss" if losses == 1 and not chart.curve(own) else own
