"""The failures of an experiment's arms: shares of wrong answers by tag, over seeds, and the most frequent one with examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trialbook.analysis.failures.judge import Answer, Judged
from trialbook.analysis.failures.load import read_answers
from trialbook.analysis.failures.taxonomy import BY_HAND, TAGS
from trialbook.analysis.statistics import t_interval
from trialbook.errors import TrialbookError
from trialbook.registry.run_directory import RunDirectory
from trialbook.reports.document.blocks import (
    Block,
    Code,
    Example,
    Examples,
    Items,
    Link,
    Paragraph,
    Strong,
    TableBlock,
    Text,
)
from trialbook.reports.pages.failures_page import accepted_text, said_text
from trialbook.reports.tables import Column

#: Examples of an arm's most frequent failure, and arms of which there are any.
_MOST_EXAMPLES, _MOST_ARMS = 3, 4
_ALL = "any"


@dataclass(frozen=True)
class _Run:
    """A run with its judged answers."""

    directory: RunDirectory
    judged: Judged


def failure_blocks(arms: Mapping[str, Sequence[RunDirectory]]) -> list[Block]:
    """Failures by tag and arm with intervals over runs, and examples; nothing where no run has answers that can be judged."""
    problems: list[Text] = []
    found: dict[str, list[_Run]] = {}
    for arm, runs in arms.items():
        for run in runs:
            try:
                judged = read_answers(run).judged() if run.predictions.is_file() else None
            except TrialbookError as error:
                problems.append(str(error))
                continue
            if judged is not None and judged.judged:
                found.setdefault(arm, []).append(_Run(run, judged))
    blocks: list[Block] = [Items(problems)] if problems else []
    if not found:
        return blocks
    said = (
        "Each wrong answer has one tag, by rule or by hand. Shares are of all answers that can be judged: mean over runs with "
        "its 95% t interval."
    )
    return [*blocks, _grid(found), Paragraph(said), Items(_leading(found)), *_examples(found)]


def _counts(found: Mapping[str, Sequence[_Run]]) -> Counter[str]:
    """Tag to failures of all runs, the most frequent first."""
    return Counter(one.tag for runs in found.values() for run in runs for one in run.judged.failures)


def _grid(found: Mapping[str, Sequence[_Run]]) -> TableBlock:
    columns = [
        Column("tag"), Column("arm"), Column("failures", right=True), Column("share", "of all answers", right=True),
        Column("95% interval", right=True), Column("meaning", "what it means"),
    ]  # fmt: skip
    rows: list[Sequence[Text]] = []
    for tag in (_ALL, *(tag for tag, _ in _counts(found).most_common())):
        meaning = {**TAGS, **BY_HAND, _ALL: "all wrong answers"}.get(tag, "given by hand")
        for number, (arm, runs) in enumerate(found.items()):
            counts = [sum(tag in (_ALL, one.tag) for one in run.judged.failures) for run in runs]
            shares = [count / run.judged.judged for count, run in zip(counts, runs, strict=True)]
            estimate = t_interval(shares)
            known = estimate.low is not None and estimate.high is not None
            interval = f"{max(0.0, estimate.low):.1%} to {min(1.0, estimate.high):.1%}" if known else "–"  # type: ignore[type-var]
            first = number == 0
            rows.append([
                tag if first else "", arm, f"{sum(counts):,}", f"{estimate.mean:.1%}", interval, meaning if first else "",
            ])  # fmt: skip
    return TableBlock("How arms fail", columns, rows, grouped=True)


def _leading(found: Mapping[str, Sequence[_Run]]) -> list[Text]:
    """The most frequent failure of each arm, and where its failures are shown."""
    said: list[Text] = []
    for arm, runs in found.items():
        counts = _counts({arm: runs})
        total = sum(counts.values())
        name = runs[0].directory.path.name
        gallery = runs[0].directory.failures().is_file()
        where: list[str | Link | Code] = (
            ["; ", Link(f"gallery of {name}", f"{name}/failures.html")]
            if gallery
            else ["; ", Code(f"mlrun failures {name}"), " shows them"]
        )
        if not total:
            said.append([Strong(arm), ": no wrong answer"])
            continue
        tag, count = counts.most_common(1)[0]
        said.append([Strong(arm), ": most often ", Strong(tag), f", {count:,} of {total:,} failures", *where])
    return said


def _examples(found: Mapping[str, Sequence[_Run]]) -> list[Block]:
    """Examples of each arm's most frequent failure, the most confident first, different questions as far as there are any."""
    examples: list[Example] = []
    for arm, runs in list(found.items())[:_MOST_ARMS]:
        counts = _counts({arm: runs})
        if not counts:
            continue
        tag = counts.most_common(1)[0][0]
        wrong = [(run, one) for run in runs for one in run.judged.failures if one.tag == tag]
        wrong.sort(key=lambda pair: -(pair[1].prediction.confidence or 0.0))
        different = {one.prediction.id: (run, one) for run, one in reversed(wrong)}
        chosen = sorted(different.values(), key=lambda pair: -(pair[1].prediction.confidence or 0.0))[:_MOST_EXAMPLES]
        examples += [_example(arm, run, one) for run, one in chosen]
    return [Examples("failing", examples)] if examples else []


def _example(arm: str, run: _Run, one: Answer) -> Example:
    asked = one.prediction
    pairs: dict[str, Text] = {"accepted": accepted_text(asked), "answered": said_text(asked)}
    if asked.confidence is not None:
        pairs["confidence"] = f"{asked.confidence:.0%}"
    pairs["run"] = run.directory.path.name
    marks = {"tag": one.tag, "arm": arm, **({"kind": asked.kind} if asked.kind else {})}
    return Example(asked.id, asked.question, pairs, marks)
