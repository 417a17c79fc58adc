"""Check ``not-optimized``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding, Severity
from trialbook_plugins.checks._stages import stages

#: Kinds of parts that have no business but to learn; an encoder may keep itself as it is.
LEARNERS = ("projector", "decoder", "probe")
#: Options by which a language model learns, wholly or in part; without them it is meant to stay as it is.
ASKING = ("lora_rank", "unfreeze")


def check(chart: RunEvidence) -> Iterable[Finding]:
    """Parts that are not frozen in the file and that no stage's optimiser was given, or only in part."""
    begun = stages(chart)
    if not begun:
        return
    asked = any(stage.options.train is not None for stage in begun)
    if asked and not begun[-1].last:
        return  # a later stage may train them
    for part, facts in _wired(chart).items():
        if facts["frozen"] or facts["optimized"] >= facts["parameters"]:
            continue
        found = _of_llm(chart, part, facts) if part == "llm" else _judged(part, facts, asked)
        if found:
            severity, what, advice = found
            evidence = {key: facts[key] for key in ("parameters", "in_module", "optimized")}
            yield Finding("not-optimized", severity, part, what, evidence, advice, facts["step"])


def _wired(chart: RunEvidence) -> dict[str, dict[str, Any]]:
    """Part to its wiring, with the most that any stage trains of it."""
    found: dict[str, dict[str, Any]] = {}
    for one in chart.of("wiring"):
        for part, facts in one.values.items():
            before = found.get(part, {"optimized": 0, "in_module": 0})
            most = {key: max(before[key], facts[key]) for key in ("optimized", "in_module")}
            found[part] = {**facts, **most, "step": one.step}
    return found


def _of_llm(chart: RunEvidence, part: str, facts: Mapping[str, Any]) -> tuple[Severity, str, str] | None:
    """Return what is wrong with a language model that is asked to learn and does not; None otherwise."""
    table = chart.config.get(part)
    asking = [key for key in ASKING if isinstance(table, Mapping) and table.get(key)]
    if facts["optimized"] or not asking:
        return None
    return (
        "warning",
        f"no stage trains the language model, though '{asking[0]}' asks for it: what it adds stays as it began",
        f"add a pattern for it to 'train' of a stage, or leave '{asking[0]}' out",
    )


def _judged(part: str, facts: Mapping[str, Any], asked: bool) -> tuple[Severity, str, str] | None:
    """Severity, sentence and advice; None where it is as it should be."""
    learner = part.split(".")[0] in LEARNERS
    if not facts["in_module"]:
        return (
            "error",
            f"the task leaves this part out of the module that is trained: its {facts['parameters']} parameters never learn",
            "let the task's module() hold every part that is to learn, or write frozen = true",
        )
    if asked:
        if facts["optimized"]:
            return None
        return (
            "warning" if learner else "note",
            f"no stage trains this part, though it is not frozen: {facts['parameters']} parameters stay as they began",
            "add a pattern for it to 'train' of a stage, or write frozen = true",
        )
    if not facts["optimized"]:
        return (
            "error" if learner else "warning",
            f"the optimiser was given none of this part's {facts['parameters']} parameters, though it is not frozen",
            "look for requires_grad_(False) in the part and in the task; write frozen = true if it is meant",
        )
    return (
        "warning" if learner else "note",
        f"the optimiser was given {facts['optimized']} of this part's {facts['parameters']} parameters",
        "as it should be with adapters (LoRA); otherwise look for requires_grad_(False) and for parameters outside of module()",
    )
