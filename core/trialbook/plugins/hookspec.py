"""The hooks that a plugin may implement. One hook a kind yields typed records; listing them imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from pathlib import Path

    import click

    from trialbook.config.runspec import Outcome, Plan
    from trialbook.contracts.records import Record

PROJECT = "trialbook"
ENTRY_POINT_GROUP = "trialbook.plugins"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@dataclass(frozen=True)
class Component:
    """Something that an experiment file can name after ``use =``.

    Args:
        name: what stands after ``use =``, in kebab-case.
        target: ``"package.module:Class"``; imported only when the component is built or its schema is not cached.
        summary: one line for listings.
    """

    name: str
    target: str
    summary: str


class Hooks:
    """Hook specifications of the project, prefixed ``mlrun_``."""

    @hookspec
    def mlrun_tasks(self) -> Iterable[Component]:
        """Tasks: how components are put together and what is optimised or measured."""
        raise AssertionError

    @hookspec
    def mlrun_datasets(self) -> Iterable[Component]:
        """Datasets, with splits and a fingerprint of their content."""
        raise AssertionError

    @hookspec
    def mlrun_encoders(self) -> Iterable[Component]:
        """Encoders: raw entities of one modality to tokens."""
        raise AssertionError

    @hookspec
    def mlrun_projectors(self) -> Iterable[Component]:
        """Projectors (connectors, heads): tokens of one width to tokens of another."""
        raise AssertionError

    @hookspec
    def mlrun_llms(self) -> Iterable[Component]:
        """Language models."""
        raise AssertionError

    @hookspec
    def mlrun_decoders(self) -> Iterable[Component]:
        """Decoders: tokens back to pictures, clips or latents."""
        raise AssertionError

    @hookspec
    def mlrun_probes(self) -> Iterable[Component]:
        """Probes on stored features."""
        raise AssertionError

    @hookspec
    def mlrun_captioners(self) -> Iterable[Component]:
        """Captioners: what is known of a sample, in words."""
        raise AssertionError

    @hookspec
    def mlrun_losses(self) -> Iterable[Component]:
        """Losses."""
        raise AssertionError

    @hookspec
    def mlrun_metrics(self) -> Iterable[Component]:
        """Metrics."""
        raise AssertionError

    @hookspec
    def mlrun_checks(self) -> Iterable[Component]:
        """Checks of the doctor: each target is a function ``check(evidence: RunEvidence) -> Iterable[Finding]``."""
        raise AssertionError

    @hookspec
    def mlrun_trackers(self) -> Iterable[Component]:
        """Trackers: other programs that are told what runs record; see ``trialbook.contracts.trackers.Tracker``."""
        raise AssertionError

    @hookspec
    def mlrun_architectures(self) -> Iterable[Component]:
        """Architectures: each target is a table that says where a model's layers lie; components that read layers look there."""
        raise AssertionError

    @hookspec
    def mlrun_templates(self) -> Path:
        """Add Jinja2 templates to reports: sections, or the page around them.

        Called: once, when plugins are asked for what they offer.

        Default: pages hold what the program itself writes. A path that is no folder disables the plugin; a template that
        fails when a page is written is left out of it, with a note there.

        Returns:
            the folder. ``run/energy_use.html`` in it adds the section "Energy use" to ``report.html`` of a run,
            ``run/energy_use.md`` to ``report.md``; ``page.html`` extends the page. See docs/reports.md.

        Example::

            from pathlib import Path

            from trialbook import hookimpl


            @hookimpl
            def mlrun_templates():
                return Path(__file__).with_name("templates")
        """
        raise AssertionError

    @hookspec
    def mlrun_commands(self, cli: click.Group) -> None:
        """Add click commands to ``cli``."""

    @hookspec(firstresult=True)
    def mlrun_launch(self, plan: Plan) -> Sequence[Outcome] | None:
        """Run all runs of ``plan`` and return how each ended; the first plugin that does not return None has launched it."""

    @hookspec
    def mlrun_run_started(self, run: str, path: str, config: dict[str, Any]) -> None:
        """A run begins or goes on: its name, its directory, its resolved configuration."""

    @hookspec
    def mlrun_run_recorded(self, run: str, record: Record) -> None:
        """A record was made."""

    @hookspec
    def mlrun_run_finished(self, run: str, results: dict[str, Any]) -> None:
        """A run ended well."""

    @hookspec
    def mlrun_run_failed(self, run: str, error: str) -> None:
        """A run ended with an error."""
