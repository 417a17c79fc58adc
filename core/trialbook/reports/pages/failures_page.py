"""The gallery of what a run answered wrongly, and of what got better and worse against another run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from trialbook.analysis.failures.compare import Versus
from trialbook.analysis.failures.judge import Answer, Judged
from trialbook.contracts.predictions import Prediction
from trialbook.reports.document.blocks import (
    Block,
    Code,
    Example,
    Examples,
    KeyValues,
    Link,
    Page,
    Paragraph,
    Photo,
    Section,
    Strong,
    TableBlock,
    Text,
)  # fmt: skip
from trialbook.reports.tables import Column, show_number

#: Longest text of a model that is shown whole.
_LONGEST = 600
#: Accepted answers that are shown.
_MOST_ACCEPTED = 5
#: Below this an exact test decides, as it does for claims.
_DECIDES = 0.05


@dataclass(frozen=True)
class FailurePage:
    """The material of the page.

    Args:
        title: of the run, or the evaluation; other: of what it is compared with.
        judged: its answers.
        meanings: tag to what it means.
        photos: a question to its pictures.
        limit: examples shown of a sort; the rest is counted.
        everything: show answers that are right, too.
        versus: beside another run.
        report: address of the run's page.
    """

    title: str
    judged: Judged
    meanings: Mapping[str, str]
    photos: Callable[[Prediction], Sequence[Photo]]
    limit: int
    everything: bool = False
    versus: Versus | None = None
    other: str = ""
    report: str = "report.html"

    def page(self) -> Page:
        """The whole page."""
        judged = self.judged
        against = f" against {self.other}" if self.versus else ""
        galleries = self._compared(self.versus) if self.versus else self._failures()
        head: list[Block] = [Paragraph(_outcome(judged), lead=True)]
        if self.versus is not None:
            head.append(Paragraph(versus_sentence(self.versus, self.other)))
        head.append(Paragraph(["The run's own page: ", Link("report", self.report), "."]))
        return Page(f"Failures of {self.title}{against}", "failures", head, [
            Section("Why", [tag_grid(judged, self.meanings)] if judged.failures else []),
            Section("Where", [_share_grid(judged, key) for key in ("kind", "source") if len(judged.by(key)) > 1]),
            Section("Confidence", _confidence(judged)),
            *galleries,
        ])  # fmt: skip

    def _failures(self) -> list[Section]:
        failures = self.judged.failures
        right = [one for one in self.judged.answers if not one.wrong] if self.everything else []
        return [
            self._section("Failures", "failed", failures, "the most confident first"),
            self._section("Right answers", "right", right, "in the order of the data"),
        ]

    def _compared(self, versus: Versus) -> list[Section]:
        found = []
        for title, name, pairs in (
            ("Got worse", "worse", versus.worse), ("Got better", "better", versus.better),
            ("Wrong in both", "both", versus.both_wrong),
        ):  # fmt: skip
            there = {own.prediction.id: other for own, other in pairs}
            answers = [own for own, _ in pairs]
            found.append(self._section(title, name, answers, "in the order of the data", there))
        return found

    def _section(
        self, title: str, name: str, answers: Sequence[Answer], order: str, there: Mapping[str, Answer] | None = None
    ) -> Section:
        shown = answers[: self.limit] if self.limit else answers
        examples = [self._example(one, (there or {}).get(one.prediction.id)) for one in shown]
        count = f"{len(answers):,}" if len(shown) == len(answers) else f"{len(shown):,} of {len(answers):,}"
        blocks: list[Block] = [Paragraph(f"{count}, {order}."), Examples(name, examples)]
        return Section(title, blocks if answers else [])

    def _example(self, one: Answer, other: Answer | None) -> Example:
        asked = one.prediction
        pairs: dict[str, Text] = {"accepted": accepted_text(asked), "answered": said_text(asked)}
        if other is not None:
            pairs[self.other] = said_text(other.prediction)
        if asked.confidence is not None:
            pairs["confidence"] = f"{asked.confidence:.0%}"
        if one.by_hand:
            pairs["tag"] = f"by hand; by rule: {one.rule or 'right'}"
        tag = one.tag or (other.tag if other is not None else "") or "right"
        marks = {"tag": tag, "kind": asked.kind, "source": asked.source}
        return Example(asked.id, asked.question, pairs, marks, self.photos(asked))


def tag_grid(judged: Judged, meanings: Mapping[str, str]) -> TableBlock:
    """Tags, how many failures have each, and what they mean."""
    total, tags = len(judged.failures), judged.tags()
    hands = {tag: sum(one.by_hand and one.tag == tag for one in judged.failures) for tag in tags}
    columns = [Column("tag"), Column("failures", right=True), Column("share", right=True)]
    hand = [Column("by_hand", "by hand", right=True)] if any(hands.values()) else []
    rows: list[list[Text]] = []
    for tag, count in tags.items():
        row: list[Text] = [tag, f"{count:,}", f"{count / total:.0%}"]
        rows.append([*row, *([str(hands[tag])] if hand else []), meanings.get(tag, "")])
    return TableBlock("Each failure has one tag", [*columns, *hand, Column("meaning", "what it means")], rows)


def versus_sentence(versus: Versus, other: str) -> Text:
    """Say what got better and worse, and whether that may be chance."""
    better, worse, both = len(versus.better), len(versus.worse), len(versus.both_wrong)
    decided = "no chance at the 5% level" if versus.p < _DECIDES else "chance may do as much"
    unmatched = f" {versus.unmatched:,} answers have no counterpart." if versus.unmatched else ""
    return [
        f"Against {other}: ", Strong(f"{better:,} got better, {worse:,} worse"),
        f"; {both:,} are wrong in both, {versus.both_right:,} right in both. "
        f"McNemar's exact test: p = {show_number(versus.p, 3)}, {decided}.{unmatched}",
    ]  # fmt: skip


def risk_grid(judged: Judged) -> TableBlock:
    """Risk against coverage."""
    columns = [Column("confidence"), *(Column(name, right=True) for name in ("answers", "coverage", "risk"))]
    rows = [
        [f"≥ {row.threshold:.3f}", f"{row.kept:,}", f"{row.coverage:.0%}", f"{row.risk:.1%}"] for row in judged.risks()
    ]
    said = "Answers that stay if those below a confidence are abstained on: as a share of all questions, and how many are wrong"
    return TableBlock(said, columns, rows)


def _calibration_grid(judged: Judged) -> TableBlock:
    columns = [Column("confidence"), *(Column(name, right=True) for name in ("answers", "mean", "right"))]
    rows = [
        [f"{one.low:.1f} to {one.high:.1f}", f"{one.count:,}", f"{one.confidence:.3f}", f"{one.accuracy:.1%}"]
        for one in judged.calibration()
    ]
    return TableBlock("Whether it is as often right as it is confident, abstentions included", columns, rows)


def _confidence(judged: Judged) -> list[Block]:
    """Risk against coverage, and calibration; nothing where there are no confidences."""
    error = judged.calibration_error()
    if error is None:
        return []
    risks: list[Block] = [risk_grid(judged)] if judged.risks() else []
    return [*risks, _calibration_grid(judged), KeyValues({"expected calibration error": show_number(error, 3)})]


def _share_grid(judged: Judged, key: str) -> TableBlock:
    rows = sorted(judged.by(key).items(), key=lambda item: -item[1][1] / item[1][0])
    columns = [Column(key), *(Column(name, right=True) for name in ("asked", "wrong", "share"))]
    shown = [[name, f"{asked:,}", f"{wrong:,}", f"{wrong / asked:.0%}"] for name, (asked, wrong) in rows]
    return TableBlock(f"By {key} of the question", columns, shown)


def _outcome(judged: Judged) -> Text:
    wrong, total = len(judged.failures), judged.judged
    unknown = len(judged.answers) - total
    aside = f" {unknown:,} more have no accepted answer to compare with." if unknown else ""
    if not total:
        return f"No answer can be judged.{aside}"
    return [Strong(f"{wrong:,} of {total:,} answers are wrong"), f" ({wrong / total:.1%}).{aside}"]


def accepted_text(asked: Prediction) -> Text:
    """Accepted answers."""
    if not asked.answerable:
        return "none: the images do not answer it"
    answers = list(dict.fromkeys(asked.answers))
    more = f" and {len(answers) - _MOST_ACCEPTED} more" if len(answers) > _MOST_ACCEPTED else ""
    return (
        [piece for one in answers[:_MOST_ACCEPTED] for piece in (Code(one), " ")] + [more]
        if answers
        else "nothing known"
    )


def said_text(asked: Prediction) -> Text:
    """Return what was answered."""
    text = asked.prediction if len(asked.prediction) <= _LONGEST else f"{asked.prediction[:_LONGEST]} …"
    if not text:
        return "nothing"
    return [Code(text), *([" (abstained)"] if asked.abstained else []), *([] if asked.stopped else [" (not ended)"])]
