"""Metric ``exact-match``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from trialbook.contracts.predictions import Scorer, exact_match, normalized_match
from trialbook_plugins.metrics._answers import AnswerMetric


class ExactMatch(AnswerMetric):
    """Share of questions whose answer is an accepted one: letter for letter (``exact``), and as SQuAD does (``normalized``).

    Normalised is lower case without ASCII punctuation, articles (a, an, the) and superfluous white space. So it finds
    ``3.5`` right for ``35``, ``-5`` for ``5`` and ``1/2`` for ``12``, and ``don’t`` wrong for ``don't``; neither brings
    Unicode to one form, so that a composed é is not a decomposed one. ``judged`` of other metrics compares numbers as
    numbers. Abstaining is right where the images do not hold the answer, and wrong where they do.

    Args:
        sources: sets whose questions count, by name; all if left out.
        answerable_only: leave questions without an answer out.

    Source: Rajpurkar et al. 2016 (SQuAD), section 6.1, and its evaluation script. Deviation: texts of which the script
    leaves nothing (``A``, ``%``) are compared but for case, instead of being equal.
    """

    produces: ClassVar[tuple[str, ...]] = ("exact", "normalized")
    scorers: ClassVar[Mapping[str, Scorer]] = {"exact": exact_match, "normalized": normalized_match}
