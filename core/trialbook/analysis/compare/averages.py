"""Values of groups by seed: what else differs inside a group is averaged within the seed, so that seeds alone are repetitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from trialbook.analysis import statistics as stats
from trialbook.analysis.compare.groups import Groups

#: Run (by number) to its value of one metric.
Values = Mapping[int, float]
#: Setting inside a group to seed to value.
Table = dict[str, dict[int, float]]


@dataclass(frozen=True)
class SeedValues:
    """One metric of one group.

    Args:
        values: seed to the mean over ``settings``; seeds that lack one of them are left out.
        settings: what was averaged over, in order; one where nothing but the seed differs.
        lacking: seed to the settings that it lacks.
    """

    values: Mapping[int, float]
    settings: tuple[str, ...] = ()
    lacking: Mapping[int, tuple[str, ...]] = field(default_factory=dict)


def average(groups: Groups, label: str, values: Values, settings: Sequence[str] = ()) -> SeedValues:
    """A group's values by seed, over these settings or all that have a value.

    Args:
        groups, label: which runs.
        values: of one metric.
        settings: all of the group's that have a value, if none are given.
    """
    table = _table(groups, label, values)
    wanted = tuple(settings or table)
    seeds = sorted({seed for name in wanted for seed in table.get(name, ())})
    lacking = {seed: lack for seed in seeds if (lack := tuple(n for n in wanted if seed not in table.get(n, ())))}
    means = {seed: stats.mean([table[name][seed] for name in wanted]) for seed in seeds if seed not in lacking}
    return SeedValues(means, wanted, lacking)


def difference(groups: Groups, label: str, base: str, values: Values) -> list[float]:
    """Differences of a group to another, one for each seed that both have.

    Taken over the settings that both groups have; where they have none in common, between the means of all of either's.
    """
    here, there = _table(groups, label, values), _table(groups, base, values)
    shared = [name for name in here if name in there]
    own, other = (average(groups, one, values, shared).values for one in (label, base))
    return [own[seed] - other[seed] for seed in own if seed in other]


def average_notes(groups: Groups, metrics: Mapping[str, Values]) -> list[str]:
    """Return what was averaged within the seeds, and which seeds were left out of it."""
    found: dict[str, None] = {}
    names = {
        label: tuple(dict.fromkeys(groups.settings[run.id] for run in runs)) for label, runs in groups.used.items()
    }
    if all(len(own) == 1 for own in names.values()):
        return []
    sets = {frozenset(own) for own in names.values()}
    if len(sets) == 1:
        own = next(iter(names.values()))
        found[f"n counts seeds: within a seed, the values of {len(own)} runs are averaged: {_listed(own)}"] = None
    else:
        for label, own in names.items():
            found[f"n counts seeds: within a seed, {label} averages over {_listed(own)}"] = None
        for label, base in groups.baselines.items():
            shared = [name for name in names[label] if name in names[base]]
            if not shared:
                found[f"{label} and {base} have no setting in common: their difference is one of these as well"] = None
            elif set(names[label]) != set(names[base]):
                found[f"the difference of {label} to {base} is taken over what both have: {_listed(shared)}"] = None
    for metric, values in metrics.items():
        for label in groups.labels:
            averaged = average(groups, label, values)
            if averaged.settings and (without := [one for one in names[label] if one not in averaged.settings]):
                found[f"{metric} of {label} is averaged without {_listed(without)}, which did not record it"] = None
            for seed, lack in averaged.lacking.items():
                found[f"{metric} of {label} leaves out seed {seed}: it lacks {_listed(lack)}"] = None
    return list(found)


def _table(groups: Groups, label: str, values: Values) -> Table:
    table: Table = {}
    for run in groups.used[label]:
        if run.id in values:
            table.setdefault(groups.settings[run.id], {})[run.seed] = values[run.id]
    return dict(sorted(table.items()))


def _listed(names: Sequence[str]) -> str:
    """Names as a list; of many, the first ones and how many more there are."""
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:5])} and {len(names) - 5} more"
