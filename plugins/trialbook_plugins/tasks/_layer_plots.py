"""Plots that tasks ``probe`` and ``similarity`` declare: curves over layers, maps of pairs and of channels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from trialbook.contracts import Builder, Probe
from trialbook.contracts.metric_names import expand_produces
from trialbook.contracts.plots import HeatMap, Profile

#: Which references a metric stands between.
_CEILING, _BASELINE, _FLOOR = ("oracle",), ("pixels",), ("shuffled", "random")
#: Metrics of a probe that are drawn.
_MOST = 5
#: Measures of which there is a null.
_NULLS = ("cka", "rsa", "overlap")


def probe_profiles(
    layers: Sequence[str], probes: Mapping[str, Probe], references: Sequence[str], builder: Builder
) -> list[Profile]:
    """A plot for each probe: its main metric, and those that have an interval."""
    return [
        Profile(
            name=name, title=f"Probe '{name}' by layer", places=list(layers),
            metrics={figure: f"{{place}}/{name}/{figure}" for figure in _figures(name, probe, builder)},
            ceiling=[one for one in _CEILING if one in references],
            baseline=[one for one in _BASELINE if one in references],
            floor=[one for one in _FLOOR if one in references],
            chosen=["best_layers", name],
        )
        for name, probe in probes.items()
    ]  # fmt: skip


def _figures(name: str, probe: Probe, builder: Builder) -> list[str]:
    keys = {key for template in probe.produces for key in re.findall(r"\{(\w+)\}", template)}
    known = expand_produces(probe.produces, {key: builder.option("probe", name, key) for key in keys}, [])
    ranged = [figure for figure in known if f"{figure}/low" in known]
    return list(dict.fromkeys([probe.main, *ranged]))[:_MOST]


def similarity_plots(
    rows: Sequence[str], columns: Sequence[str], sides: tuple[str, str], measures: Sequence[str], *, channels: bool
) -> list[Profile | HeatMap]:
    """Curves where the second encoder has one layer, else a map for each measure; and a map of its channels.

    Args:
        rows, columns: layers of both encoders.
        sides: names of both encoders.
        measures: metrics of each pair.
        channels: whether there are metrics of single channels.
    """
    axes = (f"layer of {sides[0]}", f"layer of {sides[1]}")
    found: list[Profile | HeatMap] = []
    if len(columns) == 1:
        found.append(Profile(
            name="similarity", title=f"Similarity to {columns[0]} by layer", axis=axes[0], places=list(rows),
            metrics={measure: f"{{place}}/{columns[0]}/{measure}" for measure in measures}, floor=["null"],
            chosen=["best_pair", sides[0]],
        ))  # fmt: skip
    else:
        found += [
            HeatMap(
                name=measure, title=measure, rows=list(rows), columns=list(columns), row_axis=axes[0], column_axis=axes[1],
                metric=f"{{row}}/{{column}}/{measure}", null="null" if measure in _NULLS else "", chosen=["best_layers"],
            )
            for measure in measures
        ]  # fmt: skip
    if channels:
        found += [
            HeatMap(
                name=f"channels-{column}", title=f"cka with channels of {column}", rows=list(rows), row_axis=axes[0],
                column_axis="channel", arrays=f"channels-{{row}}-{column}", key="cka",
            )
            for column in columns
        ]  # fmt: skip
    return found
