"""The description of the run that answers: which it is, from what it answers, and where it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trialbook_plugins.demo.look import definitions, folded

if TYPE_CHECKING:
    from trialbook import LoadedRun, Run


def headline(run: Run, loaded: LoadedRun) -> str:
    """The run in a line: ``mini_llava/mlp-s0-1234abcd (arm mlp, seed 0), step-00000400, commit 56789abc with changes``."""
    return f"{run.experiment}/{run.name} (arm {run.arm}, seed {run.seed}), {loaded.checkpoint}, {run.commit}"


def about(run: Run, loaded: LoadedRun) -> str:
    """The run with its parts, data and configuration, the checkpoint, and what is other than when it was made, as HTML."""
    title = f"What is other than when it was made ({len(loaded.remarks)})"
    remarks = folded(title, loaded.remarks) if loaded.remarks else ""
    checkpoint = definitions({"checkpoint": f"{loaded.checkpoint}, {loaded.step} optimiser steps"})
    return checkpoint + run.to_html() + remarks
