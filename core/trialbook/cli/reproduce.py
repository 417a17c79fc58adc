"""``mlrun reproduce RUN``: do a recorded run again and say whether the same comes out."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click

from trialbook.cli.output import echo, echo_json, json_option
from trialbook.cli.registry import complete_run


@click.command()
@click.argument("run", shell_complete=complete_run)
@click.option(
    "--tolerance", type=click.FloatRange(min=0), default=1e-5, show_default=True,
    help="Largest difference of two values that counts as none, as a share of the larger of the two.",
)  # fmt: skip
@click.option(
    "--repetitions", type=click.IntRange(min=1),
    help="Repetitions at most, to measure the device's noise by where the first one differs. [default: 4 on a GPU, else 1]",
)  # fmt: skip
@click.option("--keep", is_flag=True, help="Keep the repetitions even if the run is equal.")
@json_option
@click.option("--runs", type=click.Path(file_okay=False, path_type=Path), help="Directory of runs.")
def reproduce(
    run: str, tolerance: float, repetitions: int | None, keep: bool, as_json: bool, runs: Path | None
) -> None:  # fmt: skip
    """Do RUN again and say whether the same comes out.

    Configuration, seed and inputs are those in the run's directory; the experiment file is not needed. First it reports
    what has changed since the run was made. Then all records and the last weights are compared: equal bit for bit, within
    the tolerance, or not equal, and from which step and metric they differ. The repetition is no run of the experiment: it
    lies in runs/.reproduced while it runs, and is kept there if it differs.

    Exit status: 0 equal or within tolerance, 1 not equal, 2 the run cannot be repeated.
    """
    from trialbook.api.reproduce import reproduce as reproduce_run
    from trialbook.execution.progress import choose_progress
    from trialbook.registry.ranks import is_first_process

    def say(text: str) -> None:
        if is_first_process():
            echo(text, err=True)

    found = reproduce_run(
        run, tolerance=tolerance, keep=keep, repetitions=repetitions, progress=choose_progress(partial(echo, err=True)),
        say=say, runs=runs,
    )  # fmt: skip
    if found is None:
        return
    if as_json:
        echo_json(found.as_dict())
    else:
        echo(found.text())
    sys.exit(1 if found.verdict == "not equal" else 0)
