"""Check ``no-gradient``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding, Severity
from trialbook_plugins.checks._tensors import Tensor, by_part, counted, how_much, named, tensors, without_shadows

_HOW_BAD: dict[Literal["all", "many", "few"], Severity] = {"all": "error", "many": "warning", "few": "note"}
_ADVICE = (
    "look for a detach(), a torch.no_grad(), a .data or an argmax between these parameters and the loss, for a branch that the "
    "forward pass does not take, and for units that are all 0; freeze what is not meant to learn"
)


def check(chart: RunEvidence) -> Iterable[Finding]:
    """Parameters that the optimiser was given and that never got a gradient, counted by part.

    A gradient that is missing counts at once. One that is exactly 0 counts from the second look on: behind a layer that
    starts at 0 (a gate, the second matrix of an adapter) the first gradient is 0 by nature. A bias counts only together
    with the other parameters of its module: attention gives that of its keys none.
    """
    every = tensors(chart)
    dead = [tensor for tensor in every if _is_dead(tensor)]
    if every and len(dead) == len(every):
        yield _finding("", dead, "error", "no parameter gets a gradient: nothing is learned")
        return
    of_part = by_part(every)
    for part, some in by_part(dead).items():
        some = without_shadows(some, of_part[part])
        if not some:
            continue
        much = how_much(some, of_part[part])
        which = "no parameter" if much == "all" else "nothing in " + named(tensor.module for tensor in some)
        severity = "warning" if part.split(".")[0] == "loss" and much == "all" else _HOW_BAD[much]
        yield _finding(part, some, severity, f"{which} gets a gradient: {_count(some)}")


def _is_dead(tensor: Tensor) -> bool:
    grads = [facts["grad"] for _, facts in tensor.seen]
    return all(grad is None for grad in grads) or (len(grads) > 1 and not any(grads))


def _count(some: Sequence[Tensor]) -> str:
    return f"{len(some)} tensor{'s' if len(some) > 1 else ''} with {sum(tensor.size for tensor in some)} numbers stay as they are"


def _finding(part: str, some: Sequence[Tensor], severity: Severity, what: str) -> Finding:
    step, facts = some[0].seen[-1]
    how = "none" if facts["grad"] is None else 0.0
    evidence = {**counted(some), "gradient": how, "looks": len(some[0].seen)}
    return Finding("no-gradient", severity, part, what, evidence, _ADVICE, step)
