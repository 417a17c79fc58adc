"""Command ``mlrun acme-about``."""

from __future__ import annotations

import click


@click.command()
@click.option("--loud", is_flag=True, help="In capitals.")
def about(loud: bool) -> None:
    """Say who made this plugin."""
    text = "made by acme"
    click.echo(text.upper() if loud else text)
