"""Metrics of conversations: how many of what, how long, how large, and how far one gets without looking."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trialbook.contracts.conversation_folder import ConversationFolder
from trialbook.contracts.conversations import Conversation
from trialbook.contracts.predictions import UNANSWERABLE
from trialbook.errors import TrialbookError
from trialbook.reports.tables import NOTHING, Column, Table

_FREQUENT = 10  # answers that are listed


def count_conversations(said: Sequence[Conversation]) -> dict[str, int]:
    """Documents, conversations, pictures, and conversations with an answer."""
    return {
        "documents": len({(one.source, one.images or one.id) for one in said}),
        "conversations": len(said),
        "pictures": len({image for one in said for image in one.images}),
        "answerable": sum(one.answerable for one in said),
    }


@dataclass(frozen=True)
class Blind:
    """The shares of answers that are right without a look at the picture.

    Args:
        majority: always train's most frequent answer.
        question: train's most frequent answer to the very same question, else the most frequent of all; None for train
            itself, where that would be learning by heart.
    """

    answer: str
    majority: float
    question: float | None


def judge_blind(train: Sequence[Conversation], asked: Sequence[Conversation]) -> Blind:
    """Score a guesser that saw ``train`` on ``asked``; an answer is right that is one of those accepted, but for case."""
    answers = Counter(_said(one) for one in train)
    best = answers.most_common(1)[0][0]
    by_question: dict[str, Counter[str]] = defaultdict(Counter)
    for one in train:
        by_question[one.question.lower()][_said(one)] += 1
    guess = {question: counts.most_common(1)[0][0] for question, counts in by_question.items()}
    right = [_accepts(one, best) for one in asked]
    by_guess = [_accepts(one, guess.get(one.question.lower(), best)) for one in asked]
    return Blind(best, float(np.mean(right)), None if asked is train else float(np.mean(by_guess)))


def figures(folder: ConversationFolder) -> dict[str, Any]:
    """All metrics of a folder, as data."""
    said = {name: [line.conversation for line in lines] for name, lines in folder.splits.items()}
    train = said["train"]
    return {
        "folder": str(folder.path),
        "fingerprint": folder.manifest.get("fingerprint"),
        "licence": folder.manifest.get("licence"),
        "left_out": folder.manifest.get("left_out"),
        "duplicates": folder.manifest.get("duplicates"),
        "leaks_dropped": folder.manifest.get("leaks_dropped"),
        "splits": {name: _split(train, own) for name, own in said.items()},
        "sources": _counts(said, lambda one: one.source),
        "kinds": _counts(said, lambda one: one.kind),
        "pictures": _sizes(folder, {image for own in said.values() for one in own for image in one.images}),
    }


def tables(found: Mapping[str, Any]) -> list[Table]:
    """The metrics as tables for people."""
    splits, names = found["splits"], list(found["splits"])
    total = {name: one["conversations"] for name, one in splits.items()}
    rows = [
        [key, *(one[key] for one in splits.values())] for key in ("documents", "conversations", "pictures")
    ] + [
        ["with an answer", *(_share(one["answerable"], total[name]) for name, one in splits.items())],
        ["turns", *(_range(one["turns"]) for one in splits.values())],
        ["letters of a question", *(_range(one["question_letters"]) for one in splits.values())],
        ["letters of an answer", *(_range(one["answer_letters"]) for one in splits.values())],
        ["different answers", *(one["different_answers"] for one in splits.values())],
        ["right by the most frequent answer", *(_percent(one["majority"]) for one in splits.values())],
        ["right by the question alone", *(_percent(one["question_only"]) for one in splits.values())],
    ]  # fmt: skip
    made = [Table([Column("what", ""), *(Column(name, right=True) for name in names)], rows, "Splits")]
    for title, key in (("Sources", "sources"), ("Kinds of questions", "kinds")):
        held = [
            [label or "(none)", *(counts.get(name, 0) for name in names), _share(counts["answerable"], counts["all"])]
            for label, counts in found[key].items()
        ]
        columns = [Column(key[:-1]), *(Column(name, right=True) for name in names), Column("answerable", right=True)]
        made.append(Table(columns, held, title))
    frequent = [[answer, count, _share(count, total["train"])] for answer, count in splits["train"]["frequent"]]
    columns = [Column("answer"), Column("count", right=True), Column("share", right=True)]
    made.append(Table(columns, frequent, "Most frequent answers of train"))
    if sizes := found["pictures"]:
        row = [sizes["count"], *(f"{w} x {h}" for w, h in (sizes["smallest"], sizes["median"], sizes["largest"]))]
        columns = [Column(name, right=True) for name in ("count", "smallest", "median", "largest")]
        made.append(Table(columns, [row], "Pictures, width x height"))
    return made


def _split(train: Sequence[Conversation], own: Sequence[Conversation]) -> dict[str, Any]:
    blind = judge_blind(train, own)
    answers = Counter(_said(one) for one in own)
    return {
        **count_conversations(own),
        "turns": _quantiles(len(one.turns) for one in own),
        "question_letters": _quantiles(len(one.question) for one in own),
        "answer_letters": _quantiles(len(one.answer) for one in own if one.answerable),
        "different_answers": len(answers),
        "frequent": answers.most_common(_FREQUENT),
        "majority": blind.majority,
        "question_only": blind.question,
    }


def _said(one: Conversation) -> str:
    return one.answer.strip().lower() if one.answerable else UNANSWERABLE


def _accepts(one: Conversation, answer: str) -> bool:
    accepted = [*one.answers, one.answer] if one.answerable else [UNANSWERABLE]
    return answer in {text.strip().lower() for text in accepted}


def _counts(said: Mapping[str, Sequence[Conversation]], label: Any) -> dict[str, dict[str, int]]:
    """Label to how many of it each split has, how many in all, and how many with an answer; most frequent first."""
    found: dict[str, dict[str, int]] = {}
    for split, own in said.items():
        for one in own:
            counts = found.setdefault(label(one), {"all": 0, "answerable": 0})
            counts[split] = counts.get(split, 0) + 1
            counts["all"] += 1
            counts["answerable"] += one.answerable
    return dict(sorted(found.items(), key=lambda item: -item[1]["all"]))


def _quantiles(values: Iterable[int]) -> list[int]:
    """Smallest, median, 95th percentile, largest; empty where there are no values."""
    ordered = sorted(values)
    return [int(np.quantile(ordered, q, method="lower")) for q in (0, 0.5, 0.95, 1)] if ordered else []


def _sizes(folder: ConversationFolder, names: Iterable[str]) -> dict[str, Any]:
    """Width and height of pictures, by area."""
    from PIL import Image

    from trialbook.contracts.pictures import UNREADABLE, describe_unreadable

    sizes = []
    for name in sorted(names):
        try:
            with Image.open(folder.image(name)) as opened:
                sizes.append(opened.size)
        except UNREADABLE as error:
            why = describe_unreadable(error)
            raise TrialbookError(f"{folder.image(name)}: not a readable picture: {why}") from error
    if not sizes:
        return {}
    sizes.sort(key=lambda size: (size[0] * size[1], size))
    return {"count": len(sizes), "smallest": sizes[0], "median": sizes[len(sizes) // 2], "largest": sizes[-1]}


def _share(count: int, total: int) -> str:
    return _percent(count / total if total else None)


def _percent(share: float | None) -> str:
    return NOTHING if share is None else f"{100 * share:.1f} %"


def _range(values: Sequence[int]) -> str:
    """The median, and the smallest and largest value."""
    if not values:
        return NOTHING
    low, middle, _, high = values
    return str(low) if low == high else f"{middle} ({low} – {high})"
