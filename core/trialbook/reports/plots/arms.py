"""The runs of an experiment, arm by arm, as its page draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from trialbook.analysis.compare.compare import Comparison
from trialbook.reports.plots.layout import Arm, Layout, make_layout
from trialbook.reports.plots.plot import final_figures, last_values
from trialbook.reports.plots.run_data import Curve, RunData


@dataclass(frozen=True)
class Arms:
    """The content that a page of an experiment draws: its comparison, and the runs of each arm that it is made of."""

    comparison: Comparison
    runs: Mapping[str, Sequence[RunData]]

    @cached_property
    def layout(self) -> Layout:
        """Colours and panels of all arms."""
        arms = [
            Arm(a, str(own[0].spec.get("base_arm", a)), own[0].spec.get("point") or {})
            for a, own in self.runs.items()
            if own
        ]
        return make_layout(arms, next((row.baseline for row in self.comparison.rows if row.baseline), None))

    @property
    def one(self) -> RunData:
        """Any of the runs."""
        return next(own[0] for own in self.runs.values() if own)

    @property
    def names(self) -> list[str]:
        """Metrics of the answer: those of the comparison first."""
        told = [row.metric for row in self.comparison.rows]
        return list(dict.fromkeys([*told, *final_figures(self.one)]))

    def curves(self, name: str) -> dict[str, list[Curve]]:
        """Arm to the curves of a record, one for each seed that has it."""
        return {
            arm: found for arm, own in self.runs.items() if (found := [r.curves[name] for r in own if name in r.curves])
        }

    def values(self, name: str) -> dict[str, list[float]]:
        """Arm to the last values of a metric, one for each seed."""
        return {arm: last_values(own, name) for arm, own in self.runs.items()}
