"""``mlrun eval`` and ``mlrun export``: what the weights of a recorded run can do, and taking them elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trialbook.cli.output import echo, echo_json, for_people, json_option
from trialbook.cli.registry import complete_run
from trialbook.errors import TrialbookError, printable

if TYPE_CHECKING:
    from trialbook.replay.evaluate import Evaluation
    from trialbook.replay.load import LoadedRun


@click.command("eval")
@click.argument("run", metavar="RUN|CHECKPOINT", shell_complete=complete_run)
@click.option("--dataset", metavar="NAME|FILE|FOLDER", help="Other data than the run's own.")
@click.option(
    "--set", "sets", multiple=True, metavar="KEY=VALUE", help="Set a key of the data's table, e.g. --set seed=1."
)
@click.option(
    "--split", "splits", multiple=True, help="Evaluate this split; may be repeated.  [default: the run's test split]"
)
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="This metric alone; may be repeated.")
@click.option("--checkpoint", metavar="step-N|PATH", help="Not the newest checkpoint.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Rows at once.  [default: the run's]")
@click.option("--name", help="What the evaluation is called.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file, not to the run.")
@json_option
@click.option("--runs", type=click.Path(file_okay=False, path_type=Path), help="Directory of runs.")
def evaluate(
    run: str, dataset: str | None, sets: tuple[str, ...], splits: tuple[str, ...], metrics: tuple[str, ...],
    checkpoint: str | None, batch_size: int | None, name: str | None, out: Path | None, as_json: bool, runs: Path | None,
) -> None:  # fmt: skip
    """Evaluate the weights of a recorded run, on its own data or on others.

    \b
    mlrun eval RUN --split val --split test      its own data
    mlrun eval RUN --dataset FOLDER              a folder of 'mlrun data build', or the same kind of data (option 'root')
    mlrun eval RUN --dataset FILE.toml           the [dataset] table of a file
    mlrun eval RUN --dataset NAME --set seed=1   a dataset component with options; the run's own keeps its others

    Whatever parts learned from data when they were made, such as a tokenizer, stays that of the run. Metrics, with the data's
    fingerprint, the checkpoint, versions and commit, are written to RUN/evaluations/, answers beside them; the run's own
    record is not touched. Rows that were trained on are counted and reported.
    """
    from trialbook.replay.evaluate import (
        choose_splits,
        evaluation_name,
        write_evaluation,
        write_files,
    )
    from trialbook.replay.evaluate import evaluate as evaluate_split

    loaded, label, settings = _load(run, dataset, sets, metrics, checkpoint, batch_size, runs)
    chosen = choose_splits(loaded, splits)
    if len(chosen) > 1 and (out or name):
        raise click.UsageError("--out and --name are for one split")
    said: set[str] = set()
    found = []
    for split in chosen:
        evaluation = evaluate_split(loaded, split, settings)
        for one in (*evaluation.remarks, *(f"warning: {leak}" for leak in evaluation.leaks)):
            if one not in said:
                echo(one, err=True)
            said.add(one)
        if out is not None:
            file = write_files(evaluation, out)
        else:
            made = evaluation_name(label, split, f"step{loaded.step}" if checkpoint else "")
            file = write_evaluation(evaluation, loaded.run, evaluation_name(name or made), given=name is not None)
        found.append({**evaluation.as_dict(), "file": str(file)})
        if not as_json:
            echo(_page(evaluation, file), styled=True)
    if as_json:
        echo_json(found)


@click.command()
@click.argument("run", metavar="RUN|CHECKPOINT", shell_complete=complete_run)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--merged", is_flag=True, help="Merge adapters into the base weights.")
@click.option("--checkpoint", metavar="step-N|PATH", help="Not the newest checkpoint.")
@click.option("--runs", type=click.Path(file_okay=False, path_type=Path), help="Directory of runs.")
def export(run: str, folder: Path, merged: bool, checkpoint: str | None, runs: Path | None) -> None:
    """Write the trained components of RUN to FOLDER in the formats of other libraries, and list the files.

    FOLDER must be empty or not there; it appears when all of it is written. What it was made from is in its
    trialbook.json.
    """
    from trialbook.replay.export import check_folder, export_run

    check_folder(folder)
    loaded, _, settings = _load(run, None, (), (), checkpoint, None, runs)
    for remark in loaded.remarks:
        echo(remark, err=True)
    for sentence in export_run(loaded, folder, settings, merged=merged):
        echo(sentence)


def _load(
    run: str, dataset: str | None, sets: tuple[str, ...], metrics: tuple[str, ...], checkpoint: str | None,
    batch_size: int | None, runs: Path | None,
) -> tuple[LoadedRun, str, Any]:  # fmt: skip
    """The run with the tables that the command line asks for, a short name for the data, and the settings."""
    from trialbook.api.app import open_app
    from trialbook.replay.evaluate_options import given_data, given_metrics
    from trialbook.replay.load import load_weights, split_checkpoint
    from trialbook.replay.recorded_run import read_recorded

    app = open_app(runs)
    config = read_recorded(split_checkpoint(run, checkpoint)[0], app.settings).spec.config
    data = given_data(dataset, sets, config.get("dataset", {}), app.book)
    if data is not None and "dataset" not in config:
        raise TrialbookError(f"{run} has no [dataset] that others could take the place of")
    tables: dict[str, Any] = {}
    if chosen := given_metrics(metrics, config.get("metric", ())):
        tables["metric"] = chosen
    if batch_size is not None:
        tables["evaluate"] = {**config.get("evaluate", {}), "batch_size": batch_size}
    loaded = load_weights(
        run, app.settings, app.host, app.book, dataset=None if data is None else data.table, checkpoint=checkpoint,
        tables=tables, positions=None if data is None else data.positions,
    )  # fmt: skip
    return loaded, "" if data is None else data.label, app.settings


def _page(evaluation: Evaluation, file: Path) -> str:
    """An evaluation for people."""
    from trialbook.reports.tables import Column, Table, render, show_duration

    facts, data = evaluation.facts, "its own data" if evaluation.facts["data"]["own"] else "other data"
    step = facts["checkpoint"]["step"]
    head = f"{facts['run']}, step {step}: {data}, split '{evaluation.split}' ({evaluation.groups:,} groups)"
    columns = [Column("metric"), Column("value", right=True)]
    rows: list[list[Any]] = [[name, value] for name, value in evaluation.figures.items()]
    if evaluation.recorded:
        columns.append(Column("recorded", "recorded by the run", right=True))
        rows = [[*row, evaluation.recorded.get(row[0])] for row in rows]
    lines = [printable(head), render(Table(columns, rows), "table", terminal=for_people())]
    if evaluation.recorded:
        differing = evaluation.differing
        lines.append(printable(f"differs from what the run recorded: {', '.join(differing)}") if differing
                     else "equal, bit for bit, to what the run recorded")  # fmt: skip
    lines.append(printable(f"{file}  ({show_duration(evaluation.seconds)})"))
    return "\n".join(lines) + "\n"
