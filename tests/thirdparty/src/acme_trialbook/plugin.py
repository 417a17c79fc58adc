"""What this plugin offers, as strings: listing it imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from trialbook import Component, hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def mlrun_tasks() -> Iterable[Component]:
    """Tasks."""
    yield Component("next-token", "acme_trialbook.next_token:NextToken", "next-token training of a language model")
    yield Component("ridge-probe", "acme_trialbook.ridge_probe:RidgeProbe", "closed-form probes on stored features")


@hookimpl
def mlrun_datasets() -> Iterable[Component]:
    """Datasets."""
    yield Component("progressions", "acme_trialbook.progressions:Progressions", "arithmetic progressions as tokens")
    yield Component("linear-targets", "acme_trialbook.linear_targets:LinearTargets", "vectors with a number to predict")


@hookimpl
def mlrun_encoders() -> Iterable[Component]:
    """Encoders."""
    yield Component("random-features", "acme_trialbook.random_features:RandomFeatures", "a random layer, never trained")


@hookimpl
def mlrun_projectors() -> Iterable[Component]:
    """Projectors."""
    yield Component("gated", "acme_trialbook.gated:Gated", "a linear map with a sigmoid gate")


@hookimpl
def mlrun_llms() -> Iterable[Component]:
    """Language models."""
    yield Component("gru-lm", "acme_trialbook.gru_lm:GruLM", "a small recurrent language model")


@hookimpl
def mlrun_metrics() -> Iterable[Component]:
    """Metrics."""
    yield Component("modality-gap", "acme_trialbook.modality_gap:ModalityGap", "distance of the modalities' centroids")


@hookimpl
def mlrun_architectures() -> Iterable[Component]:
    """Architectures."""
    yield Component("aya-vision", "acme_trialbook.aya_vision:AYA_VISION", "points A1 to A3")


@hookimpl
def mlrun_commands(cli: click.Group) -> None:
    """Commands."""
    from acme_trialbook.commands import about

    cli.add_command(about, "acme-about")
