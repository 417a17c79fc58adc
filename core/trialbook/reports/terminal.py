"""A comparison in any format, as text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from trialbook.analysis.compare.metrics import pareto_costs
from trialbook.analysis.statistics import ALPHA, FEWEST_SEEDS
from trialbook.analysis.verdicts import GATE_ALPHA, UNTOLD
from trialbook.contracts.files import to_json
from trialbook.errors import printable
from trialbook.reports.comparison_tables import (
    BROKEN,
    broken_arms,
    claim_tables,
    cost_table,
    effect_tables,
    figure_table,
    finding_lines,
    full_table,
)
from trialbook.reports.tables import Table, render, show_number

if TYPE_CHECKING:
    from trialbook.analysis.compare.compare import Comparison
    from trialbook.analysis.compare.gates import GateResult

#: Width that lines of text are broken at, unless the terminal says another.
_WIDTH = 118


def comparison_text(comparison: Comparison, style: str = "table", *, terminal: bool = False) -> str:
    """A comparison as text.

    Args:
        comparison: what to show.
        style: one of ``trialbook.reports.tables.FORMATS``; JSON and CSV carry full values, CSV those of arms, effects and claims.
        terminal: allow colours, and break lines at its width.
    """
    if style == "json":
        return to_json(comparison.as_dict())
    if style == "csv":
        return render(full_table(comparison), "csv")
    width = _terminal_width() if terminal else _WIDTH
    blocks = []
    for block in _blocks(comparison):
        if isinstance(block, Table):
            if style == "latex" and block.title:
                blocks.append(_commented(printable(block.title)))
            blocks.append(render(block, style, terminal=terminal))
        else:
            blocks.append(_told(block, style, width))
    return "\n\n".join(blocks)


def _told(block: str | tuple[str, list[str]], style: str, width: int) -> str:
    """A paragraph, or a title with lines."""
    if style == "markdown":
        from trialbook.reports.document.escape import markdown

        if isinstance(block, str):
            return "\n".join(map(markdown, block.split("\n")))
        return "\n".join([f"**{block[0]}**", "", *(f"- {markdown(line)}" for line in block[1])])
    if isinstance(block, str):
        text = _wrapped(printable(block), width) if style == "table" else printable(block)
    else:
        text = "\n".join([block[0], *(_wrapped(printable(line), width, "  ") for line in block[1])])
    return _commented(text) if style == "latex" else text


def _blocks(comparison: Comparison) -> Iterator[Table | str | tuple[str, list[str]]]:
    """Yield what a comparison says, in order: tables, paragraphs, and titles with lines."""
    broken = broken_arms(comparison)
    yield _heading(comparison)
    yield figure_table(comparison)
    if broken & set(comparison.arms):
        yield f"{BROKEN} error findings in this arm or its baseline, see Findings: a broken run is no result"
    rest = f" {BROKEN} Runs with error findings are among those that this rests on." if broken else ""
    if comparison.claims:
        yield from claim_tables(comparison)
        yield claims_said(comparison) + rest
    if comparison.effects:
        yield from effect_tables(comparison)
        yield effects_said(comparison) + rest
    if comparison.costs:
        yield cost_table(comparison)
    if comparison.pareto:
        yield pareto_said(comparison)
    yield from ((title, lines) for title, lines in _sections(comparison) if lines)


def _heading(comparison: Comparison) -> str:
    question = comparison.question.strip().split("\n")[0]
    name, said = ", ".join(comparison.experiments), shown_said(comparison)
    return f"{name}: {question}\n{said}" if question else f"{name}\n{said}"


def shown_said(comparison: Comparison) -> str:
    """Say which values are shown, and how differences are tested."""
    place = {"last": "the last value of every run"}.get(comparison.at, comparison.at)
    said = f"Shown is {place} (--at {comparison.at}): mean and 95% t interval over seeds."
    if count := sum(row.p_holm is not None for row in comparison.rows):
        said += (
            f" Differences are paired by seed; p after Holm over {count} comparison{'s' if count > 1 else ''}; "
            f"better and worse are said below {ALPHA:g}, from {FEWEST_SEEDS} seeds; undecided names how many would decide."
        )
    return said


def claims_said(comparison: Comparison) -> str:
    """Say how the answers to claims are to be read."""
    count = sum(claim.p_holm is not None for claim in comparison.claims)
    least = any(claim.at_least for claim in comparison.claims)
    single = "the difference at single levels of the other factors, p after Holm over all such lines."
    return (
        "A claim is held against the difference of means, over all combinations of the other factors, paired by seed"
        + ("; its p says whether that is the least that counts" if least else "")
        + (f"; p after Holm over {count} claims" if count > 1 else "")
        + f"; decided below {ALPHA:g}, from {FEWEST_SEEDS} seeds."
        + (f" Lines with a dot: {single}" if any(claim.conditional for claim in comparison.claims) else "")
    )


def effects_said(comparison: Comparison) -> str:
    """Say how effects are to be read."""
    count = sum(effect.p_holm is not None for effect in comparison.effects)
    interactions = any(len(effect.factors) > 1 for effect in comparison.effects)
    crossed = " × is an interaction: the first change at the second's new level less the same at its old one."
    tested = f"; p after Holm over {count} effect{'s' if count > 1 else ''}" if count else ""
    return (
        "An effect is the difference of means that a change of level makes, over all combinations of the other factors, "
        f"paired by seed{tested}; decided below {ALPHA:g}, from {FEWEST_SEEDS} seeds.{crossed if interactions else ''}"
    )


def pareto_said(comparison: Comparison) -> str:
    """Say what the Pareto mark means."""
    cost, _ = pareto_costs(comparison.costs)
    words = {"training_flops": "FLOPs", "train_seconds": "seconds of training"}[cost]
    left_out = "; arms with error findings are left out" if broken_arms(comparison) else ""
    return (
        f"Pareto: no other arm is at least as good in {comparison.rows[0].metric}, takes no more {words} and no more trained "
        f"parameters, and is better in one of these. This goes by the means alone, whatever the intervals say{left_out}."
    )


def _sections(comparison: Comparison) -> list[tuple[str, list[str]]]:
    words = {
        "pass": "passes",
        "fail": "FAILS",
        "undecided": "is undecided",
        UNTOLD: "cannot be told",
        None: "has no value",
    }
    gates = [
        f"{gate.title}: {gate.arm} {words[gate.verdict]}"
        + gate_numbers(gate, " ({})")
        + (f": {gate.note}" if gate.note else "")
        for gate in comparison.gates
    ]
    if any(gate.verdict for gate in comparison.gates):
        gates.append(gates_said(comparison))
    different = [str(difference) for difference in comparison.differences]
    if any(row.baseline for row in comparison.rows):
        different = different or ["nothing that was recorded"]
    return [
        ("Gates", gates),
        ("Findings", finding_lines(comparison)),
        ("Missing", list(comparison.missing)),
        ("What else differed", different),
        ("Notes", list(comparison.notes)),
    ]


def gate_numbers(gate: GateResult, around: str = "{}") -> str:
    """The mean of a gate's metric with its interval; nothing where there is none."""
    if gate.estimate is None:
        return ""
    one = gate.estimate
    ends = "" if one.low is None or one.high is None else f" [{show_number(one.low)}, {show_number(one.high)}]"
    return around.format(f"{show_number(one.mean)}{ends}")


def gates_said(comparison: Comparison) -> str:
    """Say how verdicts on gates come about."""
    count = sum(gate.p_holm is not None for gate in comparison.gates)
    told = f" after Holm over {count} gates" if count > 1 else ""
    return (
        f"A gate is passed or failed where the one-sided p{told} is below {GATE_ALPHA:g}, from {FEWEST_SEEDS} seeds or with the "
        "interval that the metric recorded; else it is undecided."
    )


def _wrapped(text: str, width: int, indent: str = "") -> str:
    """Lines of at most so many letters; what continues is set in by four more."""
    return "\n".join(
        textwrap.fill(
            line, max(width, 40), initial_indent=indent, subsequent_indent=f"{indent}    " if indent else "",
            break_long_words=False, break_on_hyphens=False,
        )
        for line in text.split("\n")
    )  # fmt: skip


def _terminal_width() -> int:
    import shutil  # late: a pipe does not need it, and it is slow to import

    return shutil.get_terminal_size().columns


def _commented(block: str) -> str:
    return "\n".join(f"% {line}" for line in block.splitlines())
