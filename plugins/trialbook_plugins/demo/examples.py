"""Questions of the run's own evaluation, with their pictures and what is known of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from trialbook.contracts.conversations import Conversation
from trialbook.contracts.predictions import Prediction

if TYPE_CHECKING:
    from trialbook import LoadedRun

#: Conversations that are looked through at most.
_MOST = 4096


@dataclass(frozen=True)
class Example:
    """A question of the evaluation.

    Args:
        picture: its file.
        conversation: what was asked, and what is right.
        recorded: what the run answered then; None where nothing is recorded.
    """

    picture: Path
    conversation: Conversation
    recorded: Prediction | None


def make_examples(
    loaded: LoadedRun, predictions: Sequence[Prediction], count: int, folder: Path
) -> tuple[list[Example], str]:
    """Some questions of the final split, each about one picture of its own as far as there are enough, or why there are none.

    Args:
        loaded: the run; its data are read.
        predictions: what it answered there.
        count: how many.
        folder: takes the pictures.
    """
    try:
        return _make(loaded, {one.id: one for one in predictions}, count, folder), ""
    except Exception as error:  # data of a plugin that is not ours, or that have changed: the rest works without them
        return [], f"no examples: the run's evaluation data cannot be read ({type(error).__name__}: {error})"


def _make(loaded: LoadedRun, recorded: Mapping[str, Prediction], count: int, folder: Path) -> list[Example]:
    kinds = dict(loaded.data.modalities)
    image = next(name for name, kind in kinds.items() if kind == "image")
    texts = next(name for name, kind in kinds.items() if kind == "conversation")
    splits = loaded.data.splits()
    split = splits[next(name for name in (_final(loaded), "val", "train") if name in splits)]
    groups = split.groups(texts)
    rows = np.arange(min(len(groups), _MOST))
    conversations: list[Conversation] = split.read(texts, rows)
    places = split.groups(image)
    chosen = _varied([(int(groups[row]), one) for row, one in zip(rows, conversations, strict=True)], recorded, count)
    examples = []
    for number, (group, conversation) in enumerate(chosen):
        (picture,) = split.read(image, np.flatnonzero(places == group))
        file = folder / f"example-{number}.png"
        Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0))).save(file)
        examples.append(Example(file, conversation, recorded.get(conversation.id)))
    return examples


def _final(loaded: LoadedRun) -> str:
    return str(loaded.config.get("evaluate", {}).get("final", "test"))


def _varied(
    found: Iterable[tuple[int, Conversation]], recorded: Mapping[str, Any], count: int
) -> list[tuple[int, Conversation]]:
    """Answerable and unanswerable in turn, and their kinds; of pictures that are not shown yet, as long as there are any."""
    kinds: dict[tuple[bool, str], list[tuple[int, Conversation]]] = defaultdict(list)
    for group, one in found:
        alone = len(one.images) == 1 and sum(turn.role == "user" for turn in one.turns) == 1
        if alone and (not recorded or one.id in recorded):
            kinds[not one.answerable, one.kind].append((group, one))
    sides = [list(_in_turn([kinds[key] for key in sorted(kinds) if key[0] is side])) for side in (False, True)]
    chosen: list[tuple[int, Conversation]] = []
    while len(chosen) < count and any(sides):
        side = sides[len(chosen) % 2] or sides[(len(chosen) + 1) % 2]
        shown = {group for group, _ in chosen}
        fresh = next((place for place, (group, _) in enumerate(side) if group not in shown), 0)
        chosen.append(side.pop(fresh))
    return chosen


def _in_turn(lists: Sequence[Sequence[Any]]) -> Iterable[Any]:
    nothing = object()
    return (one for one in chain.from_iterable(zip_longest(*lists, fillvalue=nothing)) if one is not nothing)
