"""Ways to say how right an answer is, by the names under which options choose them."""

from __future__ import annotations

from typing import Literal

from trialbook.contracts.answers import judged_match
from trialbook.contracts.predictions import Scorer, exact_match, normalized_match
from trialbook_plugins.metrics.anls import anls_paper, anls_script
from trialbook_plugins.metrics.relaxed_accuracy import relaxed_match
from trialbook_plugins.metrics.token_f1 import token_f1
from trialbook_plugins.metrics.vqa_accuracy import vqa_evalai, vqa_official

Score = Literal[
    "exact", "normalized", "anls@paper", "anls@script", "vqa@official", "vqa@evalai", "relaxed", "token-f1", "judged"
]

SCORERS: dict[Score, Scorer] = {
    "exact": exact_match,
    "normalized": normalized_match,
    "anls@paper": anls_paper,
    "anls@script": anls_script,
    "vqa@official": vqa_official,
    "vqa@evalai": vqa_evalai,
    "relaxed": relaxed_match,
    "token-f1": token_f1,
    "judged": judged_match,
}
