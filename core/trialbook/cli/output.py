"""Output of commands, in whatever encoding the stream has, and without what a terminal would obey.

The result goes to the standard output, everything else to the standard error. Where the result is for a program, what plugins and
libraries print meanwhile goes to the standard error too.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from trialbook.errors import printable

if TYPE_CHECKING:
    from trialbook.analysis.compare.compare import Comparison
    from trialbook.reports.tables import Table

#: Where the result goes, in click's context, while the standard output is the standard error's.
_RESULT = "trialbook.result"


def prepare_streams() -> None:
    """Make the standard streams take any text: a closed one loses it, another encoding has replacements."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - it stays open
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def give_up_output() -> None:
    """Lose what the standard output could not take, so that the interpreter does not try again as it ends."""
    with suppress(OSError, ValueError, io.UnsupportedOperation):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def echo(text: str = "", *, err: bool = False, styled: bool = False) -> None:
    """Print a text and a line break.

    Args:
        text: control characters of it are shown, not sent.
        err: on the standard error; if that is closed, nobody wants to know.
        styled: it has colours of ours, and all else in it is ``printable``.
    """
    stream = sys.stderr if err else result_stream()
    if not (styled and stream.isatty()):
        text = printable(click.unstyle(text) if styled else text)
    try:
        click.echo(text, file=stream)
    except (OSError, ValueError):  # ValueError: it was closed
        if not err:
            raise


def echo_json(value: Any) -> None:
    """Print data as JSON; characters that the stream's encoding does not have are escaped."""
    from trialbook.contracts.files import to_json

    text = to_json(value)
    try:
        text.encode(result_stream().encoding or "utf-8")
    except UnicodeEncodeError:
        import json

        text = re.sub(r"[^\x00-\x7f]", lambda found: json.dumps(found[0])[1:-1], text)
    echo(text)


def echo_table(table: Table, style: str) -> None:
    """Print a table in one of the formats of ``--format``."""
    if style == "json":
        echo_json(table.records())
        return
    from trialbook.reports.tables import render

    echo(render(table, style, terminal=for_people()), styled=style == "table")


def echo_comparison(comparison: Comparison, style: str = "table") -> None:
    """Print a comparison in one of the formats of ``--format``."""
    if style == "json":
        echo_json(comparison.as_dict())
        return
    from trialbook.reports.terminal import comparison_text

    echo(comparison_text(comparison, style, terminal=for_people()), styled=style == "table")


def result_stream() -> TextIO:
    """Return where results go."""
    context = click.get_current_context(silent=True)
    found: TextIO | None = context.find_root().meta.get(_RESULT) if context else None
    return found or sys.stdout


def for_people() -> bool:
    """Return whether results go to a terminal, where colours and its width count."""
    return result_stream().isatty()


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option ``--json``, as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, callback=_for_programs, help="Print JSON.")(command)


def format_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options ``--format``, as ``style``, and ``--json``."""
    formats = click.Choice(
        ("table", "markdown", "csv", "json", "latex")
    )  # as in trialbook.reports.tables, imported late
    command = click.option(
        "--json", "as_json", is_flag=True, callback=_for_programs, help="The same as --format json."
    )(command)
    return click.option("--format", "style", type=formats, default="table", show_default=True, callback=_for_programs)(
        command
    )


def part_streams() -> None:
    """Keep the standard output for the result, as long as the command runs."""
    context = click.get_current_context()
    meta = context.find_root().meta
    if _RESULT not in meta:
        meta[_RESULT] = context.with_resource(only_results())
        context.call_on_close(lambda: meta.pop(_RESULT))


def _for_programs(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    if value not in (False, "table"):
        with context.scope(cleanup=False):
            part_streams()
    return value


@contextmanager
def only_results() -> Iterator[TextIO]:
    """Yield a stream for the result; what else is written to the standard output, by child processes too, goes to the error's."""
    result, kept = sys.stdout, None
    with suppress(OSError, ValueError, io.UnsupportedOperation):
        if result.fileno() == 1 and sys.stderr.fileno() == 2:
            kept = os.dup(1)
            os.dup2(2, 1)
            result = os.fdopen(kept, "w", encoding=sys.stdout.encoding, errors="replace", closefd=False)
    try:
        with redirect_stdout(sys.stderr):
            yield result
    finally:
        if kept is not None:
            with suppress(OSError):
                result.flush()
            os.dup2(kept, 1)
            os.close(kept)
