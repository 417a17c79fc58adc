"""``mlrun data``: build folders of conversations, look at them, count them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trialbook.cli.output import echo, echo_json, for_people, json_option

if TYPE_CHECKING:
    from trialbook.config.experiment import Experiment

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group()
def data() -> None:
    """Build folders of conversations about images, look at them, count them."""


@data.command()
@click.argument("paths", metavar="[FILE] OUT", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--use", metavar="NAME", help="A dataset component, in place of FILE.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Set an option, e.g. --set size=512.")
@click.option("--profile", help="Merge the tables of [profile.NAME] into FILE.")
@click.option("--licence", metavar="TEXT", help="Note this licence, not what the dataset says of it.")
@click.option("--drop-leaks", is_flag=True, help="Drop documents of train that stand in val or test too.")
@click.option("--replace", "replace_old", is_flag=True, help="Put the new folder in the place of an old one.")
def build(
    paths: tuple[Path, ...], use: str | None, sets: tuple[str, ...], profile: str | None, licence: str | None,
    drop_leaks: bool, replace_old: bool,
) -> None:  # fmt: skip
    """Write a dataset to a folder.

    That is the [dataset] of FILE, or the component NAME, written to the folder OUT.

    Every picture is decoded and stored once, every conversation checked; those that say and show the same are written once.
    Nothing that stands in two splits is written. A build that is stopped leaves nothing.

    \b
    mlrun data build --use documents --set train=400 --set size=384 --set level=real OUT
    mlrun data build --use receipts --set root=/data/sroie OUT
    mlrun data build experiments/mixture.toml OUT
    """
    from trialbook.api.app import open_app
    from trialbook.curation.build import build_folder
    from trialbook.curation.source import open_source

    experiment, out = _what(paths, use, sets, profile)
    app = open_app()
    source = open_source(experiment, app.book, app.settings.data_root)
    manifest = build_folder(
        source.dataset, out, about=source.table, licence=licence, drop_leaks=drop_leaks, replace_old=replace_old,
        progress=_progress if sys.stderr.isatty() else None,
    )  # fmt: skip
    echo(_summary(out, manifest))


@data.command()
@click.argument("folder", type=_FOLDER)
@click.option("-n", "count", default=5, show_default=True, type=click.IntRange(min=1), help="How many.")
@click.option("--split", help="Of this split alone.")
@click.option("--kind", help="Of this kind of question alone.")
@click.option("--source", help="From this source alone.")
@click.option("--seed", default=0, help="Choose others.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a page with the pictures.")
def show(
    folder: Path, count: int, split: str | None, kind: str | None, source: str | None, seed: int, html: Path | None
) -> None:
    """Show conversations, chosen at random.

    With --html they stand on a page with their pictures.
    """
    from trialbook.contracts.conversation_folder import read_folder
    from trialbook.curation.show import as_page, as_text, choose

    read = read_folder(folder)
    chosen = choose(read, count, split=split, kind=kind, source=source, seed=seed)
    if html is None:
        echo("\n\n".join(as_text(name, line.conversation) for name, line in chosen))
        return
    from trialbook.api.app import open_app
    from trialbook.reports.document.html import to_html

    html.write_text(to_html(as_page(read, chosen), open_app().host.templates()), encoding="utf-8")
    echo(str(html))


@data.command()
@click.argument("folder", type=_FOLDER)
@json_option
def stats(folder: Path, as_json: bool) -> None:
    """Count splits, sources, kinds, lengths, sizes.

    And say how many questions can be answered without looking at the picture.
    """
    from trialbook.contracts.conversation_folder import read_folder
    from trialbook.curation.stats import figures, tables
    from trialbook.errors import printable
    from trialbook.reports.tables import render

    found = figures(read_folder(folder))
    if as_json:
        echo_json(found)
        return
    shown = [render(table, "table", terminal=for_people()) for table in tables(found)]
    echo("\n\n".join([printable(_origin(found)), *shown]), styled=True)


def _what(
    paths: tuple[Path, ...], use: str | None, sets: tuple[str, ...], profile: str | None
) -> tuple[Experiment, Path]:
    from trialbook.curation.source import source_of_file, source_of_name

    if len(paths) != (1 if use else 2):
        raise click.UsageError("give OUT alone with --use NAME" if use else "give FILE and OUT, or --use NAME and OUT")
    if use and profile:
        raise click.UsageError("--profile needs a FILE")
    experiment = source_of_name(use, sets) if use else source_of_file(paths[0], profile, sets)
    return experiment, paths[-1]


def _progress(split: str, done: int, total: int) -> None:
    from trialbook.errors import printable

    if done == total or done % 20 == 0:
        click.echo(
            f"\r{printable(split)}: {done} of {total} documents\033[K" + "\n" * (done == total), err=True, nl=False
        )


def _summary(out: Path, manifest: dict[str, Any]) -> str:
    lines = [str(out)]
    for name, counts in manifest["splits"].items():
        without = counts["conversations"] - counts["answerable"]
        lines.append(
            f"  {name:<5}  {counts['conversations']} conversations about {counts['documents']} documents, {without} without an "
            "answer"
        )
    lines.append(f"  {manifest['pictures']} pictures, fingerprint {manifest['fingerprint'][:12]}")
    lines += [f"  {line}" for line in _lost(manifest)]
    lines.append(f"  licence: {manifest['licence'] or 'not known; note it with --licence'}")
    return "\n".join(lines)


def _lost(found: dict[str, Any]) -> list[str]:
    said = {
        "left_out": "rows left out, listed in left_out.jsonl", "duplicates": "conversations that stood there already, dropped",
        "leaks_dropped": "documents dropped that stand in a later split too",
    }  # fmt: skip
    return [f"{found[key]} {text}" for key, text in said.items() if found.get(key)]


def _origin(found: dict[str, Any]) -> str:
    lines = [found["folder"]]
    if found["fingerprint"]:
        lines += [f"  fingerprint {found['fingerprint'][:12]}", f"  licence: {found['licence'] or 'not known'}"]
    return "\n".join([*lines, *(f"  {line}" for line in _lost(found))])
