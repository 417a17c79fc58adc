"""Every first-party component is run through the conformance suite, here or in the tests of its own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from trialbook.config.kinds import KINDS
from trialbook.plugins.manager import PluginManager
from trialbook.testing import PartsBuilder, check_component
from trialbook_plugins import plugin
from trialbook_plugins.datasets.paired_latents import PairedLatents
from trialbook_plugins.encoders.identity import Identity
from trialbook_plugins.losses.info_nce import InfoNCE
from trialbook_plugins.metrics.retrieval import Retrieval
from trialbook_plugins.projectors.linear import Linear

_PLAIN: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("projector", "linear", {}, {}),
    ("projector", "linear", {"pool": "attention", "heads": 4}, {}),
    ("projector", "mlp", {"layers": 3, "hidden": 12}, {}),
    ("projector", "mlp", {"pool": "mean", "norm": True}, {}),
    ("projector", "mlp", {"pool": "attention", "heads": 4}, {}),
    ("projector", "mlp", {"pool": "class"}, {}),
    ("projector", "perceiver", {"latents": 3, "depth": 2, "heads": 2, "head_dim": 4}, {}),
    (
        "projector",
        "perceiver",
        {"latents": 3, "depth": 1, "heads": 2, "head_dim": 4, "query_norm": False, "width": 8},
        {},
    ),
    ("projector", "perceiver", {"latents": 3, "depth": 1, "heads": 2, "head_dim": 4, "pool": "mean"}, {}),
    ("projector", "perceiver", {"latents": 3, "depth": 1, "heads": 3, "head_dim": 4, "pool": "attention"}, {}),
    ("projector", "pixel-shuffle", {"factor": 1, "columns": 1}, {}),
    ("loss", "info-nce", {}, {}),
    ("loss", "info-nce", {"duplicates": "shared"}, {}),
    ("loss", "hard-negatives", {"queue": 4}, {}),
    ("loss", "hard-negatives", {"queue": 4, "hardest": 2, "warm_up": False, "same": "class"}, {}),
    ("loss", "siglip", {}, {}),
    ("loss", "matryoshka", {"dims": [4, 16]}, {"of": InfoNCE()}),
    ("metric", "retrieval", {"k": [1, 3]}, {}),
    ("metric", "matryoshka-retrieval", {"dims": [4, 16], "k": [1, 3]}, {}),
    ("metric", "alignment-uniformity", {"alpha": 1.0}, {}),
    ("metric", "effective-rank", {}, {}),
    ("metric", "effective-rank", {"normalize": False, "center": False}, {}),
    ("metric", "modality-gap", {}, {}),
    ("metric", "exact-match", {"sources": ["one"]}, {}),
    ("metric", "anls", {"answerable_only": True}, {}),
    ("metric", "vqa-accuracy", {}, {}),
    ("metric", "relaxed-accuracy", {"tolerance": 0.5}, {}),
    ("metric", "token-f1", {}, {}),
    ("metric", "abstention", {"score": "anls@paper"}, {}),
    ("metric", "risk-coverage", {"coverage": [0.25, 1.0], "risk": [0.1, 0.25]}, {}),
    ("metric", "risk-coverage", {"coverage": [0.5], "risk": [0.5], "answered_only": True, "score": "token-f1"}, {}),
]


@pytest.mark.parametrize(("kind", "name", "options", "injected"), _PLAIN)
def test_it_conforms(kind: str, name: str, options: dict[str, Any], injected: dict[str, Any]) -> None:
    found = PluginManager.from_modules({"trialbook": plugin}).find(kind, name)
    check_component(found.target, kind, options=options, injected=injected)


def test_the_align_task_conforms() -> None:
    data = PairedLatents(train=64, val=16, test=16)
    parts: dict[str, Any] = {
        "dataset": data,
        "encoder": {m: Identity(data.describe(m)) for m in ("image", "text")},
        "projector": {"image": Linear(64, 8), "text": Linear(48, 8)},
        "loss": {"info-nce": InfoNCE()},
        "metric": {"retrieval": Retrieval()},
    }
    builder = PartsBuilder(parts)
    check_component("trialbook_plugins.tasks.align:Align", "task", options={"dim": 8}, injected={"builder": builder})


def test_no_component_is_left_out() -> None:
    """Each component's class or name stands in a test module beside a call of ``check_component``."""
    folder = Path(__file__).parent
    texts = [text for file in folder.glob("test_*.py") if "check_component(" in (text := file.read_text())]
    offered = PluginManager.from_modules({"trialbook": plugin}).components()
    assert {one.kind for one in offered} <= set(KINDS)
    for one in offered:
        named = re.compile(rf'\b{one.target.partition(":")[2]}\b|"{re.escape(one.name)}"')
        assert any(named.search(text) for text in texts), f"{one.kind} '{one.name}' is never checked"
