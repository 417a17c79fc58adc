"""The ``mlrun`` command. Commands are imported when they are called, so that ``mlrun --help`` stays quick."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import click

from trialbook._version import __version__
from trialbook.cli.output import echo, give_up_output, prepare_streams
from trialbook.errors import ExperimentErrors, TrialbookError
from trialbook.registry.ranks import quiet_torch

if TYPE_CHECKING:
    from trialbook.plugins.manager import PluginManager

#: Command -> (where it is defined, its line in the help).
_COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("trialbook.cli.run:run", "Check an experiment file and run all of it that is not done yet."),
    "check": ("trialbook.cli.check:check", "Report every mistake in an experiment file; touch no model or data."),
    "schema": ("trialbook.cli.check:schema", "Print the JSON Schema of experiment files, for editors."),
    "compare": ("trialbook.cli.registry:compare", "Answer an experiment's question from its recorded runs."),
    "decide": ("trialbook.cli.decide:decide", "Judge gates, rank candidates and say what to do, from recorded runs."),
    "report": ("trialbook.cli.report:report", "Write the pages and plots of a run or an experiment."),
    "reproduce": ("trialbook.cli.reproduce:reproduce", "Do a recorded run again and say whether the same comes out."),
    "eval": ("trialbook.cli.evaluate:evaluate", "Evaluate the weights of a recorded run, on its own data or others."),
    "failures": ("trialbook.cli.failures:failures", "Write the gallery of what a run answered wrongly."),
    "export": ("trialbook.cli.evaluate:export", "Write a run's trained components in the formats of other libraries."),
    "data": ("trialbook.cli.data:data", "Build folders of conversations about images, show and count them."),
    "ls": ("trialbook.cli.registry:ls", "List runs."),
    "show": ("trialbook.cli.registry:show", "Show a run: configuration, metrics, provenance."),
    "doctor": ("trialbook.cli.doctor:doctor", "Say what looks broken in recorded runs, and what to try."),
    "diff": ("trialbook.cli.registry:diff", "Show in what two runs differ."),
    "sql": ("trialbook.cli.registry:sql", "Ask the registry a read-only question in SQL."),
    "rm": ("trialbook.cli.registry:rm", "Delete runs."),
    "registry": ("trialbook.cli.registry:registry", "Rebuild or check the index over the run directories."),
    "plugins": ("trialbook.cli.plugins:plugins", "List, show, make and check plugins."),
    "completion": ("trialbook.cli.completion:completion", "Print the shell's completion script."),
}


class Commands(click.Group):
    """Core's commands by name, imported on use, and those that plugins add."""

    def __init__(self, host: PluginManager | None = None, **attributes: Any) -> None:
        super().__init__(**attributes)
        self._host = host
        self._added = False

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Core's commands, then those of plugins."""
        self._add_plugins()
        return [*_COMMANDS, *sorted(set(self.commands) - set(_COMMANDS))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command itself; plugins are asked only for names that core does not have."""
        if cmd_name in _COMMANDS:
            module, _, name = _COMMANDS[cmd_name][0].partition(":")
            command: click.Command = getattr(importlib.import_module(module), name)
            return command
        self._add_plugins()
        return self.commands.get(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in the help; core's commands are not imported for it."""
        rows = [
            (name, _COMMANDS[name][1] if name in _COMMANDS else self.commands[name].get_short_help_str(limit=90))
            for name in self.list_commands(ctx)
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a suggestion for a misspelt name."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            from trialbook.errors import suggest

            hint = suggest(args[0], self.list_commands(ctx))
            raise click.UsageError(f"no command '{args[0]}'" + (f"; did you mean '{hint}'?" if hint else ""), ctx)
        return super().resolve_command(ctx, args)

    def _add_plugins(self) -> None:
        if self._added:
            return
        self._added = True
        from trialbook.config.settings import load_settings
        from trialbook.plugins.manager import PluginManager

        host = self._host or PluginManager.discover(load_settings().disabled_plugins)
        host.add_commands(self)


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mlrun (trialbook)")
def cli() -> None:
    """Run experiments that can be believed, and compare them.

    mlrun run FILE checks, trains or probes, survives and records; mlrun compare answers.
    """


def main() -> None:
    """Entry point: errors that a user can fix are printed without a traceback, exit status 2; of the system, 1."""
    quiet_torch()
    prepare_streams()
    try:
        cli(prog_name="mlrun")
    except TrialbookError as error:
        echo(str(error) if isinstance(error, ExperimentErrors) else f"mlrun: {error}", err=True)
        sys.exit(2)
    except OSError as error:  # a disk that is full, a folder that cannot be written
        echo(f"mlrun: {error}", err=True)
        give_up_output()
        sys.exit(1)
