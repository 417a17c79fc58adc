"""Questions about generated documents: every truth is read off what the document says, and no wording gives it away.

Names are drawn so that each is as likely to be shown as any other of its sort. Whether a question can be answered is
decided before it is chosen what it asks for; so neither the answer nor whether there is one can be told from the question.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from trialbook_plugins.datasets._documents_sheets import TOGGLES, Entry, Grid, Sheet, Words, amount

#: What a question asks for.
KINDS = ("value", "yes-no", "count", "largest", "position", "selected")
#: What any document can be asked for, if it is asked for by name: all that it says, to learn reading from.
TRANSCRIPT = {"transcript": ("What does it say?",)}

#: Name of the wordings of a topic -> kind of its questions.
TOPICS = {
    "value": "value", "value-of": "value", "yes-no": "yes-no", "is": "yes-no", "position": "position", "count": "count",
    "largest": "largest", "total": "value", "selected": "selected", "cell": "value", "cell-is": "yes-no", "top": "largest",
    "tally": "count", "transcript": "transcript",
}  # fmt: skip


@dataclass(frozen=True)
class Question:
    """A question about a document: what it asks for or why it has no answer, its text, its accepted answers, best first."""

    kind: str
    text: str
    answers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fact:
    """The words that fill the gaps of a wording, and the answer ("" where there is none)."""

    gaps: dict[str, str]
    answer: str = ""


@dataclass
class Topic:
    """All that can be asked in one way about one document.

    Args:
        kind: kind of the questions.
        wordings: ways to ask.
        known: what the document says.
        unknown: what it does not say, by the reason.
        whole: whether there is an answer is a matter of the document, not drawn for each question.
    """

    kind: str
    wordings: tuple[str, ...]
    known: list[Fact] = field(default_factory=list)
    unknown: dict[str, list[Fact]] = field(default_factory=dict)
    whole: bool = False

    def room(self) -> int:
        """Questions that can be asked whether they shall have an answer or not."""
        unknown = sum(map(len, self.unknown.values()))
        return len(self.known) + unknown if self.whole else min(len(self.known), unknown)

    def ask(self, rng: Random, answerable: bool) -> Question:
        """One of the questions, which is not asked again."""
        text = rng.choice(self.wordings)
        if self.known and (answerable or self.whole):
            fact = self.known.pop(rng.randrange(len(self.known)))
            return Question(self.kind, text.format(**fact.gaps), _accepted(fact.answer))
        reasons = [reason for reason, facts in self.unknown.items() if facts]
        reason = next((rare for rare in ("unreadable", "wrong-entity") if rare in reasons), reasons[0])
        if reason == "wrong-entity" and "absent-field" in reasons and rng.random() < 0.4:
            reason = "absent-field"
        fact = self.unknown[reason].pop(rng.randrange(len(self.unknown[reason])))
        return Question(reason, text.format(**fact.gaps))


def ask_questions(
    rng: Random, sheet: Sheet, words: Words, count: int, unanswerable: float, kinds: tuple[str, ...]
) -> list[Question]:
    """Up to ``count`` different questions about a document, of these kinds.

    Args:
        rng: where chance comes from.
        sheet: the document; a share ``unanswerable`` of all documents must have a hidden value.
        words: what it was made from.
        count: how many; fewer where it does not say so much.
        unanswerable: share of the questions that have no answer.
        kinds: what may be asked for.
    """
    topics = [topic for topic in _topics(rng, sheet, words) if topic.kind in kinds]
    asked = []
    rooms = [topic.room() for topic in topics]
    while len(asked) < count and any(rooms):
        place = rng.choice([i for i, room in enumerate(rooms) if room])
        rooms[place] -= 1
        asked.append(topics[place].ask(rng, rng.random() >= unanswerable))
    return asked


def _topics(rng: Random, sheet: Sheet, words: Words) -> Iterator[Topic]:
    for name, wordings in {**words.wordings, **TRANSCRIPT}.items():
        if name in ("value", "value-of", "yes-no", "is"):
            yield _of_entries(rng, sheet, words, name, wordings)
        elif name == "position":
            yield _position(sheet, words, wordings)
        elif name == "count":
            on = sum(row.text == "yes" for row in sheet.entries if row.entry.look in TOGGLES)
            yield _whole("count", wordings, str(on), sheet.hidden is not None)
        elif name == "largest":
            best = max(sheet.entries, key=lambda row: amount(row.text))
            yield _whole("largest", wordings, best.entry.name, sheet.hidden is not None)
        elif name == "total":
            yield _whole("value", wordings, sheet.total, sheet.hidden is not None)
        elif name == "transcript":
            yield Topic("transcript", wordings, [Fact({}, sheet.transcript())], whole=True)
        elif name == "selected":
            yield _whole("selected", wordings, sheet.buttons[sheet.marked], sheet.hidden is not None)
        elif sheet.grid is not None:
            yield from _of_grid(rng, sheet, sheet.grid, words, name, wordings)


def _whole(kind: str, wordings: tuple[str, ...], answer: str, hidden: bool) -> Topic:
    """Make the topic that all of a document is needed for."""
    known, unknown = ([], {"unreadable": [Fact({})]}) if hidden else ([Fact({}, answer)], {})
    return Topic(kind, wordings, known, unknown, whole=True)


def _of_entries(rng: Random, sheet: Sheet, words: Words, name: str, wordings: tuple[str, ...]) -> Topic:
    """The values of entries: of toggles whether they are on, of others what they are or whether they are so."""
    toggles = name == "yes-no"
    topic = Topic(TOPICS[name], wordings)
    unread, others = [], []
    for place, row in enumerate(sheet.entries):
        if (row.entry.look in TOGGLES) is not toggles:
            continue
        gaps, answer = {"row": row.entry.name, "owner": sheet.owner}, row.text
        others.append(Fact({**gaps, "owner": _other(rng, words.owners, sheet.owner)}))
        if name == "is":
            gaps["value"], answer = _claim(rng, row.entry, row.text)
        if sheet.hidden == ("entry", place):
            unread.append(Fact(gaps))
        else:
            topic.known.append(Fact(gaps, answer))
    shown = {row.entry.name for row in sheet.entries}
    absent = [entry for entry in words.entries if entry.name not in shown and (entry.look in TOGGLES) is toggles]
    topic.unknown["absent-field"] = [
        Fact({"row": entry.name, "owner": sheet.owner, "value": entry.value(rng)}) for entry in absent
    ]
    topic.unknown["unreadable"] = unread
    if name == "value-of":
        topic.unknown["wrong-entity"] = others
    return topic


def _position(sheet: Sheet, words: Words, wordings: tuple[str, ...]) -> Topic:
    """Make the topic of what stands below an entry."""
    names = [row.entry.name for row in sheet.entries]
    below = zip(names, names[sheet.abreast :], strict=False)
    absent = [Fact({"row": entry.name}) for entry in words.entries if entry.name not in names]
    return Topic("position", wordings, [Fact({"row": one}, other) for one, other in below], {"absent-field": absent})


def _of_grid(
    rng: Random, sheet: Sheet, grid: Grid, words: Words, name: str, wordings: tuple[str, ...]
) -> Iterator[Topic]:
    """A table's values, its largest ones, and how often one occurs; columns of numbers and of words each for themselves."""
    for of_numbers in (True, False):
        columns = [j for j, column in enumerate(grid.columns) if (not column.values) is of_numbers]
        absent = [
            column for column in words.columns if column not in grid.columns and (not column.values) is of_numbers
        ]
        if name in ("cell", "cell-is") and columns:
            yield _cells(rng, sheet, grid, words, columns, absent, Topic(TOPICS[name], wordings))
        elif name == "top" and of_numbers:
            yield _largest(sheet, grid, columns, absent, wordings)
        elif name == "tally" and not of_numbers and grid.focus is not None:
            place, value = grid.focus
            times = sum(line[place] == value for line in grid.values)
            known = [Fact({"column": grid.columns[place].name, "value": value}, str(times))]
            unknown = [Fact({"column": column.name, "value": column.value(rng)}) for column in absent]
            yield Topic("count", wordings, known, {"absent-field": unknown})


def _cells(
    rng: Random, sheet: Sheet, grid: Grid, words: Words, columns: list[int], absent: list[Entry], topic: Topic
) -> Topic:
    unread = []
    for i, item in enumerate(grid.items):
        for j in columns:
            value, answer = grid.values[i][j], grid.values[i][j]
            if topic.kind == "yes-no":
                value, answer = _claim(rng, grid.columns[j], value)
            gaps = {"row": item, "column": grid.columns[j].name, "value": value}
            if sheet.hidden == ("cell", i, j):
                unread.append(Fact(gaps))
            else:
                topic.known.append(Fact(gaps, answer))
    others = [item for item in words.items if item not in grid.items]
    topic.unknown["unreadable"] = unread
    topic.unknown["absent-field"] = [
        Fact({"row": item, "column": column.name, "value": column.value(rng)})
        for item in grid.items
        for column in absent
    ]
    topic.unknown["wrong-entity"] = [
        Fact({"row": item, "column": grid.columns[j].name, "value": grid.columns[j].value(rng)})
        for item in others
        for j in columns
    ]
    return topic


def _largest(sheet: Sheet, grid: Grid, columns: list[int], absent: list[Entry], wordings: tuple[str, ...]) -> Topic:
    topic = Topic("largest", wordings)
    topic.unknown["unreadable"] = []
    for j in columns:
        gaps = {"column": grid.columns[j].name}
        if sheet.hidden is not None and sheet.hidden[0] == "cell" and sheet.hidden[2] == j:
            topic.unknown["unreadable"].append(Fact(gaps))
        else:
            best = max(range(len(grid.items)), key=lambda i: amount(grid.values[i][j]))
            topic.known.append(Fact(gaps, grid.items[best]))
    topic.unknown["absent-field"] = [Fact({"column": column.name}) for column in absent]
    return topic


def _claim(rng: Random, entry: Entry, text: str) -> tuple[str, str]:
    """A value that may be the entry's, and whether it is."""
    if rng.random() < 0.5:
        return text, "yes"
    other = entry.value(rng)
    while other == text:
        other = entry.value(rng)
    return other, "no"


def _other(rng: Random, names: tuple[str, ...], name: str) -> str:
    """Another one of ``names``."""
    return rng.choice([one for one in names if one != name] or [name])


def _accepted(answer: str) -> tuple[str, ...]:
    """An answer and the same without its unit of money."""
    return (answer, answer[1:].replace(",", "")) if re.fullmatch(r"\$[\d,.]+", answer) else (answer,)
