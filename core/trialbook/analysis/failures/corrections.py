"""People's remarks on failures: ``tags.json`` of a run, which nothing else writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trialbook.analysis.failures.taxonomy import BY_HAND, TAGS
from trialbook.contracts.files import to_json, write_whole
from trialbook.contracts.predictions import Prediction
from trialbook.errors import TrialbookError, suggest
from trialbook.registry.run_directory import RunDirectory


class Corrections:
    """Tags that people gave to the answers of one evaluation.

    A tag stands for an id and what was answered: where another answer is given now, it does not count any more.

    Args:
        run: whose ``tags.json``.
        evaluation: name of a later evaluation; None for the run's own answers.
        predictions: the answers of now.
    """

    def __init__(self, run: RunDirectory, evaluation: str | None, predictions: Sequence[Prediction]) -> None:
        self._run = run
        self._key = "predictions" if evaluation is None else f"evaluations/{evaluation}"
        self._answers = {one.id: one.prediction for one in predictions}
        self._all: dict[str, dict[str, Any]] = run.read("tags") or {}

    @property
    def tags(self) -> dict[str, str]:
        """Id to tag."""
        own = self._all.get(self._key, {})
        return {name: one["tag"] for name, one in own.items() if self._answers.get(name) == one["prediction"]}

    @property
    def outdated(self) -> list[str]:
        """Ids whose tag does not count, as another answer is given now."""
        return sorted(set(self._all.get(self._key, {})) - set(self.tags))

    def known(self) -> dict[str, str]:
        """Every tag that may be given, and what it means; those that were made up before included."""
        own = {str(one["tag"]): "given by hand" for entry in self._all.values() for one in entry.values()}
        return {**own, **TAGS, **BY_HAND}

    def correct(self, given: Mapping[str, str], *, new: bool = False) -> None:
        """Give tags by hand and write them down; an empty one takes back what was given before.

        Args:
            given: id to tag.
            new: tags may be new.
        Raises:
            TrialbookError: there is no such answer or tag; then none of them is given.
        """
        entry = dict(self._all.get(self._key, {}))
        for name, tag in given.items():
            if name not in self._answers:
                raise TrialbookError(f"no answer has the id '{name}'{_hint(name, self._answers)}")
            if tag and tag not in self.known() and not new:
                known = f"known are {', '.join(self.known())}; --new-tag allows another"
                raise TrialbookError(f"there is no tag '{tag}'{_hint(tag, self.known())}; {known}")
            entry.pop(name, None)
            if tag:
                entry[name] = {"tag": tag, "prediction": self._answers[name]}
        self._all = {**self._all, self._key: entry}
        write_whole(self._run.tags, to_json(self._all) + "\n")


def parse_tags(texts: Sequence[str]) -> dict[str, str]:
    """``ID=TAG`` each, as id to tag.

    Raises:
        TrialbookError: there is no ``=`` or no id.
    """
    found = {}
    for text in texts:
        name, mark, tag = text.rpartition("=")
        if not mark or not name:
            raise TrialbookError(f"--tag '{text}' must be ID=TAG, or ID= to take a tag back")
        found[name] = tag.strip()
    return found


def _hint(word: str, known: Mapping[str, Any]) -> str:
    hint = suggest(word, known)
    return f"; did you mean '{hint}'?" if hint else ""
