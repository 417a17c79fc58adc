"""``mlrun doctor``: what looks broken in recorded runs."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trialbook.cli.output import echo, echo_json, echo_table, json_option
from trialbook.cli.registry import complete_run, registry_file
from trialbook.errors import TrialbookError, printable

if TYPE_CHECKING:
    from trialbook.contracts.findings import Finding
    from trialbook.doctor.doctor import Check
    from trialbook.registry.query import Registry, Run

_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


@click.command()
@click.argument("names", metavar="[RUN|EXPERIMENT|FILE]...", nargs=-1, shell_complete=complete_run)
@click.option("--strict", is_flag=True, help="End with status 1 if there is an error.")
@click.option("--checks", "list_checks", is_flag=True, help="List the checks; look at no run.")
@json_option
@click.option("--runs", type=click.Path(file_okay=False, path_type=Path), help="Directory of runs.")
def doctor(names: tuple[str, ...], strict: bool, list_checks: bool, as_json: bool, runs: Path | None) -> None:
    """Say what looks broken in recorded runs, with the evidence and what to try.

    RUN is a name or the beginning of one, an id, or a path; EXPERIMENT and FILE stand for all their runs. Without a name the
    newest run is looked at. Everything is read from the run's directory and judged again by the checks that are installed
    now; nothing is written.
    """
    from trialbook.cli.plugins import open_host
    from trialbook.doctor.doctor import load_checks
    from trialbook.registry.query import open_index

    checks, notes = load_checks(open_host())
    if list_checks:
        _print_checks(checks, notes, as_json)
        return
    with open_index(registry_file(runs)) as index:
        looks = [_look(run, checks, notes) for run in _choose(index, names)]
    if len(looks) == 1 and looks[0].unreadable:
        raise TrialbookError(looks[0].unreadable)
    if as_json:
        echo_json([look.as_dict() for look in looks])
    else:
        echo("\n\n".join(_page(look) for look in looks), styled=True)
    errors = any(finding.severity == "error" for look in looks for finding in look.findings)
    unreadable = any(look.unreadable for look in looks)
    sys.exit(1 if unreadable or (strict and errors) else 0)


@dataclass(frozen=True)
class _Look:
    """Findings on a run, how many checks looked, which ones its experiment leaves out, and why it cannot be read, if so."""

    run: Run
    step: int
    checks: int
    left_out: Sequence[str]
    findings: Sequence[Finding] = field(default_factory=list)
    unreadable: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        run = self.run
        return {
            "run": run.name, "experiment": run.experiment, "arm": run.arm, "seed": run.seed, "status": run.status,
            "path": str(run.directory.path), "step": self.step, "checks": self.checks, "left_out": list(self.left_out),
            "findings": [finding.as_dict() for finding in self.findings],
            **({"unreadable": self.unreadable} if self.unreadable else {}),
        }  # fmt: skip


def _choose(index: Registry, names: Sequence[str]) -> list[Run]:
    """The runs that ``names`` mean; the newest where there is no name."""
    from trialbook.analysis.selection import Facts, select_runs

    return select_runs(index, names, [], Facts(index)) if names else index.runs()[-1:]


def _look(run: Run, checks: Sequence[Check], notes: Sequence[Finding]) -> _Look:
    from trialbook.config.experiment_info import ExperimentInfo
    from trialbook.config.run_format import NewerFormat
    from trialbook.contracts.files import UnreadableFile
    from trialbook.doctor.doctor import diagnose
    from trialbook.doctor.evidence import read_evidence

    try:
        info, chart = ExperimentInfo.from_json(run.directory.read("run") or {}), read_evidence(run.directory)
    except (UnreadableFile, NewerFormat) as error:
        return _Look(run, 0, 0, (), unreadable=str(error))
    ignored = set(info.doctor.get("ignore") or ())
    wanted = [check for check in checks if check.name not in ignored]
    left_out = sorted({check.name for check in checks} & ignored)
    return _Look(run, chart.step, len(wanted), left_out, [*diagnose(chart, wanted), *notes])


def _page(look: _Look) -> str:
    """The findings of a run for people, worst first."""
    from trialbook.contracts.findings import SEVERITIES

    if look.unreadable:
        return f"{look.run.experiment}/{look.run.name}  {look.run.status}\n\n{_wrapped(look.unreadable)}"
    counts = {name: sum(finding.severity == name for finding in look.findings) for name in SEVERITIES}
    counted = ", ".join(f"{n} {name}{'s' if n > 1 else ''}" for name, n in counts.items() if n) or "no findings"
    left_out = f", without {', '.join(look.left_out)}" if look.left_out else ""
    head = f"{look.run.experiment}/{look.run.name}  {look.run.status}, step {look.step}: {counted}"
    return "\n".join([printable(f"{head} ({look.checks} checks{left_out})"), *map(_paragraph, look.findings)])


def _paragraph(finding: Finding) -> str:
    head = click.style(f"{finding.severity:<7}", fg=_COLOURS[finding.severity], bold=True)
    place = f"  {finding.component}" if finding.component else ""
    lines = [f"\n  {head}  {printable(f'{finding.check}{place}')}", _wrapped(finding.message)]
    if finding.evidence:
        lines.append(_wrapped(_numbers(finding.evidence)))
    if finding.advice:
        lines.append(_wrapped(f"try: {finding.advice}"))
    return "\n".join(lines)


def _numbers(evidence: Mapping[str, Any]) -> str:
    from trialbook.reports.tables import show_value

    return "; ".join(f"{name}: {show_value(value)}" for name, value in evidence.items())


def _wrapped(text: str) -> str:
    width = min(shutil.get_terminal_size((110, 24)).columns, 120)
    return textwrap.fill(
        printable(text),
        width,
        initial_indent=" " * 11,
        subsequent_indent=" " * 11,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _print_checks(checks: Sequence[Check], notes: Sequence[Finding], as_json: bool) -> None:
    from trialbook.reports.tables import Column, Table

    columns = [Column("check"), Column("plugin"), Column("summary", "what it looks for")]
    table = Table(columns, [[check.name, check.plugin, check.summary] for check in checks])
    echo_table(table, "json" if as_json else "table")
    for note in notes:
        echo(note.message, err=True)
