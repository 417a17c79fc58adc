"""The gates of an experiment, held against its own arms: all of them corrected together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trialbook.analysis.compare.groups import Groups
from trialbook.analysis.compare.metrics import higher_is_better
from trialbook.analysis.estimates import Value, measure, ratios
from trialbook.analysis.statistics import Estimate
from trialbook.analysis.verdicts import Question, judge
from trialbook.config.scale import Scale
from trialbook.contracts.metric_names import fitting, references, with_ends

#: Metric to arm to seed to value.
Values = Mapping[str, Mapping[str, Mapping[str, float]]]


@dataclass(frozen=True)
class GateResult:
    """The result of an arm at a gate.

    Args:
        metric, arm, bound: what is held against what.
        estimate: mean and 95% interval; None where the arm has no value.
        verdict: ``pass``, ``fail`` or ``undecided``, by the interval; ``cannot be told``; None where there is no value.
        note: why it cannot be told.
        reached: ``target``, ``acceptable``, ``between`` or ``fail``, by the mean.
        p, p_holm: of passing by chance, as it is and corrected for all gates and arms.
        name, level: as in the file; relative_to: what the value is a ratio to.
    """

    metric: str
    arm: str
    bound: str
    estimate: Estimate | None = None
    verdict: str | None = None
    reached: str | None = None
    p: float | None = None
    p_holm: float | None = None
    name: str = ""
    level: str = "must"
    relative_to: str | None = None
    note: str = ""

    @property
    def mean(self) -> float | None:
        """The mean over seeds."""
        return None if self.estimate is None else self.estimate.mean

    @property
    def passed(self) -> bool | None:
        """True if it passes, False if it fails; None where that is undecided or nothing was measured."""
        return {"pass": True, "fail": False}.get(self.verdict or "")

    @property
    def title(self) -> str:
        """The gate in a few words: ``retrieval/i2t@1 ≥ 0.5``."""
        ratio = f" relative to {self.relative_to}" if self.relative_to else ""
        return f"{self.name or self.metric}{ratio} {self.bound}"


def gate_metrics(gates: Iterable[Mapping[str, Any]], recorded: Sequence[str]) -> list[str]:
    """Names of the metrics that gates need, with those of their intervals and references."""
    names = dict.fromkeys(
        name
        for gate in gates
        for one in fitting(recorded, gate["metric"])
        for name in (*with_ends(one), *references(one))
    )
    return list(names)


def judge_gates(gates: Sequence[Mapping[str, Any]], groups: Groups, values: Values) -> list[GateResult]:
    """The verdict on every gate for every arm that it is about; gates that a decision measures elsewhere are left out."""
    lower_is_better, held, questions = groups.info.lower_is_better, [], []
    for gate in gates:
        if gate.get("measured_in") is not None:
            continue
        scale = Scale.of(gate, higher=higher_is_better(gate["metric"], lower_is_better))
        for label in groups.labels:
            if gate.get("arm") is None or _stands_for(label, gate["arm"], groups):
                held.append((gate, label))
                questions.append(Question(scale, _found(gate, label, groups, values)))
    return [
        GateResult(
            gate["metric"], label, question.scale.bound, best.estimate if best else None,
            verdict.verdict if best else None, question.scale.reached(best.mean) if best else None, verdict.p, verdict.p_holm,
            gate.get("name", ""), gate.get("level", "must"), gate.get("relative_to"), question.doubt,
        )
        for (gate, label), question, verdict in zip(held, questions, judge(questions), strict=True)
        for best in [question.best]
    ]  # fmt: skip


def _stands_for(label: str, arm: str, groups: Groups) -> bool:
    """Return whether a group is an arm, or all of its runs are of that arm."""
    return label == arm or all(run.base_arm == arm for run in groups.used[label])


def _found(gate: Mapping[str, Any], label: str, groups: Groups, values: Values) -> list[Any]:
    found = []
    for name in fitting(values, gate["metric"]):
        own = _of_arm(name, label, values)
        if own and (reference := gate.get("relative_to")) is not None:
            try:
                own = ratios(own, _reference(gate, name, reference, label, groups, values))
            except ValueError:
                continue  # there is nothing to take a ratio to
        if own and (measured := measure(list(own.values()), name)) is not None:
            found.append(measured)
    return found


def _of_arm(name: str, label: str, values: Values) -> dict[str, Value]:
    of_seeds: dict[str, dict[str, float]] = {}
    for metric, groups in values.items():
        for unit, value in groups.get(label, {}).items():
            of_seeds.setdefault(unit, {})[metric] = value
    return {unit: Value.read(name, recorded) for unit, recorded in of_seeds.items() if name in recorded}


def _reference(
    gate: Mapping[str, Any], name: str, reference: str, label: str, groups: Groups, values: Values
) -> Mapping[str, Value]:
    """Find what a ratio is taken to: a value of an external baseline, or of an arm, at the same grid point if there is one.

    Raises:
        ValueError: there is none.
    """
    baseline = groups.info.external_baselines.get(reference)
    if baseline is not None:
        figures = baseline["values"]
        value = figures.get(gate.get("name") or name, figures.get(name))
        if value is None:
            raise ValueError(f"{reference} has no external value")
        return {"external_baseline": Value(value)}
    point = groups.used[label][0].point_text
    arms = [one for one in groups.used if _stands_for(one, reference, groups)]
    same = [one for one in arms if groups.used[one][0].point_text == point] or arms
    if not same or not (found := _of_arm(name, same[0], values)):
        raise ValueError(f"{reference} has no value")
    return found
