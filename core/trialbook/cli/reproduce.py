"""``mlrun reproduce RUN``: do a recorded run again and say whether the same comes out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trialbook.cli.registry import complete_run

if TYPE_CHECKING:
    from trialbook.execution.progress import Progress
    from trialbook.replay.noise import Noise
    from trialbook.replay.record_diff import Gap
    from trialbook.replay.reproduce import Reproduction


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
@click.option("--json", "as_json", is_flag=True, help="The answer as JSON.")
@click.option("--runs", type=click.Path(file_okay=False, path_type=Path), help="Directory of runs.")
def reproduce(
    run: str, tolerance: float, repetitions: int | None, keep: bool, as_json: bool, runs: Path | None
) -> None:  # fmt: skip
    """Do RUN again and say whether the same comes out.

    Configuration, seed and inputs are those in the run's directory; the experiment file is not needed. First it is said
    what is other now than when the run was made. Then all records and the last weights are compared: equal bit for bit,
    within the tolerance, or not equal, and from which step and metric they part. The repetition is no run of the
    experiment: it lies in runs/.reproduced while it goes on, and is kept there if it differs.

    Exit status: 0 equal or within tolerance, 1 not equal, 2 the run cannot be repeated.
    """
    from trialbook.cli.app import open_app
    from trialbook.contracts.files import to_json
    from trialbook.registry.ranks import is_first_process
    from trialbook.replay.reproduce import Reproducer

    app = open_app(runs)

    def say(text: str) -> None:
        if is_first_process():
            click.echo(text, err=True)

    reproducer = Reproducer(app.settings, app.host, app.book, _watcher(), say)
    found = reproducer.reproduce(run, tolerance=tolerance, keep=keep, repetitions=repetitions)
    if found is None:
        return
    click.echo(to_json(found.as_dict()) if as_json else describe(found))
    sys.exit(1 if found.verdict == "not equal" else 0)


def describe(found: Reproduction) -> str:
    """The answer for people."""
    records, weights = found.records, found.weights
    verdict = {
        "equal": "equal bit for bit", "within tolerance": f"within tolerance ({found.tolerance:g})",
        "within noise": "equal within the device's noise",
    }  # fmt: skip
    lines = [
        f"{found.recorded.spec.experiment}/{found.recorded.run.path.name}: {verdict.get(found.verdict, found.verdict)}"
    ]
    compared = f"{records.compared} records up to step {records.last_step}"
    if records.parted is None:
        lines.append(f"  {compared}: equal bit for bit")
    else:
        lines.append(f"  {compared} compared; they part at {_told(records.parted)}")
        if records.beyond not in (None, records.parted):
            lines.append(f"  beyond the tolerance at {_told(records.beyond)}")
        if records.largest not in (None, records.parted):
            lines.append(f"  largest difference at {_told(records.largest)}")
    if weights is not None:
        differ = f"differ by up to {weights.difference:.3g} of the largest ({weights.largest})"
        lines.append(
            f"  {weights.tensors} tensors of weights at step {weights.step}: "
            + ("equal bit for bit" if weights.verdict == "equal" else differ)
        )
    lines += [f"  {line}" for line in _noise_lines(found.noise)] if found.noise else []
    lines += [f"  {remark}" for remark in found.remarks]
    if found.kept:
        several = found.noise.repetitions if found.noise else 1
        others = (
            f" and others beside it, -2 to -{several}" if several > 2 else " and another beside it, -2" * (several > 1)
        )
        lines.append(f"  the repetition is kept in {found.kept}{others}")
    return "\n".join(lines)


def _noise_lines(noise: Noise) -> Iterator[str]:
    """What the repetitions say of each other, and of the run."""
    from trialbook.replay.noise import FACTOR

    if noise.parted is None:
        yield f"the {noise.repetitions} repetitions are equal bit for bit: what the run differs by is no noise"
    else:
        first = noise.parted
        yield (
            f"the {noise.repetitions} repetitions part at step {first.step} in {first.name}: {first.recorded!r} and "
            f"{first.repeated!r}"
        )
        yield "noise, largest so far: " + ", ".join(f"{level:.2g} at step {step}" for step, level in noise.growth)
    if noise.beyond is not None:
        far = noise.beyond
        values = f"{far.recorded!r} recorded, {', '.join(map(repr, far.repeated))} now, " if far.repeated else ""
        yield (
            f"beyond the noise at step {far.step} in {far.name}: {values}{far.difference:.3g} apart, where the "
            f"repetitions are by {far.noise:.2g}"
        )
    elif noise.parted is not None:
        yield f"nowhere is the run further from the nearest repetition than {FACTOR:g} times the noise"


def _told(gap: Gap | None) -> str:
    """``step 20 in loss: 4.1 recorded, 4.2 now (2.4% apart)``."""
    if gap is None:
        return "nothing"
    if gap.name == "step":
        return f"step {gap.step}: the repetition has no such record there"
    if gap.recorded is None or gap.repeated is None:
        who = "the repetition" if gap.repeated is None else "the run"
        return f"step {gap.step} in {gap.name}: {who} has no such value"
    return f"step {gap.step} in {gap.name}: {gap.recorded!r} recorded, {gap.repeated!r} now, {gap.difference:.3g} apart"


def _watcher() -> Progress:
    from trialbook.cli.run import watcher

    return watcher()
