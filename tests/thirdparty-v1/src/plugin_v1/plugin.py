"""What the plugin offers, as strings: listing it imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialbook import Component, hookimpl

if TYPE_CHECKING:
    import click

    from trialbook.contracts import Record


@hookimpl
def mlrun_datasets() -> Iterable[Component]:
    """Datasets."""
    yield Component("v1-pairs", "plugin_v1.pairs:Pairs", "vectors and what a rotation makes of them")


@hookimpl
def mlrun_encoders() -> Iterable[Component]:
    """Encoders."""
    yield Component("v1-cosines", "plugin_v1.cosines:Cosines", "random cosine features")


@hookimpl
def mlrun_projectors() -> Iterable[Component]:
    """Projectors."""
    yield Component("v1-turn", "plugin_v1.turn:Turn", "a linear map without bias")


@hookimpl
def mlrun_losses() -> Iterable[Component]:
    """Losses."""
    yield Component("v1-distance", "plugin_v1.distance:Distance", "contrastive squared distance")


@hookimpl
def mlrun_metrics() -> Iterable[Component]:
    """Metrics."""
    yield Component("v1-nearest", "plugin_v1.nearest:Nearest", "share of rows whose nearest is their own")


@hookimpl
def mlrun_tasks() -> Iterable[Component]:
    """Tasks."""
    yield Component("v1-spread", "plugin_v1.spread:Spread", "spread of stored features")


@hookimpl
def mlrun_checks() -> Iterable[Component]:
    """Checks of the doctor."""
    yield Component("v1-flat", "plugin_v1.flat:flat", "a metric that never moved")


@hookimpl
def mlrun_trackers() -> Iterable[Component]:
    """Trackers."""
    yield Component("v1-lines", "plugin_v1.lines:Lines", "points as lines of a file")


@hookimpl
def mlrun_commands(cli: click.Group) -> None:
    """Commands."""
    import click

    @cli.command("v1-about")
    @click.option("--loud", is_flag=True, help="In capitals.")
    def about(loud: bool) -> None:
        """Say which plugin this is."""
        click.echo("PLUGIN V1" if loud else "plugin v1")


@hookimpl
def mlrun_run_started(run: str, path: str, config: Mapping[str, Any]) -> None:
    """A run begins."""
    _note(f"started {run} {Path(path).name} {config['task']['use']}")


@hookimpl
def mlrun_run_recorded(run: str, record: Record) -> None:
    """A record stands."""
    _note(f"recorded {run} {record.step} {','.join(record.values)}")


@hookimpl
def mlrun_run_finished(run: str) -> None:
    """A run ended well."""
    _note(f"finished {run}")


@hookimpl
def mlrun_run_failed(run: str, error: str) -> None:
    """A run ended with an error."""
    _note(f"failed {run} {error}")


def _note(line: str) -> None:
    """Add a line to the file that ``PLUGIN_V1_NOTES`` names, if it does."""
    if file := os.environ.get("PLUGIN_V1_NOTES"):
        with Path(file).open("a", encoding="utf-8") as out:
            out.write(line + "\n")
