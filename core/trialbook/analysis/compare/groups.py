"""The groups of a comparison: which runs stand for an arm, what each is compared with, which cells are missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trialbook.analysis.selection import Facts, check_key
from trialbook.config.experiment_info import ExperimentInfo
from trialbook.errors import TrialbookError, suggest
from trialbook.registry.query import Registry, Run

if TYPE_CHECKING:
    from trialbook.config.runspec import Plan

#: Experiment, arm, seed.
Cell = tuple[str, str, int]


@dataclass(frozen=True)
class Groups:
    """Runs by group.

    Args:
        labels: the groups that have finished runs, in the order of the table.
        used: label to its finished runs, one for each unit.
        units: run (by number) to what it is paired by: its seed, and where that is not enough, its arm and grid point.
        baselines: label to the label that it is compared with.
        named: label to the keys that the experiment named for it, or None where that was not recorded.
        missing: cells without a finished run, with the reason.
        notes: what else a reader should know about the choice of runs.
        info: what the experiment's file said beside the runs: question, baseline, headline, gates.
    """

    labels: tuple[str, ...]
    used: Mapping[str, Sequence[Run]]
    units: Mapping[int, str]
    baselines: Mapping[str, str]
    named: Mapping[str, frozenset[str] | None]
    missing: Sequence[str]
    notes: Sequence[str]
    info: ExperimentInfo


def make_groups(
    runs: Sequence[Run], by: str, baseline: str | None, facts: Facts, registry: Registry, *, whole: bool = False,
    asked: Plan | None = None,
) -> Groups:  # fmt: skip
    """Group runs by the values of a key.

    Args:
        runs: oldest first.
        by: ``arm``, or any key of a run.
        baseline: label of the group to compare with, instead of the experiment's.
        facts, registry: where values and documents are.
        whole: these are all runs that there should be, so that cells of the plan that never started are missing, too.
        asked: the plan that they are the runs of; it goes before what was recorded with them.
    Raises:
        TrialbookError: no run has the key, or no group has the baseline's label.
    """
    if by != "arm":
        check_key(by, facts.known(runs))
    several = len({run.experiment for run in runs}) > 1
    info = asked.runs[0].info if asked else registry.info(runs[-1])
    planned = _planned(runs, registry) if whole else []
    if asked and whole:
        planned = [(spec.experiment, spec.arm, spec.seed) for spec in asked.runs]
    chosen, missing, notes = _choose(runs, planned)
    used: dict[str, list[Run]] = {}
    for run in chosen:
        used.setdefault(_label(run, by, several, facts), []).append(run)
    bases = _baselines(used, by, baseline, lambda run: info if asked else registry.info(run))
    arms = {arm: place for place, arm in enumerate(info.arms)}
    labels = sorted(used, key=lambda label: (label in bases, arms.get(used[label][0].arm, len(arms))))
    if by != "arm":
        labels = sorted(used, key=_order)
    return Groups(
        labels=tuple(labels), used={label: used[label] for label in labels},
        units=_units(used, by),
        baselines=bases, named={label: _named(used[label], by, registry) for label in labels},
        missing=missing, notes=notes, info=info,
    )  # fmt: skip


def _planned(runs: Sequence[Run], registry: Registry) -> list[Cell]:
    """Cells of arms × seeds that the newest run of each experiment was planned with."""
    newest = {run.experiment: registry.info(run) for run in runs}
    return [(name, arm, seed) for name, info in newest.items() for arm in info.arms for seed in info.seeds]


def _choose(runs: Sequence[Run], planned: Sequence[Cell]) -> tuple[list[Run], list[str], list[str]]:
    """The newest finished run of every arm and seed; the cells without one; what was left out."""
    newest: dict[Cell, Run] = {}
    others: dict[Cell, Run] = {}
    older: dict[str, int] = {}
    for run in runs:
        cell = (run.experiment, run.arm, run.seed)
        if run.status != "finished":
            others[cell] = run
            continue
        if cell in newest:
            older[run.arm] = older.get(run.arm, 0) + 1
        newest[cell] = run
    later = [f"{a} seed {s}" for (e, a, s), run in others.items() if _later(run, newest.get((e, a, s)))]
    missing = [
        f"{arm} seed {seed}: " + (others[e, arm, seed].status if (e, arm, seed) in others else "not started")
        for e, arm, seed in dict.fromkeys([*_square(runs), *planned])
        if (e, arm, seed) not in newest
    ]
    if not newest:
        raise TrialbookError(f"no run is finished yet ({'; '.join(missing[:6])})")
    notes = []
    if older:
        counts = ", ".join(f"{count} of {arm}" for arm, count in older.items())
        notes.append(f"older finished runs of the same arm and seed are left out: {counts}")
    if later:
        notes.append(f"a newer run is not finished, the finished one before it is shown: {', '.join(later)}")
    return list(newest.values()), missing, notes


def _square(runs: Sequence[Run]) -> list[Cell]:
    """Every arm of an experiment with every seed of it."""
    arms: dict[str, dict[str, None]] = {}
    seeds: dict[str, dict[int, None]] = {}
    for run in runs:
        arms.setdefault(run.experiment, {})[run.arm] = None
        seeds.setdefault(run.experiment, {})[run.seed] = None
    return [(name, arm, seed) for name in arms for arm in arms[name] for seed in seeds[name]]


def _later(run: Run, finished: Run | None) -> bool:
    return finished is not None and (run.started or 0, run.id) > (finished.started or 0, finished.id)


def _label(run: Run, by: str, several: bool, facts: Facts) -> str:
    value = run.arm if by == "arm" else facts.value(run, by)
    text = value if isinstance(value, str) else json.dumps(value)
    return f"{run.experiment}/{text}" if several and by != "experiment" else text


def _order(label: str) -> tuple[bool, float, str]:
    """Numbers by size, then words."""
    try:
        return (False, float(label.rpartition("/")[2]), "")
    except ValueError:
        return (True, 0.0, label)


def _baselines(
    used: Mapping[str, Sequence[Run]], by: str, baseline: str | None, info_of: Callable[[Run], ExperimentInfo]
) -> dict[str, str]:
    """Label to baseline: the one given, or the experiment's, at the same point of the grid where there is one."""
    if baseline is not None:
        if baseline not in used:
            hint = suggest(baseline, used)
            raise TrialbookError(f"no group is called '{baseline}'" + (f"; did you mean '{hint}'?" if hint else ""))
        return {label: baseline for label in used if label != baseline}
    if by != "arm":
        return {}
    places = {(r[0].experiment, r[0].base_arm, r[0].point_text): label for label, r in used.items()}
    found = {}
    for label, runs in used.items():
        run = runs[-1]
        name = info_of(run).baseline
        base = places.get((run.experiment, str(name), run.point_text))
        if name is not None and run.base_arm != name and base is not None:
            found[label] = base
    return found


def _units(used: Mapping[str, Sequence[Run]], by: str) -> dict[int, str]:
    """Name what each run is paired by: its seed; where runs of a group share one, also its arm and the rest of its point."""
    unique = by != "seed" and all(len({run.seed for run in runs}) == len(runs) for runs in used.values())
    units = {}
    for run in (run for runs in used.values() for run in runs):
        parts = [] if by == "seed" else [f"seed {run.seed}"]
        if not unique:
            rest = [f"{key}={json.dumps(value)}" for key, value in run.point.items() if key != by]
            parts = [run.experiment, *([] if by == "base_arm" else [run.base_arm]), *rest, *parts]
        units[run.id] = " ".join(parts)
    return units


def _named(runs: Sequence[Run], by: str, registry: Registry) -> frozenset[str] | None:
    """Keys that the file names for these runs: what their arms change, the grid's, the one grouped by; None if unknown."""
    one_each = {run.plan: run for run in runs}.values()
    changes = [registry.info(run).changes for run in one_each]
    if by == "arm" and None in changes:
        return None
    found = set() if by == "arm" else {by}
    for run, own in zip(one_each, changes, strict=True):
        found |= set((own or {}).get(run.base_arm, ()))
    return frozenset(found.union(*(run.point for run in runs)))
