"""A plugin of components that are broken on purpose, each in one way. What the doctor says of them is what is tested."""

from __future__ import annotations

from collections.abc import Iterable

from trialbook.plugins.hookspec import Component, hookimpl

_PROJECTORS = {
    "collapses": "Collapses", "one-direction": "OneDirection", "detaches": "Detaches", "spoils-forward": "SpoilsForward",
    "spoils-backward": "SpoilsBackward", "dead-relu": "DeadReLU", "gains": "Gains", "sigmoid-stack": "SigmoidStack",
    "fixed-queries": "FixedQueries", "adds-constant": "AddsConstant", "keeps-statistics": "KeepsStatistics",
    "half-used": "HalfUsed", "half-weights": "HalfWeights", "undoes": "Undoes", "batch-centred": "BatchCentred",
}  # fmt: skip
_TASKS = {
    "leaves-out": "LeavesOut", "one-by-one": "OneByOne", "thaws": "Thaws", "swaps-in-training": "SwapsInTraining",
}  # fmt: skip


@hookimpl
def mlrun_projectors() -> Iterable[Component]:
    """Broken projectors."""
    for name, cls in _PROJECTORS.items():
        yield Component(name, f"planted.projectors:{cls}", f"projector '{name}'")


@hookimpl
def mlrun_encoders() -> Iterable[Component]:
    """A broken encoder."""
    yield Component("drifts", "planted.encoders:Drifts", "its weights change whenever it is used")


@hookimpl
def mlrun_datasets() -> Iterable[Component]:
    """Broken data."""
    yield Component("tampered", "planted.datasets:Tampered", "pairs of vectors, tampered with")


@hookimpl
def mlrun_tasks() -> Iterable[Component]:
    """Task ``align``, broken."""
    for name, cls in _TASKS.items():
        yield Component(name, f"planted.tasks:{cls}", f"task '{name}'")


@hookimpl
def mlrun_metrics() -> Iterable[Component]:
    """A broken metric."""
    yield Component("optimistic", "planted.metrics:Optimistic", "recall that counts ties as hits")
