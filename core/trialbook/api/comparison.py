"""``trialbook.compare``: arms over seeds, against the baseline, from the recorded runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trialbook.analysis.compare.compare import Comparison
from trialbook.analysis.compare.compare import compare as compare_runs
from trialbook.api.app import open_app, settings_of
from trialbook.api.display import Displayed, data_frame
from trialbook.api.sets import Sets, set_texts
from trialbook.errors import TrialbookError
from trialbook.registry.query import open_index

if TYPE_CHECKING:
    import pandas as pd

    from trialbook.api.run import Run
    from trialbook.config.runspec import Plan
    from trialbook.reports.document.blocks import Block


@dataclass(frozen=True, repr=False)
class ExperimentComparison(Displayed, Comparison):
    """All that ``mlrun compare`` says, as data: ``rows``, ``gates``, ``claims``, ``effects``, ``costs``, ``findings`` …"""

    def to_dataframe(self) -> pd.DataFrame:
        """A row for each metric of each arm, and for each effect and claim, with full values, as ``--format csv`` has it.

        Raises:
            TrialbookError: pandas is not installed.
        """
        from trialbook.reports.comparison_tables import full_table

        table = full_table(self)
        return data_frame(table.records(), [column.name for column in table.columns])

    def text(self, style: str = "table") -> str:
        """Return what ``mlrun compare`` prints; ``style`` is one of its formats: table, markdown, csv, json, latex."""
        from trialbook.reports.terminal import comparison_text

        return comparison_text(self, style)

    def blocks(self) -> Sequence[Block]:
        """Verdicts and metrics, and the rest folded."""
        from trialbook.reports.pages.experiment_page import comparison_blocks

        return comparison_blocks(self)


def compare(
    *names: Run | Path | str, metrics: Sequence[str] = (), by: str = "arm", where: str | Sequence[str] = (),
    at: str = "last", baseline: str | None = None, profile: str | None = None, sets: Sets = (),
    root: Path | str | None = None, runs: Path | str | None = None,
) -> ExperimentComparison:  # fmt: skip
    """Answer an experiment's question as ``mlrun compare`` does.

    Args:
        names: an experiment file (its runs as the file stands now), or experiments and runs; the experiment with the newest
            run if none are given.
        metrics: the experiment's headline, or all final metrics, if none are given.
        by: the key whose values make the groups, e.g. ``train.lr``; what else differs in a group is averaged within each
            seed.
        where: conditions that the runs must meet, ``KEY=VALUE`` each (also ``!= < <= > >=``).
        at: ``last``, ``best:METRIC`` or ``step:N``: where metrics are taken.
        baseline: the group to compare with, instead of the experiment's.
        profile, sets: of the file, as for ``check``.
        root: folder in which or above which ``runner.toml`` lies; the working directory if None.
        runs: another directory of runs than ``runner.toml`` names.
    Raises:
        TrialbookError: a name, key or metric means nothing here, or no run of the file is recorded.
    """
    texts = tuple(str(getattr(one, "path", one)) for one in names)
    settings = settings_of(root, runs)
    plan = _plan(texts[0], profile, sets, root, runs) if len(texts) == 1 and texts[0].endswith(".toml") else None
    if plan is None and (profile or sets):
        raise TrialbookError("a profile and sets need one experiment file to compare")
    with open_index(settings.registry) as index:
        found = compare_runs(
            index, texts, metrics=metrics, by=by, where=[where] if isinstance(where, str) else where, at=at,
            baseline=baseline, plan=plan,
        )  # fmt: skip
    return ExperimentComparison(**vars(found))


def _plan(file: str, profile: str | None, sets: Sets, root: Path | str | None, runs: Path | str | None) -> Plan:
    from trialbook.api.plan import make_plans  # late: an experiment's name needs no plan

    if not Path(file).is_file():
        raise TrialbookError(f"there is no file '{file}'")
    (plan,) = make_plans([Path(file)], open_app(runs, root), profile, set_texts(sets))
    return plan
