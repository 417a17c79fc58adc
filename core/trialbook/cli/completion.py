"""``mlrun completion SHELL`` prints what makes the shell complete commands, options and files."""

from __future__ import annotations

import click

from trialbook.cli.output import echo

_SHELLS = {
    "bash": 'eval "$(mlrun completion bash)" in ~/.bashrc',
    "zsh": 'eval "$(mlrun completion zsh)" in ~/.zshrc',
    "fish": "mlrun completion fish > ~/.config/fish/completions/mlrun.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash:  eval "$(mlrun completion bash)" in ~/.bashrc
    zsh:   eval "$(mlrun completion zsh)" in ~/.zshrc
    fish:  mlrun completion fish > ~/.config/fish/completions/mlrun.fish
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"click has no completion for {shell}")
    echo(found(ctx.find_root().command, {}, "mlrun", "_MLRUN_COMPLETE").source())
