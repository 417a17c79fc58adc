"""``mlrun check FILE`` and ``mlrun schema``."""

from __future__ import annotations

from pathlib import Path

import click

from trialbook.cli.output import echo, part_streams


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--profile", help="Merge the tables of [profile.NAME] into the file.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Set a key, e.g. --set train.lr=1e-3.")
def check(file: Path, profile: str | None, sets: tuple[str, ...]) -> None:
    """Report every mistake in FILE at once: file:line, table, what is wrong, what was probably meant.

    Without --profile, every profile of the file is checked too. Models and data are not touched.
    """
    from trialbook.api.check import check as check_file

    result = check_file(file, profile=profile, sets=sets)
    result.raise_for_problems()
    echo(result.text())


@click.command()
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
def schema(output: Path | None) -> None:
    """Print the JSON Schema of experiment files, covering every installed component, for editors that complete them."""
    import json

    from trialbook.api.app import open_app
    from trialbook.plugins.json_schema import experiment_json_schema

    part_streams()
    text = json.dumps(experiment_json_schema(open_app().book), indent=2) + "\n"
    if output is None:
        echo(text.rstrip())
    else:
        output.write_text(text, encoding="utf-8")
