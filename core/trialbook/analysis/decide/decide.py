"""Coming to a decision: what was measured of every candidate, the verdict on every gate, the ranking, the recommendation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trialbook.analysis.decide.evidence import Evidence, Recorded, Sources, baseline_value
from trialbook.analysis.decide.outcomes import Facts, limits, possible_outcomes
from trialbook.analysis.decide.ranking import Criterion
from trialbook.analysis.decide.recommendation import Ballot, advise
from trialbook.analysis.decide.results import Decision, ExternalValue, Held
from trialbook.analysis.verdicts import Question, Verdict, judge
from trialbook.config.decision_options import gate_name
from trialbook.config.scale import Scale
from trialbook.config.sources import Offer, Places

if TYPE_CHECKING:
    from trialbook.config.runspec import Plan
    from trialbook.registry.query import Registry

#: Gate and candidate.
Pair = tuple[str, str]


def decide(plan: Plan, registry: Registry) -> list[Decision]:
    """The decisions of a file, from the runs of its plan and of those that it needs.

    Args:
        plan: checked; runs of other configurations do not count.
        registry: opened for reading.
    """
    plans = [one for one in plan.before if not one.experiment.is_preparation]
    places, recorded = Places(Offer.of(plan), [Offer.of(one) for one in plans]), Recorded(registry, [*plans, plan])
    return [_decide(plan, table, places, recorded) for table in plan.experiment.decisions.values()]


def _decide(plan: Plan, table: Mapping[str, Any], places: Places, recorded: Recorded) -> Decision:
    experiment, candidates = plan.experiment, table["candidates"]
    sources = Sources(places, recorded, candidates, experiment.external_baselines)
    gates = {gate_name(gate): gate for gate in experiment.gates if _counts(table, gate_name(gate))}
    manual_scores = [one for one in experiment.manual_scores if _counts(table, one["name"])]
    outcomes: Sequence[Mapping[str, Any]] = table.get("outcome") or []
    scales = {name: sources.scale(gate) for name, gate in gates.items()}
    evidence = {(name, one): sources.gather(gate, one) for name, gate in gates.items() for one in candidates}
    questions = {key: Question(scales[key[0]], one.found) for key, one in evidence.items()}
    best = {key: None if one.doubt else one.best for key, one in questions.items()}
    untrained = recorded.random_weights()
    verdicts, possible, tests = _judge(questions, outcomes, list(candidates), gates)
    ballot = Ballot(_criteria(gates, scales, manual_scores), list(candidates), outcomes, table.get("tie", 0.02))
    return Decision(
        name=table.get("name", ""), question=experiment.question, candidates=candidates, criteria=tuple(ballot.criteria),
        relative={name: gate["relative_to"] for name, gate in gates.items() if gate.get("relative_to")},
        manual_scores=tuple(manual_scores),
        external_baselines=tuple(_external_values(gates, scales, experiment.external_baselines)),
        held=tuple(_held(gates[key[0]], key[1], evidence[key], questions[key], verdicts[key]) for key in evidence),
        tests=tests, outcomes=tuple(outcomes), advice=advise(ballot, best, possible, rehearsal=bool(untrained)),
        random_weights=untrained,
        ranking=tuple(ballot.ranking({key: None if one is None else one.mean for key, one in best.items()})),
    )  # fmt: skip


def _counts(table: Mapping[str, Any], name: str) -> bool:
    """Return whether a decision rests on a criterion."""
    return table.get("gates") is None or name in table["gates"]


def _criteria(
    gates: Mapping[str, Mapping[str, Any]], scales: Mapping[str, Scale], manual_scores: Sequence[Mapping[str, Any]]
) -> list[Criterion]:
    found = [Criterion(n, g.get("level", "must"), g.get("weight", 1.0), scales[n]) for n, g in gates.items()]
    return [
        *found,
        *(
            Criterion(s["name"], s.get("level", "tie-break"), s.get("weight", 1.0), manual_scores=s["scores"])
            for s in manual_scores
        ),
    ]


def _judge(
    questions: Mapping[Pair, Question], outcomes: Sequence[Mapping[str, Any]], candidates: Sequence[str],
    gates: Mapping[str, Mapping[str, Any]],
) -> tuple[dict[Pair, Verdict], list[int | None], int]:  # fmt: skip
    """The verdicts, the outcomes that they leave possible, and how many tests there were.

    What outcomes ask of values beyond the gates is tested with them, in the same families.
    """
    asked = list(dict.fromkeys((gate, one, edge) for gate, _, edge in limits(outcomes) for one in candidates))
    further = []
    for gate, one, edge in asked:
        higher, found = questions[gate, one].scale.higher, questions[gate, one].found
        further.append(Question(Scale(edge if higher else None, None if higher else edge, {}), found))
    judged = judge([*questions.values(), *further])
    verdicts = dict(zip(questions, judged, strict=False))
    at_edge = dict(zip(asked, judged[len(questions) :], strict=True))

    def beyond(gate: str, one: str, side: str, edge: float) -> bool | None:
        is_good = at_edge[gate, one, edge].passed
        good = "above" if questions[gate, one].scale.higher else "below"
        return is_good if is_good is None or side == good else not is_good

    levels = {name: gate.get("level", "must") for name, gate in gates.items()}
    facts = Facts(candidates, levels, lambda gate, one: verdicts[gate, one].passed, beyond)
    tests = sum(one.p is not None for one in judged)
    return verdicts, possible_outcomes(outcomes, facts), tests


def _held(gate: Mapping[str, Any], candidate: str, evidence: Evidence, question: Question, verdict: Verdict) -> Held:
    best, scale = question.best, question.scale
    return Held(
        gate=gate_name(gate), candidate=candidate, metric=gate["metric"], level=gate.get("level", "must"),
        bound=scale.bound, measured_in=evidence.place, where=best.where if best else "", best_of=len(evidence.found),
        estimate=best.estimate if best else None, basis=best.basis if best else "none",
        reached=scale.reached(best.mean) if best else None, score=scale.score(best.mean) if best else None,
        verdict=verdict.verdict, p=verdict.p, p_holm=verdict.p_holm, missing=evidence.missing,
        note=question.doubt or evidence.note,
    )  # fmt: skip


def _external_values(
    gates: Mapping[str, Mapping[str, Any]],
    scales: Mapping[str, Scale],
    external_baselines: Mapping[str, Mapping[str, Any]],
) -> list[ExternalValue]:
    found = []
    for name, table in external_baselines.items():
        for gate_is, gate in gates.items():
            value = baseline_value(table, gate)
            if (
                value is not None
                and (reference := gate.get("relative_to")) is not None
                and gate_is not in table["values"]
            ):
                other = baseline_value(external_baselines[reference], gate) if reference in external_baselines else None
                value = value / other if other else None
            if value is not None:
                found.append(ExternalValue(gate_is, name, value, scales[gate_is].reached(value), table["source"]))
    return found
