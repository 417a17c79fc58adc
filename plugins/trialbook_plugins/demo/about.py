"""Which run is answering, from what, and where it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trialbook.reports.document.blocks import Block, Code, CodeBlock, Collapsible, Items, KeyValues, Text
from trialbook.reports.pages.sections import config_text, data_facts, setup_facts

if TYPE_CHECKING:
    from trialbook.replay.load import LoadedRun

_COMMIT = 12


def headline(loaded: LoadedRun) -> str:
    """The run in a line: ``mini_llava/mlp-s0-1234abcd (arm mlp, seed 0), step-00000400, commit 56789abc with changes``."""
    spec = loaded.spec
    name = f"{spec.experiment}/{loaded.run.path.name} (arm {spec.arm}, seed {spec.seed})"
    return f"{name}, {loaded.checkpoint}, {_commit(loaded)}"


def about(loaded: LoadedRun) -> list[Block]:
    """All that there is to say of it: identity, parts, data, remarks, configuration."""
    spec = loaded.spec
    data = loaded.run.read("data") or {}
    facts: dict[str, Text] = {
        "run": [Code(loaded.run.path.name), f", {loaded.run.status()}"], "experiment": spec.experiment, "arm": spec.arm,
        "seed": str(spec.seed), "checkpoint": f"{loaded.checkpoint}, {loaded.step} optimiser steps",
        "code": _commit(loaded),
        **setup_facts(spec.config), **data_facts(data),
    }  # fmt: skip
    blocks: list[Block] = [KeyValues(facts)]
    if loaded.remarks:
        blocks.append(
            Collapsible(f"What is other than when it was made ({len(loaded.remarks)})", [Items(loaded.remarks)])
        )
    if config := config_text(loaded.run):
        blocks.append(Collapsible("The whole resolved configuration", [CodeBlock(config)]))
    return blocks


def _commit(loaded: LoadedRun) -> str:
    git = (loaded.run.read("env") or {}).get("git") or {}
    if not git.get("commit"):
        return "not under version control"
    return f"commit {git['commit'][:_COMMIT]}" + (" with changes (dirty.patch)" if git.get("dirty") else ", clean")
